"""Claims of a paper, tested in a sweep. Never forced.

Two nets are compared on the same images. A claim that is made of several nets (scale jitter: C, D and E) is tested on
the mean over those pairs of which both are there, which for one seed are one observation: its nets share their A.

A claim about training is decided by seeds and images together, from three seeds on; with fewer the report says which
way these nets go. A claim about testing the same weights may with fewer be decided for these nets, by images alone. The
verdict follows Holm's p over the claims of the sweep that can be decided.

Axes: P pairs, R seeds, N images.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vgg_sweep.protocols import paper
from vgg_sweep.protocols.statistics import (
    ALPHA,
    MIN_SEEDS,
    holm,
    mcnemar,
    over_images,
    over_seeds_and_images,
    seeds_needed,
)
from vgg_sweep.report.tables.gaps import with_gaps
from vgg_sweep.report.tables.table import DASH, NOTED, Column, Row, Table, if_any, interval, number, p_value, text

MARGIN_POINTS = 0.5
"""A net "does not help" where a gain beyond this is excluded. Our choice; the paper names none."""

FOR_THESE_NETS = " for these nets"
"""Follows a verdict that says nothing of nets trained again."""

TOO_FEW_SEEDS = {1: "one seed", 2: "two seeds"}
"""The verdict on a claim about training that only so many seeds have a say in."""


class Side(Protocol):
    """What is compared: a net, or several together, under a protocol. Its text is the names of its nets."""

    @property
    def nets(self) -> tuple[Hashable, ...]: ...


@dataclass(frozen=True)
class Tested:
    """One side of a comparison: a net, or several fused, under a protocol."""

    nets: tuple[paper.Net, ...]
    rule: str = "single"
    method: str = "dense"
    fusion: str = ""

    def __str__(self) -> str:
        return " + ".join(net.slug for net in self.nets)


@dataclass(frozen=True)
class Claim:
    """In each of `pairs`, the first errs more than the second; or, with `no_gain`, not less by `MARGIN_POINTS`."""

    sentence: str
    section: str
    protocols: str
    pairs: tuple[tuple[Side, Side], ...]
    no_gain: bool = False

    @property
    def null_points(self) -> float:
        """The difference that is tested against: the claim holds beyond it."""
        return -MARGIN_POINTS if self.no_gain else 0.0

    @property
    def about_training(self) -> bool:
        """Whether different trainings are compared, not ways to test the same nets or some of them."""
        return not all(set(first.nets) <= set(second.nets) for first, second in self.pairs)

    @property
    def names(self) -> dict[str, str]:
        """The first columns of its row."""
        firsts, seconds = (dict.fromkeys(str(pair[side]) for pair in self.pairs) for side in (0, 1))
        compared = [", ".join(firsts)] + ([", ".join(seconds)] if firsts != seconds else [])
        return {"claim": self.sentence, "section": self.section, "compared": " - ".join(compared),
                "protocols": self.protocols}  # fmt: skip


# --- what a sweep says of a claim ---


Misses = Mapping[int, NDArray[Any]]
"""Seed -> whether one side is wrong on each image, as numbers; or its error, where that is all that is known."""


def differences(claim: Claim, misses_of: Callable[[Any], Misses]) -> tuple[int, list[int], NDArray[Any]]:
    """Of how many pairs both sides are there, the seeds that all of these share, and the differences [P, R, N] in them:
    what the first of a pair misses minus what the second does.
    """
    sides = [(misses_of(first), misses_of(second)) for first, second in claim.pairs]
    there = [(first, second) for first, second in sides if first.keys() & second.keys()]
    seeds = sorted(set[int].intersection(*(first.keys() & second.keys() for first, second in there))) if there else []
    return len(there), seeds, np.array([[first[seed] - second[seed] for seed in seeds] for first, second in there])


def compared(claim: Claim, misses_of: Callable[[Any], Misses]) -> dict[str, Any]:
    """The columns of a claim's row from its pairs on; NaN and None where no pair is there."""
    num_pairs, seeds, difference_PRN = differences(claim, misses_of)
    if seeds:
        return weighed(claim, difference_PRN)
    numbers = ("points", "points_low", "points_high", "points_std", "p_images", "p")
    counts = {"pairs": num_pairs, "num_pairs": len(claim.pairs), "seeds": 0, "pairs_as_claimed": 0}
    words = dict.fromkeys(("n_images", "direction", "test", "seeds_for_1_point"))
    return counts | dict.fromkeys(numbers, math.nan) | words


def weighed(claim: Claim, difference_PRN: NDArray[Any]) -> dict[str, Any]:
    """What P pairs, R seeds and N images say of a claim: whether the first of a pair is wrong minus whether the second
    is. The pairs of a seed are averaged first: its chain of nets is what is drawn anew with another seed.
    """
    num_pairs, num_seeds, num_images = difference_PRN.shape
    difference_RN = difference_PRN.mean(axis=0)
    these_nets = over_images(difference_RN)
    are_counts = np.issubdtype(difference_PRN.dtype, np.integer)
    if num_pairs == num_seeds == 1 and are_counts and not claim.no_gain:
        test, p_images = "McNemar", mcnemar(int((difference_PRN == 1).sum()), int((difference_PRN == -1).sum()))
    else:
        test, p_images = "normal", these_nets.p(claim.null_points)
    nets_anew = over_seeds_and_images(difference_RN) if num_seeds > 1 else these_nets
    shown, p = these_nets, p_images
    if claim.about_training or num_seeds >= MIN_SEEDS:
        shown, p = nets_anew, nets_anew.p(claim.null_points) if num_seeds >= MIN_SEEDS else math.nan
    pair_points_P, points_std, needed = 100 * difference_PRN.mean(axis=(1, 2)), math.nan, None
    if num_seeds > 1:
        points_std = float(100 * difference_RN.mean(axis=1).std(ddof=1))
        image_error = math.sqrt(max(nets_anew.standard_error**2 - points_std**2 / num_seeds, 0))
        needed = seeds_needed(1, points_std, image_error)
    beyond = shown.points - claim.null_points
    return {
        "pairs": num_pairs,
        "num_pairs": len(claim.pairs),
        "seeds": num_seeds,
        "pairs_as_claimed": int((pair_points_P > claim.null_points).sum()),
        "n_images": num_images,
        "points": shown.points,
        "points_low": shown.low,
        "points_high": shown.high,
        "points_std": points_std,
        "direction": "as claimed" if beyond > 0 else "against" if beyond < 0 else "equal",
        "test": test,
        "p_images": p_images,
        "p": p,
        "seeds_for_1_point": needed,
    }


def verdict(claim: Claim, num_seeds: int, points: float, p: float) -> str:
    """`supported`, `contradicted` or `undecided`, the first two for these nets alone where fewer than `MIN_SEEDS` seeds
    tell ways of testing apart; of training so few say nothing, and none is `missing`.
    """
    if num_seeds == 0:
        return "missing"
    if num_seeds < MIN_SEEDS and claim.about_training:
        return TOO_FEW_SEEDS[num_seeds]
    if not p < ALPHA:
        return "undecided"
    side = "supported" if points > claim.null_points else "contradicted"
    return side if num_seeds >= MIN_SEEDS else side + FOR_THESE_NETS


def judged(found: Sequence[tuple[Claim, Mapping[str, Any]]]) -> Iterator[tuple[Claim, dict[str, Any]]]:
    """Each claim of a group and what is found of it, with its p after Holm among all of them, and the verdict."""
    adjusted = holm([values["p"] for _, values in found])
    for (claim, values), p_holm in zip(found, adjusted, strict=True):
        decided = verdict(claim, values["seeds"], values["points"], p_holm)
        yield claim, {**values, "p_holm": p_holm, "verdict": decided}


def summary(verdicts: Iterable[str]) -> str:
    """Such as "7 supported, 1 contradicted, 3 undecided, 1 missing", and what else there is."""
    found = list(verdicts)
    always = ("supported", "contradicted", "undecided")
    sides = [side + scope for side in always[:2] for scope in ("", FOR_THESE_NETS)]
    kinds = [*sides, "undecided", *TOO_FEW_SEEDS.values(), "missing"]
    return ", ".join(f"{found.count(kind)} {kind}" for kind in kinds if kind in always or kind in found)


# --- columns ---


def _pairs(row: Row) -> str:
    some = "*" if row["pairs"] != row["num_pairs"] else ""
    return f"{row['pairs_as_claimed']} of {row['pairs']}{some}" if row["pairs"] else DASH


def _these_nets(row: Row) -> str:
    return f"{row['direction']}, {p_value('p_images', 'p').cell(row)}" if row["seeds"] else DASH


_COLUMNS = (
    Column("claim", "claim", lambda row: row["claim"] + (NOTED if row["note"] else ""), wrap=30),
    text("section", "Sect.", drop=6),
    text("compared", wrap=24, drop=5),
    Column("pairs", "pairs", _pairs, drop=1),
    number("points", "points", sign="+"),
    interval("points", sign="+"),
    if_any(number("points_std", "± seeds", drop=4)),
    Column("p_images", "these nets, p", _these_nets, drop=2),
    p_value("p", "p", drop=3),
    p_value("p_holm", "Holm", drop=3),
    text("verdict", wrap=14),
)


def on_one_seed(frame: pd.DataFrame) -> list[str]:
    return ["With one seed the 95 % interval is over images alone."] * bool((frame["seeds"] == 1).any())


ENDS = ("against the claim", "as claimed")
"""Of the scale of points."""

claims_table = partial(Table, columns=_COLUMNS, total=lambda frame: summary(frame["verdict"]), ends=ENDS,
                       visible=with_gaps)  # fmt: skip
