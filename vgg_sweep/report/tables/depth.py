"""What makes depth trainable: training and validation error of nets by their depth and by how they are trained.

A training error beside the validation error tells a net that is hard to train from one that over-fits (He et al. 2015).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from vgg_sweep.nets.blocks import SKIPS
from vgg_sweep.plan.swept import swept
from vgg_sweep.report.results.errors import ReportedRun
from vgg_sweep.report.results.means import weight_layers
from vgg_sweep.report.results.results import Sweep
from vgg_sweep.report.results.unfinished import state
from vgg_sweep.report.tables.table import Column, Row, Shown, Table, records, text

_INITS = {"normal": "N(0, 0.01)", "literal": "N(0, 0.1)", "glorot": "Glorot", "he": "He"}
_OF_TREATMENT = ("recipe.init", "recipe.zero_init_residual", "warm_start")
"""Settings that the treatment says."""
_ENDS = ("at chance", "diverged", "failed")
"""How a run ends that has learnt nothing; the last two have no errors."""


@dataclass(frozen=True)
class Trained:
    """A run that is over: where it stands in the table, and its errors at the end of training, in percent."""

    id: str
    slug: str
    seed: int
    treatment: str
    net: str
    """Without what the treatment says: A to G, or the number of layers of He et al.'s nets."""
    layers: int
    end: str
    """`done`, or one of `_ENDS`."""
    train_error: float
    val_error: float


def trained(runs: Sequence[ReportedRun]) -> list[Trained]:
    """The runs of `ended` that have errors."""
    return [each for each in ended(runs) if not math.isnan(each.train_error)]


def ended(runs: Sequence[ReportedRun]) -> list[Trained]:
    """The runs at S = 256 that are over and can be compared over depth; runs that localise or are imported are none.
    Nothing where no net has batch normalisation or shortcuts.
    """
    if not any({"BN", *SKIPS} & set(run.config["model"]["columns"]) for run in runs):
        return []
    own = [(run, end) for run in runs if run.train_scale == "256" and (end := _end(run))]
    others = [{key: value for key, value in run.settings.items() if key not in _OF_TREATMENT} for run, _ in own]
    found = []
    for (run, end), differing in zip(own, swept(others), strict=True):
        treatment = ", ".join([_treatment(run), *(f"{name}={value}" for name, value in differing.items())])
        columns = run.config["model"]["columns"]
        about = (run.folder.id, run.slug, run.seed, treatment, _net(run.name), weight_layers(columns), end)
        has_none = end in ("diverged", "failed")
        errors = (math.nan, math.nan) if has_none else (run.curve["error"].iloc[-1], run.record["val_error"])
        found.append(Trained(*about, *map(float, errors)))
    return found


def _end(run: ReportedRun) -> str:
    """How a run ended; empty for one that is not over, or has no errors to compare."""
    if run.record.get("val_error") is not None:
        return ("at chance" if run.record.get("stuck_at_chance") else "done") if len(run.curve) else ""
    at = state(run.folder)
    return at if at in _ENDS else ""


def _treatment(run: ReportedRun) -> str:
    words = set(run.config["model"]["columns"])
    is_to_copy = run.config["warm_start"] == "paper" and run.config["model"]["parent"] is not None
    start = "from A" if run.record.get("copied", is_to_copy) else _INITS[run.config["recipe"]["init"]]
    shortcuts = "shortcuts from zero" if run.settings.get("recipe.zero_init_residual") else "shortcuts"
    return ", ".join([start, *["BN"] * ("BN" in words), *[shortcuts] * bool(words & set(SKIPS))])


def _net(name: str) -> str:
    he = re.fullmatch(r"(?:plain|res)-(\d+)", name)
    return f"{he[1]} layers" if he else re.sub(r"(-BN)?(-skip)?$", "", name)


def _frame(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """A row for each treatment and net of each sweep; nothing for a sweep of the paper's nets alone."""
    cells: dict[tuple[str, str, int, str], list[Trained]] = {}
    for sweep in sweeps:
        for each in ended(sweep.runs):
            cells.setdefault((sweep.name, each.treatment, each.layers, each.net), []).append(each)
    treatments = list(dict.fromkeys(place[:2] for place in cells))
    order = sorted(cells, key=lambda place: (treatments.index(place[:2]), place))
    return pd.DataFrame([_cell(place, cells[place]) for place in order])


def _cell(place: tuple[str, str, int, str], cell: Sequence[Trained]) -> dict[str, Any]:
    names = ("sweep", "treatment", "layers", "net")
    values: dict[str, Any] = {"table": "depth", **dict(zip(names, place, strict=True)), "seeds": len(cell)}
    for name in ("train_error", "val_error"):
        errors = [error for each in cell if not math.isnan(error := getattr(each, name))]
        values[name] = fmean(errors) if errors else None
        values[f"{name}_std"] = stdev(errors) if len(errors) > 1 else None
    return values | {end.replace(" ", "_"): sum(each.end == end for each in cell) for end in _ENDS}


@dataclass(frozen=True)
class _ByNet(Table):
    """The rows of a treatment are one line, with a column for each net."""

    def shown(self, frame: pd.DataFrame) -> Shown:
        lines: dict[tuple[str, str], dict[str, Any]] = {}
        for row in records(frame):
            line = lines.setdefault((row["sweep"], row["treatment"]), {key: row[key] for key in ("sweep", "treatment")})
            line[_head(row)] = _said(row)
        return super().shown(pd.DataFrame([*lines.values()]))


def _head(row: Row) -> str:
    return row["net"] if row["net"].endswith("layers") else f"{row['net']} ({row['layers']})"


def _said(row: Row) -> str:
    """12.3 / 15.0 of one seed, 12±1 / 15±2 of several, and how many learnt nothing; or what all of them came to."""
    counts = {end: count for end in _ENDS if (count := row[end.replace(" ", "_")])}
    if row["seeds"] in counts.values():
        return next(iter(counts))
    ends = ", ".join(f"{count} of {row['seeds']} {end}" for end, count in counts.items())
    if row["train_error"] is None:
        return ends
    pair = " / ".join(_error(row, name) for name in ("train_error", "val_error"))
    return f"{pair} ({ends})" if ends else pair


def _error(row: Row, name: str) -> str:
    spread = row[f"{name}_std"]
    return f"{row[name]:.1f}" if spread is None else f"{row[name]:.0f}±{spread:.0f}"


def _columns(lines: pd.DataFrame) -> list[Column]:
    heads = [str(name) for name in lines if name not in ("sweep", "treatment")]
    nets = sorted(heads, key=lambda head: int(re.findall(r"\d+", head)[0]))
    return [text("treatment", "trained", wrap=20), *(text(net, wrap=16) for net in nets)]


_NOTES = (
    "Training / validation error in percent at the end of training, of several seeds mean±spread. Training: top-1 "
    "error on training views, a running mean over some twenty steps; validation: of a centre crop. At chance: the loss "
    "stayed at ln(classes); runs that diverged or failed are in no mean. In brackets: layers.",
    "A deeper net that errs more in training is harder to train; one that errs more in validation alone over-fits.",
)

DEPTH = _ByNet(
    "depth", "What makes depth trainable", _frame, _columns, lambda lines: _NOTES, where=("sweep",), of="training"
)
