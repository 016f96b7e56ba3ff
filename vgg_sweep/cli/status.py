"""`vgg-sweep status`: the runs of sweeps as a table for the terminal or as objects for programs."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vgg_sweep.cli.screen import console, plain_table
from vgg_sweep.errors import ConfigError
from vgg_sweep.plan.swept import settings_to_show
from vgg_sweep.runs.folder import find_nameless, find_runs
from vgg_sweep.runs.printable import printable
from vgg_sweep.sweep.agenda import FAILED, SETTLED
from vgg_sweep.sweep.status import AT_WORK, duration, read_sweep, share_done

REFRESH_SECONDS = 1.0
LINES_BESIDE_ROWS = 4
"""Of a live table: its header, the summary, and room for what is said above it."""
SILENT_SECONDS = 600
"""A run at work that has written nothing for so long is shown as silent."""

BY_INTEREST = ((*AT_WORK, "starting"), FAILED, ("interrupted", "blocked"), ("queued",), ("waiting", "new"))
NOT_AT_WORK_YET = ("new", "waiting", "queued", "starting", "blocked")
STYLES = {
    "done": "green",
    "running": "cyan",
    "elsewhere": "cyan",
    "starting": "cyan",
    "queued": "blue",
    "stopping": "yellow",
    "failed": "red",
    "diverged": "red",
    "blocked": "yellow",
    "interrupted": "yellow",
}
DROPPED = ("img/s", "where", "loss", "val %", "left")
"""The columns that a narrow terminal does without, in this order."""


def show_status(sweeps: Sequence[Path], *, watch: bool = False, as_json: bool = False) -> None:
    """Print the runs of the folders `sweeps`, as tables or as one JSON list; `watch` continues until all have ended.

    Raises `ConfigError` if a folder holds no runs.
    """
    for sweep in sweeps:
        for folder in find_nameless(sweep):
            print(printable(f"{folder.path} has no config.yaml; put back a copy of it."), file=sys.stderr)
        if not find_runs(sweep):
            raise ConfigError(f"{sweep} holds no runs; name a sweep's folder, such as outputs/fractals, or start one.")
    screen = console()
    if as_json:
        json.dump([row for sweep in sweeps for row in read_sweep(sweep)], sys.stdout, indent=1)
        print()
    elif watch:
        with suppress(KeyboardInterrupt), Live(_tables(sweeps, screen), console=screen, auto_refresh=False) as live:
            while any(row["state"] not in SETTLED for sweep in sweeps for row in read_sweep(sweep)):
                time.sleep(REFRESH_SECONDS)
                live.update(_tables(sweeps, screen, num_rows=screen.height // len(sweeps)), refresh=True)
    else:
        screen.print(_tables(sweeps, screen))


def _tables(sweeps: Iterable[Path], screen: Console, num_rows: int | None = None) -> RenderableType:
    return Group(*(picture(read_sweep(sweep), screen, title=str(sweep), num_lines=num_rows) for sweep in sweeps))


def picture(
    rows: Sequence[Mapping[str, Any]],
    screen: Console,
    *,
    title: str | None = None,
    num_lines: int | None = None,
    seconds_left: float | None = None,
) -> RenderableType:
    """The table of `rows` and one line about all of them.

    Of more than `num_lines` have room for, those at work and those that ended badly are shown.
    """
    shown = rows
    if num_lines is not None and len(rows) > (room := max(1, num_lines - LINES_BESIDE_ROWS)):
        rank = {state: number for number, states in enumerate(BY_INTEREST) for state in states}
        order = sorted(range(len(rows)), key=lambda index: rank.get(rows[index]["state"], len(BY_INTEREST)))[:room]
        shown = [rows[index] for index in sorted(order)]
    counts = Counter(row["state"] for row in rows)
    text = Text(f" {counts['done']} of {len(rows)} done", overflow="ellipsis")
    for state in (*AT_WORK, "starting", "queued", "interrupted", *FAILED, "blocked"):
        if counts[state]:
            text.append(f", {counts[state]} {state}", STYLES[state])
    if seconds_left:
        text.append(f", about {duration(seconds_left)} left")
    line = Table.grid()
    line.add_row(ProgressBar(total=len(rows), completed=sum(map(share_done, rows)), width=24), text)
    return Group(table(shown, screen, title), line)


def table(rows: Sequence[Mapping[str, Any]], screen: Console, title: str | None = None) -> RenderableType:
    """The runs of `rows`, a line each: state, how far, loss, error, speed, time left, where; and why some failed.

    A column in which there is nothing, or for which `screen` is too narrow, is left out.
    """
    settings = settings_to_show([row.get("settings", {}) for row in rows], [row.get("recipe", "") for row in rows])
    cells = [_cells(row, differing) for row, differing in zip(rows, settings, strict=True)]
    names = [name for name in cells[0] if any(each[name] for each in cells)] if cells else []
    boundless = screen.options.update(max_width=10_000)
    while (lines := _lines(cells, names, title)) and screen.measure(lines, options=boundless).maximum > screen.width:
        if (dropped := next((name for name in DROPPED if name in names), None)) is None:
            break
        names.remove(dropped)
    said = []
    for row in (row for row in rows if row["state"] in FAILED):
        said.append(Text(f"{row['run']} {row['state']}: {failure(row)}", "red"))
        said += [Text(f"  its log ends: {row['log']}", "dim")] if row.get("log") else []
    return Group(lines, *said)


def _lines(cells: Sequence[Mapping[str, Text]], names: Sequence[str], title: str | None) -> Table:
    lines = plain_table(names, ("loss", "val %", "img/s", "left"), whole=names, title=title)
    for row in cells:
        lines.add_row(*(row[name] for name in names))
    return lines


def _cells(row: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Text]:
    state = row["state"]
    at_work = state in AT_WORK
    shown = {
        "run": row["run"],
        **{name: value_text(value) for name, value in settings.items()},
        "state": "running" if state == "elsewhere" else state,
        "at": _at(row) if at_work or state == "interrupted" else "",
        "loss": _figure(row.get("loss"), ".3f"),
        "val %": _figure(row.get("val_error"), ".1f"),
        "img/s": _figure(row.get("images_per_second") if at_work else None, ".0f"),
        "left": duration(row["eta_seconds"]) if at_work and row.get("eta_seconds") is not None else "",
        "where": row.get("job", "") if state in NOT_AT_WORK_YET else where(row),
    }
    if state == "running" and (silent := time.time() - row.get("heartbeat", time.time())) > SILENT_SECONDS:
        shown["left"] = f"silent for {duration(silent)}"
    return {name: Text(text, STYLES.get(state, "dim") if name == "state" else "") for name, text in shown.items()}


def where(row: Mapping[str, Any]) -> str:
    """The host of a run, its GPUs as CUDA_VISIBLE_DEVICES names them, and its job: `node7 GPU 0,1, slurm 7_2`."""
    host = str(row.get("host", "")).partition(".")[0]
    gpus = ",".join(gpu[:12] for gpu in row.get("gpus", []))
    device = f"{host} GPU {gpus}" if gpus else " ".join([host, str(row.get("device", "")).upper()]).strip()
    return ", ".join(filter(None, [device, row.get("job")]))


def failure(row: Mapping[str, Any]) -> str:
    """Why a run failed, on one line."""
    return (str(row.get("error") or "").splitlines() or [""])[0]


def value_text(value: Any) -> str:
    """The value of a setting as it would be given: `true`, `[0.5,0.75]`, `null`."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _at(row: Mapping[str, Any]) -> str:
    if not row.get("num_steps"):
        return str(row.get("stage") or "")
    return f"{row['stage']} {row['step']}/{row['num_steps']}, {100 * row['step'] / row['num_steps']:.0f} %"


def _figure(value: object, spec: str) -> str:
    return format(value, spec) if isinstance(value, int | float) else ""
