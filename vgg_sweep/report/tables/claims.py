"""The sentences of the paper's results, tested in a sweep: supported, contradicted, undecided or missing there. Never
forced.

Two nets are compared on the same images. A claim that the paper makes of several nets (scale jitter: C, D and E) is
tested on the mean over those pairs of which both are there. One pair of one seed each: McNemar's test. Otherwise the
errors of each image are averaged over pairs and seeds, and the difference is tested against its variance over images
plus, where there are several seeds, that between seeds (normal approximation). With one seed the verdict is about these
trained nets: it cannot say what training again would give.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vgg_sweep.protocols import paper
from vgg_sweep.protocols.means import BOTH
from vgg_sweep.protocols.metrics import Z95, discordant, mcnemar, normal_p, paired_difference
from vgg_sweep.report.tables.tables import Group, by_settings

ALPHA = 0.05
"""A difference with a smaller p decides a claim."""

MARGIN_POINTS = 0.5
"""A net "does not help" where the 95 % interval holds no gain beyond this. Our choice; the paper names none."""

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
    """In each of `pairs`, the first errs more than the second; or, with `no_gain`, not less."""

    sentence: str
    section: str
    protocols: str
    pairs: tuple[tuple[Side, Side], ...]
    no_gain: bool = False


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


def claims(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each claim: points of top-1 error (above 0 is as claimed), their 95 % interval, p, verdict."""
    rows = []
    for where, group in by_settings(results):
        for claim in paper_claims():
            names = {
                "claim": claim.sentence,
                "section": claim.section,
                "compared": _compared(claim),
                "protocols": claim.protocols,
            }
            rows.append({"table": "claims"} | where | names | _tested(claim, group))
    return pd.DataFrame(rows).astype({"seeds": "Int64", "n_images": "Int64"})


def _compared(claim: Claim) -> str:
    firsts, seconds = (dict.fromkeys(str(pair[side]) for pair in claim.pairs) for side in (0, 1))
    if firsts == seconds:
        return ", ".join(firsts)
    return f"{', '.join(firsts)} - {', '.join(seconds)}"


def _tested(claim: Claim, group: Group) -> dict[str, Any]:
    pairs = []
    for pair in claim.pairs:
        first, second = (_misses_by_seed(group, side) for side in pair)
        if first.keys() & second.keys():
            pairs.append((first, second))
    seeds = sorted(set[int].intersection(*(first.keys() & second.keys() for first, second in pairs))) if pairs else []
    counts = {"pairs": len(pairs), "num_pairs": len(claim.pairs), "seeds": len(seeds)}
    if not seeds:
        nothing = dict.fromkeys(("points", "points_low", "points_high", "p"), math.nan)
        return counts | {"pairs_as_claimed": 0, "n_images": None} | nothing | {"test": None, "verdict": "missing"}
    # P pairs, R seeds, N images: whether the first is wrong minus whether the second is
    difference_PRN = np.array(
        [[first[seed].astype(np.int8) - second[seed] for seed in seeds] for first, second in pairs]
    )
    seed_points_R = 100 * difference_PRN.mean(axis=(0, 2))
    seed_variance = float(seed_points_R.var(ddof=1)) / len(seeds) if len(seeds) > 1 else 0.0
    points, low, high = paired_difference(difference_PRN.mean(axis=(0, 1)), seed_variance)
    if len(pairs) == len(seeds) == 1:
        test, p = "McNemar", mcnemar(*discordant(pairs[0][0][seeds[0]], pairs[0][1][seeds[0]]))
    else:
        test, p = "normal", normal_p((low + high) / 2 / ((high - low) / (2 * Z95)))
    as_claimed = int((difference_PRN.mean(axis=(1, 2)) > 0).sum())
    found = {
        "n_images": difference_PRN.shape[2],
        "points": points,
        "points_low": low,
        "points_high": high,
        "p": p,
        "test": test,
    }
    return counts | {"pairs_as_claimed": as_claimed} | found | {"verdict": verdict(points, low, p, claim.no_gain)}


def _misses_by_seed(group: Group, side: Side) -> dict[int, NDArray[np.bool_]]:
    rows = group.find(side.nets, side.rule, side.method, side.fusion)
    return {int(row["seed"]): row["top1_misses"].unpack() for row in rows}


def verdict(points: float, low: float, p: float, no_gain: bool) -> str:
    """`supported`, `contradicted` or `undecided`, where the claim expects `points` above 0 (`no_gain`: not below)."""
    if p < ALPHA and points < 0:
        return "contradicted"
    if no_gain:
        return "supported" if low > -MARGIN_POINTS else "undecided"
    return "supported" if p < ALPHA else "undecided"


def summary(verdicts: Iterable[str]) -> str:
    """Such as "7 supported, 1 contradicted, 3 undecided, 1 missing"."""
    found = list(verdicts)
    return ", ".join(f"{found.count(kind)} {kind}" for kind in ("supported", "contradicted", "undecided", "missing"))
