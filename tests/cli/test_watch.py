"""What a sweep shows while it runs."""

import io
from pathlib import Path

from rich.console import Console

from tests.stub import make_runs
from vgg_sweep.cli.watch import Watch
from vgg_sweep.sweep.agenda import Agenda


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
    with runs[0].folder.locked(), Watch(agenda, 1, [], console):
        agenda.starts(runs[0])
        runs[0].folder.update_status(state="running", stage="train", step=1, num_steps=4, eta_seconds=300)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "train 1/4, 25 %" in text and "5 min" in text and "0 of 2 done" in text and ", 1 running" in text


def test_a_run_that_waits_in_a_launchers_queue_does_not_show_as_running(tmp_path: Path) -> None:
    for num_slots, word in ((None, "queued"), (1, "starting")):
        runs = make_runs(tmp_path, {"A": None})
        console = Console(file=io.StringIO(), width=160, force_terminal=True)
        with Watch(agenda := Agenda(runs), num_slots, [], console):
            agenda.starts(runs[0])
        assert word in console.file.getvalue() and "running" not in console.file.getvalue()  # type: ignore[attr-defined]
    quiet = Console(file=io.StringIO(), width=160)
    with Watch(agenda := Agenda(runs), None, [], quiet):
        agenda.starts(runs[0])
    assert quiet.file.getvalue() == "A queued\n"  # type: ignore[attr-defined]
