"""What a sweep is going to do, is doing, and did: tables for the terminal, objects for programs."""

import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vgg_sweep.config import ConfigError
from vgg_sweep.nets.columns import net_macs, parse_columns
from vgg_sweep.plan import Run
from vgg_sweep.store import RunFolder, find_runs
from vgg_sweep.sweep.agenda import FAILED, SETTLED, Agenda, found_state

REFRESH_SECONDS = 1.0
PAGE_WIDTH = 160
MAX_ROWS = 24
"""Rows of a live table; of a longer sweep it shows the runs at work and those that failed."""

AT_WORK = ("running", "stopping", "elsewhere")
STYLES = {
    "done": "green",
    "running": "cyan",
    "elsewhere": "cyan",
    "stopping": "yellow",
    "failed": "red",
    "diverged": "red",
    "blocked": "yellow",
    "interrupted": "yellow",
}
TIMED_RUNS = 20
"""As many finished runs are looked at to estimate how long another takes."""


def console() -> Console:
    """The terminal, or a wide page where there is none, so that lines sent to a file or a program stay whole."""
    return Console(width=None if sys.stdout.isatty() else PAGE_WIDTH)


def read_sweep(sweep: Path) -> list[dict[str, Any]]:
    """The status of every run in the folder `sweep`, one flat object each: `sweep`, `run`, `state`, and what the run
    itself reports.

    States: new, running, interrupted, failed, diverged, done, or blocked by a parent that failed.
    """
    rows = {
        folder.id: {"sweep": str(sweep), "run": folder.id, "state": "new", "parent": None, **folder.status()}
        for folder in find_runs(sweep)
    }
    for row in rows.values():
        row["state"] = _with_blocked(row, rows)
    return list(rows.values())


def _with_blocked(row: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> str:
    state: str = row["state"]
    if state != "new" or row["parent"] not in rows:
        return state
    return "blocked" if _with_blocked(rows[row["parent"]], rows) in (*FAILED, "blocked") else "new"


def show(sweeps: Sequence[Path], *, watch: bool = False, as_json: bool = False) -> None:
    """Print the runs of the folders `sweeps`, as tables or as one JSON list; `watch` goes on while a run is at work.

    Raises `ConfigError` if a folder holds no runs.
    """
    for sweep in sweeps:
        if not find_runs(sweep):
            raise ConfigError(f"{sweep} holds no runs; name a sweep's folder, such as outputs/fractals, or start one.")
    if as_json:
        json.dump([row for sweep in sweeps for row in read_sweep(sweep)], sys.stdout, indent=1)
        print()
    elif watch:
        with suppress(KeyboardInterrupt), Live(_tables(sweeps), console=console(), auto_refresh=False) as live:
            while any(row["state"] == "running" for sweep in sweeps for row in read_sweep(sweep)):
                time.sleep(REFRESH_SECONDS)
                live.update(_tables(sweeps), refresh=True)
    else:
        console().print(_tables(sweeps))


def _tables(sweeps: Iterable[Path]) -> RenderableType:
    return Group(*(_with_summary(rows, rows, title=str(sweep)) for sweep in sweeps for rows in [read_sweep(sweep)]))


def _with_summary(
    shown: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    *,
    title: str,
    seconds_left: float | None = None,
) -> RenderableType:
    """The table of the rows `shown` above one line about all `rows`."""
    counts = Counter(row["state"] for row in rows)
    text = Text(f" {counts['done']} of {len(rows)} done")
    for state in (*AT_WORK, "interrupted", *FAILED, "blocked"):
        if counts[state]:
            text.append(f", {counts[state]} {state}", STYLES[state])
    if seconds_left:
        text.append(f", about {duration(seconds_left)} left")
    line = Table.grid()
    line.add_row(ProgressBar(total=len(rows), completed=sum(map(share_done, rows)), width=24), text)
    return Group(table(shown, title), line)


def table(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    """The runs of `rows`, a line each: state, how far, loss, error, speed, time left, where."""
    lines = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for name in ("run", "state", "at"):
        lines.add_column(name, no_wrap=name == "run")
    for name in ("loss", "error %", "img/s", "left"):
        lines.add_column(name, justify="right")
    lines.add_column("where")
    for row in rows:
        state = row["state"]
        at_work = state in AT_WORK
        lines.add_row(
            row["run"],
            Text("running" if state == "elsewhere" else state, STYLES.get(state, "dim")),
            failure(row) if state in FAILED else _at(row) if at_work or state == "interrupted" else "",
            _figure(row.get("loss"), ".3f"),
            _figure(row.get("train_error"), ".1f"),
            _figure(row.get("images_per_second") if at_work else None, ".0f"),
            duration(row["eta_seconds"]) if at_work and row.get("eta_seconds") is not None else "",
            " ".join(str(row[key]) for key in ("host", "device") if row.get(key)) if at_work else "",
        )
    return lines


def failure(row: Mapping[str, Any]) -> str:
    """Why a run failed, on one line."""
    return (str(row.get("error") or "").splitlines() or [""])[0]


def share_done(row: Mapping[str, Any]) -> float:
    """How much of a run is done, from 0 to 1; training counts for all of it, since scoring takes little of the time."""
    if row["state"] == "done" or row.get("stage") == "score":
        return 1.0
    return row.get("step", 0) / row["num_steps"] if row.get("stage") == "train" and row.get("num_steps") else 0.0


def _at(row: Mapping[str, Any]) -> str:
    if not row.get("num_steps"):
        return str(row.get("stage") or "")
    return f"{row['stage']} {row['step']}/{row['num_steps']}, {100 * row['step'] / row['num_steps']:.0f} %"


def _figure(value: object, spec: str) -> str:
    return format(value, spec) if isinstance(value, int | float) else ""


def duration(seconds: float) -> str:
    """12 s, 5 min, 3 h 20 min, 4 days 2 h."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} days {minutes % 1440 // 60} h"


def plan_table(agenda: Agenda, seconds: Mapping[str, float]) -> RenderableType:
    """The runs of a sweep in order, before it starts: parent, state, time each will take as far as known, disk used."""
    lines = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("run", "starts from", "state", "time", "disk"):
        lines.add_column(name, justify="right" if name in ("time", "disk") else "left", no_wrap=name == "run")
    states = foreseen(agenda)
    for run in agenda.runs:
        state, bytes_used = states[run.id], _bytes(run.folder)
        lines.add_row(
            run.id,
            run.parent.id if run.parent else "",
            Text(state, STYLES.get(state.partition(" ")[0], "")),
            duration(seconds[run.id]) if run.id in seconds else "-",
            f"{bytes_used / 1e6:.1f} MB" if bytes_used else "-",
        )
    todo = [run for run in agenda.runs if states[run.id].partition(" ")[0] in ("new", "resume", "retry", "score")]
    folders = ", ".join(sorted({str(run.folder.path.parent) for run in agenda.runs}))
    summary = f"In {folders}: {len(agenda.runs)} runs, {len(agenda.in_state('done'))} done, {len(todo)} to do"
    if todo and all(run.id in seconds for run in todo):
        summary += f"; {duration(sum(seconds[run.id] for run in todo))} of work"
    return Group(lines, Text(f"{summary}."))


def foreseen(agenda: Agenda) -> dict[str, str]:
    """What is ahead of each run: new, resume (where), score, retry; or done, running, failed, diverged, blocked."""
    states: dict[str, str] = {}
    for run in agenda.runs:
        state, status = found_state(run), run.folder.status()
        if state in FAILED and agenda.retries > 0:
            state = "retry"
        elif state == "interrupted" and run.folder.is_trained:
            state = "score"
        elif state == "interrupted":
            state = f"resume at {status.get('stage')} step {status['step']}" if status.get("step") else "resume"
        if state != "done" and run.parent is not None and states[run.parent.id] in (*FAILED, "blocked"):
            state = "blocked"
        states[run.id] = state
    return states


def _bytes(folder: RunFolder) -> int:
    return sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file())


def estimated_seconds(runs: Sequence[Run], finished: Sequence[Run]) -> dict[str, float]:
    """Training time of each of `runs`, by id: what it took if it is among the `finished`, else in proportion to theirs.

    The proportion is that of multiply-adds, among runs on the same data; if there are some of the same net they count
    alone, as speed differs. A run with nothing to compare it with is left out.
    """
    took = {run.id: float(took) for run in finished if (took := run.folder.record().get("train_seconds")) is not None}
    rates: dict[str, list[float]] = defaultdict(list)
    for run in finished:
        if run.id in took:
            for kin in _kin(run):
                rates[kin].append(took[run.id] / _macs(run))
    typical = {kin: median(values) for kin, values in rates.items()}
    estimates = {}
    for run in runs:
        rate = next((typical[kin] for kin in _kin(run) if kin in typical), None)
        if run.id in took:
            estimates[run.id] = took[run.id]
        elif rate is not None:
            estimates[run.id] = rate * _macs(run)
    return estimates


def _kin(run: Run) -> tuple[str, str]:
    """Names of the two families among which a run's speed is alike, the closer one first."""
    data = repr(run.config.data)
    return f"{run.config.model.name} on {data}", data


def _macs(run: Run) -> float:
    """Multiply-adds of the forward passes in a run's training, for each image of the set."""
    config = run.config
    layers = parse_columns(config.model.columns, width=config.width, classes=config.classes or 1, crop=config.crop)
    return run.epochs * net_macs(layers, config.crop, config.crop, pool_ceil=config.pool_ceil)


class Watch:
    """What a sweep shows while it runs: a live table on a terminal, else a line whenever a run changes its state."""

    def __init__(self, agenda: Agenda, num_places: int, finished: Sequence[Run], console: Console) -> None:
        self.agenda, self.console = agenda, console
        self._num_places, self._finished = num_places, list(finished)
        self._seconds = estimated_seconds(agenda.runs, finished)
        self._live = Live(get_renderable=self._picture, refresh_per_second=1 / REFRESH_SECONDS, console=console)
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
            self._say("The runs save and stop; Ctrl-C again ends them at once.", "yellow")
        elif not self.console.is_terminal:
            self._say(f"{run.id} {state}")

    def _say(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def _picture(self) -> RenderableType:
        rows = [{**run.folder.status(), "run": run.id, "state": self.agenda.states[run.id]} for run in self.agenda.runs]
        shown = rows if len(rows) <= MAX_ROWS else [row for row in rows if row["state"] in (*AT_WORK, *FAILED)]
        return _with_summary(shown[-MAX_ROWS:], rows, title="", seconds_left=self._seconds_left(rows))

    def _seconds_left(self, rows: Sequence[Mapping[str, Any]]) -> float | None:
        """The work that is left, spread evenly over the places; None while any of it is unknown."""
        left = 0.0
        for row in rows:
            if row["state"] in SETTLED:
                continue
            if row.get("eta_seconds") is not None and row["state"] != "waiting":
                left += row["eta_seconds"]
            elif row["run"] in self._seconds:
                left += self._seconds[row["run"]] * (1 - share_done(row))
            else:
                return None
        return left / self._num_places
