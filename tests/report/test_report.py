import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from tests.report.localised import make_box_run
from tests.report.tables.test_transfer import write
from tests.sweeps import EVERYTHING, TABLE3, Spec, make_run, make_sweep
from vgg_sweep.errors import ConfigError
from vgg_sweep.report.report import report
from vgg_sweep.report.tables.contents import TABLES

SMALL = Spec(num_images=20)

SEVERAL = ("fusion", "differences", "comparison", "seeds", "7", "confusions", "confusion", "8", "9", "10", "box-claims",
           "11", "12", "aggregation", "shots", "depth", "depth-claims")  # fmt: skip
"""Tables that are not there for one sweep that is not on ILSVRC, without boxes, BN and what is asked for."""


def reported(sweeps: list[Path], **options) -> str:
    console = Console(width=100, file=io.StringIO())
    settings = {"tables": None, "formats": None, "out": None, "fuse": []} | options
    report(sweeps, **settings, console=console)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sweep(tmp_path_factory.mktemp("sweep"), EVERYTHING, spec=SMALL)


def test_everything_is_shown_all_runs_first_and_claims_last(sweep: Path) -> None:
    text = reported([sweep])
    runs, *others = (
        table.title for table in TABLES.values() if table.of in ("results", "claims") and table.name not in SEVERAL
    )
    titles = [runs, "Settings that differ", *others]
    places = [text.find(title) for title in titles]
    assert -1 not in places and places == sorted(places)
    assert text.rstrip().splitlines()[-1].startswith("Claims: ")
    assert f"{sweep}: 14 of 14 runs scored." in text.replace("\n", "")


def test_only_the_named_tables(sweep: Path) -> None:
    rows = json.loads(reported([sweep], tables=["6", "3"], formats=["json"]))
    assert [row["table"] for row in rows] == ["3"] * 12 + ["6"] * 4


def test_a_sweep_of_probes_or_of_boxes_alone_has_its_tables_in_every_format(tmp_path: Path) -> None:
    """A trunk has no classes to be scored; boxes may come from a classifier of another sweep."""
    trunk = make_run(tmp_path / "trunk", "D", "256", spec=SMALL)
    shutil.rmtree(trunk / "posteriors")
    write(trunk.parent, [trunk.name], [[10], [20]])
    make_box_run(tmp_path / "boxes", "384", spec=SMALL)
    for name, title in {"trunk": "Table 11", "boxes": "Table 8"}.items():
        assert title in reported([tmp_path / name])
        reported(
            [tmp_path / name], formats=["md", "csv", "json", "latex", "html", "svg"], out=tmp_path / name / "report"
        )
        for file in ("report.md", "report.tex", "report.html"):
            assert title in (tmp_path / name / "report" / file).read_text()


def test_files_in_a_folder_are_the_same_tables(sweep: Path, tmp_path: Path) -> None:
    text = reported([sweep], out=tmp_path / "new" / "report")
    names = {path.name for path in (tmp_path / "new" / "report").iterdir()}
    made = [name for name in TABLES if name not in (*SEVERAL, "trials")]  # no search by Optuna made this sweep
    numbered = {f"table{name}.csv" if name.isdigit() else f"{name}.csv" for name in made}
    assert names == numbered | {"report.md", "report.json"}
    assert "Table 3" in text and "Written to" in text
    assert (tmp_path / "new" / "report" / "report.json").read_text() == reported([sweep], formats=["json"])


def test_parquet_holds_what_csv_holds_in_its_types(sweep: Path, tmp_path: Path) -> None:
    reported([sweep], formats=["parquet", "csv"], out=tmp_path)
    parquet, csv = pd.read_parquet(tmp_path / "table3.parquet"), pd.read_csv(tmp_path / "table3.csv")
    assert list(parquet.columns) == list(csv.columns)
    assert parquet["top1_error"].tolist() == pytest.approx(csv["top1_error"].tolist())
    assert parquet["test_scales"].iloc[0] == "73" and parquet["seeds"].dtype == "Int64"
    assert {path.stem for path in tmp_path.glob("*.parquet")} == {path.stem for path in tmp_path.glob("*.csv")}


def test_printed_latex_is_one_document(sweep: Path) -> None:
    text = reported([sweep], formats=["latex"])
    assert text.count(r"\documentclass") == text.count("Table 3.") == 1


def test_a_second_report_is_the_same_byte_for_byte(sweep: Path) -> None:
    assert reported([sweep], formats=["md"]) == reported([sweep], formats=["md"])


def test_two_sweeps_stand_side_by_side(sweep: Path, tmp_path: Path) -> None:
    other = make_sweep(tmp_path / "other", TABLE3, spec=Spec(num_images=30))
    rows = json.loads(reported([sweep, other], tables=["3"], formats=["json"]))
    assert [(row["sweep"], row["n_images"]) for row in rows] == [(str(sweep), 20)] * 12 + [(str(other), 30)] * 12


def test_runs_that_are_not_scored_are_named_with_their_state(tmp_path: Path) -> None:
    make_run(tmp_path, "A", "256", spec=SMALL)
    failed = make_run(tmp_path, "B", "256", spec=SMALL)
    (failed / "posteriors" / "manifest.json").unlink()
    (failed / "status.json").write_text('{"state": "diverged"}')
    text = reported([tmp_path])
    assert "1 of 2 runs scored." in text and f"not scored: {failed.name} (diverged)" in text


def test_images_that_cannot_be_decoded_are_counted(tmp_path: Path) -> None:
    make_run(tmp_path, "A", "256", spec=Spec(20, record={"bad_val_images": ["val/a.jpg"]}))
    make_run(tmp_path, "B", "256", spec=Spec(20, record={"bad_val_images": ["val/a.jpg", "val/b.jpg"]}))
    make_run(tmp_path, "C", "256", spec=SMALL)
    for format in ("rich", "md"):
        text = " ".join(reported([tmp_path], tables=["3"], formats=[format]).split())
        assert "2 of its runs left out val images that cannot be decoded, up to 2, such as val/a.jpg" in text
        assert "train images that cannot" not in text


def test_what_would_fill_the_dashes_is_said_once_and_without_repeats(tmp_path: Path) -> None:
    spec = Spec(num_images=20, passes=["dense@single", "dense@multi"])
    make_sweep(tmp_path, [net for net in EVERYTHING if net not in (("E", "jitter"), ("D", "jitter-fc"))], spec=spec)
    for text in (reported([tmp_path], missing=True), reported([tmp_path], formats=["md"], missing=True)):
        commands = text.partition("To fill the missing rows")[2].splitlines()
        assert sorted(line.split()[2:5] for line in commands if line.startswith("vgg-sweep")) == [
            ["model=B,B-5x5", "train_scale=256", "protocol=centre"],
            ["model=D", "train_scale=jitter-fc", "protocol=multi"],
            ["model=D,E", "train_scale=jitter", "protocol=crops"],
        ]


def test_gaps_are_shown_only_where_half_of_a_table_is_there_or_they_are_asked_for(tmp_path: Path) -> None:
    """Of Table 3 five and seven of the twelve rows are there; A-384, which is none of its nets, is in All runs."""
    spec = Spec(num_images=20, passes=["dense@single"], settings={"protocol.name": "single"})
    make_sweep(tmp_path, [*TABLE3[:5], ("A", "384")], spec=spec)
    rows = json.loads(reported([tmp_path], formats=["json"]))
    of_table = {name: [row for row in rows if row["table"] == name] for name in ("runs", "3", "claims")}
    assert {row["config"] + row["train_scale"] for row in of_table["runs"]} == {"".join(net) for net in TABLE3[:5]} | {
        "A384"
    }
    assert [row["config"] for row in of_table["3"]] == ["A", "A-LRN", "B", "C", "D"]
    assert {row["verdict"] for row in of_table["claims"]} == {"one seed"}
    assert not {"4", "5", "6", "7", "5x5"} & {row["table"] for row in rows}
    assert "vgg-sweep multirun" not in reported([tmp_path]).partition("Claims of the paper")[2]
    whole = reported([tmp_path], missing=True)
    assert "To fill the missing rows" in whole and "Table 7." in whole
    assert len(json.loads(reported([tmp_path], formats=["json"], tables=["3"]))) == 12
    make_sweep(tmp_path, TABLE3[5:7], spec=spec)
    rows = json.loads(reported([tmp_path], formats=["json"]))
    assert [row["seeds"] for row in rows if row["table"] == "3"].count(0) == 5
    assert "To fill the missing rows" in reported([tmp_path])


def test_answers_to_each_image_and_epochs_of_training_are_asked_for(sweep: Path, tmp_path: Path) -> None:
    text = reported([sweep], tables=["3"], images=tmp_path / "new" / "images.parquet")
    assert "the answers of each net to 20 images, by dense evaluation at one test scale" in " ".join(text.split())
    assert len(pd.read_parquet(tmp_path / "new" / "images.parquet")) == 20
    with pytest.raises(ConfigError, match=r"images.txt has an unknown ending; use .csv or .parquet"):
        reported([sweep], images=tmp_path / "images.txt")
    run = make_run(tmp_path / "going", "A", "256", spec=SMALL)
    (run / "posteriors" / "manifest.json").unlink()
    (run / "metrics.csv").write_text("epoch,error,val_error\n1,60,50\n")
    assert "All runs at epoch 1, best first" in reported([tmp_path / "going"], at="common")
    with pytest.raises(ConfigError, match="--at gives one table"):
        reported([tmp_path / "going"], at="common", formats=["html"])


def test_what_one_seed_means_is_said_above_the_claims_with_what_trains_more(tmp_path: Path) -> None:
    """A has three seeds, B-256 one, D two: B and D lack different ones."""
    for model, seeds in (("A", (0, 1, 2)), ("B", (1,)), ("D", (0, 1))):
        make_sweep(tmp_path, [(model, "256")], seeds, Spec(num_images=20, settings={"protocol.name": "single"}))
    for format in ("rich", "md", "html", "latex"):
        text = reported([tmp_path], formats=[format], tables=["claims"])
        contents = " ".join(text.split())
        assert contents.index("decide nothing about training: nets trained again") < contents.index("LRN does not help")
        for model, seeds in (("B", "0,2"), ("D", "2")):
            words = f"vgg-sweep multirun model={model} train_scale=256 protocol=single"
            line = next(line for line in text.replace("\\_", "_").splitlines() if words in line)
            assert f" seed={seeds}" in line
            assert text.replace("\\_", "_").index(words) < text.index("LRN does not help")
        assert "multirun model=A " not in text.partition("LRN does not help")[0]


def test_with_three_seeds_nothing_is_said_of_few(tmp_path: Path) -> None:
    make_sweep(tmp_path, [("A", "256"), ("E", "256")], range(3), SMALL)
    assert "decide nothing" not in reported([tmp_path], tables=["claims"])


def test_errors_are_listed_seed_by_seed_where_asked_for(tmp_path: Path) -> None:
    make_sweep(tmp_path, [("A", "256")], (0, 3), Spec(num_images=20, passes=["dense@single"]))
    assert "seed by seed" not in reported([tmp_path])
    rows = json.loads(reported([tmp_path], tables=["3"], by_seed=True, formats=["json"]))
    listed = [row for row in rows if row["table"] == "seeds"]
    assert [(row["config"], row["seed"]) for row in listed] == [("A", 0), ("A", 3)]
    mean = next(row for row in rows if row["table"] == "3" and row["config"] == "A")
    assert sum(row["top1_error"] for row in listed) / 2 == pytest.approx(mean["top1_error"])
    assert "Errors seed by seed" in reported([tmp_path], by_seed=True)


def test_rows_of_runs_made_otherwise_are_marked(tmp_path: Path) -> None:
    """E is of another arithmetic, a seed of B of another torch, D of other images with the same names."""
    here = {"precision": "bf16", "versions": {"torch": "2.9.0"}}
    passes = ["dense@single"]
    for model, seed, record in (
        ("A", 0, here),
        ("A", 1, here),
        ("B", 0, here),
        ("B", 1, here | {"versions": {"torch": "2.10.0"}}),
        ("C", 0, here),
        ("D", 0, here),
        ("E", 0, here | {"precision": "fp32"}),
    ):
        make_run(tmp_path, model, "256", seed, Spec(num_images=20, passes=passes, record=record))
    manifest = next(tmp_path.glob("D-*")) / "posteriors" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"data_fingerprint": "0', '"data_fingerprint": "f'))
    for _ in range(2):  # as computed, and as kept
        text = reported([tmp_path], tables=["3"], formats=["md"])
        marked = [
            line.split(" | ")[0].strip("| ") for line in text.splitlines() if line.startswith("|") and "‡" in line
        ]
        assert marked == ["B", "D", "E"]
        assert (
            "‡ Unlike most runs here: B, S = 256 (torch 2.10.0); D, S = 256 (data f0000000); E, S = 256 (fp32)."
        ) in text


def test_fusions_asked_for_are_shown(sweep: Path) -> None:
    rows = json.loads(reported([sweep], tables=["fusion"], formats=["json"], fuse=["C-jitter + E-jitter", "best:2"]))
    assert {row["config"] for row in rows} >= {"C-jitter + E-jitter"}
    assert sum(row["fusion"].startswith("best") for row in rows) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tables": ["33"]}, "there is no table '33'; .*did you mean 3"),
        ({"formats": ["mdd"]}, "there is no format 'mdd'; .*did you mean md"),
        ({"formats": ["parquet"]}, "--format parquet makes files; name a folder for them with --out DIR"),
        ({"fuse": ["F-jitter"]}, "no scored run is called 'F-jitter'"),
    ],
)
def test_unknown_words_are_refused(sweep: Path, options: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        reported([sweep], **options)


def test_no_sweep_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="vgg-sweep multirun"):
        reported([tmp_path / "nowhere"])


def test_report_does_without_torch(sweep: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from rich.console import Console\n"
        "from vgg_sweep.report.report import report\n"
        f"report([Path({str(sweep)!r})], tables=None, formats=None, out=None, fuse=['best:2'], console=Console())\n"
        "assert not {'torch', 'torchvision'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
