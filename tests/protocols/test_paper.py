import csv
import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.paths import FACTS
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.methods import test_scales as scales_of

ERRORS = {"top1_error": "top1_val", "top5_error": "top5_val", "top5_test_error": "top5_test"}


def printed(name: str) -> list[dict[str, str]]:
    with open(FACTS / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def net(config: str, S: str, Q: str) -> dict[str, Any]:
    """As `paper.json` has it."""
    return {"config": config, "train_scale": S.replace("[256;512]", "jitter"), "Q": [int(each) for each in Q.split()]}


def errors(row: Mapping[str, str]) -> dict[str, float | None]:
    return {name: float(row[column]) if row.get(column) else None for name, column in ERRORS.items()}


def values(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the notes, which are ours."""
    return [{name: value for name, value in row.items() if name != "note"} for row in rows]


ALL = json.loads(paper.PAPER_JSON.read_text())


def test_every_value_of_tables_3_to_5_is_the_printed_one() -> None:
    assert values(ALL["single_nets"]) == [
        {
            "table": row["table"],
            **net(row["config"], row["S"], row["Q"]),
            "method": row["evaluation"],
            **errors(row),
        }
        for row in printed("tables_3_to_5")
    ]


def test_every_value_of_table_6_is_the_printed_one() -> None:
    rows = []
    for row in printed("table_6"):
        members = [net(*words.replace(",", " ").split("/")) for words in row["nets"].split("; ")]
        if row["group"] == "ILSVRC submission":  # its D/[256;512] has only its FC layers fine-tuned (Sect. 4.4)
            for member in members:
                member["train_scale"] = member["train_scale"].replace("jitter", "jitter-fc")
        rows.append({"group": row["group"], "members": members, "method": row["evaluation"], **errors(row)})
    assert values(ALL["fusions"]) == rows


def test_every_value_of_table_7_is_the_printed_one() -> None:
    assert values(ALL["systems"]) == [{"name": row["method"], **errors(row)} for row in printed("table_7")]


def test_every_value_of_tables_8_to_10_is_the_printed_one() -> None:
    layers, kinds = {"1st and 2nd FC": "fc", "all": "all"}, {"SCR": "scr", "PCR": "pcr"}
    assert [(row.trainable, row.boxes, row.error) for row in paper.box_rows("8")] == [
        (
            layers[row["fine-tuned layers"]],
            kinds[row["regression type"]],
            float(row["GT class localisation error"]),
        )
        for row in printed("table_8")
    ]
    scales = []
    for row in printed("table_9"):
        members = [words.split("/") for words in row["smallest image side (train / test)"].split("; ")]
        scales.append((tuple((S, tuple(map(int, Q.split(",")))) for S, Q in members), *_val_and_test(row)))
    assert [(row.members, row.error, row.test_error) for row in paper.box_rows("9")] == scales
    assert [(row.name, row.error, row.test_error) for row in paper.box_rows("10")] == [
        (row["method"], *_val_and_test(row)) for row in printed("table_10")
    ]


def _val_and_test(row: Mapping[str, str]) -> tuple[float | None, float | None]:
    return tuple(float(row[name]) if row[name] else None for name in ("top5_val", "top5_test"))  # type: ignore[return-value]


def test_the_other_values_are_the_printed_ones() -> None:
    assert ALL["source"] == "arXiv:1409.1556v6, 10 Apr 2015, ICLR 2015"
    assert ALL["shallow_net"]["value"] == 7 and ALL["shallow_net"]["where"] == "Sect. 4.1"  # printed as "7% higher"
    millions = {row["net"]: int(row["Table 2, millions of parameters"]) for row in printed("table_1")}
    assert ALL["params_millions"] == millions
    known = {"source", "single_nets", "fusions", "systems", "shallow_net", "params_millions"}
    assert ALL.keys() == known | {"box_nets", "box_scales", "box_systems", "transfer"}


@pytest.mark.parametrize(("table", "num_rows"), [("3", 12), ("4", 10), ("5", 6)])
def test_tables_have_the_paper_s_rows(table: str, num_rows: int) -> None:
    rows = paper.rows(table)
    assert len(rows) == num_rows
    assert len({(row.net, row.rule, row.method) for row in rows}) == num_rows


def test_fusions_and_systems_have_the_paper_s_rows() -> None:
    assert [len(row.members) for row in paper.fusions()] == [7, 2, 2, 2]
    assert len(paper.systems()) == 15


def test_rule_and_train_scale_give_the_printed_test_scales() -> None:
    """The rows' Q, as printed, follow from the rule of Sect. 4.1 and 4.2 that they are looked up by."""
    for table in ("3", "4", "5"):
        for row in paper.rows(table):
            assert tuple(scales_of(list(paper.TRAIN_SCALES[row.net.train_scale]), row.rule, 224)) == row.test_scales


def test_known_cells() -> None:
    """Read from the paper's pages."""
    assert paper.printed("E", "jitter", "multi", "multi-crop & dense") == (24.4, 7.1)
    assert paper.printed("A-LRN", "256", "single", "dense") == (29.7, 10.5)
    assert paper.printed("A", "256", "multi", "dense") == (None, None)


def test_a_cell_that_spans_two_columns_says_so() -> None:
    googlenet = [system for system in paper.systems() if system.name.startswith("GoogLeNet")]
    assert len(googlenet) == 2 and all("across the val and test columns" in system.note for system in googlenet)
