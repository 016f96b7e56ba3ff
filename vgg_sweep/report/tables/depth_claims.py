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

from vgg_sweep.protocols.statistics import MIN_SEEDS, Difference, over_seeds_and_images
from vgg_sweep.report.results.results import Sweep
from vgg_sweep.report.tables.claims import Claim, Misses, differences, judged
from vgg_sweep.report.tables.depth import Trained, trained
from vgg_sweep.report.tables.table import Column, Table, as_frame, interval, number, p_value, text

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
        nets: dict[Net, dict[int, Trained]] = {}
        for each in trained(sweep.runs):
            nets.setdefault((each.treatment, each.net), {})[each.seed] = each
        if not nets:
            continue
        misses = _misses(sweep.results)
        found = [(claim, _weighed(claim, nets, misses)) for claim in CLAIMS]
        for claim, values in judged(found):
            rows.append({"sweep": sweep.name, "claim": claim.sentence, "of": claim.protocols} | values)
    return as_frame("depth-claims", rows)


def _weighed(
    claim: Claim, nets: Mapping[Net, Mapping[int, Trained]], misses: Mapping[str, NDArray[np.int8]]
) -> dict[str, Any]:
    """The cases that are there, as many seeds as all their nets have, and their difference."""
    in_training = claim.protocols == "training"

    def misses_of(side: Sum) -> Misses:
        """The errors of its nets added: in training, those; in validation, whether each is wrong on each image."""
        every = [
            {seed: np.array([each.train_error]) if in_training else misses[each.id] for seed, each in runs.items()
             if in_training or each.id in misses}
            for runs in (nets.get(net, {}) for net in side.nets)
        ]  # fmt: skip
        seeds = set[int].intersection(*map(set, every))
        return {seed: np.sum([each[seed] for each in every], axis=0) for seed in seeds}

    num_cases, seeds, difference_PRN = differences(claim, misses_of)
    values: dict[str, Any] = {"cases": num_cases, "seeds": len(seeds)}
    values |= dict.fromkeys(("points", "points_low", "points_high", "p"), math.nan)
    if seeds:
        difference_RN = difference_PRN.mean(axis=0)
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

DEPTH_CLAIMS = Table("depth-claims", "Claims about depth, in this sweep", depth_claims, _columns, lambda frame: _NOTES,
                     where=("sweep",), of="training")  # fmt: skip
