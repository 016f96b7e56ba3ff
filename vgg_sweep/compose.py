"""Hydra behind a subcommand: flags and overrides in, a checked `Config` out, or one sentence that says what is wrong.

Typer owns the command line, so Hydra's own is given to `hydra.main` through `sys.argv`.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from vgg_sweep.config import Config, checked, conf_dir


@dataclass(frozen=True)
class Flags:
    """Hydra's own flags, in its words."""

    config_dir: Path | None = None
    cfg: str | None = None
    resolve: bool = False
    package: str | None = None
    info: str | None = None

    def argv(self) -> list[str]:
        given = {"--config-dir": self.config_dir, "--cfg": self.cfg, "--package": self.package, "--info": self.info}
        words = [word for flag, value in given.items() if value is not None for word in (flag, str(value))]
        return [*words, "--resolve"] if self.resolve else words


def run(task: Callable[[Config], None], overrides: list[str], flags: Flags) -> None:
    """Call `task` with the configuration that `overrides` make, or show it if `flags` ask for that."""
    failures: list[Exception] = []

    def job(raw: DictConfig) -> None:
        try:  # Hydra would print the error in its own way
            task(checked(raw))
        except Exception as error:
            failures.append(error)

    _hydra(job, [*flags.argv(), *overrides])
    if failures:
        raise failures[0]


def _hydra(job: Callable[[DictConfig], None], argv: list[str]) -> None:
    ConfigStore.instance().store(name="schema", node=Config)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are raised to us instead of printed
    sys.argv = [sys.argv[0], *argv]
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)()
