"""Run folders: atomic files, locks, status.

What is found on disk is whole, and one process works on a run at a time.
"""

import fcntl
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.protocols.seals import check_whole, damaged, sha256_of
from vgg_sweep.runs.files import read_json, remove_temporaries, update_json, write_text
from vgg_sweep.runs.printable import printable

ANEW = "repeat the command of its run, which makes it again."
DRIVERS_FILES = ("config.yaml", "asked.yaml", "job.txt", "command.txt")
"""Written by drivers, without the lock of the run."""


class RunLocked(RunError):
    """Another process is working on the run."""


class _File:
    """A file or folder in a run's folder, by its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: "RunFolder", owner: type) -> Path:
        return folder.path / self._name


@dataclass(frozen=True)
class RunFolder:
    """The files of one run; see docs/architecture.md."""

    path: Path

    config = _File("config.yaml")
    asked = _File("asked.yaml")
    origin = _File("origin.json")
    weights = _File("weights.safetensors")
    checkpoints = _File("checkpoints")
    metrics = _File("metrics.csv")
    posteriors = _File("posteriors")
    boxes = _File("boxes")
    log = _File("log.txt")
    error = _File("error.txt")

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def job(self) -> str:
        """The job that the run was last given to, as `slurm 7_2`; empty if none."""
        return self._noted("job.txt")

    @property
    def command(self) -> str:
        """The command that last asked for the run to be trained, as it was typed; empty if none was noted."""
        return self._noted("command.txt")

    def _noted(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def fail(self, reason: str, details: str, *, state: str = "failed") -> None:
        """Write down that the run failed or diverged, why in a sentence, and in error.txt the details."""
        write_text(self.error, printable(details))
        self.update_status(state=state, error=reason)

    def note(self, **words: str) -> None:
        """Write down the `job` that the run is given to, or the `command` that asks for it; nothing if it is empty."""
        for name in filter(words.get, words):
            write_text(self.path / f"{name}.txt", words[name])

    @property
    def is_trained(self) -> bool:
        return self.weights.exists()

    @property
    def is_nameless(self) -> bool:
        """Whether it holds a run's weights or posteriors, and no config.yaml that says of which."""
        return (self.weights.exists() or self.posteriors.exists()) and not self.config.exists()

    def record(self) -> dict[str, Any]:
        """What was used and what it cost; empty before training has ended."""
        return read_json(self.path / "record.json")

    def update_record(self, **values: Any) -> None:
        """Add to record.json."""
        update_json(self.path / "record.json", values)

    def weights_fingerprint(self) -> str:
        """SHA-256 of the run's weights. Raises `RunError` if they are not those that its training wrote."""
        there = sha256_of(self.weights)
        if there != self.record().get("weights_sha256", there):
            raise damaged(self.weights, "its sha256 is not that in record.json", ANEW)
        return there

    def check_files(self) -> None:
        """Raise `RunError` if its weights, or what is there of its posteriors or boxes, are not what was written."""
        if self.is_trained:
            self.weights_fingerprint()
        for scored in (self.posteriors, self.boxes):
            for entry in read_json(scored / "manifest.json").get("files", []):
                file = scored / entry["file"]
                if file.exists():
                    check_whole(file, entry["sha256"], ANEW)

    def check_metrics(self) -> None:
        """Raise `RunError` if metrics.csv is not what the training of a finished run has left."""
        sha256 = self.record().get("metrics_sha256")
        if self.is_trained and sha256 is not None and self.metrics.exists() and sha256 != sha256_of(self.metrics):
            raise self.metrics_damaged("its sha256 is not that in record.json")

    def metrics_damaged(self, reason: object) -> RunError:
        """What to say of metrics.csv where it cannot be read."""
        return damaged(self.metrics, reason, "continue without the curves of its run.")

    def status(self) -> dict[str, Any]:
        """The last status written; a `running` whose process is gone is reported as `interrupted`."""
        status = read_json(self.path / "status.json")
        if status.get("state") == "running" and not self.is_locked():
            status["state"] = "interrupted"
        return status

    def update_status(self, **values: Any) -> None:
        """Merge `values` into status.json, with the time as heartbeat."""
        now = {"pid": os.getpid(), "host": socket.gethostname(), "heartbeat": time.time()}
        update_json(self.path / "status.json", now | values)

    def remove_leftovers(self) -> None:
        """Remove what a killed process has left. Call it with the run's lock held."""
        remove_temporaries(self.path, but=DRIVERS_FILES)
        if self.is_trained:
            for checkpoint in self.checkpoints.glob("step-*.pt"):
                checkpoint.unlink()

    def is_locked(self) -> bool:
        """Whether a living process works on this run."""
        try:
            with open(self.path / "lock", encoding="utf-8") as file:
                return not _try_lock(file, fcntl.LOCK_SH, patience_seconds=0)
        except FileNotFoundError:
            return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Work on this run alone. Raises `RunLocked` if another process does, `RunError` if the folder is not writable.

        The kernel's own lock (flock) ends with its owner, however that dies, and holds across hosts on NFS version 4.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = open(self.path / "lock", "a+", encoding="utf-8")
        except PermissionError as error:
            raise RunError(f"{self.path} cannot be written ({error.strerror}); give another out=DIR.") from error
        with file:
            if not _try_lock(file):
                file.seek(0)
                raise RunLocked(f"{self.path} is in use by {file.read().strip() or 'another process'}.")
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            yield


@contextmanager
def waiting_lock(path: Path, setting: str = "cache") -> Iterator[None]:
    """Hold `path` as a lock, waiting for whoever has it: for what several processes need and one of them makes.

    Raises `ConfigError` if something is to be written beside `path` where this user must not; `setting` moves it. Where
    what is done with the lock ends in one of our own errors, a lock that was made for it is taken away again, with its
    folders if they are empty.
    """
    made = [each for each in (path, *path.parents) if not each.exists()]
    try:
        with _held(path):
            try:
                yield
            except (ConfigError, RunError):
                if made:
                    _remove(made)
                raise
    except PermissionError as error:
        if not Path(str(error.filename)).is_relative_to(path.parent):
            raise
        raise ConfigError(f"{path.parent} cannot be written ({error.strerror}); give another {setting}=DIR.") from error


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """The lock at `path`, waited for: a file that was taken away meanwhile is none any more."""
    while True:
        with _opened_lock(path) as file:
            if not _try_lock(file, patience_seconds=math.inf):
                raise AssertionError("an endless wait has ended")
            if _is_at(file, path):
                yield
                return


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _remove(made: list[Path]) -> None:
    """Remove a file and, from the innermost on, its folders that are empty."""
    with suppress(OSError):
        made[0].unlink()
        for folder in made[1:]:
            folder.rmdir()


def _opened_lock(path: Path) -> IO[str]:
    """The lock, made if it is not there. To lock what another user has made, reading it suffices."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return open(path, "a+", encoding="utf-8")
        except FileNotFoundError:
            continue  # its folder was taken away again at this moment
        except PermissionError:
            if not path.exists():
                raise
            return open(path, encoding="utf-8")


def _try_lock(file: IO[str], kind: int = fcntl.LOCK_EX, patience_seconds: float = 0.3) -> bool:
    """Lock `file` without waiting longer than it takes another process to look whether it is locked."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        except OSError as error:
            raise RunError(
                f"the file system of {file.name} cannot lock files ({error}); give out=DIR on another one."
            ) from error


def find_nameless(sweep: Path) -> list[RunFolder]:
    """The folders in a sweep, sorted, that hold a run's weights or posteriors and no config.yaml that says of which."""
    return [folder for folder in map(RunFolder, sorted(sweep.glob("*"))) if folder.is_nameless]


def find_runs(sweep: Path) -> list[RunFolder]:
    """The run folders of a sweep, sorted by id."""
    return [RunFolder(path.parent) for path in sorted(sweep.glob("*/config.yaml"))]
