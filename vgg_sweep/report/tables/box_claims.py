"""The sentences of Appendix A about localisation, tested in a sweep as those of Sect. 4 are (`claims.py`)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vgg_sweep.protocols import paper
from vgg_sweep.protocols.statistics import holm
from vgg_sweep.report.results.localised import OF_TRUE_CLASS, PAIR, TABLE9_BOXES, TABLE9_TRAINABLE, TOP5
from vgg_sweep.report.results.results import Sweep
from vgg_sweep.report.tables.box_rows import PAPERS_NET, Boxes, groups
from vgg_sweep.report.tables.claims import Claim, Side, summary, verdict, weighed
from vgg_sweep.report.tables.table import Table
from vgg_sweep.report.tables.verdicts import claim_columns


@dataclass(frozen=True)
class BoxClaim:
    """The first of two rows of Table 8 or 9 errs more than the second."""

    sentence: str
    table: str
    what: str
    first: Mapping[str, str]
    second: Mapping[str, str]

    def weighed_as(self) -> Claim:
        """For the tests of Sect. 4's claims: which nets are on which side."""
        return Claim(self.sentence, "A", self.table, ((_side(self.first), _side(self.second)),))


def _side(names: Mapping[str, str]) -> Side:
    kind = f"{names['boxes']}-{names['trainable']}".upper().replace("-ALL", "").replace("-FC", "-fc")
    return Side(tuple(paper.Net(kind, S) for S in names["train_scale"].split(" + ")))


def _crop(boxes: str, trainable: str) -> dict[str, str]:
    return {"rule": "centre", "train_scale": "384", "boxes": boxes, "trainable": trainable}


def _dense(train_scale: str, rule: str) -> dict[str, str]:
    return {"rule": rule, "train_scale": train_scale, "boxes": TABLE9_BOXES, "trainable": TABLE9_TRAINABLE}


BOX_CLAIMS = (
    BoxClaim("A box a class (PCR) beats one for all (SCR)", "true class, centre crop", OF_TRUE_CLASS,
             _crop("scr", "fc"), _crop("pcr", "fc")),
    BoxClaim("Fine-tuning all layers beats the FC layers alone", "true class, centre crop", OF_TRUE_CLASS,
             _crop("pcr", "fc"), _crop("pcr", "all")),
    BoxClaim("S = 384 beats S = 256", "top-5, dense, Q = S", TOP5, _dense("256", "single"), _dense("384", "single")),
    BoxClaim("Several scales at test time help", "top-5, dense, one Q and two", TOP5,
             _dense("384", "single"), _dense("384", PAIR)),
    BoxClaim("The boxes of two nets help", "top-5, dense, one net and two", TOP5,
             _dense("384", PAIR), _dense("256 + 384", "fusion")),
)  # fmt: skip
"""In the order of Appendix A."""


def box_claims(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """A row for each claim, with the columns of `claims.claims`."""
    rows = []
    for where, group in groups(sweeps):
        found = [_compare(claim, group) for claim in BOX_CLAIMS]
        adjusted = holm([values["p"] for values in found])
        for claim, values, p_holm in zip(BOX_CLAIMS, found, adjusted, strict=True):
            weighed_as = claim.weighed_as()
            (first, second), *_ = weighed_as.pairs
            names = {
                "claim": claim.sentence,
                "section": "A",
                "compared": f"{first} - {second}" if str(first) != str(second) else str(first),
                "protocols": claim.table,
            }
            said = verdict(values["seeds"], values["points"], p_holm, about_training=weighed_as.about_training)
            decided = {"p_holm": p_holm, "verdict": said}
            rows.append({"table": "box-claims"} | where | names | values | decided | {"note": ""})
    frame = pd.DataFrame(rows)
    return frame.astype({name: "Int64" for name in ("seeds", "n_images", "seeds_for_1_point") if name in frame})


def _compare(claim: BoxClaim, group: Boxes) -> dict[str, Any]:
    sides = [
        {
            row["seed"]: row["misses"].unpack()
            for row in group.find(claim.what, config=PAPERS_NET, **names)
            if row["merge"] in ("", group.merge)
        }
        for names in (claim.first, claim.second)
    ]
    shared = sorted(sides[0].keys() & sides[1].keys())
    counts = {"pairs": int(bool(shared)), "num_pairs": 1, "seeds": len(shared)}
    if not shared:
        numbers = ("points", "points_low", "points_high", "points_std", "p_images", "p")
        words = {"n_images": None, "direction": None, "test": None, "seeds_for_1_point": None}
        return counts | {"pairs_as_claimed": 0} | dict.fromkeys(numbers, math.nan) | words
    differences_RN = [sides[0][seed].astype(np.int8) - sides[1][seed] for seed in shared]
    return counts | weighed(claim.weighed_as(), np.array([differences_RN]))


def _notes(frame: pd.DataFrame) -> list[str]:
    return [
        "Points: localisation error of what the paper finds worse, minus that of the better, on the same images.",
        *(["With one seed the 95 % interval is over images alone."] if (frame["seeds"] == 1).any() else []),
    ]


CLAIMS_OF_BOXES = Table(
    "box-claims",
    "Claims of Appendix A about localisation, in this sweep",
    box_claims,
    claim_columns,
    _notes,
    total=lambda frame: summary(frame["verdict"]),
    ends=("against the claim", "as claimed"),
)
