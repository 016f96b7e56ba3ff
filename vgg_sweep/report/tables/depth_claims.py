"""What He et al. 2015 say of depth, and what batch normalisation does for it, tested in a sweep.

Validation errors are compared image by image, by seeds and images together. Training errors are known by seed alone:
their differences are tested by t over seeds. In either case from three seeds on, and after Holm's correction.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vgg_sweep.protocols.statistics import MIN_SEEDS, Difference, holm, over_seeds_and_images
from vgg_sweep.report.results.results import Sweep
from vgg_sweep.report.tables.claims import verdict
from vgg_sweep.report.tables.depth import Trained, trained
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
        nets: dict[Net, list[Trained]] = {}
        for each in trained(sweep.runs):
            nets.setdefault((each.treatment, each.net), []).append(each)
        misses = _misses(sweep.results)
        found = [(claim, _weighed(claim, nets, misses)) for claim in (CLAIMS if nets else ())]
        adjusted = holm([values["p"] for _, values in found])
        for (claim, values), p_holm in zip(found, adjusted, strict=True):
            said = verdict(values["seeds"], values["points"], p_holm, about_training=True)
            names = {"table": "depth-claims", "sweep": sweep.name, "claim": claim.sentence, "of": claim.of}
            rows.append(names | values | {"p_holm": p_holm, "verdict": said})
    return pd.DataFrame(rows)


def _weighed(
    claim: DepthClaim, nets: Mapping[Net, Sequence[Trained]], misses: Mapping[str, NDArray[np.int8]]
) -> dict[str, Any]:
    """The cases that are there, as many seeds as all their nets have, and their difference."""
    of_training = claim.of == "training"
    errors: dict[Net, dict[int, Any]] = {
        net: {each.seed: each.train_error for each in runs}
        if of_training
        else {each.seed: misses[each.id] for each in runs if each.id in misses}
        for net, runs in nets.items()
    }
    cases = [case for case in claim.cases if _shared(case, errors)]
    seeds = sorted(set[int].intersection(*(_shared(case, errors) for case in cases))) if cases else []
    values: dict[str, Any] = {"cases": len(cases), "seeds": len(seeds)}
    values |= dict.fromkeys(("points", "points_low", "points_high", "p"), math.nan)
    if not seeds:
        return values
    parts_R = np.mean([[sum(sign * errors[net][seed] for sign, net in case) for seed in seeds] for case in cases], 0)
    values["points"] = float(parts_R.mean()) * (1 if of_training else 100)
    difference = None
    if len(seeds) >= MIN_SEEDS:
        difference = _over_seeds(parts_R) if of_training else over_seeds_and_images(parts_R)
    if difference is not None:
        values |= {"points_low": difference.low, "points_high": difference.high, "p": difference.p()}
    return values


def _shared(case: Sequence[tuple[int, Net]], errors: Mapping[Net, Mapping[int, Any]]) -> set[int]:
    """The seeds that all nets of a case have errors of."""
    return set[int].intersection(*(set(errors.get(net, ())) for _, net in case))


def _over_seeds(points_R: NDArray[np.floating]) -> Difference | None:
    """Of one difference a seed; None where they agree to the last digit."""
    mean, spread = float(points_R.mean()), float(points_R.std(ddof=1))
    return Difference(mean, mean, spread / math.sqrt(len(points_R)), len(points_R) - 1) if spread else None


def _misses(results: pd.DataFrame) -> dict[str, NDArray[np.int8]]:
    """Of each run whether it is wrong on each image, under dense evaluation at a single scale."""
    rows = results[(results["rule"] == "single") & (results["method"] == "dense") & (results["fusion"] == "")]
    found = zip(rows["run_id"], rows["top1_misses"], strict=True)
    return {str(run_id): misses.unpack().astype(np.int8) for run_id, misses in found}


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
