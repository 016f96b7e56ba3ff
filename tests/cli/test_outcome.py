"""What a command says of its runs at its end."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.sweeps import Spec, make_run
from tests.tiny import tiny_run
from vgg_sweep.cli import screen
from vgg_sweep.cli.outcome import SHOWN, say_outcome
from vgg_sweep.cli.plans import LONG
from vgg_sweep.plan.runs import Run
from vgg_sweep.report.results.results import read_results


def shown(runs: list[Run]) -> str:
    terminal = Console(file=io.StringIO(), width=80)
    say_outcome(runs, terminal)
    return terminal.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def run_in(folder: Path) -> Run:
    run = tiny_run(folder.parent)
    return replace(run, id=folder.name, config=replace(run.config, out=str(folder.parent)))


def test_the_best_comes_first_with_what_the_report_says(tmp_path: Path) -> None:
    folders = [make_run(tmp_path, net, "256") for net in "ABC"]
    results = read_results(tmp_path)
    results = results[(results["rule"] == "single") & (results["method"] == "dense")].sort_values("top1_error")
    header, *lines, last = shown([run_in(folder) for folder in folders]).splitlines()
    assert header.split()[:2] == ["run", "protocol"]
    assert [line.split()[0] for line in lines] == results["run_id"].tolist()
    assert [line.split()[-3] for line in lines] == [f"{error:.1f}" for error in results["top1_error"]]
    assert [line.split()[-1] for line in lines] == [f"{error:.1f}" for error in results["top5_error"]]
    assert last == f"All errors: vgg-sweep report {tmp_path}"  # to be pasted: in one line, however long


def test_the_settings_in_which_runs_differ_are_columns(tmp_path: Path) -> None:
    spec = [Spec(passes=["dense@single"], settings={"recipe.lr": lr}) for lr in (0.03, 0.002)]
    runs = [run_in(make_run(tmp_path, "A", "256", spec=each)) for each in spec]
    header, *lines, _ = shown(runs).splitlines()
    assert header.split()[:3] == ["run", "recipe.lr", "protocol"] and {line.split()[1] for line in lines} == {
        "0.03",
        "0.002",
    }


def test_a_run_without_scores_and_a_top_5_without_meaning_leave_no_gap(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "A", "256", spec=Spec(num_classes=3, passes=["ten-crop@single"]))
    unscored = tiny_run(tmp_path / "other")
    unscored.folder.path.mkdir(parents=True)
    unscored.folder.config.write_text((folder / "config.yaml").read_text())
    text = shown([run_in(folder), unscored])
    assert "ten-crop, Q 73" in text and unscored.id not in text
    assert text.splitlines()[1].endswith(" -")


def test_of_many_runs_the_best_are_shown_and_of_very_many_none(tmp_path: Path) -> None:
    run = run_in(make_run(tmp_path, "A", "256"))
    assert f"and {LONG - SHOWN} more" in shown([run] * LONG)
    assert len(shown([run] * (LONG + 1)).split()) == len(f"All errors: vgg-sweep report {tmp_path}".split())
    assert shown([]) == ""


def test_a_long_name_leaves_the_numbers_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "PAGE_WIDTH", 80)
    folder = make_run(tmp_path, "A", "256", spec=Spec(passes=["dense@single"]))
    long = folder.rename(tmp_path / "D-wide-256-from-small-256-from-small-256-s0-s5-s6-fd74bb04")
    header, *lines, _ = shown([run_in(long)]).splitlines()
    assert header.split() == ["run", "protocol", "images", "top-1", "%", "95", "%", "top-5", "%"]
    assert "".join(line.split()[0] for line in lines if not line.startswith(" ")) == long.name
