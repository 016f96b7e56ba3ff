"""A run's folder: made with its configuration, and read back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from vgg_sweep.config.checks import checked
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import RunError
from vgg_sweep.plan.runs import ARITHMETIC, Run, plan, with_passes
from vgg_sweep.runs.files import remove_temporaries, write_text
from vgg_sweep.runs.folder import RunFolder, waiting_lock

WAYS_OF_WORKING = ("cache", "device", "devices", "threads", "workers", "data_timeout_seconds")


def prepare(run: Run) -> RunFolder:
    """Make the run's folder with its config.yaml, in which a protocol may grow but nothing else may change.

    Several processes may do so at once; the protocol then has the passes of all. Raises `RunError` if the folder holds
    something else than this run, `ConfigError` if it cannot be written.
    """
    with waiting_lock(run.folder.path / "config.lock", "out"):
        return _prepared(run)


def _prepared(run: Run) -> RunFolder:
    folder, config = run.folder, run.config
    if folder.config.exists():
        there = read_run(folder)
        if there.id != folder.id:
            raise RunError(
                f"{folder.config} is not the configuration that {folder.id} stands for; "
                "remove the folder or give another out=DIR."
            )
        config = replace(with_passes(config, there.config.protocol.passes), **_arithmetic(there.config))
    try:
        remove_temporaries(folder.path, of=[folder.config.name])
        write_text(folder.config, OmegaConf.to_yaml(OmegaConf.structured(config)))
    except OSError as error:
        raise RunError(f"{folder.path} cannot be written ({error.strerror}); give another out=DIR.") from error
    return folder


def read_run(folder: RunFolder) -> Run:
    """The run whose config.yaml lies in `folder`. Raises `RunError` if it cannot be read."""
    try:
        raw = OmegaConf.load(folder.config)
        assert isinstance(raw, DictConfig)
        return _named_as(folder.id, checked(raw))
    except (OSError, ValueError, AssertionError, OmegaConfBaseException, YAMLError) as error:
        raise RunError(
            f"{folder.config} is not a whole configuration ({error}); remove {folder.path} and start again."
        ) from error


def run_in_folder(config: Config) -> Run:
    """The run in the folder `config.run`, with the protocol of `config`, its place of the data if it names one, its way
    of working, which does not decide a result, and its arithmetic, for scoring, where it names one.

    Raises `RunError` if there is none.
    """
    folder = RunFolder(Path(str(config.run)))
    there = read_run(folder).config
    root = there.data.root if config.data.root is None else config.data.root
    moved = replace(there, data=replace(there.data, root=root), out=str(folder.path.parent))
    ways = {name: getattr(config, name) for name in WAYS_OF_WORKING}
    defaults = _arithmetic(Config())
    named = {name: value for name, value in _arithmetic(config).items() if value != defaults[name]}
    asked = with_passes(replace(moved, **ways, **named), config.protocol.passes)
    return replace(_named_as(folder.id, moved), config=asked)


def _named_as(id: str, config: Config) -> Run:
    """The run of `config`, whose folder is called `id`; once, arithmetic did not enter ids."""
    run = plan([config])[-1]
    if run.id != id:
        older = plan([replace(config, **_arithmetic(Config()))])[-1]
        if older.id == id:
            return replace(older, config=config)
    return run


def _arithmetic(config: Config) -> dict[str, Any]:
    return {name: getattr(config, name) for name in ARITHMETIC}
