"""Hydra behind a subcommand: flags and overrides in, a checked `Config` out, or one sentence that says what is wrong.

Typer owns the command line, so Hydra's own is given to `hydra.main` through `sys.argv`.
"""

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from vgg_sweep.config.checks import checked
from vgg_sweep.config.options import OWN_OPTIONS, check_own_options, choose_one, conf_dir, own_folders
from vgg_sweep.config.schema import Config
from vgg_sweep.config.vocabulary import did_you_mean, groups, schema_fields
from vgg_sweep.errors import ConfigError
from vgg_sweep.plan.commands import override
from vgg_sweep.plan.start import adopted

EXTRAS = {"submitit_slurm": "slurm", "submitit_local": "slurm", "joblib": "joblib"}
"""Launchers that come with an extra of ours."""


@dataclass(frozen=True)
class Flags:
    """Hydra's own flags, in its words."""

    config_dir: Path | None = None
    cfg: str | None = None
    package: str | None = None

    def with_own_options(self) -> "Flags":
        """With conf/ in the current folder if none is given; the command's processes find its options too."""
        if self.config_dir is None:
            return replace(self, config_dir=next(iter(own_folders()), None))
        os.environ[OWN_OPTIONS] = str(self.config_dir.absolute())
        return self

    @property
    def only_show(self) -> bool:
        return self.cfg is not None

    def argv(self) -> list[str]:
        given = {"--config-dir": self.config_dir, "--cfg": self.cfg, "--package": self.package}
        return [word for flag, value in given.items() if value is not None for word in (flag, str(value))]


def at_paper_size(overrides: list[str]) -> list[str]:
    """`overrides` of the paper's size, unless they choose other data."""
    given = {override.partition("=")[0] for override in overrides}
    return overrides if given & {"data", "experiment"} else ["data=imagenet", *overrides]


def run(task: Callable[[Config], None], overrides: list[str], flags: Flags) -> None:
    """Call `task` with the one configuration that `overrides` make, or only show that if `flags` ask for it.

    Raises `ConfigError` for anything that cannot be composed.
    """
    failures: list[Exception] = []

    def job(raw: DictConfig) -> None:
        try:  # what `task` raises is not for Hydra, which would print it in its own way
            task(adopted(checked(raw), {text.partition("=")[0].lstrip("+~") for text in overrides}))
        except Exception as error:
            failures.append(error)

    for text in overrides:
        if text.startswith("hydra/launcher="):
            print(f"Warning: {text} has no effect here; only `vgg-sweep multirun` uses launchers.", file=sys.stderr)
    flags = flags.with_own_options()
    with _errors_in_a_sentence(flags.config_dir):
        _call_hydra(job, [*flags.argv(), *_read(overrides, flags, many=False)])
        if failures:
            raise failures[0]


def multirun(job: Callable[[DictConfig], object], overrides: list[str], flags: Flags) -> None:
    """Give all configurations that `overrides` make to Hydra's sweeper, and `job`, of a module, to its launcher."""
    from vgg_sweep.cli import sweeper

    sweeper.register()
    flags = flags.with_own_options()
    mode = [] if flags.only_show else ["--multirun"]
    with _errors_in_a_sentence(flags.config_dir):
        _call_hydra(job, [*mode, *flags.argv(), *_read(overrides, flags, many=not flags.only_show)])


def _call_hydra(job: Callable[[DictConfig], object], argv: list[str]) -> None:
    ConfigStore.instance().store(name="schema", node=Config)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises errors instead of printing them
    sys.argv = [sys.argv[0], *argv]
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)()


def _read(overrides: list[str], flags: Flags, *, many: bool) -> list[str]:
    """The overrides as Hydra wants them. Raises `ConfigError` for what it would take, or refuse in terms not ours."""
    options, known = groups(flags.config_dir), schema_fields()
    parser = OverridesParser.create()
    if any(text.startswith("out=") and "${now:" in text for text in overrides):
        print(
            "Note: with ${now:...} in out, repeating the command starts a new sweep; to continue one, name its folder.",
            file=sys.stderr,
        )
    overrides = [_with_command_quoted(text.strip()) for text in overrides]
    for text in overrides:
        try:
            parsed = parser.parse_override(text)
        except HydraException as error:
            raise ConfigError(_unreadable(text)) from error
        key = parsed.key_or_group
        if parsed.is_sweep_override() and not many:
            raise ConfigError(f"{text} gives more than one configuration; `vgg-sweep multirun {text}` runs them all.")
        if key == "hydra.job.chdir" and parsed.value():
            raise ConfigError(
                f"{text}: paths are relative to where the command is given; leave it out and give out=DIR."
            )
        adds = parsed.is_add() or parsed.is_force_add()
        if not key or (adds and key not in options | known and not key.startswith("hydra")):
            raise ConfigError(f"{key or text} is not a setting; {did_you_mean(key)}")
        if flags.config_dir is not None:
            check_own_options(flags.config_dir / key, text.partition("=")[2])
        if key in options and parsed.value() in (None, "") and not parsed.is_delete():
            raise ConfigError(f"{text} chooses nothing; leave it out, or {choose_one(options[key])}")
    return [_with_option_names_quoted(text) if text.partition("=")[0] in options else text for text in overrides]


def _with_option_names_quoted(text: str) -> str:
    """train_scale=384,jitter -> train_scale='384',jitter: to Hydra a bare 384 is a number, never an option's name."""
    return re.sub(r"(?<=[=,(\[ ])(\d+)(?=[,)\] ]|$)", r"'\1'", text)


def _with_command_quoted(text: str) -> str:
    """on_end=cat > end.json -> on_end='cat > end.json': a shell command may hold what Hydra would read otherwise."""
    key, _, value = text.partition("=")
    return override(key, value) if key == "on_end" and value != "null" and value[:1] not in "'\"" else text


@contextmanager
def _errors_in_a_sentence(config_dir: Path | None) -> Iterator[None]:
    """Turn errors of Hydra, OmegaConf and YAML into `ConfigError`."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        named, in_file, _ = str(error).partition(" raised while composing config:")
        raise ConfigError(f"{named.partition(':')[0]}: " * bool(in_file) + _sentence(error)) from error
    except UnicodeDecodeError as error:
        files = sorted(config_dir.rglob("*.yaml")) if config_dir else []
        if (file := next((file for file in files if error.object in file.read_bytes()), None)) is None:
            raise
        raise ConfigError(f"{file} is not text in UTF-8; save it as such.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"a configuration file is not YAML: {' '.join(str(error).split())}.") from error


def _unreadable(text: str) -> str:
    key, equals, value = text.partition("=")
    if not equals:
        return f"'{text}' is not of the form KEY=VALUE, such as model=D."
    return (
        f"{text} cannot be read; a value with `=`, commas, brackets or quotes needs quotes of its own "
        f"inside the shell's: {shlex.quote(override(key, value))}."
    )


def _sentence(error: Exception) -> str:
    """What was given and what is allowed, of an error of Hydra or OmegaConf."""
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__ or error.__context__
    match error, cause:
        case MissingConfigException(missing_cfg_file=str(wanted)), _:
            group, _, option = wanted.rpartition("/")
            if group == "hydra/launcher" and option in EXTRAS:
                return f"{group}={option} is not installed; `pip install 'vgg-sweep[{EXTRAS[option]}]'` installs it."
            return f"{group}={option} does not exist; {choose_one(error.options or groups().get(group, []), option)}"
        case _, ConfigKeyError(full_key=str(key)) | ConfigAttributeError(full_key=str(key)):
            return f"{key} is not a setting; {did_you_mean(key)}"
        case _, ValidationError(full_key=str(key), value=value) if known := schema_fields().get(key.partition("[")[0]):
            return f"{key}={value} is not {_in_words(get_args(known.kind)[0] if '[' in key else known.kind)}."
    return f"{str(error).splitlines()[0].rstrip('.')}."


_KINDS: dict[Any, str] = {
    NoneType: "null",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list[int]: "a list of whole numbers such as [1,2]",
    list[float]: "a list of numbers such as [0.5,1]",
    list[str]: "a list of words such as [a,b]",
    list[dict[str, Any]]: "a list of grids",
}


def _in_words(kind: Any) -> str:
    return " or ".join(map(_in_words, get_args(kind))) if isinstance(kind, UnionType) else _KINDS[kind]
