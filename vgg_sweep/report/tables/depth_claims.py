"""What He et al. 2015 say of depth, and what batch normalisation does for it, tested in a sweep.

Validation errors are compared image by image, by seeds and images together. Training errors are known by seed alone:
their differences are tested by t over seeds. In either case from three seeds on, and after Holm's correction.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pandas as pd

from vgg_sweep.protocols.statistics import ALPHA, MIN_SEEDS, Difference, holm, over_seeds_and_images
from vgg_sweep.report.results.results import Sweep
from vgg_sweep.report.tables.claims import TOO_FEW_SEEDS
from vgg_sweep.report.tables.depth import Trained, goes_deeper, trained
from vgg_sweep.report.tables.table import Column, Table, interval, number, p_value, text

Net = tuple[str, str]
"""How it is trained, and which it is: ("He, BN", "E")."""


@dataclass(frozen=True)
class DepthClaim:
    """In each of `cases`, the errors of the nets, each times its sign, come to more than 0."""

    sentence: str
    of: str
    """`training` or `validation` error."""
    cases: tuple[tuple[tuple[int, Net], ...], ...]


PLAIN, SKIP = "He, BN", "He, BN, shortcuts"


def _deeper(how: str, sign: int) -> tuple[tuple[tuple[int, Net], ...], ...]:
    """The deeper of two minus the shallower, or the other way round."""
    pairs = (("E", "G"), ("20 layers", "56 layers"))
    return tuple(((sign, (how, deep)), (-sign, (how, shallow))) for shallow, deep in pairs)


CLAIMS = (
    DepthClaim("Plain nets: the deeper errs more in training", "training", _deeper(PLAIN, 1)),
    DepthClaim("With shortcuts the deeper errs less in training", "training", _deeper(SKIP, -1)),
    DepthClaim(
        "With BN and random weights E beats E from A",
        "validation",
        (((1, ("from A", "E")), (-1, (PLAIN, "E"))),),
    ),
    DepthClaim(
        "BN helps the deeper net more, E than A",
        "validation",
        (((1, ("He", "E")), (-1, (PLAIN, "E")), (-1, ("He", "A")), (1, (PLAIN, "A"))),),
    ),
)


def depth_claims(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """A row for each claim of each sweep with deeper nets. `points` are above 0 as claimed."""
    rows = []
    for sweep in sweeps:
        if not goes_deeper(sweep.runs):
            continue
        nets: dict[Net, dict[int, Trained]] = {}
        for each in trained(sweep.runs):
            nets.setdefault((each.treatment, each.net), {})[each.seed] = each
        found = [(claim, _weighed(claim, nets, sweep.results)) for claim in CLAIMS]
        adjusted = holm([values["p"] for _, values in found])
        for (claim, values), p_holm in zip(found, adjusted, strict=True):
            said = {"p_holm": p_holm, "verdict": _verdict(values["seeds"], values["points"], p_holm)}
            names = {"table": "depth-claims", "sweep": sweep.name, "claim": claim.sentence, "of": claim.of}
            rows.append(names | values | said)
    return pd.DataFrame(rows)


def _weighed(claim: DepthClaim, nets: Mapping[Net, Mapping[int, Trained]], results: pd.DataFrame) -> dict[str, Any]:
    """The cases that are there, as many seeds as all their nets have, and their difference."""
    cases = [case for case in claim.cases if _shared(case, nets)]
    seeds = sorted(set[int].intersection(*(_shared(case, nets) for case in cases))) if cases else []
    counts = {"cases": len(cases), "seeds": len(seeds)}
    nothing = dict.fromkeys(("points", "points_low", "points_high", "p"), math.nan)
    if not seeds:
        return counts | nothing
    terms = [[(sign, nets[net]) for sign, net in case] for case in cases]
    if claim.of == "training":
        by_seed = [fmean(sum(sign * net[seed].train_error for sign, net in case) for case in terms) for seed in seeds]
        difference = _over_seeds(by_seed)
        points = fmean(by_seed)
    else:
        misses = dict(_misses(results))
        parts_RN = np.mean(
            [[sum(sign * misses[net[seed].id] for sign, net in case) for seed in seeds] for case in terms], axis=0
        )
        points = 100 * float(parts_RN.mean())
        difference = over_seeds_and_images(parts_RN) if len(seeds) >= MIN_SEEDS else None
    if difference is None:
        return counts | nothing | {"points": points}
    ends = {"points_low": difference.low, "points_high": difference.high}
    return counts | {"points": points} | ends | {"p": difference.p()}


def _shared(case: Sequence[tuple[int, Net]], nets: Mapping[Net, Mapping[int, Trained]]) -> set[int]:
    """The seeds that all nets of a case were trained with."""
    return set[int].intersection(*(set(nets.get(net, ())) for _, net in case))


def _over_seeds(points: Sequence[float]) -> Difference | None:
    """Of one difference a seed; None where these are too few, or agree to the last digit."""
    if len(points) < MIN_SEEDS or not (spread := stdev(points)):
        return None
    return Difference(fmean(points), fmean(points), spread / math.sqrt(len(points)), len(points) - 1)


def _misses(results: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    """Of each run whether it is wrong on each image, under dense evaluation at a single scale."""
    rows = results[(results["rule"] == "single") & (results["method"] == "dense") & (results["fusion"] == "")]
    for run_id, misses in zip(rows["run_id"], rows["top1_misses"], strict=True):
        yield str(run_id), misses.unpack().astype(np.int8)


def _verdict(num_seeds: int, points: float, p: float) -> str:
    if num_seeds == 0:
        return "missing"
    if num_seeds < MIN_SEEDS:
        return TOO_FEW_SEEDS[num_seeds]
    if not p < ALPHA:
        return "undecided"
    return "supported" if points > 0 else "contradicted"


def _columns(frame: pd.DataFrame) -> list[Column]:
    return [
        text("claim", wrap=30),
        text("of", "error"),
        text("seeds"),
        number("points", "points", sign="+"),
        interval("points", sign="+"),
        p_value("p_holm", "Holm", drop=1),
        text("verdict", wrap=14),
    ]


_NOTES = (
    "Points are above 0 as claimed. Plain and with shortcuts: with BN and He's initial weights, E against G and 20 "
    "against 56 layers, what is there. Training error: t over seeds; validation error: seeds and images together.",
    f"Fewer than {MIN_SEEDS} seeds decide nothing about training.",
)

DEPTH_CLAIMS = Table(
    "depth-claims", "Claims about depth, in this sweep", depth_claims, _columns, lambda frame: _NOTES, where=("sweep",)
)
