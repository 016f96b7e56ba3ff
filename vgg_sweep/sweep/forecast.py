"""A sweep before it starts: what is ahead of each run, how long that takes and how much disk, as far as known."""

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Self

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vgg_sweep.config.schema import Config
from vgg_sweep.nets.columns import Layer, net_macs, num_params, parse_columns
from vgg_sweep.plan.passes import passes
from vgg_sweep.plan.runs import Run
from vgg_sweep.protocols.passes import BYTES_PER_POSTERIOR
from vgg_sweep.runs.files import read_json
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.sweep.agenda import FAILED, Agenda, found_state
from vgg_sweep.sweep.status import STYLES, duration

BYTES_PER_WEIGHT = 4
WEIGHTS_IN_CHECKPOINTS = 6
"""Weights and velocity, in the two newest checkpoints and the one being written."""
IMAGENET_POSTERIORS = 50_000 * 1000
LONG = 100
"""A plan of more runs leaves out those that are done."""


@dataclass(frozen=True)
class Forecast:
    """Training time in seconds and disk in bytes of runs, by id, and the bytes that one needs beside while it trains.

    A run whose time is not known is left out.
    """

    seconds: Mapping[str, float]
    bytes: Mapping[str, int]
    working_bytes: int

    @classmethod
    def of(cls, runs: Sequence[Run], finished: Sequence[Run]) -> Self:
        """Judging by the `finished` runs."""
        posteriors = next((each for run in finished if (each := _posteriors_of_a_pass(run.folder))), None)
        weights = {run.id: _num_weights(run.config) for run in runs}
        num_bytes = {
            run.id: BYTES_PER_WEIGHT * weights[run.id]
            + BYTES_PER_POSTERIOR * len(passes(run.config)) * (posteriors or _posteriors_expected(run.config))
            for run in runs
        }
        most = max((weights[run.id] for run in runs if not run.folder.is_trained), default=0)
        return cls(estimated_seconds(runs, finished), num_bytes, WEIGHTS_IN_CHECKPOINTS * BYTES_PER_WEIGHT * most)


def plan_table(agenda: Agenda, forecast: Forecast, notes: Iterable[str] = ()) -> RenderableType:
    """The runs of a sweep in order, before it starts: parent, state, time each will take as far as known, disk: what it
    has, or will have when it is done. Of a long sweep those that are done are counted only.
    """
    lines = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("run", "parent", "state", "time", "disk"):
        lines.add_column(name, justify="right" if name in ("time", "disk") else "left", no_wrap=name in ("run", "disk"))
    states, short = foreseen(agenda), _short_names(agenda.runs)
    folders = sorted({str(run.folder.path.parent) for run in agenda.runs})
    used = {run.id: _bytes(run.folder) for run in agenda.runs}
    is_long = len(agenda.runs) > LONG
    for run in (run for run in agenda.runs if not (is_long and states[run.id] == "done")):
        state, will_use = states[run.id], forecast.bytes[run.id]
        lines.add_row(
            run.id if len(folders) == 1 else str(run.folder.path),
            short[run.parent.id] if run.parent else "",
            Text(state, STYLES.get(state.partition(" ")[0], "")),
            duration(forecast.seconds[run.id]) if run.id in forecast.seconds else "-",
            size(used[run.id]) if state == "done" else f"~ {size(max(will_use, used[run.id]))}",
        )
    todo = [run for run in agenda.runs if states[run.id].partition(" ")[0] in ("new", "resume", "retry", "score")]
    summary = (
        f"In {', '.join(folders)}: {len(agenda.runs)} runs, {len(agenda.in_state('done'))} done, {len(todo)} to do"
    )
    if todo and all(run.id in forecast.seconds for run in todo):
        summary += f"; {duration(sum(forecast.seconds[run.id] for run in todo))} of work"
    texts = [Text(f"{summary}.")]
    if todo:
        more = sum(max(0, forecast.bytes[run.id] - used[run.id]) for run in todo)
        texts.append(_disk_line(more, forecast.working_bytes, agenda.runs[0].folder.path))
    return Group(*([lines] if lines.row_count else []), *texts, *(Text(note, "yellow") for note in notes))


def _disk_line(more: int, working: int, folder: Path) -> Text:
    free = shutil.disk_usage(next(path for path in folder.absolute().parents if path.exists())).free
    checkpoints = f", and {size(working)} for the checkpoints of each run at work" if working else ""
    return Text(
        f"They need about {size(more)} of disk{checkpoints}; {size(free)} are free.", "red" * (more + working > free)
    )


def _short_names(runs: Sequence[Run]) -> dict[str, str]:
    """Ids without their hash where that is not needed to tell them apart."""
    slugs = {run.id: run.id.rpartition("-")[0] or run.id for run in runs}
    counts = Counter(slugs.values())
    return {id: slug if counts[slug] == 1 else id for id, slug in slugs.items()}


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
            has_step = status.get("stage") == "train" and status.get("step")
            state = f"resume at step {status['step']}" if has_step else "resume"
        if state != "done" and run.parent is not None and states[run.parent.id] in (*FAILED, "blocked"):
            state = "blocked"
        states[run.id] = state
    return states


def size(num_bytes: float) -> str:
    """12 kB, 5.2 MB, 1.1 GB."""
    factor, unit = next(((f, u) for f, u in ((1e9, "GB"), (1e6, "MB")) if num_bytes >= 0.95 * f), (1e3, "kB"))
    value = num_bytes / factor
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:,.0f} {unit}"


def _bytes(folder: RunFolder) -> int:
    return sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file())


def _num_weights(config: Config) -> int:
    layers = _layers(tuple(config.model.columns), config.width, _num_classes(config), config.crop)
    return sum(map(num_params, layers))


@cache
def _layers(columns: tuple[str, ...], width: float, classes: int, crop: int) -> list[Layer]:
    return parse_columns(columns, width=width, classes=classes, crop=crop)


def _num_classes(config: Config) -> int:
    """As far as known without the data."""
    if config.classes is None and config.data.source == "fractals":
        return config.data.fractals.num_classes
    return config.classes or 1000


def _posteriors_of_a_pass(folder: RunFolder) -> int | None:
    files = read_json(folder.posteriors / "manifest.json").get("files", [])
    return int(files[0]["N"] * files[0]["K"]) if files else None


def _posteriors_expected(config: Config) -> int:
    """Those of a set whose number of images is known without opening it; else none."""
    if config.data.source == "fractals":
        return config.data.fractals.num_classes**2 * config.data.fractals.val_per_class
    return IMAGENET_POSTERIORS if config.data.source == "imagenet" else 0


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
    layers = _layers(tuple(config.model.columns), config.width, config.classes or 1, config.crop)
    return run.epochs * net_macs(layers, config.crop, config.crop, pool_ceil=config.pool_ceil)
