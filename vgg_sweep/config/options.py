"""The files of `conf/`: where they lie, and one option of a group as its dataclass."""

import os
import re
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
NAMED_GROUPS = OWN_GROUPS[:5]
"""Those whose options say their own name, by which runs and commands know them."""
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


def own_folders(work: Path = Path()) -> tuple[Path, ...]:
    """The folder of the user's own options: that named by `OWN_OPTIONS`, else conf/ in `work`, the current folder."""
    named = (work / (os.environ.get(OWN_OPTIONS) or "conf")).absolute()
    is_ours = named == conf_dir().absolute() or not any((named / group).is_dir() for group in OWN_GROUPS)
    return () if is_ours else (named,)


def check_own_options(group: Path, chosen: str) -> None:
    """Raise `ConfigError` for a file that the user wrote of one of the `chosen` options, a,b, of a `group` of the
    user's own, if it would not be used, or says another name than its own.
    """
    chosen_files = [group / f"{name}.yaml" for name in re.findall(r"[\w.-]+", chosen) if group.name in NAMED_GROUPS]
    for file in filter(Path.exists, chosen_files):
        if (conf_dir() / group.name / file.name).exists():
            choice = f"{group.name}={file.stem}"
            raise ConfigError(f"{file} is not used, as the program has a {choice}; give yours another name.")
        name = OmegaConf.select(OmegaConf.load(file), "name")
        if str(name) != file.stem:
            said = f"calls itself {name}" if name else "has no name"
            raise ConfigError(f"{file} {said}; write `name: {file.stem}` into it.")


def load_option(group: str, name: str) -> Any:
    """The dataclass of one option of a group, as its yaml has it: `load_option("model", "A")`.

    Raises `ConfigError` if unknown.
    """
    return _load_option(group, name, (conf_dir(), *own_folders()))


@cache
def _load_option(group: str, name: str, folders: tuple[Path, ...]) -> Any:
    kinds = {"model": Model, "train_scale": TrainScale, "protocol": Protocol, "preprocessing": Preprocessing}
    for folder in folders:
        if (path := folder / group / f"{name}.yaml").exists():
            return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kinds[group]), OmegaConf.load(path)))
    known = {path.stem for folder in folders for path in (folder / group).glob("*.yaml")}
    raise ConfigError(f"{group}={name} does not exist; {choose_one(known, name)}")
