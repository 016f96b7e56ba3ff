"""The plan of a sweep: states as they are on disk, times and bytes as they follow from what was measured."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.plan.test_plan import config
from tests.stub import EVERY_STATE, finish, make_every_state, make_runs
from tests.sweeps import write_posteriors
from vgg_sweep.cli.plans import plan_table
from vgg_sweep.cli.screen import size
from vgg_sweep.config.schema import Protocol
from vgg_sweep.plan.runs import Run, plan
from vgg_sweep.runs.files import write_json
from vgg_sweep.sweep.agenda import Agenda
from vgg_sweep.sweep.forecast import Forecast, estimated_seconds, planned_states


def test_the_plan_says_what_is_ahead_of_each_run(tmp_path: Path) -> None:
    runs = make_every_state(tmp_path)
    ahead = planned_states(Agenda(runs))
    assert ahead == EVERY_STATE | {"cut": "resume at step 30"}
    assert planned_states(Agenda(runs, retries=1)) == ahead | {"bad": "retry", "C": "new", "D": "new"}
    (tmp_path / "cut" / "weights.safetensors").touch()
    assert planned_states(Agenda(runs))["cut"] == "done"  # nothing is asked of it but to be started from
    scored = [replace(run, config=replace(run.config, protocol=Protocol("one Q", ["dense@256"]))) for run in runs]
    assert planned_states(Agenda(scored))["cut"] == "score"


def test_time_is_estimated_in_proportion_to_the_multiply_adds(tmp_path: Path) -> None:
    a, d, d_384 = plan([config("D", "384", out=str(tmp_path), crop=224)])
    assert estimated_seconds([a, d], []) == {}
    a.folder.path.mkdir()
    write_json(a.folder.path / "record.json", {"train_seconds": 100.0})
    estimates = estimated_seconds([a, d, d_384], [a])
    assert estimates[a.id] == 100
    # The published multiply-adds: A ("VGG-11") 7.61 G, D ("VGG-16") 15.47 G.
    assert estimates[d.id] == pytest.approx(100 * 15.47 / 7.61, rel=1e-3)
    assert estimates[d_384.id] == pytest.approx(estimates[d.id] * d_384.epochs / d.epochs)

    d.folder.path.mkdir()
    write_json(d.folder.path / "record.json", {"train_seconds": 50.0})
    assert estimated_seconds([d_384], [a, d])[d_384.id] == pytest.approx(50 * d_384.epochs / d.epochs)
    other_data = replace(d_384.config.data, fractals=replace(d_384.config.data.fractals, train_per_class=9))
    elsewhere = replace(d_384, config=replace(d_384.config, data=other_data))
    assert estimated_seconds([elsewhere], [a, d]) == {}


def test_disk_is_that_of_the_weights_and_the_posteriors(tmp_path: Path) -> None:
    [d] = plan([config("D", out=str(tmp_path), crop=224, classes=1000, warm_start="none")])
    forecast = Forecast.of([d], [])
    weights = 4 * 138_357_544  # the published number of parameters of D
    assert forecast.working_bytes == 6 * weights
    assert forecast.bytes[d.id] == weights + 2 * 4 * 20 * 20 * 25  # and two passes over the embedded set

    [other] = plan([config("A", out=str(tmp_path))])
    write_posteriors(other.folder.path, {("dense", 73, False): np.full((30, 7), 1 / 7)}, [0] * 30)
    assert Forecast.of([d], [other]).bytes[d.id] == weights + 2 * 4 * 30 * 7


def shown(runs: Sequence[Run], seconds: Mapping[str, float], *, width: int = 160, num_bytes: int = 10**6) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(plan_table(Agenda(runs), Forecast(seconds, {run.id: num_bytes for run in runs}, 3 * num_bytes)))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def test_the_plan_adds_up_the_work(tmp_path: Path) -> None:
    runs = make_runs(tmp_path, {"A": None, "B": "A"})
    known = shown(runs, {"A": 60.0, "B": 130.0})
    assert known[3].endswith("2 runs, 0 done, 2 to do; 3 min of work.")
    assert known[4].startswith(
        "They need about 2.0 MB of disk space, plus 3.0 MB for the checkpoints of each active run"
    )
    assert shown(runs, {"A": 60.0})[3].endswith("2 runs, 0 done, 2 to do.")


def test_the_plan_of_long_names_fits_a_terminal(tmp_path: Path) -> None:
    parents = {"D-384-s0-aaaaaaaa": None, "D-jitter-fc-s0-bbbbbbbb": "D-384-s0-aaaaaaaa"}
    runs = make_runs(tmp_path, parents)
    for run in runs:
        run.folder.update_status(state="interrupted", stage="train", step=123_456)
    lines = shown(runs, dict.fromkeys(parents, 1e6), width=80)
    assert lines[2].split() == "D-jitter-fc-s0-bbbbbbbb D-384-s0 resume at step 123456 11 days 13 h ~ 1.0 MB".split()
    twins = make_runs(tmp_path, {"A-256-s0-11111111": None, "A-256-s0-22222222": None, "B": "A-256-s0-22222222"})
    assert " A-256-s0-22222222 " in shown(twins, {})[3], "a name that two runs share does not tell which is meant"


def test_a_long_plan_leaves_out_what_is_done(tmp_path: Path) -> None:
    for number, num_rows in ((100, 100), (101, 1)):
        runs = make_runs(tmp_path / str(number), {f"run{i}": None for i in range(number)})
        for run in runs[1:]:
            finish(run.folder, run.config)
        lines = shown(runs, {})
        assert len([line for line in lines if line.startswith("run") and "parent" not in line]) == num_rows
        assert f"{number} runs, {number - 1} done, 1 to do." in "".join(lines)


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0.0 kB"), (5_230, "5.2 kB"), (960_000, "1.0 MB"), (12_400_000, "12 MB"), (2.5e12, "2,500 GB")],
)
def test_sizes(num_bytes: float, text: str) -> None:
    assert size(num_bytes) == text
