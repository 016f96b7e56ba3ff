import re
import time
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from vgg_sweep.cli import compose
from vgg_sweep.config.schema import Config
from vgg_sweep.config.vocabulary import groups
from vgg_sweep.errors import ConfigError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")
    monkeypatch.setattr("sys.argv", ["vgg-sweep"])


def composed(*overrides: str, config_dir: Path | None = None) -> Config:
    configs: list[Config] = []
    compose.run(configs.append, list(overrides), compose.Flags(config_dir))
    return configs[0]


def test_the_command_line_has_the_last_word(tmp_path: Path) -> None:
    config = composed("data=imagenet", "recipe.lr=0.02", "train_scale=384", "out=here")
    assert (config.model.name, config.train_scale.S, config.crop, config.width) == ("D", [384, 384], 224, 1.0)
    assert (config.recipe.name, config.recipe.lr, config.recipe.momentum) == ("paper", 0.02, 0.9)
    assert (config.out, config.cache) == ("here", "outputs/cache")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "option", [f"{group}={name}" for group, names in groups().items() if group[:5] != "hydra" for name in names]
)
def test_every_option_composes(option: str) -> None:
    group, _, name = option.partition("=")
    config = composed(option)
    if name == "demo-transfer":  # which probes the demo's nets on other fractals, and trains none
        assert (config.data.source, config.data.fractals.seed) == ("fractals", 1)
    elif group == "experiment":
        assert config.out == f"outputs/{name}".removesuffix("-localise")  # whose parents are the demo's nets
        assert config.sweep.grids or name == "published"  # whose nets are imported, not trained
    else:
        assert getattr(config, group).name == name


def test_a_data_set_brings_its_recipe_and_the_user_may_choose_another() -> None:
    assert composed("data=fractals").recipe.name == "fractals"
    assert composed("data=fractals", "recipe=paper").recipe.name == "paper"
    assert composed("data=fractals", "recipe=paper").crop == 64


def test_options_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text("name: mine\ncolumns: [conv3-64, maxpool]\n")
    config = composed("model=mine", config_dir=tmp_path / "conf")
    assert config.model.columns == ["conv3-64", "maxpool"]
    with pytest.raises(ConfigError, match="model=mien does not exist; .* and 22 more; did you mean mine"):
        composed("model=mien", config_dir=tmp_path / "conf")


def test_an_unknown_key_in_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "conf" / "recipe").mkdir(parents=True)
    (tmp_path / "conf" / "recipe" / "mine.yaml").write_text("name: mine\nmomentun: 0.5\n")
    with pytest.raises(ConfigError) as told:
        composed("recipe=mine", config_dir=tmp_path / "conf")
    assert str(told.value) == "In 'recipe/mine': recipe.momentun is not a setting; did you mean recipe.momentum?"


def test_a_file_that_is_not_yaml_is_told(tmp_path: Path) -> None:
    (tmp_path / "conf" / "recipe").mkdir(parents=True)
    (tmp_path / "conf" / "recipe" / "mine.yaml").write_text("name: [\n")
    with pytest.raises(ConfigError, match=r"not YAML: .*/mine\.yaml"):
        composed("recipe=mine", config_dir=tmp_path / "conf")


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("train_scale=384", "train_scale='384'"),
        ("train_scale=256,384,jitter", "train_scale='256','384',jitter"),
        ("train_scale=choice(256, 384)", "train_scale=choice('256', '384')"),
        ("train_scale='384'", "train_scale='384'"),
        ("model=B-5x5", "model=B-5x5"),
        ("model=glob(*)", "model=glob(*)"),
    ],
)
def test_option_names_that_are_numbers_are_quoted(text: str, quoted: str) -> None:
    assert compose._with_option_names_quoted(text) == quoted


def test_a_launcher_without_a_sweep_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    composed("hydra/launcher=basic")
    assert capsys.readouterr().err == (
        "Warning: hydra/launcher=basic has no effect here; only `vgg-sweep multirun` uses launchers.\n"
    )


def test_a_sweep_shown_with_its_launcher_is_not_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    compose.multirun(lambda raw: None, ["hydra/launcher=basic"], compose.Flags(cfg="hydra", package="hydra.launcher"))
    said = capsys.readouterr()
    assert "BasicLauncher" in said.out
    assert said.err == ""


@pytest.mark.parametrize(("launcher", "lacks"), [("slurm", "submitit_slurm"), ("pool", "joblib")])
def test_a_launcher_whose_extra_is_not_installed_is_told(
    launcher: str, lacks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Plugins.instance()
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], f"{lacks}.yaml", raising=False)
    with pytest.raises(ConfigError, match=rf"hydra/launcher={lacks} is not installed; `pip install 'vgg-sweep\["):
        compose.multirun(lambda raw: None, [f"hydra/launcher={launcher}"], compose.Flags(cfg="hydra"))


def test_every_setting_of_a_wrong_type_is_told_in_words() -> None:
    wrong = {
        "seed": "x",
        "width": "x",
        "pool_ceil": "x",
        "classes": "x",
        "train_scale.S": "3",
        "recipe.drop_fractions": "3",
    }
    for key, value in wrong.items():
        with pytest.raises(ConfigError, match=re.escape(f"{key}={value} is not ")):
            composed(f"{key}={value}")
    for each in compose.schema_fields().values():
        assert compose._in_words(each.kind)


def test_what_the_task_raises_is_raised() -> None:
    def task(config: Config) -> None:
        raise ZeroDivisionError("in the task")

    with pytest.raises(ZeroDivisionError, match="in the task"):
        compose.run(task, [], compose.Flags())


def test_now_is_one_time_for_all_runs_of_a_command_and_said_to_start_anew(capsys: pytest.CaptureFixture[str]) -> None:
    first = composed("out=outputs/${now:%H-%M-%S}").out
    time.sleep(1.1)
    assert composed("out=outputs/${now:%H-%M-%S}").out == first
    assert re.fullmatch(r"outputs/\d\d-\d\d-\d\d", first)
    assert "repeating the command starts a new sweep" in capsys.readouterr().err
    composed("out=outputs/fixed")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("override", ["model=D ", " model=D", "model=D\t"])
def test_blanks_around_an_override_do_not_count(override: str) -> None:
    assert composed(override) == composed("model=D")


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "conf" / "recipe").mkdir(parents=True)
    file = tmp_path / "conf" / "recipe" / "mine.yaml"
    file.write_bytes("name: mine  # für mich\n".encode("latin-1"))
    with pytest.raises(ConfigError) as told:
        composed("recipe=mine", config_dir=tmp_path / "conf")
    assert str(told.value) == f"{file} is not text in UTF-8; save it as such."
    file.write_bytes(b"name: mi\0ne\n")
    with pytest.raises(ConfigError, match="a configuration file is not YAML: unacceptable character"):
        composed("recipe=mine", config_dir=tmp_path / "conf")
