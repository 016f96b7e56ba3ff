"""start_from: a run begins with layers of another, trained or imported, in any sweep.

What belongs to the layers comes with them: the column, the width, the rounding of pooled sizes and, where they have FC
layers, the crop; and, in training, the preprocessing.
"""

from collections.abc import Callable, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vgg_sweep.config.checks import read_config, valid
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.naming import find_run

if TYPE_CHECKING:
    from vgg_sweep.plan.runs import Run


def runs_to_start_from(config: Config, chain: Callable[[Config], "list[Run]"], *, is_known: bool) -> "list[Run]":
    """The run that `config` starts from, of which no pass is asked for; behind what that starts from in turn, as
    `chain` says it, if it is not trained. What a run that `is_known` starts from may be there no more.

    Raises `ConfigError` if there is no such run, or its layers cannot serve.
    """
    folder, there = _origin(config, is_known=is_known)
    there = replace(there, protocol=replace(there.protocol, passes=[]))
    before = chain(there)
    if not folder.config.exists():
        return [replace(before[-1], id=folder.id, parent=None)]
    if before[-1].id != folder.id and chain(unnamed_arithmetic(there))[-1].id != folder.id:
        raise ConfigError(
            f"start_from={folder.path} has another name than its run, {before[-1].id}; name it "
            f"{folder.path.with_name(before[-1].id)} to start from it."
        )
    if not is_known:
        _check_fits(config, there, folder.id)
    origin = replace(before[-1], id=folder.id)
    return [origin] if folder.is_trained else [*before[:-1], origin]


def _origin(config: Config, *, is_known: bool) -> tuple[RunFolder, Config]:
    """The folder that `config.start_from` names, and the configuration there."""
    word = str(config.start_from)
    if not word.strip():
        raise ConfigError("start_from= names no run; give a run's folder, its id or a slug such as D-jitter.")
    if (path := Path(word)).is_file() and not RunFolder(path.parent).config.exists():
        raise ConfigError(f"start_from={word} is a file; `vgg-sweep import {word}` makes a run of it to start from.")
    try:
        folder = _found(path, Path(config.out))
    except ConfigError as error:
        if not is_known:
            raise ConfigError(f"start_from={error}") from error
        return RunFolder(path), replace(config, start_from=None, trainable="all", out=str(path.parent))
    if folder.path.is_relative_to(Path.cwd()):  # so that a tree of sweeps may move
        folder = RunFolder(folder.path.relative_to(Path.cwd()))
    config = read_config(folder.config, "put back a copy of it, or start from another run")
    return folder, replace(config, out=str(folder.path.parent))


def _found(path: Path, sweep: Path) -> RunFolder:
    """The folder that is named, or, where that is not there any more, that of its name in any sweep."""
    if str(path.parent) == "." or RunFolder(path).config.exists():
        return find_run(str(path), first=sweep)
    try:
        return find_run(str(path))
    except ConfigError as error:
        try:
            return find_run(path.name, first=sweep)
        except ConfigError:
            raise error from None


def unnamed_arithmetic(config: Config) -> Config:
    """`config` as it was before precision, tf32 and deterministic decided ids."""
    default = Config()
    return replace(config, precision=default.precision, tf32=default.tf32, deterministic=default.deterministic)


def adopted(config: Config, named: Set[str]) -> Config:
    """`config` with what belongs to the layers of the run that it starts from, but for settings that the user `named`.

    Raises as `runs_to_start_from`.
    """
    if config.start_from is None:
        return config
    _, there = _origin(config, is_known=False)
    if not named & {"model", "model.columns"} or _is_normalised(config, there):
        config = replace(config, model=there.model)
    if "width" not in named:
        config = replace(config, width=there.width)
    if "pool_ceil" not in named:
        config = replace(config, pool_ceil=there.pool_ceil)
    if "crop" not in named and not there.imported.trunk:
        config = replace(config, crop=there.crop)
    return valid(config)


def _is_normalised(config: Config, there: Config) -> bool:
    """Whether the net there is that of `config` with batch normalisation, which has no name to choose it by."""
    return config.model.columns == [word for word in there.model.columns if word != "BN"] != there.model.columns


def check_trainable(config: Config, *, has_parent: bool) -> None:
    """Raise `ConfigError` if layers were to stay as they begin in a run that has no parent."""
    if config.trainable != "all" and not has_parent:
        raise ConfigError(
            f"trainable={config.trainable} leaves the other layers as they begin, which is at random without "
            "start_from=RUN; give that, or leave trainable out."
        )


def _check_fits(config: Config, there: Config, name: str) -> None:
    """Raise `ConfigError` if the layers of the run `name`, of the configuration `there`, cannot serve in `config`."""
    if there.task == "localise" and config.task != "localise":
        raise ConfigError(
            f"start_from={name} predicts boxes, not classes; start from the net that it started from, or add "
            "task=localise."
        )
    if config.width != there.width:
        raise ConfigError(
            f"width={config.width:g}, but {name} has width={there.width:g}, so none of its layers fits; leave width "
            "out to take that."
        )
    if config.pool_ceil != there.pool_ceil:
        raise ConfigError(
            f"pool_ceil={str(config.pool_ceil).lower()}, but the layers of {name} were trained with "
            f"{str(there.pool_ceil).lower()}; leave pool_ceil out to take that."
        )
    ours, theirs = ("BN" in each.model.columns for each in (config, there))
    if ours != theirs:
        raise ConfigError(
            f"model={config.model.name} is with{'out' * (not ours)} batch normalisation and {name} with"
            f"{'out' * (not theirs)}, so that its layers would see other numbers; give model={there.model.name}."
        )
