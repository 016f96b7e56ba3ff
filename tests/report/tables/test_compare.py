import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from statsmodels.stats.multitest import multipletests

from tests.conftest import Outcome
from tests.sweeps import TABLE3, Spec, make_run, make_sweep, write_posteriors
from vgg_sweep.protocols.statistics import unpaired_difference
from vgg_sweep.report.report import report
from vgg_sweep.report.results.results import Source, read_results, read_runs, read_sweep
from vgg_sweep.report.tables.compare import comparison, differences
from vgg_sweep.report.tables.contents import TABLES, make_contents

DENSE = ("dense@single",)


def wrong_on(run: Path, wrong_N: np.ndarray) -> None:
    """Posteriors of 7 classes that are wrong on these images and right on the others."""
    labels_N = np.arange(len(wrong_N)) % 7
    answers_N = np.where(wrong_N, (labels_N + 1) % 7, labels_N)
    write_posteriors(run, {("dense", 73, flip): np.eye(7)[answers_N] for flip in (False, True)}, labels_N)


def two(tmp_path: Path, wrong_a_RN: list[np.ndarray], wrong_b_RN: list[np.ndarray]) -> pd.DataFrame:
    for name, wrong_RN in (("a", wrong_a_RN), ("b", wrong_b_RN)):
        for seed, wrong_N in enumerate(wrong_RN):
            wrong_on(make_run(tmp_path / name, "D", "256", seed=seed, spec=Spec(passes=DENSE)), wrong_N)
    return pd.concat([read_results(tmp_path / name) for name in ("a", "b")], ignore_index=True)


def first(count: int, num_images: int, start: int = 0) -> np.ndarray:
    return (np.arange(num_images) >= start) & (np.arange(num_images) < start + count)


def test_one_seed_on_the_same_images_is_mcnemar_s_test(tmp_path: Path) -> None:
    """a alone is wrong on 2 images, b alone on 8, of 100: p = 2 (C(10,0) + C(10,1) + C(10,2)) / 2^10."""
    row = comparison(two(tmp_path, [first(12, 100)], [first(18, 100, start=2)])).iloc[0]
    assert (row["top1_error"], row["other_top1_error"], row["points"]) == (12, 18, 6)
    assert row["test"] == "McNemar" and row["p_images"] == pytest.approx(112 / 1024)
    assert math.isnan(row["p"]) and math.isnan(row["p_holm"])
    assert row["points_low"] < 0 < 6 < row["points_high"]
    assert (row["config"], row["train_scale"], row["rule"], row["method"]) == ("D", "256", "single", "dense")


def test_seeds_are_averaged_and_widen_the_interval(tmp_path: Path) -> None:
    alike = comparison(two(tmp_path / "1", [first(20, 200)] * 3, [first(40, 200)] * 3)).iloc[0]
    wrong_RN = [first(num, 200) for num in (10, 20, 30)]
    apart = comparison(two(tmp_path / "2", wrong_RN, [first(40, 200)] * 3)).iloc[0]
    assert alike["points"] == pytest.approx(10) and apart["points"] == pytest.approx(10)
    assert alike["test"] == "paired" and (alike["seeds"], alike["other_seeds"]) == (3, 3)
    assert apart["points_high"] - apart["points_low"] > alike["points_high"] - alike["points_low"]
    assert alike["p"] < 0.001 < apart["p"]
    assert apart["p_images"] < alike["p_images"] < 0.001  # of these nets the seeds say nothing


def test_two_seeds_say_nothing_about_training(tmp_path: Path) -> None:
    row = comparison(two(tmp_path, [first(20, 200)] * 3, [first(60, 200)] * 2)).iloc[0]
    assert row["p_images"] < 0.001 and math.isnan(row["p"])


def test_other_images_with_seeds_are_two_samples_of_seeds(tmp_path: Path) -> None:
    """Points of 10, 20, 30 against 50, 60, 70 percent: 40 apart, df 4 if seeds were all."""
    wrong_RN = [
        [first(num, num_images) for num in nums] for num_images, nums in ((100, (10, 20, 30)), (200, (100, 120, 140)))
    ]
    row = comparison(two(tmp_path, *wrong_RN)).iloc[0]
    assert row["points"] == pytest.approx(40) and row["test"] == "unpaired"
    assert 0.001 < row["p"] < 0.05 and row["p_images"] < row["p"]
    assert row["points_high"] - row["points_low"] > 2 * 2.78 * math.sqrt(2 * 10**2 / 3) * 0.95


def test_holm_is_over_the_rows_of_a_comparison(tmp_path: Path) -> None:
    make_sweep(tmp_path / "a", TABLE3[:4], seeds=range(3), spec=Spec(num_images=40))
    make_sweep(tmp_path / "b", TABLE3[:4], seeds=range(3), spec=Spec(num_images=40, settings={"recipe.lr": 0.5}))
    frame = comparison(pd.concat([read_results(tmp_path / name) for name in ("a", "b")], ignore_index=True))
    assert frame["p_holm"].tolist() == pytest.approx(multipletests(frame["p"], method="holm")[1])


def test_other_images_are_two_samples_and_the_note_says_so(tmp_path: Path) -> None:
    results = two(tmp_path, [first(20, 100)], [first(60, 120)])
    row = comparison(results).iloc[0]
    assert row["test"] == "unpaired" and row["points"] == pytest.approx(30)
    z = 30 / (100 * math.sqrt(0.2 * 0.8 / 100 + 0.5 * 0.5 / 120))
    assert row["p_images"] == pytest.approx(math.erfc(z / math.sqrt(2)), abs=1e-4)
    assert (row["n_images"], row["other_n_images"]) == (100, 120)
    text = printed([tmp_path / "a", tmp_path / "b"], tables=["comparison"])
    assert "was scored on other images or classes than" in text


def test_unpaired_interval_is_newcombe_s() -> None:
    """His example: 56 of 70 against 48 of 80 (Statistics in Medicine 17, 1998, Table II, method 10)."""
    points, low, high = unpaired_difference(100 * 56 / 70, 70, 100 * 48 / 80, 80)
    assert (points, low, high) == (pytest.approx(20), pytest.approx(5.24, abs=0.005), pytest.approx(33.39, abs=0.005))


def printed(sweeps: list[Path], **options) -> str:
    console = Console(width=160, file=io.StringIO())
    settings = {"tables": None, "formats": None, "out": None, "fuse": []} | options
    report(sweeps, **settings, console=console)
    return console.file.getvalue().replace("\n", " ")


def test_two_recipes_are_compared_and_named(tmp_path: Path) -> None:
    spec = Spec(num_images=30)
    make_sweep(tmp_path / "slow", TABLE3[:3], spec=spec)
    make_sweep(tmp_path / "fast", TABLE3[1:4], spec=Spec(num_images=30, settings={"recipe.lr": 0.02, "width": 0.5}))
    rows = json.loads(printed([tmp_path / "slow", tmp_path / "fast"], formats=["json"], tables=["comparison"]))
    assert {(row["config"], row["other_sweep"]) for row in rows} == {
        (net, f"{tmp_path}/fast") for net in ("A-LRN", "B")
    }
    assert {row["test"] for row in rows} == {"McNemar"}
    made = json.loads(printed([tmp_path / "slow", tmp_path / "fast"], formats=["json"], tables=["differences"]))
    values = [(row["setting"], row["value"], row["other_value"]) for row in made]
    assert sorted(values) == [("recipe.lr", "0.01", "0.02"), ("width", "1.0", "0.5")]


def test_a_line_of_text_for_every_row_of_data(tmp_path: Path) -> None:
    make_sweep(tmp_path / "a", TABLE3, spec=Spec(num_images=20))
    make_sweep(tmp_path / "b", TABLE3[:5], spec=Spec(num_images=20, settings={"recipe.lr": 0.5}))
    contents = make_contents([read_sweep(Source(tmp_path / name, name), []) for name in ("a", "b")], TABLES)
    assert {"differences", "comparison", "3", "claims"} <= contents.frames.keys()
    for table in contents.tables:
        assert {len(column.cells) for column in table.columns} == {len(contents.frames[table.name])}


def test_versions_commits_and_machines_that_differ_are_named(tmp_path: Path) -> None:
    records = {
        "old": {
            "commit": "abc",
            "versions": {"torch": "2.9", "numpy": "2.0"},
            "device_name": "CPU",
            "precision": "fp32",
        },
        "new": {"commit": "def", "versions": {"torch": "2.14", "numpy": "2.0"}, "device_name": "H100"},
    }
    for name, record in records.items():
        make_run(tmp_path / name, "A", "256", spec=Spec(passes=DENSE, record=record))
    made = differences([(name, read_runs(tmp_path / name, name)) for name in records])
    found = {row.setting: [row.value, row.other_value] for row in made.itertuples()}
    assert found == {
        "commit": ["abc", "def"],
        "version of torch": ["2.9", "2.14"],
        "device_name": ["CPU", "H100"],
        "precision": ["fp32", ""],
    }


def test_groups_of_settings_meet_their_like(tmp_path: Path) -> None:
    for sweep in ("a", "b"):
        for lr in (0.01, 0.02):
            make_run(tmp_path / sweep, "A", "256", spec=Spec(passes=DENSE, settings={"recipe.lr": lr}))
    rows = comparison(pd.concat([read_results(tmp_path / sweep) for sweep in ("a", "b")], ignore_index=True))
    assert sorted((row.settings, row.other_settings) for row in rows.itertuples()) == [
        ("recipe.lr=0.01", "recipe.lr=0.01"),
        ("recipe.lr=0.02", "recipe.lr=0.02"),
    ]


def test_each_sweep_is_compared_with_the_first_and_one_with_none(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        make_run(tmp_path / name, "A", "256", spec=Spec(passes=DENSE))
    parts = [read_results(tmp_path / name) for name in ("a", "b", "c")]
    assert len(comparison(parts[0])) == 0
    rows = comparison(pd.concat(parts, ignore_index=True))
    assert [Path(name).name for name in rows["other_sweep"]] == ["b", "c"]
    assert {Path(name).name for name in rows["sweep"]} == {"a"}
    assert rows["points"].tolist() == [0, 0] and rows["p_images"].tolist() == [1, 1]


def test_the_command_puts_two_side_by_side(call: Callable[..., Outcome], tmp_path: Path) -> None:
    for name in ("first/outputs/fractals", "second/outputs/fractals"):
        make_sweep(tmp_path / name, [("D", "jitter"), ("E", "jitter")], spec=Spec(num_images=20))
    done = call("report", "first/outputs/fractals", "second/outputs/fractals", "--format", "rich,latex,md")
    assert done.exit_code == 0 and "nan" not in done.out
    text = done.out
    assert "| first/outputs/fractals top-1 | second/outputs/fractals top-1 |" in text
    assert "| D-jitter + E-jitter | multiple | multi-crop & dense |" in text
