"""A run's folder: made with its configuration, and read back."""

from dataclasses import asdict, replace
from typing import cast

from omegaconf import OmegaConf

from vgg_sweep.config.checks import read_config
from vgg_sweep.config.roles import Role
from vgg_sweep.config.schema import Config
from vgg_sweep.config.vocabulary import schema_fields
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.plan.commands import flat
from vgg_sweep.plan.configs import write_config
from vgg_sweep.plan.runs import Run, plan, with_passes
from vgg_sweep.plan.start import unnamed_arithmetic
from vgg_sweep.runs.files import remove_temporaries
from vgg_sweep.runs.folder import RunFolder, find_runs, waiting_lock
from vgg_sweep.runs.naming import find_run, not_a_run


def prepare(run: Run) -> RunFolder:
    """Make the run's folder with its config.yaml; once there are weights, only the protocol in it still grows.

    What is asked for otherwise then, another device for instance, goes into asked.yaml beside it. Several processes may
    do so at once; the protocol then has the passes of all. Raises `RunError` if the folder holds something else than
    this run, `ConfigError` if it cannot be written.
    """
    with waiting_lock(run.folder.path / "config.lock", "out"):
        return _prepared(run)


def _prepared(run: Run) -> RunFolder:
    folder, config = run.folder, run.config
    kept = config
    if folder.config.exists():
        there = read_run(folder)
        if there.id != folder.id:
            raise RunError(
                f"{folder.config} is not the configuration that {folder.id} stands for; give another out=DIR, or move "
                f"{folder.path} elsewhere."
            )
        config = with_passes(config, there.config.protocol.passes)
        if folder.is_trained:
            kept = replace(there.config, protocol=config.protocol)
        else:
            arithmetic = (name for name, each in schema_fields().items() if each.rules.role is Role.ARITHMETIC)
            config = kept = replace(config, **{name: getattr(there.config, name) for name in arithmetic})
    try:
        remove_temporaries(folder.path, of=[folder.config.name, folder.asked.name])
        write_config(folder.config, kept)
        if kept != config:
            write_config(folder.asked, config)
        else:
            folder.asked.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{folder.path} cannot be written ({error.strerror}); give another out=DIR.") from error
    return folder


def read_run(folder: RunFolder, *, as_asked: bool = False) -> Run:
    """The run whose config.yaml lies in `folder`; `as_asked` with what was last asked of it.

    Raises `ConfigError` if it is no run's folder, `RunError` if the configuration cannot be read.
    """
    if not folder.config.exists():
        raise not_a_run(str(folder.path), find_runs(folder.path.parent))
    file = folder.asked if as_asked and folder.asked.exists() else folder.config
    advice = f"put back a copy of it, or move {folder.path} elsewhere and give the command of this run again"
    run = plan([read_config(file, advice)], are_known=True)[-1]
    if run.id != folder.id:  # the ids of older runs are made without the arithmetic
        older = plan([unnamed_arithmetic(run.config)], are_known=True)[-1]
        run = replace(older, config=run.config) if older.id == folder.id else run
    return run


def read_named(folder: RunFolder, *, as_asked: bool = False) -> Run:
    """The run in `folder`, to be worked on there. Raises as `read_run`, and `ConfigError` if the folder was renamed."""
    run = read_run(folder, as_asked=as_asked)
    if run.id != folder.id:
        raise ConfigError(
            f"{folder.path} has another name than its run, {run.id}: it was renamed, or its {folder.config.name} was "
            f"changed; to work on it, name it {folder.path.with_name(run.id)}."
        )
    return run


def run_in_folder(config: Config) -> Run:
    """The run called `config.run` under the protocol and the way of working of `config`; with its arithmetic and
    its folder of the data where it names them.

    Raises as `runs.naming.find_run` and `read_named`.
    """
    folder = find_run(str(config.run))
    there, asked = read_named(folder), flat(asdict(config))
    raw = OmegaConf.structured(replace(there.config, out=str(folder.path.parent)))
    for name, (_, default, rules) in schema_fields().items():
        is_named = rules.role in (Role.ARITHMETIC, Role.DATA) and asked[name] != default
        if is_named or rules.role in (Role.WORK, Role.ROUNDING):
            OmegaConf.update(raw, name, asked[name])
    return replace(there, config=with_passes(cast(Config, OmegaConf.to_object(raw)), config.protocol.passes))
