"""Tables 8 to 10: the localisation errors of Appendix A, ours beside the paper's, and boxes that need no net.

Every table has the paper's rows, in its order, once for each sweep and group of settings that has localisation runs;
then the nets here that the paper's table has not, and the controls.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from vgg_sweep.localise.merging import RULES
from vgg_sweep.plan import commands
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.methods import scaled_px
from vgg_sweep.protocols.metrics import wilson
from vgg_sweep.report.results.localised import (
    OF_TRUE_CLASS,
    PAIR,
    TABLE9_BOXES,
    TABLE9_TRAINABLE,
    TOP1,
    TOP5,
)
from vgg_sweep.report.results.results import Sweep
from vgg_sweep.report.tables.table import as_frame, records

PAPERS_NET = "D"
MEASURES = {TOP5: "loc", TOP1: "top1", OF_TRUE_CLASS: "true_class"}
"""What is given or guessed -> how a table's columns call the error."""


@dataclass(frozen=True)
class Boxes:
    """The localisation errors of one sweep and group of settings."""

    rows: pd.DataFrame
    merge: str
    labels_by: Sequence[str]

    def find(self, what: str = OF_TRUE_CLASS, control: str = "", **names: Any) -> list[dict[str, Any]]:
        """The rows, one a seed, of a net."""
        chosen = (self.rows["what"] == what) & (self.rows["control"] == control)
        for name, value in names.items():
            chosen &= self.rows[name] == value
        return records(self.rows[chosen])

    def first(self) -> dict[str, Any]:
        return records(self.rows.head(1))[0]

    def nets(self, *rules: str) -> list[dict[str, Any]]:
        """What identifies each net under some rules of Q."""
        names = ["config", "train_scale", "boxes", "trainable", "rule"]
        found = self.rows.loc[self.rows["rule"].isin(rules), names].drop_duplicates()
        return records(found)


def groups(sweeps: Sequence[Sweep]) -> Iterator[tuple[dict[str, str], Boxes]]:
    for sweep in sweeps:
        if sweep.localised.errors.empty:
            continue
        for settings, rows in sweep.localised.errors.groupby("settings", sort=False):
            ids = dict.fromkeys(id for each in rows["run_id"] for id in each.split(" + "))
            labels_by = list(dict.fromkeys(sweep.localised.labels_by[id] for id in ids))
            yield {"sweep": sweep.name, "settings": str(settings)}, Boxes(rows, sweep.merge, labels_by)


def frame_of(table: str, sweeps: Sequence[Sweep], rows_of: Callable[[Boxes], Iterable[dict[str, Any]]]) -> pd.DataFrame:
    return as_frame(table, (where | row for where, group in groups(sweeps) for row in rows_of(group)))


def table8(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """The box of the true class in a centre crop: what is fine-tuned, and one box or one a class."""

    def rows_of(group: Boxes) -> Iterator[dict[str, Any]]:
        papers = {(row.trainable, row.boxes): row.error for row in paper.box_nets()}
        net = {"config": PAPERS_NET, "train_scale": "384", "rule": "centre"}
        named = [net | {"trainable": trainable, "boxes": boxes} for trainable, boxes in papers]
        for names in [*named, *(names for names in group.nets("centre") if names not in named)]:
            is_papers = names in named
            yield _row(group, names, is_papers, {OF_TRUE_CLASS: group.find(**names)}) | {
                "paper_loc_error": papers[names["trainable"], names["boxes"]] if is_papers else None
            }
        yield from _controls(group, {"rule": "centre"}, (OF_TRUE_CLASS,))

    return frame_of("8", sweeps, rows_of)


def table9(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """Dense, merged, five guesses: several scales, and two nets; other rules of merging where most boxes are merged."""

    def rows_of(group: Boxes) -> Iterator[dict[str, Any]]:
        net = {"config": PAPERS_NET, "boxes": TABLE9_BOXES, "trainable": TABLE9_TRAINABLE}
        papers = [(net | _table9_net(row), row) for row in paper.box_scales()]
        named = [names for names, _ in papers]
        for names, row in papers:
            yield _dense(group, names, group.merge, is_papers=True) | {
                "paper_loc_error": row.error,
                "paper_loc_test_error": row.test_error,
            }
        others = [names for names in group.nets("single", PAIR, "fusion") if names not in named]
        for names in others:
            yield _dense(group, names, group.merge)
        there = [names for names in [*reversed(named), *others] if group.find(**names)]
        for merge in RULES:
            if there and merge != group.merge:
                yield _dense(group, there[0], merge)
        if there:
            yield from _controls(group, there[0], (TOP5, TOP1, OF_TRUE_CLASS))

    return frame_of("9", sweeps, rows_of)


def _table9_net(row: paper.BoxScales) -> dict[str, str]:
    rule = "fusion" if len(row.members) > 1 else PAIR if len(row.members[0][1]) > 1 else "single"
    return {"train_scale": " + ".join(S for S, _ in row.members), "rule": rule}


def _dense(group: Boxes, names: Mapping[str, Any], merge: str, is_papers: bool = False) -> dict[str, Any]:
    found = {what: group.find(what, **names, merge=merge) for what in MEASURES}
    thresholds = dict.fromkeys(row["threshold"] for row in found[OF_TRUE_CLASS])
    about = {"merge": merge, "thresholds": tuple(each for each in thresholds if each is not None)}
    about["labels_by"] = " or ".join(group.labels_by)
    return _row(group, names, is_papers, found) | about


def table10(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """Ours among the published systems, whose errors are on ILSVRC."""

    def rows_of(group: Boxes) -> Iterator[dict[str, Any]]:
        net = {"config": PAPERS_NET, "boxes": TABLE9_BOXES, "trainable": TABLE9_TRAINABLE}
        ours = net | _table9_net(paper.box_scales()[-1])
        for place, system in enumerate(paper.box_systems()):
            found = group.find(TOP5, **ours, merge=group.merge) if place == 0 else []
            row = _row(group, ours, False, {TOP5: found}) if place == 0 else _errors({TOP5: []}) | {"command": ""}
            data = dict(word.partition("=")[::2] for word in group.first()["overrides"]).get("data")
            yield (
                {"system": system.name, "data": data}
                | row
                | {
                    "paper_loc_error": system.error,
                    "paper_loc_test_error": system.test_error,
                }
            )

    return frame_of("10", sweeps, rows_of)


# --- what rows are made of ---


def _row(
    group: Boxes, names: Mapping[str, Any], is_papers: bool, found: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """Ours; where there is none, the command that makes it."""
    there = next((rows[0] for rows in found.values() if rows), None)
    crop = group.first()["crop"]
    scales = {"S": there["S"], "test_scales": there["test_scales"]} if there else _scales(names, crop)
    shown = dict(names) | scales | {"control": "", "is_papers": is_papers, "crop": crop, "merge": "", "thresholds": ()}
    return shown | _errors(found) | {"command": "" if there else _command(group, names)}


def _scales(names: Mapping[str, Any], crop: int) -> dict[str, Any]:
    """S and Q of a net that is not there."""
    S = [int(each) for each in str(names["train_scale"]).split(" + ")]
    rules = ["single", PAIR] if names["rule"] == "fusion" else [names["rule"]]
    Q = [(px - 32, px) if rule == PAIR else (px,) for px, rule in zip(S, rules, strict=True)]
    scaled = tuple(tuple(scaled_px(px, crop) for px in each) for each in Q)
    return {"S": tuple(scaled_px(px, crop) for px in S), "test_scales": scaled}


def _command(group: Boxes, names: Mapping[str, Any]) -> str:
    trained = sorted({int(seed) for seed in group.rows["seed"]})
    protocol = "multi" if names["rule"] in (PAIR, "fusion") else "single"
    chosen = [*group.first()["overrides"], *([f"seed={','.join(map(str, trained))}"] if trained != [0] else [])]
    words = (f"boxes={names['boxes']}", f"trainable={names['trainable']}", f"protocol={protocol}")
    scale = str(names["train_scale"]).replace(" + ", ",")
    return commands.command(
        "multirun", f"model={names['config']}", f"train_scale={scale}", "task=localise", *words, *chosen
    )


def _errors(found: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Mean over seeds, 95 % interval over images, spread over seeds, of each measure; a table of one calls it loc."""
    counts = [rows for rows in found.values() if rows]
    values: dict[str, Any] = {
        "seeds": len(counts[0]) if counts else 0,
        "n_images": counts[0][0]["n_images"] if counts else None,
    }
    for what, rows in found.items():
        name = MEASURES[what] if len(found) > 1 else "loc"
        errors = [row["error"] for row in rows]
        mean = fmean(errors) if errors else math.nan
        low, high = wilson(mean, rows[0]["n_images"]) if errors else (math.nan, math.nan)
        spread = stdev(errors) if len(errors) > 1 else math.nan
        values |= {f"{name}_error": mean, f"{name}_low": low, f"{name}_high": high, f"{name}_std": spread}
    return values


def _controls(group: Boxes, names: Mapping[str, Any], measures: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of boxes that need no net, on the same images with the same guesses."""
    chosen = group.rows["control"] != ""
    for name, value in names.items():
        chosen &= group.rows[name] == value
    for control in dict.fromkeys(group.rows.loc[chosen, "control"]):
        found = {what: records(group.rows[chosen & (group.rows["control"] == control)])[:0] for what in measures}
        for what in measures:
            rows = group.rows[chosen & (group.rows["control"] == control) & (group.rows["what"] == what)]
            found[what] = records(rows.head(1))
        yield {"control": control, "is_papers": False, "command": "", "thresholds": ()} | _errors(found) | {"seeds": 0}
