"""The sentences of the paper's results, tested in a sweep. Never forced.

Two nets are compared on the same images. A claim that the paper makes of several nets (scale jitter: C, D and E) is
tested on the mean over those pairs of which both are there, which for one seed are one observation: its nets share
their A.

A claim about training is decided by seeds and images together, from three seeds on; with fewer the report says which
way these nets go. A claim about testing the same weights may with fewer be decided for these nets, by images alone. The
verdict follows Holm's p over the claims of the sweep that can be decided.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vgg_sweep.nets.columns import LEAST_LRN_SPREAD
from vgg_sweep.plan import commands
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.methods import BOTH, PAPER_CROP_PX
from vgg_sweep.protocols.statistics import (
    ALPHA,
    MIN_SEEDS,
    holm,
    mcnemar,
    over_images,
    over_seeds_and_images,
    seeds_needed,
)
from vgg_sweep.report.results.groups import Group, by_settings

MARGIN_POINTS = 0.5
"""A net "does not help" where a gain beyond this is excluded. Our choice; the paper names none."""

NUM_POOLINGS = 5
"""Of each net of Table 1."""

FOR_THESE_NETS = " for these nets"
"""Follows a verdict that says nothing of nets trained again."""

TOO_FEW_SEEDS = {1: "one seed", 2: "two seeds"}
"""The verdict on a claim about training that only so many seeds have a say in."""

METHODS = ("dense", "multi-crop", BOTH)


@dataclass(frozen=True)
class Side:
    """One row to be compared: a net, or several fused, under a protocol."""

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


def _net(config: str, train_scale: str, rule: str = "single", method: str = "dense") -> Side:
    return Side((paper.Net(config, train_scale),), rule, method)


def paper_claims() -> list[Claim]:
    """The claims of Sect. 4, in its order."""
    jittered = ("C", "D", "E")
    table4 = [row.net for row in paper.rows("4")]
    fused = {
        method: Side((paper.Net("D", "jitter"), paper.Net("E", "jitter")), "multi", method, "post-submission")
        for method in METHODS
    }
    dense = "dense, single scale"
    return [
        Claim("LRN does not help", "4.1", dense, ((_net("A-LRN", "256"), _net("A", "256")),), no_gain=True),
        Claim("Error falls with depth, from A to E", "4.1", dense, ((_net("A", "256"), _net("E", "256")),)),
        Claim("C does better than B: non-linearity helps", "4.1", dense, ((_net("B", "256"), _net("C", "256")),)),
        Claim(
            "C does worse than D: spatial context helps",
            "4.1",
            dense,
            tuple((_net("C", S), _net("D", S)) for S in ("256", "384", "jitter")),
        ),
        Claim(
            "One 5x5 layer does worse than two 3x3",
            "4.1",
            "centre crop",
            ((_net("B-5x5", "256", method="centre-crop"), _net("B", "256", method="centre-crop")),),
        ),
        *(
            Claim(
                f"Scale jitter in training beats S = {S}",
                "4.1",
                dense,
                tuple((_net(net, S), _net(net, "jitter")) for net in jittered),
            )
            for S in ("256", "384")
        ),
        Claim(
            "Scale jitter at test time helps",
            "4.2",
            "dense, single and multiple scales",
            tuple((Side((net,)), Side((net,), "multi")) for net in table4),
        ),
        *(
            Claim(
                f"Multi-crop and dense together beat {method}",
                "4.3",
                f"{method} and both, multiple scales",
                tuple((_net(net, "jitter", "multi", method), _net(net, "jitter", "multi", BOTH)) for net in ("D", "E")),
            )
            for method in ("dense", "multi-crop")
        ),
        *(
            Claim(
                f"D and E fused beat {net} alone",
                "4.4",
                "dense, multi-crop and both, multiple scales",
                tuple((_net(net, "jitter", "multi", method), fused[method]) for method in METHODS),
            )
            for net in ("D", "E")
        ),
    ]


Probes = Callable[[set[str]], Iterable[tuple[Claim, NDArray[np.floating]]]]
"""The ids of some runs to the claims that their probes are about, with the differences [P, R, N] of each."""


def claims(results: pd.DataFrame, probes: Probes = lambda run_ids: ()) -> pd.DataFrame:
    """A row for each claim. `points` of top-1 error are above 0 as claimed; with several seeds their 95 % interval
    covers seeds and images, else images alone. `p_images` is about these nets; the verdict rests on `p`, and on
    `p_holm` after Holm, which are NaN where it cannot be decided.
    """
    rows = []
    for where, group in by_settings(results):
        found = [(claim, _compare(claim, group)) for claim in paper_claims()]
        found += [(claim, _of_probes(claim, each)) for claim, each in probes(set(group.rows["run_id"]))]
        adjusted, more = holm([values["p"] for _, values in found]), _more_seeds(group)
        for (claim, values), p_holm in zip(found, adjusted, strict=True):
            names = {
                "claim": claim.sentence,
                "section": claim.section,
                "compared": _compared(claim),
                "protocols": claim.protocols,
            }
            points = values["points"] - claim.null_points
            said = verdict(values["seeds"], points, p_holm, about_training=claim.about_training)
            decided = {"p_holm": p_holm, "verdict": said}
            about = {"note": _note(claim, group, is_tested=values["seeds"] > 0), "more_seeds": more}
            rows.append({"table": "claims"} | where | names | values | decided | about)
    return pd.DataFrame(rows).astype({"seeds": "Int64", "n_images": "Int64", "seeds_for_1_point": "Int64"})


def _note(claim: Claim, group: Group, *, is_tested: bool) -> str:
    """Why these runs do not test a claim, or not as the paper does."""
    spreads = group.rows.loc[group.rows["config"] == "A-LRN", "lrn_factor_spread"].dropna()
    if claim.no_gain and not spreads.empty and (least := spreads.min()) < LEAST_LRN_SPREAD:
        return (
            f"LRN is not tested here: what it multiplies activations by varies by {least:.2%} only; "
            "recipe.pixel_max=255, as in the paper, makes them large enough."
        )
    return _note_on_grid(claim, group.rows) if is_tested else ""


def _note_on_grid(claim: Claim, rows: pd.DataFrame) -> str:
    """That dense evaluation looks at one position, as at small crops, where the claim is about ways of testing."""
    crop, ceil = int(rows["crop"].iloc[0]), bool(rows["pool_ceil"].iloc[0]) if "pool_ceil" in rows else False
    Q = min((min(scales) for scales in rows.loc[rows["method"] == "dense", "test_scales"]), default=0)
    about_dense = any("dense" in side.method for pair in claim.pairs for side in pair)
    if claim.about_training or not about_dense or Q == 0 or grid_side(Q, crop, ceil) > 1:
        return ""
    theirs = grid_side(256, PAPER_CROP_PX, ceil=False)
    return (
        f"At Q = {Q} px the dense grid of a square image has one position here, so dense evaluation sees the image "
        f"once, as a crop does; the paper's has {theirs} x {theirs} at 256 px."
    )


def grid_side(Q: int, crop: int, ceil: bool) -> int:
    """Positions along a side of the class score map of a Q x Q image: five poolings halve it, and fc6 covers what they
    leave of a crop.
    """
    sides = [Q, crop]
    for _ in range(NUM_POOLINGS):
        sides = [(side + ceil) // 2 for side in sides]
    return sides[0] - sides[1] + 1


def _more_seeds(group: Group) -> str:
    """What trains each net of a group in as many seeds as decide claims about training; empty if all are there."""
    lines = []
    for (net, train_scale), rows in group.rows[group.rows["fusion"] == ""].groupby(["config", "train_scale"]):
        trained = set(rows["seed"])
        more = [str(seed) for seed in range(2 * MIN_SEEDS) if seed not in trained]
        if lacking := more[: max(0, MIN_SEEDS - len(trained))]:
            first = rows.iloc[0]
            words = (f"model={net}", f"train_scale={train_scale}", f"protocol={first['protocol']}")
            lines.append(commands.command("multirun", *words, *first["overrides"], f"seed={','.join(lacking)}"))
    return " && ".join(commands.merged(lines))


def _compared(claim: Claim) -> str:
    firsts, seconds = (dict.fromkeys(str(pair[side]) for pair in claim.pairs) for side in (0, 1))
    if firsts == seconds:
        return ", ".join(firsts)
    return f"{', '.join(firsts)} - {', '.join(seconds)}"


def _compare(claim: Claim, group: Group) -> dict[str, Any]:
    pairs = []
    for pair in claim.pairs:
        first, second = (_misses_by_seed(group, side) for side in pair)
        if first.keys() & second.keys():
            pairs.append((first, second))
    seeds = sorted(set[int].intersection(*(first.keys() & second.keys() for first, second in pairs))) if pairs else []
    counts = {"pairs": len(pairs), "num_pairs": len(claim.pairs), "seeds": len(seeds)}
    if not seeds:
        numbers = ("points", "points_low", "points_high", "points_std", "p_images", "p")
        words = {"n_images": None, "direction": None, "test": None, "seeds_for_1_point": None}
        return counts | {"pairs_as_claimed": 0} | dict.fromkeys(numbers, math.nan) | words
    differences = [[first[seed].astype(np.int8) - second[seed] for seed in seeds] for first, second in pairs]
    return counts | weighed(claim, np.array(differences))


def _of_probes(claim: Claim, difference_PRN: NDArray[np.floating]) -> dict[str, Any]:
    num_pairs, num_seeds, _ = difference_PRN.shape
    return {"pairs": num_pairs, "num_pairs": num_pairs, "seeds": num_seeds} | weighed(claim, difference_PRN)


def weighed(claim: Claim, difference_PRN: NDArray[np.integer] | NDArray[np.floating]) -> dict[str, Any]:
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
    return {
        "pairs_as_claimed": int((pair_points_P > claim.null_points).sum()),
        "n_images": num_images,
        "points": shown.points,
        "points_low": shown.low,
        "points_high": shown.high,
        "points_std": points_std,
        "direction": _direction(shown.points - claim.null_points),
        "test": test,
        "p_images": p_images,
        "p": p,
        "seeds_for_1_point": needed,
    }


def _direction(points: float) -> str:
    return "as claimed" if points > 0 else "against" if points < 0 else "equal"


def _misses_by_seed(group: Group, side: Side) -> dict[int, NDArray[np.bool_]]:
    rows = group.find(side.nets, side.rule, side.method, side.fusion)
    return {int(row["seed"]): row["top1_misses"].unpack() for row in rows}


def verdict(num_seeds: int, points: float, p: float, *, about_training: bool) -> str:
    """`supported` (`points` above 0), `contradicted` or `undecided`, the first two for these nets alone where fewer
    than `MIN_SEEDS` seeds tell ways of testing apart; of training so few say nothing, and none is `missing`.
    """
    if num_seeds == 0:
        return "missing"
    if num_seeds < MIN_SEEDS and about_training:
        return TOO_FEW_SEEDS[num_seeds]
    if not p < ALPHA:
        return "undecided"
    side = "supported" if points > 0 else "contradicted"
    return side if num_seeds >= MIN_SEEDS else side + FOR_THESE_NETS


def summary(verdicts: Iterable[str]) -> str:
    """Such as "7 supported, 1 contradicted, 3 undecided, 1 missing", and what else there is."""
    found = list(verdicts)
    always = ("supported", "contradicted", "undecided")
    sides = [side + scope for side in always[:2] for scope in ("", FOR_THESE_NETS)]
    kinds = [*sides, "undecided", *TOO_FEW_SEEDS.values(), "missing"]
    return ", ".join(f"{found.count(kind)} {kind}" for kind in kinds if kind in always or kind in found)
