import math
import shlex
from pathlib import Path
from statistics import stdev

import numpy as np
import pandas as pd
import pytest

from tests.sweeps import EVERYTHING, TABLE3, Spec, make_run, make_sweep, write_posteriors
from vgg_sweep.protocols.metrics import wilson
from vgg_sweep.report.results.results import read_results
from vgg_sweep.report.tables.compare import deviations
from vgg_sweep.report.tables.contents import TABLES
from vgg_sweep.report.tables.costs import lrn_cost
from vgg_sweep.report.tables.errors import table3, table4, table5, table_5x5
from vgg_sweep.report.tables.fusions import fusion_table, table6, table7

SMALL = Spec(num_images=20)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return read_results(make_sweep(tmp_path_factory.mktemp("sweep"), EVERYTHING, spec=SMALL))


@pytest.mark.parametrize(
    ("table", "num_rows", "num_ours"),
    [(table3, 12, 12), (table4, 10, 10), (table5, 6, 6), (table6, 4, 4), (table7, 15, 3), (table_5x5, 2, 2)],
)
def test_tables_have_the_paper_s_rows_and_ours_fill_them(everything: pd.DataFrame, table, num_rows, num_ours) -> None:
    frame = table(everything)
    assert len(frame) == num_rows
    assert (frame["seeds"] == 1).sum() == num_ours
    assert frame["top1_error"].notna().sum() == num_ours


def test_each_row_is_the_result_it_names(everything: pd.DataFrame) -> None:
    """Every error in Tables 3 to 5 is looked up anew, by net, train scale, pixels and method."""
    for frame in (table3(everything), table4(everything), table5(everything)):
        for row in frame.itertuples():
            found = everything[
                (everything["config"] == row.config)
                & (everything["train_scale"] == row.train_scale)
                & (everything["test_scales"] == row.test_scales)
                & (everything["method"] == row.method)
            ]
            assert found["top1_error"].tolist() == [row.top1_error]
            assert found["S"].tolist() == [row.S]


def test_pixels_of_the_paper_at_crop_64(everything: pd.DataFrame) -> None:
    row = table4(everything).iloc[-1]
    assert (row["paper_S"], row["paper_test_scales"]) == ((256, 512), (256, 384, 512))
    assert (row["S"], row["test_scales"]) == ((73, 146), (73, 110, 146))
    assert (row["paper_top1_error"], row["paper_top5_error"]) == (24.8, 7.5)


def test_the_submission_takes_the_net_with_fine_tuned_fc_layers(tmp_path: Path) -> None:
    """Without D-jitter-fc the submission is not there, whatever other D is, and the command asks for that net alone."""
    make_sweep(tmp_path, [net for net in EVERYTHING if net != ("D", "jitter-fc")], spec=SMALL)
    row = table6(read_results(tmp_path)).iloc[0]
    assert row["seeds"] == 0
    assert "model=D train_scale=jitter-fc protocol=multi" in row["command"]


def test_a_fusion_asked_for_is_not_counted_in_table_6(tmp_path: Path) -> None:
    make_sweep(tmp_path, [("D", "jitter"), ("E", "jitter")], spec=SMALL)
    assert table6(read_results(tmp_path, ["D-jitter + E-jitter"]))["seeds"].tolist() == [0, 1, 1, 1]


def test_a_lacking_row_is_a_dash_with_its_command(tmp_path: Path) -> None:
    spec = Spec(num_images=20, settings={"width": 0.25, "recipe.lr": 0.02})
    make_sweep(tmp_path, [net for net in TABLE3 if net != ("D", "384")], spec=spec)
    frame = table3(read_results(tmp_path))
    lacking = frame[frame["seeds"] == 0]
    assert lacking[["config", "train_scale"]].to_numpy().tolist() == [["D", "384"]]
    assert math.isnan(lacking["top1_error"].iloc[0]) and lacking["paper_top1_error"].iloc[0] == 26.8
    assert shlex.split(lacking["command"].iloc[0]) == [
        *("vgg-sweep", "multirun", "model=D", "train_scale=384", "protocol=single", "data=fractals", "recipe=paper"),
        *("crop=64", "width=0.25", "recipe.lr=0.02", "data.fractals.train_per_class=150", f"out={tmp_path}"),
    ]


def test_several_seeds_give_mean_spread_and_number(tmp_path: Path) -> None:
    make_sweep(tmp_path, [("A", "256")], seeds=[0, 1, 2], spec=Spec(num_images=50, passes=["dense@single"]))
    results = read_results(tmp_path)
    row = table3(results).iloc[0]
    errors = results["top1_error"].tolist()
    assert row["seeds"] == 3
    assert row["top1_error"] == pytest.approx(sum(errors) / 3)
    assert row["top1_std"] == pytest.approx(stdev(errors))
    assert (row["top1_low"], row["top1_high"]) == wilson(row["top1_error"], 50)  # over images, not over 150 of them
    assert "seed=0,1,2" in table3(results)["command"].iloc[1]


def test_each_group_of_settings_has_rows_of_its_own(tmp_path: Path) -> None:
    for width in (0.25, 0.5):
        make_sweep(tmp_path, [("A", "256")], spec=Spec(num_images=20, settings={"width": width}))
    frame = table3(read_results(tmp_path))
    assert len(frame) == 24
    assert sorted(frame[frame["seeds"] > 0]["settings"]) == ["width=0.25", "width=0.5"]


def test_a_run_stuck_at_chance_is_marked(tmp_path: Path) -> None:
    make_run(tmp_path, "A", "256", spec=Spec(record={"stuck_at_chance": True}))
    make_run(tmp_path, "A", "256", seed=1)
    assert table3(read_results(tmp_path))["note"].iloc[0] == "stuck at chance in 1 of 2 seeds"


def test_a_run_that_did_without_some_images_is_marked(tmp_path: Path) -> None:
    make_run(tmp_path, "A", "256", spec=Spec(record={"bad_train_images": ["a", "b"], "bad_val_images": ["c"]}))
    note = table3(read_results(tmp_path))["note"].iloc[0]
    assert note == "trained or scored without 3 images that could not be decoded"


def test_an_error_of_guessing_is_marked_and_a_likely_reason_is_given(tmp_path: Path) -> None:
    """Perfect posteriors, once with the classes in another order; a constant; and a net that errs on 3 of 4 images."""
    right_NK = np.eye(5)[np.arange(200) % 5] * 0.9 + 0.02
    answers = {
        "A": right_NK,
        "B": np.roll(right_NK, 1, axis=1),
        "C": np.full((200, 5), 0.2),
        "D": np.where((np.arange(200) < 50)[:, None], right_NK, np.roll(right_NK, 1, axis=1)),
        "E": np.where((np.arange(200) < 90)[:, None], right_NK, np.roll(right_NK, 1, axis=1)),
    }
    for net, posteriors_NK in answers.items():
        run = make_run(tmp_path, net, "256", spec=Spec(passes=["dense@single"]))
        write_posteriors(run, {("dense", 73, flip): posteriors_NK for flip in (False, True)}, np.arange(200) % 5)
    frame = table3(read_results(tmp_path))
    found = frame[frame["seeds"] > 0].set_index("config")["note"]
    guess = "no better than chance (80 %)"
    assert found.to_dict() == {"A": "", "B": guess, "C": guess, "D": guess, "E": ""}
    notes = TABLES["3"].rendered(frame).notes
    assert "No better than chance (80 %): B, S = 256; C, S = 256; D, S = 256." in notes
    assert any("outputs are in another order than the classes" in note for note in notes)
    assert not any("another order" in note for note in TABLES["3"].rendered(frame[frame["note"] == ""]).notes)


def test_5x5_is_a_difference_on_the_centre_crop(everything: pd.DataFrame) -> None:
    frame = table_5x5(everything)
    assert frame["method"].tolist() == ["centre-crop"] * 2
    errors = frame["top1_error"].tolist()
    assert frame["points_over_B"].iloc[1] == errors[1] - errors[0]
    assert frame["paper_points_over_B"].iloc[1] == 7


def test_table_7_keeps_merged_cells_and_does_not_lend_ours_to_others(everything: pd.DataFrame) -> None:
    frame = table7(everything)
    assert frame["paper_note"].str.contains("across the val and test columns").sum() == 2
    assert frame["config"].tolist()[:2] == ["D-jitter + E-jitter", "E-jitter"]
    assert frame["config"].isna().sum() == frame["top1_error"].isna().sum() == 12
    single = table5(everything).iloc[-1]
    assert frame["top1_error"].iloc[1] == single["top1_error"]


def test_what_lrn_costs(tmp_path: Path) -> None:
    machine = {"device_name": "a CPU", "precision": "bf16"}
    for seed, seconds in enumerate((0.1, 0.2, 0.6)):
        spec = Spec(num_images=5, record={"step_seconds": seconds, "peak_memory_bytes": 100} | machine)
        make_run(tmp_path, "A", "256", seed, spec)
    make_run(
        tmp_path,
        "A-LRN",
        "256",
        0,
        Spec(record={"step_seconds": 0.3, "peak_memory_bytes": 150} | machine, num_images=5),
    )
    frame = lrn_cost(read_results(tmp_path))
    assert frame["step_seconds"].tolist() == [0.2, 0.3]
    assert frame["step_seconds_ratio"].tolist() == [1, pytest.approx(1.5)]
    assert frame["peak_memory_bytes_ratio"].tolist() == [1, 1.5]


def test_times_of_different_machines_are_not_compared(tmp_path: Path) -> None:
    for net, device in (("A", "a CPU"), ("A-LRN", "a GPU")):
        make_run(tmp_path, net, "256", spec=Spec(num_images=5, record={"device_name": device, "precision": "fp32"}))
    frame = lrn_cost(read_results(tmp_path))
    assert frame["device"].tolist() == ["a CPU, fp32", "a GPU, fp32"]
    assert frame["step_seconds_ratio"].isna().tolist() == [False, True]


def test_asked_fusions_have_a_row_for_each_shared_protocol(tmp_path: Path) -> None:
    spec = Spec(num_images=20, passes=["dense@multi", "multi-crop@multi"])
    make_sweep(tmp_path, [("C", "jitter"), ("D", "jitter")], spec=spec)
    frame = fusion_table(read_results(tmp_path, ["C-jitter + D-jitter"]))
    assert sorted(zip(frame["method"], frame["rule"], strict=True)) == [
        (method, rule) for method in ("dense", "multi-crop", "multi-crop & dense") for rule in ("multi", "single")
    ]
    assert fusion_table(read_results(tmp_path)).empty


def test_deviations_name_the_paper_s_value_and_every_other(tmp_path: Path) -> None:
    from vgg_sweep.report.results.results import read_runs

    make_run(
        tmp_path, "A", "256", spec=Spec(settings={"width": 0.25, "recipe.dropout": 0.0, "seed": 4, "device": "cpu"})
    )
    make_run(tmp_path, "A", "256", spec=Spec(settings={"width": 0.5, "train_scale.S": [224, 224]}))
    frame = deviations([run.config for run in read_runs(tmp_path, "sweep")], [7])
    found = {
        row.setting: (row.paper, set(row.here.split(", "))) for row in frame.itertuples() if "S of" not in row.setting
    }
    assert found == {
        "data": ("imagenet", {"fractals"}),
        "crop": ("224", {"64"}),
        "width": ("1.0", {"0.25", "0.5"}),
        "recipe.dropout": ("0.5", {"0.5", "0.0"}),  # of one run each
        "classes": ("1000", {"7"}),
    }
    assert "S of 256" in frame["setting"].tolist()


def test_the_paper_s_own_settings_do_not_deviate(tmp_path: Path) -> None:
    from vgg_sweep.report.results.results import read_runs

    make_run(tmp_path, "A", "256", spec=Spec(crop=224, settings={"data.name": "imagenet"}))
    assert deviations([run.config for run in read_runs(tmp_path, "sweep")], [1000]).empty
