"""The points of a sweep: which configurations a command line asks for."""

import shlex
from collections.abc import Callable, Iterator, Sequence

import pytest
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from vgg_sweep.cli import sweeper
from vgg_sweep.config.checks import checked
from vgg_sweep.config.options import conf_dir
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError
from vgg_sweep.plan.runs import plan
from vgg_sweep.sweep.grids import configurations

Points = Callable[..., list[Config]]


@pytest.fixture(scope="module")
def hydra() -> Iterator[Callable[[str], DictConfig]]:
    """Hydra with our conf/; called with overrides it composes one configuration, as Hydra does it."""
    before = Singleton.get_state()
    ConfigStore.instance().store(name="schema", node=Config)
    sweeper.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        HydraConfig.instance().set_config(loader.load_configuration("config", [], RunMode.MULTIRUN))
        yield lambda overrides: loader.load_configuration("config", shlex.split(overrides), RunMode.RUN)
    Singleton.set_state(before)


@pytest.fixture(scope="module")
def asked(hydra: object) -> Points:
    """The configurations that a command line asks for."""
    loader = GlobalHydra.instance().config_loader()
    master = loader.load_configuration("config", [], RunMode.MULTIRUN)
    return lambda overrides="": configurations(shlex.split(overrides), loader, master)


def cells(configs: Sequence[Config]) -> list[str]:
    return [f"{config.model.name}/{config.train_scale.name}" for config in configs]


TABLE_3 = """A/256 A-LRN/256 B/256 C/256 C/384 C/jitter D/256 D/384 D/jitter E/256 E/384 E/jitter"""
TABLE_4 = """B/256 C/256 C/384 C/jitter D/256 D/384 D/jitter E/256 E/384 E/jitter"""
TABLE_6 = """D/256 D/384 D/jitter-fc C/256 C/384 E/256 E/384 D/jitter E/jitter"""


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("", TABLE_3),
        ("seed=7", TABLE_3),
        ("experiment=demo", f"{TABLE_3} B/256 B-5x5/256 D/jitter-fc"),  # B twice: under two protocols
        ("sweep=table4", TABLE_4),
        ("sweep=table5", "D/jitter E/jitter"),
        ("sweep=table6", TABLE_6),
        ("sweep=localise", "D/384 D/384 D/256 D/384"),  # SCR and PCR with the FC layers alone, then all layers
        ("sweep=depth", "A/256 B/256 C/256 D/256 E/256"),
        ("sweep=kernel", "B/256 B-5x5/256"),
        ("model=A", "A/256"),
        ("model=A train_scale=jitter", "A/jitter"),
        (r"train_scale=\'384\'", "D/384"),
        (r"model=D,E train_scale=\'256\',jitter", "D/256 D/jitter E/256 E/jitter"),
        ("model=glob(A-L*)", "A-LRN/256"),
        ("sweep=table3 model=A,D", "A/256 D/256 D/384 D/jitter"),
        (r"sweep=table3 train_scale=\'384\'", "C/384 D/384 E/384"),
        ("sweep=table3 model=A,D train_scale=jitter", "D/jitter"),
        ("experiment=demo model=E", "E/256 E/384 E/jitter"),
        ("'sweep.grids=[{model:[A,C],train_scale:256},{model:E,train_scale:384}]'", "A/256 C/256 E/384"),
    ],
)
def test_the_points_of_a_sweep(asked: Points, overrides: str, expected: str) -> None:
    assert sorted(cells(asked(overrides))) == sorted(expected.split())


def test_what_localises_in_the_demo_starts_from_its_nets(asked: Points) -> None:
    demo, runs = ({run.id: run for run in plan(asked(f"experiment={name}"))} for name in ("demo", "demo-localise"))
    new = [run for id, run in runs.items() if id not in demo]
    assert [(run.config.boxes, run.trainable) for run in new] == [("scr", "fc"), ("pcr", "fc"), *2 * [("pcr", "all")]]
    assert all(run.parent is not None and run.parent.id in demo for run in new)


def test_a_sweep_is_crossed_with_what_is_added(asked: Points) -> None:
    configs = asked("sweep=table5 seed=0,1 recipe.lr=0.1,0.2")
    found = {(config.model.name, config.seed, config.recipe.lr) for config in configs}
    assert found == {(model, seed, lr) for model in "DE" for seed in (0, 1) for lr in (0.1, 0.2)}
    assert len(configs) == len(found)


def test_a_protocol_on_the_command_line_replaces_that_of_the_sweep(asked: Points) -> None:
    assert {config.protocol.name for config in asked("sweep=kernel")} == {"centre"}
    assert {config.protocol.name for config in asked("sweep=kernel protocol=all")} == {"all"}


def test_a_grid_may_set_plain_values(asked: Points) -> None:
    configs = asked("'sweep.grids=[{model:A,seed:[1,2],warm_start:none},{model:D}]'")
    assert [(config.model.name, config.seed, config.warm_start) for config in configs] == [
        ("A", 1, "none"),
        ("A", 2, "none"),
        ("D", 0, "paper"),
    ]


def test_points_are_what_hydra_composes_for_each(asked: Points, hydra: Callable[[str], DictConfig]) -> None:
    many = asked("model=A,D recipe.lr=0.1,0.2 seed=1,2 'recipe.drop_fractions=[0.5],[0.3,0.6]'")
    for config in many[::5]:
        raw = hydra(
            f"model={config.model.name} recipe.lr={config.recipe.lr} seed={config.seed} "
            f"recipe.drop_fractions={str(config.recipe.drop_fractions).replace(' ', '')}"
        )
        with open_dict(raw):
            del raw["hydra"]
        assert config == checked(raw)
    assert len({repr(config) for config in many}) == 16


def test_what_a_value_decides_goes_on_with_it(asked: Points) -> None:
    assert [(config.seed, config.out) for config in asked("model=A seed=1,2,3 'out=runs/${seed}'")] == [
        (seed, f"runs/{seed}") for seed in (1, 2, 3)
    ]


def test_a_value_of_a_later_point_is_checked_as_the_first_one_is(asked: Points) -> None:
    with pytest.raises(ConfigError, match="devices=0 must be greater than 0"):
        asked("model=A devices=1,2,0")
    with pytest.raises(ConfigError, match="data_timeout_seconds=-1.0 must be greater than 0"):
        asked("model=A data_timeout_seconds=1,-1")


def test_dicts_of_one_point_do_not_reach_the_next(asked: Points) -> None:
    first, second = asked("model=A 'data.fractals={seed:1},{side_px:99}'")
    assert (first.data.fractals.seed, second.data.fractals.seed, second.data.fractals.side_px) == (1, 0, 99)


def test_a_sweep_without_points_is_refused(asked: Points) -> None:
    with pytest.raises(ConfigError, match="no run of the sweep matches sweep=table3 model=B-5x5"):
        asked("sweep=table3 model=B-5x5")
