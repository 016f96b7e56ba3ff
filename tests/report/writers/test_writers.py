import csv
import io
import json
import math
import sys
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from tests.sweeps import EVERYTHING, TABLE3, Spec, make_run, make_sweep
from vgg_sweep.errors import ConfigError
from vgg_sweep.plan.commands import merged
from vgg_sweep.report.results.results import read_results
from vgg_sweep.report.tables.contents import TABLES
from vgg_sweep.report.tables.costs import lrn_cost
from vgg_sweep.report.tables.errors import table3, table4, table_5x5
from vgg_sweep.report.tables.fusions import table6, table7
from vgg_sweep.report.tables.paper_claims import claims
from vgg_sweep.report.tables.table import DASH, TextColumn, TextTable
from vgg_sweep.report.writers.data import JSON_KEYS, to_csv, to_json, to_parquet
from vgg_sweep.report.writers.markdown import to_markdown
from vgg_sweep.report.writers.terminal import fitting, to_rich


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return read_results(make_sweep(tmp_path_factory.mktemp("sweep"), EVERYTHING, spec=Spec(num_images=1000)))


def printed(table: TextTable, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(to_rich(table, width))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(
    ("name", "make"),
    [("3", table3), ("4", table4), ("6", table6), ("7", table7), ("5x5", table_5x5), ("claims", claims)],
)
def test_tables_fit_a_terminal_without_cutting_a_cell(everything: pd.DataFrame, name: str, make, width: int) -> None:
    table = TABLES[name].rendered(make(everything))
    text = printed(table, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    kept = fitting(table, width)
    words = {word for column in kept for cell in column.cells for word in cell.split()}
    assert words <= set(text.split())


def test_a_wide_column_makes_room_for_those_that_stay() -> None:
    """24 + 2 + 13 characters in a terminal of 30: the settings get 15, and the interval stays whole."""
    columns = [TextColumn("settings", ["recipe.fine_tune_epochs=40.0"], wrap=24, is_number=False)]
    table = TextTable("t", "T", [*columns, TextColumn("95 %", ["-33.4 to -5.3"])])
    _, head, _, *lines = printed(table, 30).splitlines()
    assert head.split() == ["settings", "95", "%"] and lines[0].endswith("  -33.4 to -5.3")
    assert "".join(line[:15] for line in lines) == "recipe.fine_tune_epochs=40.0".ljust(30)


def test_what_leaves_a_narrow_terminal_first() -> None:
    """Four columns of two characters, two apart: 14 hold all, 10 three, 6 two, and what is never dropped stays."""
    columns = [
        TextColumn("a", ["xx"]),
        TextColumn("b", ["xx"], drop=1),
        TextColumn("c", ["xx"], drop=3),
        TextColumn("d", ["xx"], drop=2),
    ]
    table = TextTable("t", "T", columns, [], [])
    kept = {width: "".join(column.head for column in fitting(table, width)) for width in (14, 13, 10, 9, 6, 5, 1)}
    assert kept == {14: "abcd", 13: "abd", 10: "abd", 9: "ab", 6: "ab", 5: "a", 1: "a"}


def test_a_cell_that_wraps_breaks_between_words() -> None:
    cells = ["He, BN, shortcuts from zero"]
    columns = [TextColumn("trained", cells, wrap=20, is_number=False), TextColumn("net", ["x" * 24])]
    assert "shortcuts" in printed(TextTable("some", "Some", columns, []), 30)


def test_a_number_is_never_without_its_protocol_and_n(everything: pd.DataFrame) -> None:
    text = to_markdown(TABLES["4"].rendered(table4(everything)))
    assert "Errors in percent of 1,000 images" in text
    assert "| D | [73;146] | 73, 110, 146 | [256;512] | 256, 384, 512 |" in text
    assert "S and Q scale with the crop, 64 px here and 224 px in the paper" in text


def test_markdown_is_a_table(everything: pd.DataFrame) -> None:
    lines = [
        line for line in to_markdown(TABLES["7"].rendered(table7(everything))).splitlines() if line.startswith("|")
    ]
    assert len(lines) == 15 + 2
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert sum("7.9\\*" in line or "7.9*" in line for line in lines) == 1


def test_a_hostile_name_is_only_text() -> None:
    frame = pd.DataFrame([{"table": "deviations", "setting": "[red]a|b[/red]", "paper": "x", "here": "[/]\ny"}])
    table = TABLES["deviations"].rendered(frame)
    assert "[red]a\\|b[/red] | x | [/] y |" in to_markdown(table)
    assert "[red]a|b[/red]" in printed(table, 80)


def test_dashes_come_with_few_commands(tmp_path: Path) -> None:
    make_sweep(tmp_path, [("A", "256"), ("B", "256")], spec=Spec(num_images=20, passes=["dense@single"]))
    results = read_results(tmp_path)
    table = TABLES["3"].rendered(table3(results))
    assert [command.split()[2:5] for command in merged(table.commands)] == [
        ["model=A-LRN,C,D,E", "train_scale=256", "protocol=single"],
        ["model=C,D,E", "train_scale=384,jitter", "protocol=single"],
    ]
    assert [column.cells.count(DASH) for column in table.columns if column.head == "top-1"] == [10]
    for name, frame in (
        ("claims", claims(results)),
        ("6", table6(results)),
        ("7", table7(results)),
        ("lrn", lrn_cost(results)),
    ):
        cells = [cell for column in TABLES[name].rendered(frame).columns for cell in column.cells]
        assert DASH in cells and not {"nan", "None", "<NA>", ""} & set(cells)


def test_seeds_are_shown_as_spread_and_number(tmp_path: Path) -> None:
    make_sweep(tmp_path, [("A", "256")], seeds=[0, 1], spec=Spec(num_images=50, passes=["dense@single"]))
    frame = table3(read_results(tmp_path))
    columns = {column.head: column.cells[0] for column in TABLES["3"].rendered(frame).columns}
    assert columns["top-1"] == f"{frame['top1_error'][0]:.1f} ± {frame['top1_std'][0]:.1f}"
    assert columns["seeds"] == "2"


def test_every_error_goes_with_its_number_of_seeds(everything: pd.DataFrame) -> None:
    """One seed of each is shown as well as several; what is not there has none."""
    made = {"3": table3, "4": table4, "6": table6, "5x5": table_5x5}
    for name, make in made.items():
        table = TABLES[name].rendered(make(everything))
        assert next(column.cells for column in table.columns if column.head == "seeds") == ["1"] * len(table.lines)
        assert table.notes[0].startswith("Errors in percent of 1,000 images by nets of 1 seed; ")
    lines = TABLES["7"].rendered(table7(everything)).lines
    assert {line[-1] for line in lines if line[1] != DASH} == {"1"}
    assert {line[-1] for line in lines if line[1] == DASH} == {DASH}


@pytest.mark.parametrize(("num_classes", "note"), [(4, "is undefined"), (5, "0 by definition"), (6, None)])
def test_what_top_5_means_with_few_classes_is_said(tmp_path: Path, num_classes: int, note: str | None) -> None:
    make_run(tmp_path, "A", "256", spec=Spec(num_classes=num_classes))
    notes = " ".join(TABLES["3"].rendered(table3(read_results(tmp_path))).notes)
    assert (note in notes) if note else ("op-5" not in notes)


def test_json_has_every_row_key_and_no_nan(everything: pd.DataFrame) -> None:
    frames = [table3(everything), table7(everything), claims(everything)]
    rows = json.loads(to_json(frames), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert len(rows) == 12 + 15 + 12
    assert all(set(JSON_KEYS) <= row.keys() for row in rows)
    first = rows[0]
    assert (first["table"], first["config"], first["train_scale"], first["test_scales"]) == ("3", "A", "256", "73")
    assert (first["method"], first["seeds"], first["n_images"]) == ("dense", 1, 1000)
    assert (first["paper_top1_error"], first["paper_top5_error"]) == (29.6, 10.4)
    assert first["top1_error"] == pytest.approx(everything.loc[everything["rule"] == "single", "top1_error"].iloc[0])
    assert isinstance(first["n_images"], int)


def test_csv_reads_back(everything: pd.DataFrame) -> None:
    frame = table4(everything)
    rows = list(csv.DictReader(io.StringIO(to_csv(frame))))
    assert len(rows) == 10 and rows[-1]["test_scales"] == "73 110 146"
    assert [float(row["top1_error"]) for row in rows] == frame["top1_error"].tolist()


def test_a_missing_row_is_null_in_json_and_empty_in_csv(tmp_path: Path) -> None:
    make_sweep(tmp_path, [net for net in TABLE3 if net[0] != "E"], spec=Spec(num_images=20))
    frame = table3(read_results(tmp_path))
    row = json.loads(to_json([frame]))[-1]
    assert (
        row["top1_error"] is None and row["n_images"] is None and row["seeds"] == 0 and row["paper_top1_error"] == 25.5
    )
    assert list(csv.DictReader(io.StringIO(to_csv(frame))))[-1]["top1_error"] == ""
    assert math.isnan(frame["top1_error"].iloc[-1])


def test_parquet_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install 'vgg-sweep\[parquet\]'"):
        to_parquet(pd.DataFrame({"config": ["A"]}))
