"""Tables of a sweep: states as they are on disk, times as they follow from what was measured."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.stub import make_runs
from tests.test_plan import config
from vgg_sweep.config import ConfigError
from vgg_sweep.plan import plan
from vgg_sweep.store import RunFolder, write_json
from vgg_sweep.sweep.agenda import Agenda
from vgg_sweep.sweep.status import Watch, duration, estimated_seconds, foreseen, plan_table, read_sweep, show


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep with a run in every state; `cut` is one whose process died."""
    make_runs(tmp_path, {"A": None, "bad": None, "B": "A", "C": "bad", "D": "C", "cut": None, "new": None})
    for id, parent in {"A": None, "bad": None, "B": "A", "C": "bad", "D": "C"}.items():
        RunFolder(tmp_path / id).update_status(state="new", parent=parent)
    RunFolder(tmp_path / "A").update_status(state="done")
    RunFolder(tmp_path / "A").weights.touch()
    RunFolder(tmp_path / "bad").update_status(state="failed", error="out of luck\nsecond line")
    RunFolder(tmp_path / "cut").update_status(
        state="running", stage="train", step=30, num_steps=40, loss=1.25, train_error=40.0
    )
    return tmp_path


EXPECTED = {
    "A": "done",
    "B": "new",
    "C": "blocked",
    "D": "blocked",
    "bad": "failed",
    "cut": "interrupted",
    "new": "new",
}


def test_every_run_is_read_with_its_state(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {row["run"]: row["state"] for row in read_sweep(sweep)} == EXPECTED
    show([sweep], as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert {row["run"]: row["state"] for row in rows} == EXPECTED
    [cut] = [row for row in rows if row["run"] == "cut"]
    assert cut["step"] == 30 and cut["loss"] == 1.25 and cut["sweep"] == str(sweep)


def test_a_run_at_work_is_told_from_one_whose_process_died(sweep: Path) -> None:
    with RunFolder(sweep / "cut").locked():
        assert {row["run"]: row["state"] for row in read_sweep(sweep)} == EXPECTED | {"cut": "running"}


def test_the_table_shows_how_far_and_why(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    show([sweep])
    text = capsys.readouterr().out
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "train 30/40, 75 %" in lines["cut"] and "1.250" in lines["cut"] and "40.0" in lines["cut"]
    assert "out of luck" in lines["bad"] and "second" not in text
    assert "1 of 7 done, 1 interrupted, 1 failed, 2 blocked" in text


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no runs"):
        show([tmp_path])


def test_the_plan_says_what_is_ahead_of_each_run(sweep: Path) -> None:
    parents = {"A": None, "bad": None, "B": "A", "C": "bad", "D": "C", "cut": None, "new": None}
    ahead = foreseen(Agenda(make_runs(sweep, parents)))
    assert ahead == EXPECTED | {"cut": "resume at train step 30"}
    assert foreseen(Agenda(make_runs(sweep, parents), retries=1)) == ahead | {"bad": "retry", "C": "new", "D": "new"}
    RunFolder(sweep / "cut").weights.touch()
    assert foreseen(Agenda(make_runs(sweep, parents)))["cut"] == "score"


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


def test_the_plan_adds_up_the_work(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=160)
    runs = make_runs(tmp_path, {"A": None, "B": "A"})
    console.print(plan_table(Agenda(runs), {"A": 60.0, "B": 130.0}))
    console.print(plan_table(Agenda(runs), {"A": 60.0}))
    known, unknown = console.file.getvalue().splitlines()[3], console.file.getvalue().splitlines()[7]  # type: ignore[attr-defined]
    assert known.endswith("2 runs, 0 done, 2 to do; 3 min of work.")
    assert unknown.endswith("2 runs, 0 done, 2 to do.")


def test_without_a_terminal_each_change_is_a_line(tmp_path: Path) -> None:
    runs = make_runs(tmp_path, {"A": None, "B": "A"})
    console = Console(file=io.StringIO(), width=200)
    agenda = Agenda(runs)
    with Watch(agenda, 1, [], console):
        agenda.starts(runs[0])
        runs[0].folder.update_status(state="failed", error="out of luck")
        agenda.ends(runs[0])
        assert not list(agenda.ready())
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines == ["A running", f"A failed: out of luck ({runs[0].folder.error})", "B is blocked by A"]


def test_a_terminal_shows_one_table_that_is_redrawn(tmp_path: Path) -> None:
    runs = make_runs(tmp_path, {"A": None, "B": "A"})
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    agenda = Agenda(runs)
    with Watch(agenda, 1, [], console):
        agenda.starts(runs[0])
        runs[0].folder.update_status(stage="train", step=1, num_steps=4, eta_seconds=300)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "train 1/4, 25 %" in text and "5 min" in text and "0 of 2 done" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (99, "99 s"),
        (100, "2 min"),
        (3540, "59 min"),
        (3600, "1 h 00 min"),
        (12345, "3 h 26 min"),
        (200_000, "2 days 7 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
