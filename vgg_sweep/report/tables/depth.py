"""What makes depth trainable: training and validation error of nets by their depth and by how they are trained; and
what He et al. 2015 say of depth, and what batch normalisation does for it, tested.

A training error beside the validation error tells a net that is hard to train from one that over-fits (He et al. 2015).
Validation errors are compared image by image, by seeds and images together. Training errors are known by seed alone:
their differences are tested by t over seeds. In either case from three seeds on, and after Holm's correction.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vgg_sweep.nets.blocks import SKIPS
from vgg_sweep.plan.swept import differing_settings
from vgg_sweep.protocols.statistics import MIN_SEEDS, Difference, over_seeds_and_images
from vgg_sweep.report.results.errors import ReportedRun
from vgg_sweep.report.results.groups import weight_layers
from vgg_sweep.report.results.results import Sweep
from vgg_sweep.report.results.unfinished import state
from vgg_sweep.report.tables.claims import Claim, Misses, differences, judged
from vgg_sweep.report.tables.table import Column, Row, Table, as_frame, interval, number, p_value, records, text

_INITS = {"normal": "N(0, 0.01)", "literal": "N(0, 0.1)", "glorot": "Glorot", "he": "He"}
_OF_TREATMENT = ("recipe.init", "recipe.zero_init_residual", "warm_start")
"""Settings that the treatment says."""
_ENDS = ("at chance", "diverged", "failed")
"""How a run ends that has learnt nothing; the last two have no errors."""


@dataclass(frozen=True)
class EndedRun:
    """A run that has ended: its place in the table, and its errors at the end of training, in percent."""

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


def trained(runs: Sequence[ReportedRun]) -> list[EndedRun]:
    """The runs of `ended` that have errors."""
    return [each for each in ended(runs) if not math.isnan(each.train_error)]


def ended(runs: Sequence[ReportedRun]) -> list[EndedRun]:
    """The runs at S = 256 that are over and can be compared over depth; runs that localise or are imported are none.
    Nothing where no net has batch normalisation or shortcuts.
    """
    if not any({"BN", *SKIPS} & set(run.config["model"]["columns"]) for run in runs):
        return []
    own = [(run, end) for run in runs if run.train_scale == "256" and (end := _end(run))]
    others = [{key: value for key, value in run.settings.items() if key not in _OF_TREATMENT} for run, _ in own]
    found = []
    for (run, end), differing in zip(own, differing_settings(others), strict=True):
        treatment = ", ".join([_treatment(run), *(f"{name}={value}" for name, value in differing.items())])
        he = re.fullmatch(r"(?:plain|res)-(\d+)", run.name)
        net = f"{he[1]} layers" if he else re.sub(r"(-BN)?(-skip)?$", "", run.name)
        has_none = end in ("diverged", "failed")
        errors = (math.nan, math.nan) if has_none else (run.curve["error"].iloc[-1], run.record["val_error"])
        layers = weight_layers(run.config["model"]["columns"])
        found.append(EndedRun(run.id, run.slug, run.seed, treatment, net, layers, end, *map(float, errors)))
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


def _frame(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """A row for each treatment and net of each sweep; nothing for a sweep of the paper's nets alone."""
    cells: dict[tuple[str, str, int, str], list[EndedRun]] = {}
    for sweep in sweeps:
        for each in ended(sweep.runs):
            cells.setdefault((sweep.name, each.treatment, each.layers, each.net), []).append(each)
    treatments = list(dict.fromkeys(key[:2] for key in cells))
    rows = []
    for key in sorted(cells, key=lambda key: (treatments.index(key[:2]), key)):
        names, cell = ("sweep", "treatment", "layers", "net"), cells[key]
        values: dict[str, Any] = {"table": "depth", **dict(zip(names, key, strict=True)), "seeds": len(cell)}
        for name in ("train_error", "val_error"):
            errors = [error for each in cell if not math.isnan(error := getattr(each, name))]
            values |= {name: fmean(errors) if errors else None, f"{name}_std": stdev(errors) if errors[1:] else None}
        rows.append(values | {end.replace(" ", "_"): sum(each.end == end for each in cell) for end in _ENDS})
    return pd.DataFrame(rows)


def _by_treatment(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each treatment, with a column for each net."""
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for row in records(frame):
        line = lines.setdefault((row["sweep"], row["treatment"]), {key: row[key] for key in ("sweep", "treatment")})
        line[row["net"] if row["net"].endswith("layers") else f"{row['net']} ({row['layers']})"] = _cell(row)
    return pd.DataFrame([*lines.values()])


def _cell(row: Row) -> str:
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


def _nets(lines: pd.DataFrame) -> list[Column]:
    heads = [str(name) for name in lines if name not in ("sweep", "treatment")]
    return [text(head, wrap=16) for head in sorted(heads, key=lambda head: int(re.findall(r"\d+", head)[0]))]


_NOTES = (
    "Training / validation error in percent at the end of training, of several seeds mean±spread. Training: top-1 "
    "error on training views, a running mean over some twenty steps; validation: of a centre crop. At chance: the loss "
    "stayed at ln(classes); runs that diverged or failed are in no mean. In brackets: layers.",
    "A deeper net that errs more in training is harder to train; one that errs more in validation alone over-fits.",
)

DEPTH = Table("depth", "What makes depth trainable", _frame, (text("treatment", "trained", wrap=20), _nets), _NOTES,
              lines=_by_treatment, where=("sweep",), of="training")  # fmt: skip


# --- claims ---


Net = tuple[str, str]
"""How it is trained, and which it is: ("He, BN", "E")."""


@dataclass(frozen=True)
class Sum:
    """Nets whose errors are added."""

    nets: tuple[Net, ...]


PLAIN, SKIP = "He, BN", "He, BN, shortcuts"
DEPTHS = (("E", "G"), ("20 layers", "56 layers"))
"""A shallower net and a deeper one."""


def _claim(sentence: str, of: str, *pairs: tuple[Sequence[Net], Sequence[Net]]) -> Claim:
    """`of` is `training` or `validation` error."""
    return Claim(sentence, "", of, tuple((Sum(tuple(first)), Sum(tuple(second))) for first, second in pairs))


CLAIMS = (
    _claim("Plain nets: the deeper errs more in training", "training",
           *(([(PLAIN, deep)], [(PLAIN, shallow)]) for shallow, deep in DEPTHS)),
    _claim("With shortcuts the deeper errs less in training", "training",
           *(([(SKIP, shallow)], [(SKIP, deep)]) for shallow, deep in DEPTHS)),
    _claim("With BN and random weights E beats E from A", "validation", ([("from A", "E")], [(PLAIN, "E")])),
    _claim("BN helps the deeper net more, E than A", "validation",
           ([("He", "E"), (PLAIN, "A")], [(PLAIN, "E"), ("He", "A")])),
)  # fmt: skip


def depth_claims(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """A row for each claim of each sweep with deeper nets. `points` are above 0 as claimed."""
    rows = []
    for sweep in sweeps:
        nets: dict[Net, list[EndedRun]] = {}
        for each in trained(sweep.runs):
            nets.setdefault((each.treatment, each.net), []).append(each)
        if not nets:
            continue
        dense = [score for score in sweep.scores if (score.rule, score.method, score.fusion) == ("single", "dense", "")]
        wrong = {score.runs[0].id: score.top1 for score in dense}
        of_error: dict[str, dict[Net, Misses]] = {
            "training": {net: {each.seed: np.array([each.train_error]) for each in own} for net, own in nets.items()},
            "validation": {
                net: {each.seed: wrong[each.id].unpack().astype(np.int8) for each in own if each.id in wrong}
                for net, own in nets.items()
            },
        }
        found = [(claim, _weighed(claim, of_error[claim.protocols])) for claim in CLAIMS]
        for claim, values in judged(found):
            rows.append({"sweep": sweep.name, "claim": claim.sentence, "of": claim.protocols} | values)
    return as_frame("depth-claims", rows)


def _weighed(claim: Claim, nets: Mapping[Net, Misses]) -> dict[str, Any]:
    """The cases that are there, as many seeds as all their nets have, and their difference. What `nets` miss is their
    error in training, or in validation whether they are wrong on each image.
    """

    def misses_of(side: Sum) -> Misses:
        every = [nets.get(net, {}) for net in side.nets]
        seeds = set[int].intersection(*map(set, every))
        return {seed: np.sum([each[seed] for each in every], axis=0) for seed in seeds}

    num_cases, seeds, difference_PRN = differences(claim, misses_of)
    values: dict[str, Any] = {"cases": num_cases, "seeds": len(seeds)}
    values |= dict.fromkeys(("points", "points_low", "points_high", "p"), math.nan)
    if seeds:
        in_training, difference_RN = claim.protocols == "training", difference_PRN.mean(axis=0)
        values["points"] = float(difference_RN.mean()) * (1 if in_training else 100)
        anew = None
        if len(seeds) >= MIN_SEEDS:
            anew = _over_seeds(difference_RN[:, 0]) if in_training else over_seeds_and_images(difference_RN)
        if anew is not None:
            values |= {"points_low": anew.low, "points_high": anew.high, "p": anew.p()}
    return values


def _over_seeds(points_R: NDArray[np.floating]) -> Difference | None:
    """Of one difference a seed; None where they agree to the last digit."""
    mean, spread = float(points_R.mean()), float(points_R.std(ddof=1))
    return Difference(mean, mean, spread / math.sqrt(len(points_R)), len(points_R) - 1) if spread else None


DEPTH_CLAIMS = Table(
    "depth-claims",
    "Claims about depth, in this sweep",
    depth_claims,
    (
        text("claim", wrap=30),
        text("of", "error"),
        text("seeds"),
        number("points", "points", sign="+"),
        interval("points", sign="+"),
        p_value("p_holm", "Holm", drop=1),
        text("verdict", wrap=14),
    ),
    (
        "Points are above 0 as claimed. Plain and with shortcuts: with BN and He's initial weights, E against G and 20 "
        "against 56 layers, what is there. Training error: t over seeds; validation error: seeds and images together.",
        f"Fewer than {MIN_SEEDS} seeds decide nothing about training.",
    ),
    where=("sweep",),
    of="training",
)
