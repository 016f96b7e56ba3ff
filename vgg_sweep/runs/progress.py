"""How a run reports its progress: status.json for `status`, log.txt for later, a progress line on the terminal."""

import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.printable import printable

BAR = 12
"""Characters of the bar."""
STATUS_EVERY_SECONDS = 1.0
PLAIN_LINE_EVERY_SECONDS = 10.0
SHORT = {
    "train_error": "train %",
    "val_error": "val %",
    "S_px": "S",
    "images_per_second": "img/s",
    "wait_share": "wait",
    "memory_gb": "GB",
    "eta_seconds": "left s",
}
"""Figures as a line has room for them; status.json has their full names."""
WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)
"""What Slurm and submitit send before they end a job."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, *WARNINGS)


class Interrupted(Exception):
    """The process was asked to stop, and what was done is saved."""


class Diverged(Exception):
    """The loss became non-finite."""


class Reporter:
    """Progress of one run. `live` draws it on the terminal, or prints a plain line now and then without one.

    Of several processes that work on the run, all but the first are `mute`: they only listen to signals.
    """

    def __init__(self, folder: RunFolder, live: bool, *, mute: bool = False) -> None:
        self.folder = folder
        self.stop_requested: str | None = None
        self._live = live and not mute
        self._mute = mute
        self._console = Console(stderr=False)
        self._bar: Progress | None = None
        self._status_at = 0.0
        self._line_at = time.monotonic()
        self._stage = ""

    def note(self, text: str) -> None:
        """A line for log.txt and, when live, for the terminal."""
        if self._mute:
            return
        text = printable(text)
        with open(self.folder.log, "a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        if self._live:
            self._console.print(Text.assemble((self.folder.id, "dim"), " ", text), highlight=False, soft_wrap=True)

    def step(self, stage: str, done: int, total: int, **figures: float) -> None:
        """`done` of `total` steps of `stage` are done; `figures` go into status.json and onto the line."""
        if self._mute:
            return
        now = time.monotonic()
        is_last = done == total or self.stop_requested is not None
        if now - self._status_at >= STATUS_EVERY_SECONDS or is_last or stage != self._stage:
            self._status_at = now
            self.folder.update_status(stage=stage, step=done, num_steps=total, **figures)
        if self._bar is not None:
            bar = self._bar.task_ids[0]
            if stage != self._stage:
                self._bar.reset(bar, total=total)
            room = self._console.width - BAR - len(f"{stage}  {done}/{total} 0:00:00 ")
            shown = _in_words({name: value for name, value in figures.items() if name != "eta_seconds"})  # the bar's
            while len(line := "  ".join(shown)) > room:
                shown.pop()
            self._bar.update(bar, description=stage, completed=done, figures=line)
        elif self._live and (now - self._line_at >= PLAIN_LINE_EVERY_SECONDS or done == total):
            self._line_at = now
            print(", ".join([f"{self.folder.id}: {stage} {done}/{total}", *_in_words(figures)]), flush=True)
        self._stage = stage

    def check_stop(self) -> None:
        """Raise `Interrupted` if a signal has asked the process to stop. Call it where everything done is saved."""
        if self.stop_requested is not None:
            raise Interrupted(f"stopped by {self.stop_requested}")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show progress and turn `STOP_SIGNALS` into a stop request; a second SIGINT stops at once."""
        handlers = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        try:
            if self._live and sys.stdout.isatty():
                columns = (
                    TextColumn("{task.description}"),
                    BarColumn(BAR),
                    MofNCompleteColumn(),
                    TimeRemainingColumn(),
                    TextColumn("{task.fields[figures]}", table_column=Column(ratio=1, no_wrap=True)),
                )
                with Progress(*columns, console=self._console, expand=True) as self._bar:
                    self._bar.add_task("start", total=None, figures="")
                    yield
            else:
                yield
        finally:
            self._bar = None
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.stop_requested is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.stop_requested = signal.Signals(number).name
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], figures="saving; Ctrl-C again stops at once")


def _in_words(figures: Mapping[str, float]) -> list[str]:
    return [f"{SHORT.get(name, name)} {value:.3g}" for name, value in figures.items()]
