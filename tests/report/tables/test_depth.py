"""The table of what makes depth trainable, from records and curves made by hand."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.sweeps import Spec, make_run
from vgg_sweep.protocols.statistics import over_seeds_and_images
from vgg_sweep.report.figures.plots import plots
from vgg_sweep.report.page.page import to_html
from vgg_sweep.report.results.results import Source, read_sweep
from vgg_sweep.report.tables.contents import make_contents
from vgg_sweep.report.tables.depth import DEPTH, DEPTH_CLAIMS

HEAD = "step,epoch,lr,loss,error,val_error,S_px,images_per_second,wait_share\n"


def run(
    sweep: Path, model: str, train: float, val: float, seed: int = 0, chance: bool = False, **settings: object
) -> None:
    copied = ["conv1_1"] if model == "E" and not settings else []
    record = {"val_error": val, "stuck_at_chance": chance, "copied": copied}
    spec = Spec(num_images=14, passes=["dense@single"], record=record, settings={"recipe.init": "he", **settings})
    folder = make_run(sweep, model, "256", seed, spec)
    (folder / "metrics.csv").write_text(f"{HEAD}5,1,0.1,1.0,{train + 9},,73,9,0\n10,2,0.1,1.0,{train},{val},73,9,0\n")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "sweep"
    for seed, more in enumerate((0.0, 2.0)):
        run(folder, "E-BN", 20.0 + more, 30.0 + 2 * more, seed)
        run(folder, "E-BN-skip", 10.0, 25.0, seed, chance=seed == 1)
    run(folder, "E", 40.0, 50.0)
    run(folder, "E", 85.0, 86.0, chance=True, **{"recipe.init": "normal"})
    run(folder, "res-20", 5.0, 8.0)
    run(folder, "A-BN", 15.0, 22.0)
    return folder


def test_a_line_for_each_way_to_train_and_a_column_for_each_depth(sweep: Path) -> None:
    frame = DEPTH.make([read_sweep(Source(sweep, "s"), [])])
    shown = DEPTH.rendered(frame)
    assert [column.head for column in shown.columns] == ["trained", "A (11)", "E (19)", "20 layers"]
    assert {line[0]: line[1:] for line in shown.lines} == {
        "from A": ("–", "40.0 / 50.0", "–"),
        "N(0, 0.01)": ("–", "at chance", "–"),
        "He, BN": ("15.0 / 22.0", "21±1 / 32±3", "–"),
        "He, BN, shortcuts": ("–", "10±0 / 25±0 (1 of 2 at chance)", "5.0 / 8.0"),
    }
    of_e = frame[(frame["treatment"] == "He, BN") & (frame["net"] == "E")].iloc[0]
    assert (of_e["train_error"], of_e["val_error"], of_e["layers"], of_e["seeds"]) == (21.0, 32.0, 19, 2)
    assert of_e["val_error_std"] == pytest.approx(8**0.5)


def test_runs_that_diverged_or_failed_are_in_their_cells(sweep: Path) -> None:
    """Without a record of what was copied, E is contents to start from A if it was asked to."""
    ends = {"F": ["diverged", "diverged"], "G": ["diverged", "failed"], "E-BN": ["failed"], "E": ["running"]}
    for model, states in ends.items():
        for seed, state in enumerate(states, start=2):
            spec = Spec(settings={"recipe.init": "he"})
            folder = make_run(sweep, model, "256", seed, spec)
            shutil.rmtree(folder / "posteriors")
            (folder / "record.json").unlink()
            (folder / "status.json").write_text(json.dumps({"state": state}))
    read = read_sweep(Source(sweep, "s"), [])
    lines = {line[0]: line[1:] for line in DEPTH.rendered(DEPTH.make([read])).lines}
    assert lines["from A"] == ("–", "40.0 / 50.0", "–", "diverged", "1 of 2 diverged, 1 of 2 failed")
    assert lines["He, BN"] == ("15.0 / 22.0", "21±1 / 32±3 (1 of 3 failed)", "–", "–", "–")
    assert not any("F-" in net for plot in plots([read]) if plot.name == "degradation" for net in plot.marks["nets"])
    assert set(DEPTH_CLAIMS.make([read])["seeds"]) == {0, 1}


def test_other_settings_are_told_apart(sweep: Path) -> None:
    run(sweep, "E-BN", 50.0, 60.0, 0, **{"recipe.epochs": 3.0})
    treatments = set(DEPTH.make([read_sweep(Source(sweep, "s"), [])])["treatment"])
    assert {"He, BN, recipe.epochs=74.0", "He, BN, recipe.epochs=3.0"} <= treatments


def test_the_page_has_the_tables_too(sweep: Path) -> None:
    page = to_html(make_contents([read_sweep(Source(sweep, "s"), [])], ["depth"]))
    assert '<section id="trainable"' in page and "He, BN" in page


def test_a_sweep_of_the_papers_nets_has_no_such_table(tmp_path: Path) -> None:
    run(tmp_path / "sweep", "A", 1.0, 2.0)
    read = read_sweep(Source(tmp_path / "sweep", "s"), [])
    assert "depth" not in make_contents([read], ["depth"]).frames
    assert DEPTH.make([read]).empty
    assert "degradation" not in [plot.name for plot in plots([read])]


def test_the_figure_has_a_line_for_each_way_over_depth(sweep: Path) -> None:
    [plot] = [plot for plot in plots([read_sweep(Source(sweep, "s"), [])]) if plot.name == "degradation"]
    points: pd.DataFrame = plot.marks
    assert plot.panels == ["training", "validation"]
    line = points[(points["panel"] == "validation") & (points["series"] == "He, BN")]
    assert line[["x", "y"]].to_numpy().tolist() == [[11, 22.0], [19, 32.0]]
    assert list(line["seeds"]) == [(22.0,), (30.0, 34.0)]


def claims_of(folder: Path) -> pd.DataFrame:
    return DEPTH_CLAIMS.make([read_sweep(Source(folder, "s"), [])]).set_index("claim")


def test_training_errors_are_tested_by_t_over_seeds(tmp_path: Path) -> None:
    """Deeper minus shallower, of three seeds: scipy's t test of one sample; Holm leaves the smallest p times two."""
    shallow, deep = (10.0, 11.0, 12.0), (20.0, 22.0, 24.5)
    for seed in range(3):
        run(tmp_path / "sweep", "plain-20", shallow[seed], 50.0, seed)
        run(tmp_path / "sweep", "plain-56", deep[seed], 50.0, seed)
        run(tmp_path / "sweep", "res-20", 10.0 + seed % 2, 50.0, seed)
        run(tmp_path / "sweep", "res-56", 10.0, 50.0, seed)
    found = claims_of(tmp_path / "sweep")
    plain, residual = found.iloc[0], found.iloc[1]
    expected = stats.ttest_1samp(np.subtract(deep, shallow), 0)
    low, high = expected.confidence_interval()
    assert (plain["points"], plain["seeds"]) == (pytest.approx(66.5 / 3 - 11), 3)
    assert [plain["points_low"], plain["points_high"], plain["p"]] == pytest.approx([low, high, expected.pvalue])
    assert plain["p_holm"] == pytest.approx(2 * expected.pvalue)
    assert (plain["verdict"], residual["verdict"]) == ("supported", "undecided")
    assert residual["points"] == pytest.approx(1 / 3)
    assert list(found["verdict"][2:]) == ["missing", "missing"]


def test_equal_differences_of_all_seeds_and_runs_not_yet_scored_decide_nothing(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    for seed in range(3):
        for model, error in (("plain-20", 54.1), ("plain-56", 60.3)):
            run(sweep, model, error + seed, 50.0, seed)
        for model in ("E", "E-BN"):
            run(sweep, model, 50.0, 50.0, seed)
    for posteriors in sweep.glob("E-256-s0-*/posteriors"):
        shutil.rmtree(posteriors)
    found = claims_of(sweep)
    assert found["verdict"].tolist() == ["undecided", "missing", "two seeds", "missing"]
    assert found["points"].iloc[0] == pytest.approx(6.2)


def test_few_seeds_decide_nothing(sweep: Path) -> None:
    found = claims_of(sweep)
    assert found.loc["With BN and random weights E beats E from A", "verdict"] == "one seed"
    assert set(found["verdict"]) == {"one seed", "missing"}


def test_validation_errors_are_compared_image_by_image(tmp_path: Path) -> None:
    """(E - E-BN) - (A - A-BN), from the misses of each run."""
    for seed in range(3):
        for model in ("A", "E", "A-BN", "E-BN"):
            run(tmp_path / "sweep", model, 10.0, 20.0, seed, **{"recipe.lr": 0.02})
    sweep = read_sweep(Source(tmp_path / "sweep", "s"), [])
    rows = sweep.results[sweep.results["rule"] == "single"]
    wrong = {(row["config"], row["seed"]): row["top1_misses"].unpack().astype(int) for _, row in rows.iterrows()}
    parts_RN = np.array([wrong["E", s] - wrong["E-BN", s] - wrong["A", s] + wrong["A-BN", s] for s in range(3)])
    found = claims_of(tmp_path / "sweep").loc["BN helps the deeper net more, E than A"]
    assert found["points"] == pytest.approx(100 * parts_RN.mean())
    assert found["p"] == pytest.approx(over_seeds_and_images(parts_RN).p())
