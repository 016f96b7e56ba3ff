"""The sentences of the paper's Sect. 4, tested in a sweep, with those of Appendix B that its probes are about."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vgg_sweep.nets.columns import LEAST_LRN_SPREAD
from vgg_sweep.plan import commands
from vgg_sweep.plan.words import in_seeds
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.methods import BOTH, PAPER_CROP_PX
from vgg_sweep.protocols.statistics import MIN_SEEDS, MOST_SEEDS, POWER
from vgg_sweep.report.results.groups import Group
from vgg_sweep.report.tables.claims import (
    FOR_THESE_NETS,
    MARGIN_POINTS,
    Claim,
    Misses,
    Tested,
    claims_table,
    compared,
    judged,
    on_one_seed,
    weighed,
)
from vgg_sweep.report.tables.errors import Rows, frame_of
from vgg_sweep.report.tables.table import NOTED
from vgg_sweep.report.tables.transfer import probe_claims

NUM_POOLINGS = 5
"""Of each net of Table 1."""

METHODS = ("dense", "multi-crop", BOTH)


def _net(config: str, train_scale: str, rule: str = "single", method: str = "dense") -> Tested:
    return Tested((paper.Net(config, train_scale),), rule, method)


def _one(first: Tested, second: Tested) -> tuple[tuple[Tested, Tested]]:
    return ((first, second),)


def paper_claims() -> list[Claim]:
    """The claims of Sect. 4, in its order."""
    table4, D_E = [row.net for row in paper.rows("4")], (paper.Net("D", "jitter"), paper.Net("E", "jitter"))
    fused = {method: Tested(D_E, "multi", method, "post-submission") for method in METHODS}
    dense, both = "dense, single scale", "dense, multi-crop and both, multiple scales"
    A, B = _net("A", "256"), _net("B", "256")
    B_5x5, B_crop = (_net(config, "256", method="centre-crop") for config in ("B-5x5", "B"))
    C_D = tuple((_net("C", S), _net("D", S)) for S in ("256", "384", "jitter"))
    return [
        Claim("LRN does not help", "4.1", dense, _one(_net("A-LRN", "256"), A), no_gain=True),
        Claim("Error falls with depth, from A to E", "4.1", dense, _one(A, _net("E", "256"))),
        Claim("C does better than B: non-linearity helps", "4.1", dense, _one(B, _net("C", "256"))),
        Claim("C does worse than D: spatial context helps", "4.1", dense, C_D),
        Claim("One 5x5 layer does worse than two 3x3", "4.1", "centre crop", _one(B_5x5, B_crop)),
        *(
            Claim(f"Scale jitter in training beats S = {S}", "4.1", dense,
                  tuple((_net(net, S), _net(net, "jitter")) for net in ("C", "D", "E")))
            for S in ("256", "384")
        ),
        Claim("Scale jitter at test time helps", "4.2", "dense, single and multiple scales",
              tuple((Tested((net,)), Tested((net,), "multi")) for net in table4)),
        *(
            Claim(f"Multi-crop and dense together beat {method}", "4.3", f"{method} and both, multiple scales",
                  tuple((Tested((net,), "multi", method), Tested((net,), "multi", BOTH)) for net in D_E))
            for method in ("dense", "multi-crop")
        ),
        *(
            Claim(f"D and E fused beat {net.config} alone", "4.4", both,
                  tuple((Tested((net,), "multi", method), fused[method]) for method in METHODS))
            for net in D_E
        ),
    ]  # fmt: skip


def claims(results: pd.DataFrame, probes: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row for each claim, those that `probes` are about included. `points` of top-1 error are above 0 as claimed;
    with several seeds their 95 % interval covers seeds and images, else images alone. `p_images` is about these nets;
    the verdict rests on `p`, and on `p_holm` after Holm, which are NaN where it cannot be decided.
    """

    def rows_of(group: Group) -> Rows:
        found = [(claim, compared(claim, partial(_misses, group))) for claim in paper_claims()]
        if probes is not None:
            of_probes = probe_claims(probes, {row["run_id"] for row in group.rows})
            found += [(claim, weighed(claim, difference_PRN)) for claim, difference_PRN in of_probes]
        more = _more_seeds(group)
        for claim, values in judged(found):
            note = _note(claim, group, is_tested=values["seeds"] > 0)
            yield claim.names | values | {"note": note, "more_seeds": more}

    return frame_of("claims", rows_of, results)


def _misses(group: Group, side: Tested) -> Misses:
    found = group.of_nets(side.nets, side.rule, side.method, side.fusion)
    return {int(row["seed"]): row["top1_misses"].unpack().astype(np.int8) for row in found}


def _note(claim: Claim, group: Group, *, is_tested: bool) -> str:
    """Why these runs do not test a claim, or not as the paper does: LRN that does next to nothing; dense evaluation
    that looks at one position, as at small crops, where the claim is about ways of testing.
    """
    first, spreads = group.rows[0], [row["lrn_factor_spread"] for row in group.find(config="A-LRN")]
    least = min(filter(pd.notna, spreads), default=math.inf)
    if claim.no_gain and least < LEAST_LRN_SPREAD:
        return (
            f"LRN is not tested here: what it multiplies activations by varies by {least:.2%} only; "
            "recipe.pixel_max=255, as in the paper, makes them large enough."
        )
    Q = min((Q for row in group.find(method="dense") for Q in row["test_scales"]), default=0)
    about_dense = any("dense" in getattr(side, "method", "") for pair in claim.pairs for side in pair)
    if not is_tested or claim.about_training or not about_dense or Q == 0:
        return ""
    if grid_side(Q, first["crop"], first.get("pool_ceil", False)) > 1:
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
    """What trains each net of a group in as many seeds as decide claims about training, the sweep's own command if it
    does just that; empty if all are there.
    """
    nets: dict[tuple[str, str], list[Mapping[Any, Any]]] = {}
    for row in group.find(fusion=""):
        nets.setdefault((row["config"], row["train_scale"]), []).append(row)
    lines, wanted = [], []
    for net, rows in sorted(nets.items()):
        trained = {row["seed"] for row in rows}
        more = [seed for seed in range(2 * MIN_SEEDS) if seed not in trained]
        wanted.append(lacking := more[: max(0, MIN_SEEDS - len(trained))])
        if lacking:
            words = (f"protocol={rows[0]['protocol']}", *rows[0]["overrides"])
            lines.append(commands.multirun(*net, *words, seeds=lacking))
    if lines and all(seeds == wanted[0] for seeds in wanted):
        ids = {row["run_id"] for row in group.find(fusion="")}
        lines = [in_seeds(wanted[0], Path(group.where["sweep"]), ids, rows[0]["overrides"]) or " && ".join(lines)]
    return " && ".join(commands.merged(lines))


# --- what is said around the table ---


def _notes(frame: pd.DataFrame) -> Iterator[str]:
    if (frame["section"] == "App. B").any():
        yield "Appendix B: points of mean class recall or mAP, on the test images of all splits."
    yield from (f"{NOTED} {note}" for note in dict.fromkeys(filter(None, frame["note"])))
    if ((frame["pairs"] > 0) & (frame["pairs"] < frame["num_pairs"])).any():
        yield "* Some of the pairs that the paper compares are not in this sweep."
    if frame["verdict"].str.endswith(FOR_THESE_NETS).any():
        yield "For these nets: it holds on other images, and says nothing about nets trained again."


def _on_seeds(frame: pd.DataFrame) -> Iterator[str]:
    """How many seeds a difference of 1 point takes, over all claims; NA where it is more than are looked for."""
    if not (several := frame["seeds"] > 1).any():
        return
    needed = frame.loc[several, "seeds_for_1_point"]
    found = sorted(needed.dropna().unique())
    words = [f"{found[0]} to {found[-1]} seeds" if len(found) > 1 else f"{found[0]} seeds"] if found else []
    if needed.isna().any():
        words.append(f"more than {MOST_SEEDS} seeds, or more images")
    yield (
        "± seeds: standard deviation of the points over seeds. Judging by these seeds, detecting a difference of "
        f"1 point with a power of {100 * POWER:.0f} % takes, before Holm, {', for some claims '.join(words)}."
    )


def _above(frame: pd.DataFrame) -> Sequence[str]:
    """What few seeds mean for the claims."""
    if not (frame["more_seeds"] != "").any():
        return []
    nets = "The nets here have one seed" if frame["seeds"].max() == 1 else "Some nets here have fewer seeds"
    return [
        f"Fewer than {MIN_SEEDS} seeds decide nothing about training: nets trained again, with another seed, may go "
        f"the other way. {nets}; this trains the others:"
    ]


CLAIMS = claims_table(
    "claims",
    "Claims of the paper, in this sweep",
    lambda both: claims(*both),
    notes=(
        "Points: top-1 error of what the paper finds worse, minus that of the better, on the same images; "
        "pairs: how many of those compared go the paper's way.",
        "These nets: which way they go, and p over images alone. Holm: p among all claims that can be decided here, "
        "which the verdict follows.",
        f'"LRN does not help" is tested one-sided: against a gain of {MARGIN_POINTS} points.',
        *(_notes, on_one_seed, _on_seeds),
    ),
    above=(_above,),
    of="claims",
)
