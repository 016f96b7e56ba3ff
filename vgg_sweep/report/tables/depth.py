"""What makes depth trainable: training and validation error of nets by their depth and by how they are trained.

A training error beside the validation error tells a net that is hard to train from one that over-fits (He et al. 2015).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from vgg_sweep.nets.blocks import SKIPS
from vgg_sweep.plan.swept import swept
from vgg_sweep.report.results.curves import curve
from vgg_sweep.report.results.errors import ReportedRun
from vgg_sweep.report.results.means import weight_layers
from vgg_sweep.report.results.results import Sweep
from vgg_sweep.report.tables.table import Column, Row, Shown, Table, records, text

_INITS = {"normal": "N(0, 0.01)", "literal": "N(0, 0.1)", "glorot": "Glorot", "he": "He"}
_OF_TREATMENT = ("recipe.init", "warm_start")
"""Settings that the treatment says."""


@dataclass(frozen=True)
class Trained:
    """A finished run: where it stands in the table, and its errors at the end of training, in percent."""

    id: str
    slug: str
    seed: int
    treatment: str
    net: str
    """Without what the treatment says: A to G, or the number of layers of He et al.'s nets."""
    layers: int
    train_error: float
    val_error: float
    is_at_chance: bool


def goes_deeper(runs: Sequence[ReportedRun]) -> bool:
    """Whether a sweep has nets with batch normalisation or shortcuts, to compare by depth."""
    return any({"BN", *SKIPS} & set(run.config["model"]["columns"]) for run in runs)


def trained(runs: Sequence[ReportedRun]) -> list[Trained]:
    """The finished runs at S = 256 that can be compared over depth; runs that localise or are imported are none."""
    own = [run for run in runs if run.train_scale == "256" and run.record.get("val_error") is not None]
    others = [{key: value for key, value in run.settings.items() if key not in _OF_TREATMENT} for run in own]
    found = []
    for run, differing in zip(own, swept(others), strict=True):
        rows = curve(run)
        if len(rows):
            more = [f"{name}={value}" for name, value in differing.items()]
            found.append(
                Trained(
                    run.folder.id,
                    run.slug,
                    run.seed,
                    ", ".join([_treatment(run), *more]),
                    _net(run.name),
                    weight_layers(run.config["model"]["columns"]),
                    float(rows["error"].iloc[-1]),
                    float(run.record["val_error"]),
                    bool(run.record.get("stuck_at_chance")),
                )
            )
    return found


def _treatment(run: ReportedRun) -> str:
    words = set(run.config["model"]["columns"])
    start = "from A" if run.record.get("copied") else _INITS[run.config["recipe"]["init"]]
    return ", ".join([start, *["BN"] * ("BN" in words), *["shortcuts"] * bool(words & set(SKIPS))])


def _net(name: str) -> str:
    he = re.fullmatch(r"(?:plain|res)-(\d+)", name)
    return f"{he[1]} layers" if he else re.sub(r"(-BN)?(-skip)?$", "", name)


def _frame(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """A row for each treatment and net of each sweep; nothing for a sweep of the paper's nets alone."""
    rows = []
    for sweep in sweeps:
        found = trained(sweep.runs)
        if not goes_deeper(sweep.runs):
            continue
        for treatment in dict.fromkeys(each.treatment for each in found):
            of_treatment = [each for each in found if each.treatment == treatment]
            for net in sorted({(each.layers, each.net) for each in of_treatment}):
                cell = [each for each in of_treatment if (each.layers, each.net) == net]
                rows.append({"table": "depth", "sweep": sweep.name, "treatment": treatment, **_cell(net, cell)})
    return pd.DataFrame(rows)


def _cell(net: tuple[int, str], cell: Sequence[Trained]) -> dict[str, Any]:
    values: dict[str, Any] = {"net": net[1], "layers": net[0], "seeds": len(cell)}
    for name in ("train_error", "val_error"):
        errors = [float(getattr(each, name)) for each in cell]
        values |= {name: fmean(errors), f"{name}_std": stdev(errors) if len(errors) > 1 else None}
    return values | {"at_chance": sum(each.is_at_chance for each in cell)}


@dataclass(frozen=True)
class _ByNet(Table[Sequence[Sweep]]):
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
    """12.3 / 15.0 of one seed, 12±1 / 15±2 of several, or at chance."""
    if row["at_chance"] == row["seeds"]:
        return "at chance"
    pair = " / ".join(_error(row, name) for name in ("train_error", "val_error"))
    return f"{pair} ({row['at_chance']} of {row['seeds']} at chance)" if row["at_chance"] else pair


def _error(row: Row, name: str) -> str:
    spread = row[f"{name}_std"]
    return f"{row[name]:.1f}" if spread is None else f"{row[name]:.0f}±{spread:.0f}"


def _columns(lines: pd.DataFrame) -> list[Column]:
    nets = [str(name) for name in lines if name not in ("sweep", "treatment")]
    return [text("treatment", "trained", wrap=20), *(text(net) for net in sorted(nets, key=_layers))]


def _layers(head: str) -> int:
    return int(re.findall(r"\d+", head)[0])


_NOTES = (
    "Training / validation error in percent at the end of training, of several seeds mean±spread. Training: top-1 "
    "error on training views, a running mean over some twenty steps; validation: of a centre crop. At chance: the loss "
    "stayed at ln(classes). In brackets: layers.",
    "A deeper net that errs more in training is harder to train; one that errs more in validation alone over-fits.",
)

DEPTH = _ByNet("depth", "What makes depth trainable", _frame, _columns, lambda lines: _NOTES, where=("sweep",))
