"""The agenda: what may start, as the folders say."""

from pathlib import Path

from tests.stub import make_runs
from vgg_sweep.plan.runs import Run
from vgg_sweep.sweep.agenda import Agenda


def ready(agenda: Agenda) -> list[str]:
    return [run.id for run in agenda.ready()]


def finish(run: Run) -> None:
    run.folder.weights.touch()
    run.folder.update_status(state="done")


def test_children_wait_for_their_parent_and_see_it_done_by_others(tmp_path: Path) -> None:
    a, b, c = make_runs(tmp_path, {"A": None, "B": "A", "C": None})
    agenda = Agenda([a, b, c])
    assert ready(agenda) == ["A", "C"]
    finish(a)
    assert ready(agenda) == ["B", "C"]


def test_a_run_that_another_process_has_is_waited_for_and_taken_over_if_that_dies(tmp_path: Path) -> None:
    [a] = make_runs(tmp_path, {"A": None})
    agenda = Agenda([a])
    with a.folder.locked():
        a.folder.update_status(state="running")
        assert ready(agenda) == [] and agenda.states == {"A": "elsewhere"} and not agenda.is_settled
    assert ready(agenda) == ["A"]
    finish(a)
    assert ready(agenda) == [] and agenda.is_settled


def test_a_run_is_not_done_without_its_weights(tmp_path: Path) -> None:
    [a] = make_runs(tmp_path, {"A": None})
    a.folder.update_status(state="done")
    assert ready(Agenda([a])) == ["A"]
    finish(a)
    assert Agenda([a]).is_settled


def test_a_child_that_is_done_needs_no_parent(tmp_path: Path) -> None:
    a, b = make_runs(tmp_path, {"A": None, "B": "A"})
    finish(b)
    a.folder.update_status(state="failed")
    agenda = Agenda([a, b])
    assert ready(agenda) == []
    assert agenda.states == {"A": "failed", "B": "done"}


def test_changes_are_told_once(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    a, b, c = make_runs(tmp_path, {"A": None, "B": "A", "C": "B"})
    agenda = Agenda([a, b, c], retries=1, on_change=lambda run, state: told.append((run.id, state)))
    for _ in range(2):
        assert ready(agenda) == ["A"]
        agenda.starts(a)
        a.folder.update_status(state="failed")
        agenda.ends(a)
    assert ready(agenda) == ready(agenda) == []
    assert told == [
        *[("A", "running"), ("A", "failed"), ("A", "waiting")],
        *[("A", "running"), ("A", "failed"), ("B", "blocked"), ("C", "blocked")],
    ]
    assert agenda.culprit(c) is a
