"""The sentences of Appendix A about localisation, tested in a sweep as those of Sect. 4 are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vgg_sweep.protocols import paper
from vgg_sweep.report.results.localised import OF_TRUE_CLASS, PAIR, TABLE9_BOXES, TABLE9_TRAINABLE, TOP5
from vgg_sweep.report.results.results import Sweep
from vgg_sweep.report.tables.box_rows import PAPERS_NET, Boxes, groups
from vgg_sweep.report.tables.claims import ENDS, Claim, Misses, claim_columns, compared, judged, summary
from vgg_sweep.report.tables.gaps import with_gaps
from vgg_sweep.report.tables.table import Table, as_frame


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

    def misses(self, group: Boxes) -> Misses:
        what = OF_TRUE_CLASS if self.rule == "centre" else TOP5
        found = group.find(what, config=PAPERS_NET, train_scale=self.train_scale, rule=self.rule, boxes=self.boxes,
                           trainable=self.trainable)  # fmt: skip
        seeds = [row for row in found if row["merge"] in ("", group.merge)]
        return {row["seed"]: row["misses"].unpack().astype(np.int8) for row in seeds}


def _claim(sentence: str, protocols: str, first: Located, second: Located) -> Claim:
    return Claim(sentence, "A", protocols, ((first, second),))


_PCR_FC = Located("384", "centre", "pcr", "fc")
BOX_CLAIMS = (
    _claim("A box a class (PCR) beats one for all (SCR)", "true class, centre crop",
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


def box_claims(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """A row for each claim, with the columns of those of Sect. 4."""
    rows = []
    for where, group in groups(sweeps):

        def misses_of(side: Located, group: Boxes = group) -> Misses:
            return side.misses(group)

        found = [(claim, compared(claim, misses_of)) for claim in BOX_CLAIMS]
        rows += [where | claim.names | values | {"note": ""} for claim, values in judged(found)]
    return as_frame("box-claims", rows)


def _notes(frame: pd.DataFrame) -> Iterator[str]:
    yield "Points: localisation error of what the paper finds worse, minus that of the better, on the same images."
    if (frame["seeds"] == 1).any():
        yield "With one seed the 95 % interval is over images alone."


CLAIMS_OF_BOXES = Table("box-claims", "Claims of Appendix A about localisation, in this sweep", box_claims,
                        claim_columns, _notes,
                        total=lambda frame: summary(frame["verdict"]), ends=ENDS,
                        kept=with_gaps, of="boxes")  # fmt: skip
