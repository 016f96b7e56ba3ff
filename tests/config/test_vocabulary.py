from pathlib import Path

import pytest

from vgg_sweep.config.vocabulary import complete, did_you_mean, groups, schema_fields

OWN = {"retry": ("failed", "diverged")}


def test_groups_are_the_folders_of_conf_and_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "H.yaml").touch()
    assert groups()["train_scale"] == ["256", "384", "jitter", "jitter-fc"]
    assert groups(tmp_path)["model"] == sorted([*groups()["model"], "H"])
    assert groups(tmp_path).keys() == groups().keys()


def test_settings_have_a_type_and_a_default() -> None:
    known = schema_fields()
    assert known["seed"][:2] == (int, 0)
    assert known["recipe.lr"][:2] == (float, 0.01)
    assert known["data.fractals.num_classes"][0] is int
    assert "recipe" not in known


@pytest.mark.parametrize(
    ("word", "meant"),
    [("modle", "model"), ("train-scale", "train_scale"), ("lr", "recipe.lr"), ("recipe.epoch", "recipe.epochs"),
     ("epochs", "recipe.epochs"), ("momentun", "recipe.momentum")],
)  # fmt: skip
def test_did_you_mean(word: str, meant: str) -> None:
    assert did_you_mean(word) == f"did you mean {meant}?"


@pytest.mark.parametrize(
    ("line", "offered"),
    [  # as zsh and fish pass the words
        ("", "data= experiment= hydra/launcher= hydra/sweeper= model="),
        ("re", "recipe= retries="),
        ("mod", "model=A model=A-BN model=A-BN-skip model=A-LRN model=A-skip model=B model=B-5x5"),
        ("model=A-L", "model=A-LRN"),
        ("model=D,A-L", "model=D,A-LRN"),
        ("model=D train_scale=j", "train_scale=jitter train_scale=jitter-fc"),
        ("recipe.dropo", "recipe.dropout=0.5"),
        ("pool_ceil=", "pool_ceil=true pool_ceil=false"),
        ("precision=", "precision=auto precision=fp32 precision=bf16 precision=fp16"),
        ("layout=c", "layout=channels-last"),
        ("recipe.init=", "recipe.init=normal recipe.init=literal recipe.init=glorot recipe.init=he"),
        ("logger", "logger=none logger=tensorboard logger=wandb logger=mlflow logger=trackio"),
        ("nonsense=", ""),
        ("retry=f", "retry=failed"),
        ("retry ", "failed diverged"),
        # as bash does, and Typer of a last `=`
        ("model ", "A A-BN A-BN-skip A-LRN A-skip B B-5x5 B-BN C D D-BN E"),
        ("model = A-L", "A-LRN"),
        ("model = D,A-L", "D,A-LRN"),
        ("seed = 3 train_scale = j", "jitter jitter-fc"),
        ("model = D re", "recipe= retries="),
        ("model = D ", "data= experiment= hydra/launcher= hydra/sweeper= model="),
    ],
)
def test_complete(line: str, offered: str) -> None:
    *words, incomplete = line.split(" ")
    assert complete(words, incomplete, OWN)[: max(1, len(offered.split())) if offered else None] == offered.split()
