from pathlib import Path
from statistics import fmean, stdev

import pandas as pd
import pytest

from tests.sweeps import Spec, make_run, make_sweep
from vgg_sweep.errors import ConfigError
from vgg_sweep.protocols.metrics import wilson
from vgg_sweep.report.figures.plots import by_settings
from vgg_sweep.report.results.results import read_results
from vgg_sweep.report.tables.pivot import Pivot, pivot_table

PASSES = ("dense@single",)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """A and B at three rates and two seeds; B lacks the highest rate."""
    sweep = tmp_path_factory.mktemp("rates")
    for lr in (0.05, 0.002, 0.01):
        for seed in (0, 1):
            spec = Spec(40, passes=PASSES, settings={"recipe.lr": lr}, record={"train_seconds": 60 * (seed + 1)})
            make_sweep(sweep, [("A", "256")] if lr == 0.05 else [("A", "256"), ("B", "256")], [seed], spec)
    return read_results(sweep)


def table(results: pd.DataFrame, pivot: Pivot) -> pd.DataFrame:
    return pivot_table(results, pivot).make(results)


def test_only_seeds_are_averaged(results: pd.DataFrame) -> None:
    frame = table(results, Pivot(["lr"], ["model"]))
    assert frame["recipe.lr"].tolist() == [0.002, 0.01, 0.05]
    for net in "AB":
        for lr, row in zip((0.002, 0.01, 0.05), frame.to_dict("records"), strict=True):
            errors = results[(results["config"] == net) & (results["recipe.lr"] == lr)]["top1_error"].tolist()
            if not errors:
                assert pd.isna(row[net])
                continue
            assert row[net] == pytest.approx(fmean(errors)) and row[f"{net}_std"] == pytest.approx(stdev(errors))
            assert (row[f"{net}_low"], row[f"{net}_high"]) == wilson(row[net], 40) and row[f"{net}_seeds"] == 2


def test_what_else_differs_tells_rows_apart(results: pd.DataFrame) -> None:
    by_lr, by_net = (table(results, Pivot([name])) for name in ("recipe.lr", "model"))
    assert [tuple(row) for row in by_lr[["recipe.lr", "model"]].itertuples(index=False)] == [
        (0.002, "A"),
        (0.002, "B"),
        (0.01, "A"),
        (0.01, "B"),
        (0.05, "A"),
    ]
    assert sorted(by_lr["top1_error"]) == sorted(by_net["top1_error"])
    assert by_net["model"].tolist() == ["A", "A", "A", "B", "B"]


def test_a_recipe_says_the_settings_that_come_with_it(tmp_path: Path) -> None:
    """Two recipes differ in two settings; a third setting, which differs within one of them, tells rows apart."""
    recipes = {"short": {}, "modern": {"recipe.schedule": "cosine", "recipe.ema_decay": 0.9}}
    for name, settings in recipes.items():
        for model in ("A", "A-BN"):
            spec = Spec(20, passes=PASSES, settings={"recipe.name": name, **settings})
            make_run(tmp_path, model, "256", spec=spec)
    frame = table(read_results(tmp_path), Pivot(["recipe"], ["model"]))
    assert frame["recipe"].tolist() == ["modern", "short"]
    assert {"A", "A-BN"} <= set(frame) and "recipe.schedule" not in frame
    spec = Spec(20, passes=PASSES, settings={"recipe.name": "short", "recipe.lr": 0.5})
    make_run(tmp_path, "A", "256", spec=spec)
    frame = table(read_results(tmp_path), Pivot(["recipe"], ["model"]))
    assert list(zip(frame["recipe"], frame["recipe.lr"], strict=True)) == [
        ("modern", 0.01), ("short", 0.01), ("short", 0.5),
    ]  # fmt: skip


def test_costs_have_no_interval_and_are_in_the_unit_of_their_title(results: pd.DataFrame) -> None:
    pivot = Pivot(["model", "lr"], values=["top1_error", "train_seconds"])
    shown = pivot_table(results, pivot).rendered(table(results, pivot))
    heads = [column.head for column in shown.columns]
    assert heads == ["model", "recipe.lr", "top-1 error (%)", "95 %", "training (minutes)"]
    assert set(shown.columns[-1].cells) == {"1.5 ± 0.7"}
    assert shown.title == "Top-1 error (%) and training (minutes) by model and recipe.lr"


def test_the_protocol_is_that_of_most_runs_unless_it_is_named(tmp_path: Path) -> None:
    make_sweep(tmp_path, [("A", "256"), ("B", "256")], spec=Spec(20, passes=["dense@multi"]))
    make_run(tmp_path, "C", "256", spec=Spec(20, passes=["dense@single"]))
    make_run(tmp_path, "D", "256", spec=Spec(20, passes=["ten-crop@single"]))
    results = read_results(tmp_path)
    shown = pivot_table(results, Pivot(["model"])).rendered(table(results, Pivot(["model"])))
    assert shown.columns[0].cells == ["A", "B", "C"]
    assert "Under dense evaluation at one test scale." in shown.notes
    assert "Left out, as not scored under this protocol: 1 run." in shown.notes
    named = table(results, Pivot(["model"], ["method"]))
    assert list(zip(named["model"], named["rule"], strict=True)) == [
        ("A", "multi"), ("A", "single"), ("B", "multi"), ("B", "single"), ("C", "single"), ("D", "single"),
    ]  # fmt: skip
    single = results[(results["config"] == "D") & (results["method"] == "ten-crop")]["top1_error"].item()
    assert named["ten-crop"].tolist()[-1] == single


@pytest.mark.parametrize(
    ("pivot", "said"),
    [
        (Pivot(["recipe.ls"]), r"--by and --columns cannot be 'recipe.ls'; .*did you mean recipe.lr\?"),
        (Pivot(["model"], values=["top2_error"]), r"--values cannot be 'top2_error'; .*did you mean top"),
    ],
)
def test_wrong_names_are_answered_with_the_nearest(results: pd.DataFrame, pivot: Pivot, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        pivot_table(results, pivot)


def test_the_figure_has_the_numbers_of_the_table_and_comes_unasked_with_a_swept_setting(results: pd.DataFrame) -> None:
    (asked,), (unasked,) = by_settings(results, Pivot(["lr"])), by_settings(results, None)
    frame = table(results, Pivot(["lr"]))
    for plot in (asked, unasked):
        assert plot.x == "recipe.lr" and plot.series == "model" and plot.log_x  # 0.002 to 0.05
        assert plot.marks["y"].tolist() == frame["top1_error"].tolist()
        assert plot.marks["low"].tolist() == frame["top1_error_low"].tolist()
        assert all(len(errors) == 2 for errors in plot.marks["seeds"])
    assert by_settings(results[results["recipe.lr"] == 0.01], None) == []
