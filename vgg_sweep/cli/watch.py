"""What a sweep shows while it runs: a live table on a terminal, else a line whenever a run changes its state."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.live import Live

from vgg_sweep.cli.status import REFRESH_SECONDS, failure, picture
from vgg_sweep.plan.runs import Run
from vgg_sweep.sweep.agenda import FAILED, SETTLED, Agenda
from vgg_sweep.sweep.forecast import estimated_seconds
from vgg_sweep.sweep.status import AT_WORK, reported_status, share_done


class Watch:
    """Shows `agenda` on `console` as long as it is entered.

    `num_slots` runs can be at work at once, or nobody knows how many if a launcher has a queue (None). The times of
    `finished` runs tell how long the rest will take.
    """

    def __init__(self, agenda: Agenda, num_slots: int | None, finished: Sequence[Run], console: Console) -> None:
        self.agenda, self.console = agenda, console
        self._num_slots, self._finished = num_slots, list(finished)
        self._seconds = estimated_seconds(agenda.runs, finished)
        self._live = Live(
            get_renderable=self._picture,
            refresh_per_second=1 / REFRESH_SECONDS,
            console=console,
            vertical_overflow="visible",  # as many rows as there is room for, in any case
        )
        self._is_stopping = False
        agenda.on_change = self._changed

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _changed(self, run: Run, state: str) -> None:
        if state == "done":
            self._finished.append(run)
            self._seconds = estimated_seconds(self.agenda.runs, self._finished)
        if state in FAILED:
            self._say(f"{run.id} {state}: {failure(run.folder.status())} ({run.folder.error})", "red")
        elif state == "blocked":
            self._say(f"{run.id} is blocked by {self.agenda.culprit(run).id}", "yellow")
        elif state == "stopping" and not self._is_stopping:
            self._is_stopping = True
            self._say("Saving and stopping the runs; press Ctrl-C again to kill them.", "yellow")
        elif not self.console.is_terminal:
            self._say(f"{run.id} {self._before_work if state == 'running' and self._num_slots is None else state}")

    def _say(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    @property
    def _before_work(self) -> str:
        """What a run is that was started but has not said a word yet."""
        return "queued" if self._num_slots is None else "starting"

    def _picture(self) -> RenderableType:
        rows = [self._row(run) for run in self.agenda.runs]
        return picture(rows, self.console, num_lines=self.console.height, seconds_left=self._seconds_left(rows))

    def _row(self, run: Run) -> dict[str, Any]:
        status, state = reported_status(run.folder), self.agenda.states[run.id]
        if state == "running" and status.get("state") != "running":
            return {"run": run.id, "state": self._before_work, "job": status.get("job", "")}
        return {**status, "run": run.id, "state": state}

    def _seconds_left(self, rows: Sequence[Mapping[str, Any]]) -> float | None:
        """The work that is left, spread evenly over the slots; None while any of it is unknown."""
        left = 0.0
        for row in rows:
            if row["state"] in SETTLED:
                continue
            if row.get("eta_seconds") is not None and row["state"] in AT_WORK:
                left += row["eta_seconds"]
            elif row["run"] in self._seconds:
                left += self._seconds[row["run"]] * (1 - share_done(row))
            else:
                return None
        return left / self._num_slots if self._num_slots else None
