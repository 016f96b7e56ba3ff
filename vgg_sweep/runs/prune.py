"""What can be removed of a run's folder, how much that frees, and what it means."""

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vgg_sweep.errors import RunError
from vgg_sweep.runs.files import num_bytes, read_json, remove, write_json, write_text
from vgg_sweep.runs.folder import RunFolder

PRUNED = "pruned"
"""A file in posteriors/: they were removed on purpose, and their errors are kept."""


@dataclass(frozen=True)
class PruneRules:
    """What to remove: files of runs, and whole runs that failed or that the last command did not ask for."""

    checkpoints: bool = False
    posteriors: bool = False
    failed: bool = False
    left_the_sweep: bool = False


@dataclass(frozen=True)
class Removal:
    """Files of a run that can go, or all of it."""

    folder: RunFolder
    what: str
    """`checkpoints`, `posteriors` or `the run`."""
    paths: tuple[Path, ...]
    meaning: str

    @property
    def num_bytes(self) -> int:
        return sum(map(num_bytes, self.paths))

    def carry_out(self) -> None:
        """Raises `RunLocked` if a process works on the run."""
        with self.folder.locked():
            if self.what == "posteriors":
                write_text(self.folder.posteriors / PRUNED, "")
            remove(self.paths)


def removals(folder: RunFolder, rules: PruneRules, last_asked: Collection[str] | None) -> list[Removal]:
    """What `rules` let go of a run. `last_asked` are the ids of the last command of its sweep, None if not known."""
    state = folder.status().get("state")
    if rules.failed and state in ("failed", "diverged"):
        return [Removal(folder, "the run", (folder.path,), f"it {state}; asked for again, it starts over")]
    if rules.left_the_sweep and last_asked is not None and folder.id not in last_asked:
        return [Removal(folder, "the run", (folder.path,), "not among the runs of the sweep's last command")]
    return [each for each in _files(folder, rules) if each.paths]


def _files(folder: RunFolder, rules: PruneRules) -> Iterator[Removal]:
    if rules.checkpoints:
        paths = (*sorted(folder.checkpoints.glob("*")), *folder.posteriors.glob("parts"))
        meaning = "no longer needed" if folder.is_trained else "it would start over"
        yield Removal(folder, "checkpoints", paths, meaning)
    if rules.posteriors and (folder.posteriors / "manifest.json").exists():
        paths = tuple(sorted(folder.posteriors.glob("*.npy")))
        meaning = "can be scored again" if folder.is_trained else "there are no weights"
        yield Removal(folder, "posteriors", paths, f"errors stay; {meaning}")


def are_pruned(folder: RunFolder) -> bool:
    """Whether a run's posteriors were removed on purpose: it is as done as before."""
    return (folder.posteriors / PRUNED).exists()


def take_back(folder: RunFolder) -> None:
    """Allow a run's posteriors to be computed again."""
    (folder.posteriors / PRUNED).unlink(missing_ok=True)


def note_asked(sweep: Path, command: str, ids: Collection[str]) -> None:
    """Write down which runs the last command of a sweep asked for; a read-only sweep goes without."""
    with suppress(OSError):
        write_json(sweep / "sweep.json", {"command": command, "runs": sorted(ids)})


def last_asked(sweep: Path) -> tuple[str, list[str] | None]:
    """The last command of a sweep and the ids of its runs; None where none was noted."""
    with suppress(RunError, KeyError):
        asked = read_json(sweep / "sweep.json")
        return asked["command"], asked["runs"]
    return "", None
