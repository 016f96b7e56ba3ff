"""Finished runs of the same id in sibling sweeps: found, and taken over instead of made again."""

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from vgg_sweep.errors import RunError
from vgg_sweep.plan.configs import write_config
from vgg_sweep.plan.folders import read_run
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.files import temporary_path
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.naming import OUTPUTS, folders_in, listed
from vgg_sweep.sweep.origin import has_same_images

LEFT = ("lock", "config.lock", "job.txt", "asked.yaml", "checkpoints")
"""What stays where it is."""


def finished_elsewhere(runs: Iterable[Run]) -> dict[str, RunFolder]:
    """For each of `runs` that is neither trained nor at work: a finished one of the same id, made from the same images,
    in a sweep beside its own or under outputs/; by id.
    """
    found = {}
    for run in runs:
        if run.folder.is_trained or run.folder.is_locked() or run.config.imported.sha256 is not None:
            continue
        own = run.folder.path.parent.resolve()
        for sweep in sorted({*folders_in(run.folder.path.parent.parent), *folders_in(OUTPUTS)}):
            there = RunFolder(sweep / run.id)
            if sweep.resolve() == own or not there.is_trained:
                continue
            with suppress(RunError):  # of a damaged run
                if there.status().get("state") == "done" and has_same_images(run, there):
                    found[run.id] = there
                    break
    return found


def take_over(run: Run, there: RunFolder) -> None:
    """Give `run` all that the finished run in `there` has; weights and posteriors without a second copy on the disk.

    Raises `RunLocked` if a process works on that.
    """
    folder, config = run.folder, read_run(there).config
    begun = temporary_path(folder.path)
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    with there.locked():
        shutil.copytree(there.path, begun, ignore=shutil.ignore_patterns(*LEFT), copy_function=_copied)
    write_config(begun / "config.yaml", replace(config, out=run.config.out))
    if folder.path.exists():
        shutil.rmtree(folder.path)  # what was begun here is not needed any more
    begun.rename(folder.path)
    RunFolder(folder.path).update_record(taken_over_from=str(there.path))


def _copied(source: str, target: str) -> None:
    """A second name for a file that is never written to in place, where the file system has such; else a copy."""
    if source.endswith((".safetensors", ".npy")):
        with suppress(OSError):
            return os.link(source, target)
    shutil.copy2(source, target)


def sibling_notes(found: Mapping[str, RunFolder], taken: Iterable[str]) -> list[str]:
    """A sentence for a plan: which of its runs are finished elsewhere, and what becomes of them."""
    if not found:
        return []
    taken = set(taken)
    sweeps = dict.fromkeys(str(folder.path.parent) for folder in found.values())
    left = [id for id in found if id not in taken]
    words = [f"{listed(sweeps, 'and')} {'has' if len(sweeps) == 1 else 'have'} {listed(found, 'and')}, finished"]
    if taken:
        words.append(f"{len(taken)} {'is' if len(taken) == 1 else 'are'} taken over from there")
    if left:
        words.append(f"take_over=true takes {'the rest' if taken else 'them'} over")
    return ["; ".join(words) + "."]
