"""Tables 6 and 7, and the fusions that were asked for: several nets as one, ours beside the paper's errors."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from vgg_sweep.protocols import paper
from vgg_sweep.report.results.groups import Group, always_fused
from vgg_sweep.report.tables.errors import ERRORS, Rows, mean_of, measured, net_names, notes, of_groups, of_paper
from vgg_sweep.report.tables.gaps import of_ilsvrc, with_gaps
from vgg_sweep.report.tables.table import Column, Row, Table, error, number, records, seeds, text


def _of_fusion(row: paper.Fusion | paper.System) -> dict[str, Any]:
    test = {"paper_top5_test_error": row.top5_test_error, "paper_note": row.note}
    return of_paper(row.top1_error, row.top5_error) | test


@of_groups("6")
def table6(group: Group) -> Rows:
    """Fusion of several nets (Sect. 4.4): 4 rows."""
    for row in paper.fusions():
        names = {"group": row.group} | _nets(group, row.members) | {"method": row.method}
        yield names | measured(group, row.members, "multi", row.method, row.group) | _of_fusion(row)


@of_groups("7")
def table7(group: Group) -> Rows:
    """Ours among the published systems (Sect. 4.5): 15 rows. The others' errors are on ILSVRC, whatever ours are on."""
    ours_are = dict(enumerate(paper.own_systems()))
    for index, row in enumerate(paper.systems()):
        members, method, fusion = ours_are.get(index, ((), "", ""))
        names = {"system": row.name, "data": group.rows[0]["data.source"]} | _nets(group, members)
        ours = measured(group, members, "multi", method, fusion)  # nothing for the systems of others
        yield names | {"method": method or None} | ours | _of_fusion(row)


@of_groups("fusion")
def fusion_table(group: Group) -> Rows:
    """A row for each fusion that was asked for, under each protocol that its members share."""
    for found in group.each():
        first = found[0]
        if first["fusion"] and first["fusion"] not in always_fused():
            names = {"fusion": first["fusion"], "config": first["members"], "train_scale": None}
            protocol = {name: first[name] for name in ("test_scales", "rule", "method")}
            yield names | protocol | mean_of(found) | of_paper(None, None)


def _nets(group: Group, members: Sequence[paper.Net]) -> dict[str, Any]:
    """What identifies a fusion at three test scales: its nets, and every Q that one of them looks at."""
    each = [net_names(group, net, "multi") for net in members]
    scales = {
        name: tuple(sorted({Q for row in each for Q in row[name]})) or None
        for name in ("test_scales", "paper_test_scales")
    }
    train_scales = " + ".join(dict.fromkeys(net.train_scale for net in members))
    return {"config": " + ".join(net.slug for net in members) or None, "train_scale": train_scales or None, **scales}


def _starred(key: str, head: str) -> Column:
    plain = number(key, head)

    def cell(row: Row) -> str:
        return plain.cell(row) + ("*" if spans_columns(row) and row[key] is not None else "")

    return Column(key, head, cell, is_number=True)


def spans_columns(row: Row) -> bool:
    """Whether the paper prints one value for the validation and the test set (Table 7)."""
    return "across the val and test columns" in row["paper_note"]


def _on_stars(frame: pd.DataFrame) -> list[str]:
    return ["* One value is printed across the validation and test columns."] * any(map(spans_columns, records(frame)))


FUSIONS = Table(
    "6",
    "Table 6. Several nets: the mean of their posteriors, at three test scales",
    table6,
    (text("group", wrap=15, drop=2), text("config", "nets", wrap=24), text("method", wrap=18), *ERRORS),
    (notes, "The submission's D-jitter-fc has only its FC layers fine-tuned with scale jitter (Sect. 4.4)."),
    visible=with_gaps,
    of_nets=True,
)
SYSTEMS = Table(
    "7",
    "Table 7. Comparison with the published systems, whose errors are on ILSVRC",
    table7,
    (
        text("system", wrap=44),
        error("top1", "ours\ntop-1"),
        error("top5", "ours\ntop-5"),
        number("paper_top1_error", "paper\ntop-1"),
        _starred("paper_top5_error", "paper\ntop-5"),
        _starred("paper_top5_test_error", "test\ntop-5"),
        seeds("seeds", drop=1),
    ),
    (notes, _on_stars),
    visible=of_ilsvrc,
    of_nets=True,
)
ASKED = Table(
    "fusion",
    "Requested fusions",
    fusion_table,
    (
        *(text("fusion", wrap=24), text("config", "nets", wrap=24, drop=2), text("method", wrap=18)),
        *(text("test_scales", "Q", wrap=12, drop=1), *ERRORS),
    ),
    (notes,),
)
