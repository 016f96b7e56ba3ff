from pathlib import Path

import pandas as pd
import pytest

from tests.sweeps import Spec, make_run, make_sweep
from vgg_sweep.protocols.metrics import wilson
from vgg_sweep.report.results.results import Source, joined, read_results, read_sweep
from vgg_sweep.report.tables.runs import MOST_ROWS, RUNS, all_runs

ONE = Spec(num_images=40, passes=["dense@single"])


def test_every_scored_run_has_a_row_under_every_protocol_best_first(tmp_path: Path) -> None:
    """Of A and D at two scales, neither of A's jitter and 384 nor D's 256 under ten-crop is a row of the paper."""
    spec = Spec(num_images=40, passes=["dense@multi", "ten-crop@single"])
    make_sweep(tmp_path, [("A", "384"), ("A", "jitter"), ("D", "256")], (0, 1), spec)
    results = read_results(tmp_path)
    frame = all_runs(results)
    assert len(frame) == 3 * 5  # each of three Q, the three together, ten crops
    assert frame["top1_error"].is_monotonic_increasing
    for row in frame.itertuples():
        alike = (results["config"] == row.config) & (results["train_scale"] == row.train_scale)
        found = results[alike & (results["method"] == row.method) & (results["test_scales"] == row.test_scales)]
        assert row.run_id.split() == found["run_id"].tolist() and row.seeds == 2
        assert row.top1_error == pytest.approx(found["top1_error"].mean())
        assert row.top1_std == pytest.approx(found["top1_error"].std())
        assert (row.top1_low, row.top1_high) == wilson(row.top1_error, 40)
    best = frame[frame["is_best"]]
    assert len(best) == 3 and best["top1_error"].tolist() == sorted(
        frame.groupby(["config", "train_scale"])["top1_error"].min()
    )


def test_settings_in_which_runs_differ_are_columns_and_others_are_not(tmp_path: Path) -> None:
    for lr in (0.05, 0.002, 0.01):
        spec = Spec(40, passes=ONE.passes, settings={"recipe.lr": lr, "recipe.drop_fractions": [0.5, lr], "width": 0.5})
        make_run(tmp_path, "A", "256", spec=spec)
    frame = all_runs(read_results(tmp_path))
    assert sorted(frame["recipe.lr"]) == [0.002, 0.01, 0.05] and set(frame["width"]) == {0.5}
    cells = {column.head: column.cells for column in RUNS.rendered(frame).columns}
    assert "width" not in cells and "settings" not in cells and "crop" not in cells
    assert cells["recipe.lr"] == [str(lr) for lr in frame["recipe.lr"]]
    assert set(cells["recipe.drop_fractions"]) == {"0.5, 0.05", "0.5, 0.002", "0.5, 0.01"}


def test_groups_of_settings_stand_in_the_order_of_their_values(tmp_path: Path) -> None:
    for size in (128, 16, 32):
        make_run(tmp_path, "A", "256", spec=Spec(20, passes=ONE.passes, settings={"recipe.batch_size": size}))
    assert read_results(tmp_path)["settings"].tolist() == [f"recipe.batch_size={size}" for size in (16, 32, 128)]


def test_sweeps_on_other_images_are_not_sorted_into_one_another(tmp_path: Path) -> None:
    """A setting that one sweep leaves at its default has that value beside another's."""
    make_sweep(tmp_path / "one", [("A", "256"), ("B", "256")], spec=ONE)
    wide = Spec(num_images=41, passes=ONE.passes, settings={"width": 0.5})
    make_sweep(tmp_path / "two", [("A", "256"), ("B", "256")], spec=wide)
    results = joined([read_sweep(Source(tmp_path / name, name), []) for name in ("one", "two")])
    frame = all_runs(results)
    assert frame["sweep"].tolist() == ["one", "one", "two", "two"]
    assert frame["width"].tolist() == [1.0, 1.0, 0.5, 0.5]
    for _, rows in frame.groupby("sweep"):
        assert rows["top1_error"].is_monotonic_increasing


def test_of_many_rows_a_terminal_has_the_best_of_each_net(tmp_path: Path) -> None:
    make_sweep(tmp_path, [("A", "256"), ("B", "256"), ("C", "256")])
    frame = all_runs(read_results(tmp_path))
    assert len(frame) > MOST_ROWS
    shown = RUNS.rendered(frame)
    assert [frame["config"][place] for place in shown.brief] == list(pd.unique(frame["config"]))
    assert not RUNS.rendered(frame.head(MOST_ROWS)).brief


def test_requested_fusions_stand_among_the_nets_and_those_of_other_images_behind(tmp_path: Path) -> None:
    make_sweep(tmp_path, [("D", "jitter"), ("E", "jitter"), ("A", "256")], spec=ONE)
    frame = all_runs(read_results(tmp_path, ["D-jitter + E-jitter", "best:1"]))
    on_all = frame[frame["n_images"] == 40]
    assert on_all["top1_error"].is_monotonic_increasing and set(frame["n_images"].iloc[: len(on_all)]) == {40}
    fused = on_all[on_all["fusion"] != ""]
    assert list(fused["config"]) == ["D-jitter + E-jitter"] and fused["train_scale"].isna().all()
    assert frame["config"].iloc[-1].startswith("best 1 of 3")
    assert (fused["run_id"].iloc[0].count("jitter-s0") == 2) and "D-jitter + E-jitter" in RUNS.rendered(frame).columns[
        0
    ].cells
