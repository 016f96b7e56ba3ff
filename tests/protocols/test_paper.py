import json
from typing import Any

import pytest

from tests.paths import SHARED
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.methods import test_scales as scales_of

REFERENCE = SHARED / "reference" / "paper_tables.json"
ERRORS = ("top1_val", "top5_val", "top5_test")


def from_reference(reference: dict[str, Any]) -> dict[str, Any]:
    """`paper.json`, made from the reference file: no value is typed by hand."""

    def scale_name(S: int | list[int]) -> str:
        return "jitter" if isinstance(S, list) else str(S)

    def net(row: dict[str, Any]) -> dict[str, Any]:
        return {"config": row["config"], "train_scale": scale_name(row["train_S"]), "Q": row["test_Q"]}

    def errors(row: dict[str, Any]) -> dict[str, Any]:
        return {name: row[name] for name in ERRORS}

    def notes(row: dict[str, Any]) -> dict[str, Any]:
        return {name: row[name] for name in ("note", "merged_cell") if name in row}

    single_nets = [
        {"table": table, **net(row), "method": row.get("evaluation", "dense"), **errors(row)}
        for table, key in (
            ("3", "table3_single_test_scale"),
            ("4", "table4_multiple_test_scales"),
            ("5", "table5_evaluation_techniques"),
        )
        for row in reference[key]["rows"]
    ]
    fusions = []
    for row in reference["table6_fusion"]["rows"]:
        members = [net(member) for member in row["models"]]
        if row["group"] == "ILSVRC submission":  # its D/[256;512] has only its FC layers fine-tuned (Sect. 4.4)
            for member in members:
                member["train_scale"] = member["train_scale"].replace("jitter", "jitter-fc")
        fusions.append(
            {"group": row["group"], "members": members, "method": row["evaluation"], **errors(row), **notes(row)}
        )
    systems = [
        {"system": row["method"], **errors(row), **notes(row)} for row in reference["table7_state_of_the_art"]["rows"]
    ]
    shallow = next(row for row in reference["numbers_only_in_prose"] if "5x5" in row["what"])
    return {
        "source": reference["paper"]["id"],
        "single_nets": single_nets,
        "fusions": fusions,
        "systems": systems,
        "shallow_net": {name: shallow[name] for name in ("where", "what", "value", "note")},
        "params_millions": {row["config"]: row["params_millions"] for row in reference["table2_parameters"]},
    }


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference values are not beside this checkout")
def test_every_value_is_the_reference_s() -> None:
    assert json.loads(paper.PAPER_JSON.read_text()) == from_reference(json.loads(REFERENCE.read_text()))


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
    assert paper.published("E", "jitter", "multi", "multi-crop & dense") == (24.4, 7.1)
    assert paper.published("A-LRN", "256", "single", "dense") == (29.7, 10.5)
    assert paper.published("A", "256", "multi", "dense") == (None, None)


def test_a_cell_that_spans_two_columns_says_so() -> None:
    googlenet = [system for system in paper.systems() if system.name.startswith("GoogLeNet")]
    assert len(googlenet) == 2 and all("across the val and test columns" in system.note for system in googlenet)
