"""The sentences of Appendix A about localisation, tested in a sweep as those of Sect. 4 are."""

from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from vgg_sweep.protocols import paper
from vgg_sweep.report.results.groups import Group
from vgg_sweep.report.results.localised import OF_TRUE_CLASS, PAIR, TABLE9_BOXES, TABLE9_TRAINABLE, TOP5
from vgg_sweep.report.tables.boxes import PAPERS_NET
from vgg_sweep.report.tables.claims import Claim, Misses, claims_table, compared, judged, on_one_seed
from vgg_sweep.report.tables.errors import Rows, of_groups


@dataclass(frozen=True)
class Located:
    """A row of Table 8 (`centre`) or 9."""

    train_scale: str
    rule: str
    boxes: str = TABLE9_BOXES
    trainable: str = TABLE9_TRAINABLE

    @property
    def nets(self) -> tuple[paper.Net, ...]:
        kind = f"{self.boxes}-{self.trainable}".upper().replace("-ALL", "").replace("-FC", "-fc")
        return tuple(paper.Net(kind, S) for S in self.train_scale.split(" + "))

    def __str__(self) -> str:
        return " + ".join(net.slug for net in self.nets)


def _misses(group: Group, side: Located) -> Misses:
    what, merge = (OF_TRUE_CLASS, "") if side.rule == "centre" else (TOP5, group.rows[0]["merge_asked"])
    found = group.find(what=what, control="", merge=merge, config=PAPERS_NET, **asdict(side))
    return {row["seed"]: row["misses"].unpack().astype(np.int8) for row in found}


def _claim(sentence: str, protocols: str, first: Located, second: Located) -> Claim:
    return Claim(sentence, "A", protocols, ((first, second),))


_PCR_FC = Located("384", "centre", "pcr", "fc")
BOX_CLAIMS = (
    _claim("One box per class (PCR) beats one for all (SCR)", "true class, centre crop",
           Located("384", "centre", "scr", "fc"), _PCR_FC),
    _claim("Fine-tuning all layers beats the FC layers alone", "true class, centre crop",
           _PCR_FC, Located("384", "centre")),
    _claim("S = 384 beats S = 256", "top-5, dense, Q = S", Located("256", "single"), Located("384", "single")),
    _claim("Several scales at test time help", "top-5, dense, one Q and two",
           Located("384", "single"), Located("384", PAIR)),
    _claim("The boxes of two nets help", "top-5, dense, one net and two",
           Located("384", PAIR), Located("256 + 384", "fusion")),
)  # fmt: skip
"""In the order of Appendix A."""


@of_groups("box-claims")
def box_claims(group: Group) -> Rows:
    """A row for each claim, with the columns of those of Sect. 4."""
    found = [(claim, compared(claim, partial(_misses, group))) for claim in BOX_CLAIMS]
    yield from (claim.names | values | {"note": ""} for claim, values in judged(found))


CLAIMS_OF_BOXES = claims_table(
    "box-claims",
    "Claims of Appendix A about localisation, in this sweep",
    box_claims,
    notes=(
        "Points: localisation error of what the paper finds worse, minus that of the better, on the same images.",
        on_one_seed,
    ),
    of="boxes",
)
