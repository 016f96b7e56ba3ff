"""Checkpoints: all that the next step depends on, written in the background, whole or not at all."""

import io
import time
import zipfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from vgg_sweep.config.schema import Config
from vgg_sweep.runs.files import atomic_path
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.progress import Reporter
from vgg_sweep.train.curves import Window
from vgg_sweep.train.step import Learner

NUM_CHECKPOINTS = 2
RULES = 2
"""The second rules: fine-tuning draws its own order, views and dropout, and patience counts epochs. Under the first, it
drew those of its parent again, and patience counted validations.
"""
MOST_OF_TIME = 0.02
"""Share of the time that checkpoints after an epoch may take."""


@dataclass
class TrainingState:
    """Where a run is: with the weights, the momentum and the scale of the loss, all that a checkpoint holds."""

    step: int = 0
    val_errors: list[float] = field(default_factory=list)
    lr: float = 0.0
    seconds: float = 0.0
    micro_batch: int = 0
    rules: int = RULES
    """Of `RULES`, those that the run began under; it goes on under them."""
    window: Window = field(default_factory=Window)
    curves: str = ""
    """metrics.csv up to here."""


def checkpoint_files(folder: RunFolder) -> list[Path]:
    """The checkpoints of a run, newest first."""
    return sorted(folder.checkpoints.glob("step-*.pt"), reverse=True)


class Checkpoints:
    """Writes a run's checkpoints, one after the other, and keeps the newest two."""

    def __init__(self, folder: RunFolder, config: Config) -> None:
        self.seconds = 0.0
        """Spent on them by the training loop."""
        self._folder, self._config = folder, config
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[float] | None = None
        self._saved_at = time.monotonic()
        self._cost_seconds = 0.0

    def is_due(self, step: int, *, epoch_ends: bool) -> bool:
        """Whether to save after `step` steps, which does not affect what is learned."""
        since = time.monotonic() - self._saved_at
        return (
            since >= 60 * self._config.checkpoint_every_minutes
            or (self._config.checkpoint_every_steps > 0 and step % self._config.checkpoint_every_steps == 0)
            or (epoch_ends and self._cost_seconds <= MOST_OF_TIME * since)
        )

    def save(self, learner: Learner, state: TrainingState) -> None:
        """Copy the state now and write it while the training goes on.

        Raises `OSError` if the one before could not be written.
        """
        began = time.monotonic()
        self.wait()
        content = {
            "progress": asdict(state),
            "net": learner.net.state_dict(),
            "optimizer": learner.optimizer.state_dict(),
            "scaler": learner.scaler.state_dict(),
        }
        if learner.average is not None:
            content["average"] = learner.average.state()
        content = _copied(content)
        self._saved_at = time.monotonic()
        self._cost_seconds = self._saved_at - began
        self.seconds += self._cost_seconds
        self._writing = self._thread.submit(_write, self._folder, state.step, content)

    def wait(self) -> None:
        """Return when the last checkpoint is on disk. Raises `OSError` if it could not be written."""
        if self._writing is not None:
            self._cost_seconds += self._writing.result()
            self._writing = None

    def remove(self) -> None:
        """Remove all checkpoints, which a finished run no longer needs."""
        self.wait()
        for path in checkpoint_files(self._folder):
            path.unlink()

    def close(self) -> None:
        """Wait until what is being written is on disk, or has failed."""
        self._thread.shutdown()


def _copied(content: Any) -> Any:
    """The same dicts and lists with copies of their tensors in main memory."""
    match content:
        case torch.Tensor():
            return content.to("cpu", copy=True)
        case dict():
            return {key: _copied(value) for key, value in content.items()}
        case list():
            return [_copied(value) for value in content]
    return content


def _write(folder: RunFolder, step: int, content: Any) -> float:
    began = time.monotonic()
    folder.checkpoints.mkdir(exist_ok=True)
    file = io.BytesIO()  # straight to a file, torch would hide that the disk is full
    torch.save(content, file)
    with atomic_path(folder.checkpoints / f"step-{step:09d}.pt") as temporary:
        temporary.write_bytes(file.getbuffer())
    for path in checkpoint_files(folder)[NUM_CHECKPOINTS:]:
        path.unlink()
    return time.monotonic() - began


def restore(folder: RunFolder, learner: Learner, reporter: Reporter) -> TrainingState | None:
    """Load the newest intact checkpoint and name damaged ones; None if there is none."""
    for path in checkpoint_files(folder):
        try:
            with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums
                if (spoilt := archive.testzip()) is not None:
                    raise zipfile.BadZipFile(f"checksum of {spoilt}")
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a broken file
            reporter.note(f"{path.name} is broken ({type(error).__name__}); falling back to the previous checkpoint")
            if learner.ranks.is_first:
                path.unlink()
            continue
        learner.net.load_state_dict(content["net"])
        learner.optimizer.load_state_dict(content["optimizer"])
        learner.scaler.load_state_dict(content["scaler"])
        if learner.average is not None:
            learner.average.restore(content["average"])
        saved = {"rules": 1} | content["progress"]
        state = TrainingState(**saved | {"window": Window(**saved.get("window", {}))})
        learner.lr = state.lr
        if not learner.is_whole:
            learner.micro_batch = min(learner.micro_batch, state.micro_batch)
        return state
    return None
