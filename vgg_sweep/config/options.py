"""The files of `conf/`: where they lie, and one option of a group as its dataclass."""

import os
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vgg_sweep.config.imported import Preprocessing
from vgg_sweep.config.schema import Model, Protocol, TrainScale
from vgg_sweep.errors import ConfigError, some

OWN_OPTIONS = "VGG_SWEEP_CONF"
"""Environment variable: the folder of the user's options, for the processes of a command that has --config-dir."""
OWN_GROUPS = ("model", "train_scale", "recipe", "protocol", "data", "experiment", "sweep", "preprocessing")
SHOWN = 12
"""Options that a refusal names; it counts the others."""


def choose_one(names: Iterable[str], asked: str = "") -> str:
    """The end of a sentence: what may be chosen; of many the short names, and which may have been meant."""
    known = sorted(names)
    if len(known) > SHOWN:
        known.sort(key=len)
    near = get_close_matches(asked, known, n=1)
    return f"choose one of {some(known, SHOWN)}" + (f"; did you mean {near[0]}?" if near else ".")


def conf_dir() -> Path:
    """The folder of `config.yaml`: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def own_folders() -> tuple[Path, ...]:
    """Where options of the user's own lie: the folder that `OWN_OPTIONS` names, else conf/ beside the work."""
    named = Path(os.environ.get(OWN_OPTIONS) or "conf").absolute()
    is_ours = named == conf_dir().absolute() or not any((named / group).is_dir() for group in OWN_GROUPS)
    return () if is_ours else (named,)


def load_option(group: str, name: str) -> Any:
    """The dataclass of one option of a group, as its yaml has it: `load_option("model", "A")`.

    Raises `ConfigError` if unknown.
    """
    from hydra.core.hydra_config import HydraConfig  # slow to import, and only planning needs it

    folders: tuple[Path, ...] = (conf_dir(), *own_folders())
    if HydraConfig.initialized():
        sources = HydraConfig.get().runtime.config_sources
        folders = tuple(Path(source.path) for source in sources if source.schema == "file")
    return _load_option(group, name, folders)


@cache
def _load_option(group: str, name: str, folders: tuple[Path, ...]) -> Any:
    kinds = {"model": Model, "train_scale": TrainScale, "protocol": Protocol, "preprocessing": Preprocessing}
    for folder in folders:
        if (path := folder / group / f"{name}.yaml").exists():
            return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kinds[group]), OmegaConf.load(path)))
    known = {path.stem for folder in folders for path in (folder / group).glob("*.yaml")}
    raise ConfigError(f"{group}={name} does not exist; {choose_one(known, name)}")
