"""The words of the command that asked for a run, reused in commands for similar runs."""

import os
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vgg_sweep.config.options import own_folders
from vgg_sweep.plan.commands import flat, override
from vgg_sweep.runs.prune import last_asked

NETS = ("model", "train_scale", "seed", "protocol", "sweep", "only", "except", "retry")
"""What a command says of which runs are meant; the rest says how they are made."""
PATHS = ("data.root", "data.labels", "data.boxes", "start_from")
"""Settings that name a file or folder, relative to where the command was given."""
_SWEPT = re.compile(r".*,.*|(choice|range|interval|glob|tag|sort|shuffle)\(.*", flags=re.DOTALL)


def own_words(command: str, config: Mapping[str, Any], sweep: str) -> list[str] | None:
    """The words of the `command` that made the run of `config` in the folder `sweep`, without those that say which net
    it is: any other of the sweep is asked for by these and its own.

    Where the command went over several values stands that of this run. None if it cannot be used so: one that is not
    known, or that changes a net or scale itself.
    """
    words = shlex.split(command)
    if words[:1] != ["vgg-sweep"] or words[1:2] not in (["train"], ["multirun"]):
        return None
    kept: list[str] = []
    rest = iter(words[2:])
    for word in rest:
        if word.startswith("--config-dir"):
            kept.append(word if "=" in word else f"{word}={next(rest)}")
        elif word in ("--plan", "--smoke"):
            continue
        else:
            key, _, value = word.partition("=")
            if not value or key.split(".")[0] in ("model", "train_scale") and "." in key or key[0] in "~+-":
                return None
            if key in NETS or key.startswith(("hydra/sweeper", "hydra.sweeper", "sweep.", "protocol.")):
                continue
            if _SWEPT.fullmatch(value):
                if (one := _chosen(key, config)) is None:
                    return None
                word = override(key, one)
            kept += [word, *(["sweep.grids=[]"] if key == "experiment" else [])]  # its own nets are not meant
    if Path(config["out"]) != Path(sweep):
        kept = [word for word in kept if not word.startswith("out=")] + [override("out", sweep)]
    return kept


def from_here(words: Sequence[str], config: Mapping[str, Any], sweep: str) -> list[str]:
    """`words` that ask for the run of `config`, given in another folder than this process's, with their paths as they
    are called from here, and with the options of the conf/ that lay beside the work there.

    In which folder follows from what `sweep` was called there; if it has been moved since, they stay as they are.
    """
    out, here = Path(config["out"]), Path(sweep).resolve()
    there = Path(*here.parts[: -len(out.parts)])
    if out.is_absolute() or there / out != here or there == Path.cwd():
        return list(words)
    named = {name: Path(value) for name, value in flat(config).items() if name in PATHS and value is not None}
    found = {name: there / path for name, path in named.items() if not path.is_absolute() and (there / path).exists()}
    given = [word.partition("=")[2] for word in words if word.startswith("--config-dir=")]
    options = [there / folder for folder in given] or own_folders(there)
    kept = [word for word in words if word.partition("=")[0] not in (*found, "--config-dir")]
    paths = [override(name, os.path.relpath(path)) for name, path in found.items()]
    return [*kept, *paths, *(f"--config-dir={os.path.relpath(folder)}" for folder in options)]


def in_seeds(seeds: Iterable[int], sweep: Path, ids: Collection[str], overrides: Iterable[str]) -> str | None:
    """The last command of a sweep with other seeds; None if it is not known, or did not make just the runs `ids`, whose
    `overrides` say where its files and folders are.
    """
    command, asked = last_asked(sweep)
    if not command or set(asked or ()) != set(ids):
        return None
    placed = {key: word for word in overrides if (key := word.partition("=")[0]) in ("out", "--config-dir", *PATHS)}
    words = shlex.split(command.replace("--config-dir ", "--config-dir="))
    kept = [word for word in words if word.partition("=")[0] not in ("seed", *placed)]
    return shlex.join([*kept, *placed.values(), f"seed={','.join(map(str, seeds))}"])


def _chosen(key: str, config: Mapping[str, Any]) -> Any:
    """What a run has of a setting or group; None if its configuration does not say it."""
    value = flat(config).get(key, config.get(key))
    return value.get("name") if isinstance(value, Mapping) else value
