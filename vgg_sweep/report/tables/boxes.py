"""Tables 8 to 10: the localisation errors of Appendix A, ours beside the paper's, and boxes that need no net; and its
sentences about localisation, tested in a sweep as those of Sect. 4 are.

Every table has the paper's rows, in its order, once for each sweep and group of settings that has localisation runs;
then the nets here that the paper's table has not, and the controls.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from vgg_sweep.localise.evaluate import HELD_OUT_SHARE
from vgg_sweep.localise.merging import RULES
from vgg_sweep.plan import commands
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.methods import scaled_px
from vgg_sweep.report.results.groups import Group, SeedRows, over_seeds
from vgg_sweep.report.results.localised import OF_TRUE_CLASS, PAIR, TOP1, TOP5, scales_of
from vgg_sweep.report.tables import gaps
from vgg_sweep.report.tables.claims import Claim, Misses, claims_table, compared, judged, on_one_seed
from vgg_sweep.report.tables.errors import Rows, of_groups
from vgg_sweep.report.tables.table import (
    DASH,
    Column,
    Row,
    Table,
    as_text,
    error,
    if_differs,
    interval,
    number,
    seeds,
    text,
    unfinished,
)

PAPERS_NET = "D"
MEASURES = {TOP5: "loc", TOP1: "top1", OF_TRUE_CLASS: "true_class"}
"""What is given or guessed -> how a table's columns call the error."""


Nets = list[tuple[dict[str, Any], dict[str, Any]]]
"""What identifies a net, and what the paper printed for it; nothing for one that it has not."""


def _nets(group: Group, papers: Nets, *rules: str) -> Nets:
    """The paper's, in its order, then the others here that are tested by some rules of Q."""
    nets = list(papers)
    for row in group.rows:
        names = {name: row[name] for name in ("config", "train_scale", "boxes", "trainable", "rule")}
        if row["rule"] in rules and names not in [known for known, _ in nets]:
            nets.append((names, {}))
    return nets


@of_groups("8")
def table8(group: Group) -> Rows:
    """The box of the true class in a centre crop: what is fine-tuned, and one box or one a class."""
    net = {"config": PAPERS_NET, "train_scale": "384", "rule": "centre"}
    papers = [
        (net | {"trainable": row.trainable, "boxes": row.boxes}, {"paper_loc_error": row.error})
        for row in paper.box_rows("8")
    ]
    for names, theirs in _nets(group, papers, "centre"):
        yield _row(group, names, (OF_TRUE_CLASS,), is_papers=bool(theirs)) | theirs
    yield from _controls(group, {"rule": "centre"}, (OF_TRUE_CLASS,))


@of_groups("9")
def table9(group: Group) -> Rows:
    """Dense, merged, five guesses: several scales, and two nets; other rules of merging where most boxes are merged."""
    papers = [(_table9_net(row), _of_paper(row)) for row in paper.box_rows("9")]
    asked = group.rows[0]["merge_asked"]
    labels_by = {"labels_by": " or ".join(filter(None, dict.fromkeys(row["labels_by"] for row in group.rows)))}
    nets = _nets(group, papers, "single", PAIR, "fusion")
    for names, theirs in nets:
        yield _row(group, names, MEASURES, is_papers=bool(theirs), merge=asked) | labels_by | theirs
    most_scales = [names for names, _ in [*reversed(nets[: len(papers)]), *nets[len(papers) :]]]
    if there := next((names for names in most_scales if group.find(**names)), None):
        for merge in RULES:
            if merge != asked:
                yield _row(group, there, MEASURES, merge=merge) | labels_by
        yield from _controls(group, there, MEASURES)


@of_groups("10")
def table10(group: Group) -> Rows:
    """Ours among the published systems, whose errors are on ILSVRC."""
    first, best = group.rows[0], _table9_net(paper.box_rows("9")[-1])
    data = dict(word.partition("=")[::2] for word in first["overrides"]).get("data")
    ours = _row(group, best, (TOP5,), merge=first["merge_asked"]) | {"merge": ""}
    for index, system in enumerate(paper.box_rows("10")):
        row = ours if index == 0 else _errors({TOP5: []}) | {"command": ""}
        yield {"system": system.name, "data": data} | row | _of_paper(system)


def _table9_net(row: paper.BoxRow) -> dict[str, str]:
    rule = "fusion" if len(row.members) > 1 else PAIR if len(row.members[0][1]) > 1 else "single"
    net = {"config": PAPERS_NET, "boxes": row.boxes, "trainable": row.trainable}
    return net | {"train_scale": " + ".join(S for S, _ in row.members), "rule": rule}


def _of_paper(row: paper.BoxRow) -> dict[str, Any]:
    return {"paper_loc_error": row.error, "paper_loc_test_error": row.test_error}


def _row(
    group: Group, names: Mapping[str, Any], measures: Iterable[str], *, is_papers: bool = False, merge: str = ""
) -> dict[str, Any]:
    """A net merged by a rule, over seeds; where there is none, the command that makes it."""
    found = {what: group.find(what=what, control="", merge=merge, **names) for what in measures}
    there = next((rows[0] for rows in found.values() if rows), None)
    crop = group.rows[0]["crop"]
    S = [] if there else [int(each) for each in str(names["train_scale"]).split(" + ")]
    scales = there or {"S": tuple(scaled_px(px, crop) for px in S), "test_scales": scales_of(S, names["rule"], crop)}
    thresholds = dict.fromkeys(row["threshold"] for row in found.get(OF_TRUE_CLASS, ()) if pd.notna(row["threshold"]))
    about = {"control": "", "is_papers": is_papers, "crop": crop, "merge": merge}
    about |= {"S": scales["S"], "test_scales": scales["test_scales"], "thresholds": tuple(thresholds)}
    return {**names, **about, **_errors(found), "command": "" if there else _command(group, names)}


def _command(group: Group, names: Mapping[str, Any]) -> str:
    protocol = "multi" if names["rule"] in (PAIR, "fusion") else "single"
    words = ("task=localise", f"boxes={names['boxes']}", f"trainable={names['trainable']}", f"protocol={protocol}")
    net, seeds = (names["config"], str(names["train_scale"]).replace(" + ", ",")), [row["seed"] for row in group.rows]
    return commands.multirun(*net, *words, *group.rows[0]["overrides"], seeds=seeds)


def _errors(found: Mapping[str, SeedRows]) -> dict[str, Any]:
    """Each measure over seeds; a table of one calls it loc."""
    first: SeedRows = next((rows for rows in found.values() if rows), [])
    values: dict[str, Any] = {"seeds": len(first), "n_images": first[0]["n_images"] if first else None}
    for what, rows in found.items():
        name = MEASURES[what] if len(found) > 1 else "loc"
        values |= over_seeds(name, [row["error"] for row in rows], values["n_images"])
    return values


def _controls(group: Group, names: Mapping[str, Any], measures: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Rows of boxes that need no net, on the same images with the same guesses."""
    chosen = group.find(**names)
    for control in filter(None, dict.fromkeys(row["control"] for row in chosen)):
        of = [row for row in chosen if row["control"] == control]
        found = {what: [row for row in of if row["what"] == what][:1] for what in measures}
        yield {"control": control, "is_papers": False, "command": "", "thresholds": ()} | _errors(found) | {"seeds": 0}


# --- how it is shown ---

TRAINED = {"all": "all", "fc": "the FC layers", "last": "the last FC layer"}
REGRESSIONS = {"scr": "SCR", "pcr": "PCR"}


def _trained(row: Row) -> str:
    """What is fine-tuned, in words; a control, which is no net, has its own."""
    return str(row["control"] or TRAINED.get(str(row["trainable"]), row["trainable"]))


def _net(row: Row) -> str:
    if row["control"]:
        return str(row["control"])
    return f"{row['config']}, {REGRESSIONS[row['boxes']]}, {TRAINED[row['trainable']]}"


def _merging(row: Row) -> str:
    at = f" {'/'.join(f'{each:g}' for each in row['thresholds'])}" if row["thresholds"] else ""
    return f"{row['merge']}{at}" if row.get("merge") else DASH


def _scales(key: str, head: str) -> Column:
    """S or Q of each net of a row."""
    return Column(key, head, lambda row: " + ".join(map(as_text, row.get(key) or ())) or DASH)


def _images(frame: pd.DataFrame) -> str:
    counts = frame["n_images"].dropna().unique()
    return " or ".join(f"{count:,}" for count in sorted(counts)) or "no"


def _table8_note(frame: pd.DataFrame) -> Iterator[str]:
    yield (
        f"Errors in percent of {_images(frame)} images, the class being given; 95 %: their interval over images. An "
        "image is wrong if its box overlaps none of those of its class by half (IoU, pixels inclusive)."
    )


def _table9_note(frame: pd.DataFrame) -> Iterator[str]:
    yield (
        f"Errors in percent of {_images(frame)} images: top-5, five guesses of five classes; top-1, the best alone; "
        "true class, the class being given."
    )
    if labels_by := [each for each in dict.fromkeys(frame["labels_by"].dropna()) if each]:
        yield f"Guesses by {' or '.join(labels_by)}."
    elif frame["loc_error"].notna().any():
        yield "There is only one class, so nothing is guessed."
    else:
        yield "No run here classifies these images, so nothing is guessed: the errors are those with the class given."


def _merges(frame: pd.DataFrame) -> list[str]:
    return [f"{merge}: {RULES[merge]}." for merge in dict.fromkeys(frame["merge"].dropna()) if merge]


_table = partial(Table, of="boxes", of_nets=True)

TABLE8 = _table(
    "8",
    "Table 8. Localisation, the true class given: one centre crop",
    table8,
    (
        Column("trainable", "fine-tuned", _trained, wrap=16),
        Column("boxes", "boxes", lambda row: REGRESSIONS.get(str(row["boxes"]), DASH)),
        if_differs(text("config", "net")),
        *(_scales("S", "S"), _scales("test_scales", "Q"), error("loc", "error"), interval("loc", drop=2)),
        *(number("paper_loc_error", "paper"), seeds("seeds", drop=1)),
    ),
    (_table8_note, "The last rows are boxes that need no net.", unfinished),
    visible=gaps.boxes,
)
TABLE9 = _table(
    "9",
    "Table 9. Localisation: dense, image and flip, boxes merged",
    table9,
    (
        *(Column("config", "net", _net, wrap=18), _scales("S", "S"), _scales("test_scales", "Q")),
        *(Column("merge", "merging", _merging, wrap=13), error("loc", "top-5"), interval("loc", drop=3)),
        *(number("paper_loc_error", "paper"), number("paper_loc_test_error", "test", drop=5)),
        *(number("top1_error", "top-1", drop=2), number("true_class_error", "true class", drop=4)),
        seeds("seeds", drop=1),
    ),
    (
        _table9_note,
        f"Beside each merging rule is its threshold, chosen on the other {HELD_OUT_SHARE:.0%} of val's images.",
        *(_merges, unfinished),
    ),
    visible=gaps.boxes,
)
TABLE10 = _table(
    "10",
    "Table 10. Comparison with the published systems of localisation, whose errors are on ILSVRC",
    table10,
    (
        *(text("system", wrap=44), error("loc", "ours"), number("paper_loc_error", "paper")),
        *(number("paper_loc_test_error", "test"), seeds("seeds", drop=1)),
    ),
    (unfinished,),
    visible=gaps.of_ilsvrc,
)


# --- claims of Appendix A ---


@dataclass(frozen=True)
class BoxSide:
    """A row of Table 8 (`centre`) or 9."""

    train_scale: str
    rule: str
    boxes: str = paper.BoxRow.boxes
    trainable: str = paper.BoxRow.trainable

    @property
    def nets(self) -> tuple[paper.Net, ...]:
        kind = f"{self.boxes}-{self.trainable}".upper().replace("-ALL", "").replace("-FC", "-fc")
        return tuple(paper.Net(kind, S) for S in self.train_scale.split(" + "))

    def __str__(self) -> str:
        return " + ".join(net.slug for net in self.nets)


def _misses(group: Group, side: BoxSide) -> Misses:
    what, merge = (OF_TRUE_CLASS, "") if side.rule == "centre" else (TOP5, group.rows[0]["merge_asked"])
    found = group.find(what=what, control="", merge=merge, config=PAPERS_NET, **asdict(side))
    return {row["seed"]: row["misses"].unpack().astype(np.int8) for row in found}


def _claim(sentence: str, protocols: str, first: BoxSide, second: BoxSide) -> Claim:
    return Claim(sentence, "A", protocols, ((first, second),))


_PCR_FC = BoxSide("384", "centre", "pcr", "fc")
BOX_CLAIMS = (
    _claim("One box per class (PCR) beats one for all (SCR)", "true class, centre crop",
           BoxSide("384", "centre", "scr", "fc"), _PCR_FC),
    _claim("Fine-tuning all layers beats the FC layers alone", "true class, centre crop",
           _PCR_FC, BoxSide("384", "centre")),
    _claim("S = 384 beats S = 256", "top-5, dense, Q = S", BoxSide("256", "single"), BoxSide("384", "single")),
    _claim("Several scales at test time help", "top-5, dense, one Q and two",
           BoxSide("384", "single"), BoxSide("384", PAIR)),
    _claim("The boxes of two nets help", "top-5, dense, one net and two",
           BoxSide("384", PAIR), BoxSide("256 + 384", "fusion")),
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
