"""The Hydra sweeper: a command line twice, with failures, and by force."""

import io
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from hydra.core.singleton import Singleton
from omegaconf import DictConfig
from rich.console import Console

from tests.stub import WORKER, lines
from vgg_sweep.cli import compose, sweeper
from vgg_sweep.cli.screen import shown_progress
from vgg_sweep.errors import RunError
from vgg_sweep.runs.files import write_json
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.sweep.executors.process import Processes


@pytest.fixture(autouse=True)
def hydra_as_before() -> Iterator[None]:
    state = Singleton.get_state()
    yield
    Singleton.set_state(state)


@pytest.fixture
def multirun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`vgg-sweep multirun`, with runs that obey orders.json instead of training."""
    monkeypatch.setattr(sweeper, "Processes", partial(Processes, command=WORKER))
    monkeypatch.setattr(sweeper, "finished_elsewhere", lambda runs: {})  # in the folders of other tests
    monkeypatch.setattr(sys, "argv", ["vgg-sweep"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    return lambda overrides: compose.multirun(_no_job, [f"out={tmp_path}", *shlex.split(overrides)], compose.Flags())


def _no_job(raw: DictConfig) -> None:
    raise AssertionError("runs have processes of their own")


def names(ids: Sequence[str]) -> list[str]:
    return [id.rsplit("-", 2)[0] for id in ids]


def folder_of(sweep: Path, name: str) -> RunFolder:
    return RunFolder(next(sweep.glob(f"{name}-s0-*")))


def test_parents_are_added_and_what_is_done_is_not_done_again(
    multirun: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    multirun("model=B,C train_scale=384 hydra.sweeper.plan_only=true")
    assert "5 runs, 0 done, 5 to do" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    multirun("model=B,C train_scale=384")
    assert sorted(names(lines(tmp_path, "began"))) == ["A-256", "B-256", "B-384", "C-256", "C-384"]
    capsys.readouterr()
    multirun("model=B,C train_scale=384")
    assert "5 runs, 5 done, 0 to do" in capsys.readouterr().out
    multirun("model=B train_scale=256,384,jitter")
    assert names(lines(tmp_path, "began"))[5:] == ["B-jitter"]


def test_a_sweep_runs_without_what_only_linux_has(
    multirun: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")  # not on macOS
    multirun("model=A")
    assert names(lines(tmp_path, "done")) == ["A-256"]


def test_more_passes_make_a_done_run_one_to_score(
    multirun: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    multirun("model=A")
    capsys.readouterr()
    multirun("model=A protocol=multi hydra.sweeper.plan_only=true")
    assert "score" in capsys.readouterr().out


def test_failures_are_named_with_what_they_block(
    multirun: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    multirun("model=A")
    bad = folder_of(tmp_path, "A-256")
    bad.weights.unlink()
    bad.update_status(state="interrupted")
    write_json(bad.path / "orders.json", {"ends": ["done", "raise", "done"]})
    with pytest.raises(RunError, match=f"2 of 3 runs are not done(.|\n)*{bad.id}: failed(.|\n)*blocked by {bad.id}"):
        multirun("model=A-LRN,B")
    assert "told to fail" in capsys.readouterr().out
    with pytest.raises(RunError, match="retries=1"):
        multirun("model=A-LRN,B")
    multirun("model=A-LRN,B retries=1")
    assert sorted(names(lines(tmp_path, "done"))) == ["A-256", "A-256", "A-LRN-256", "B-256"]


def test_force_does_again_what_was_asked_for_but_not_its_parents(
    multirun: Callable[[str], None], tmp_path: Path
) -> None:
    multirun("model=B")
    multirun("model=B hydra.sweeper.force=true")
    assert names(lines(tmp_path, "done")) == ["A-256", "B-256", "B-256"]


@pytest.mark.parametrize(
    ("is_terminal", "seconds", "shown"), [(True, 0.0, True), (True, 60.0, False), (False, 0.0, False)]
)
def test_composing_has_a_bar_on_a_terminal_once_it_takes_long(is_terminal: bool, seconds: float, shown: bool) -> None:
    screen = Console(file=io.StringIO(), force_terminal=is_terminal, width=80)
    with shown_progress("Composing the runs", screen, after_seconds=seconds) as tell:
        tell(0, 2)
        tell(1, 2)
    assert ("Composing the runs" in screen.file.getvalue()) is shown  # type: ignore[attr-defined]
    assert shown or screen.file.getvalue() == ""  # type: ignore[attr-defined]


def test_patterns_pick_runs_and_what_they_start_from_follows(multirun: Callable[[str], None], tmp_path: Path) -> None:
    multirun("sweep=table3 'hydra.sweeper.only=\"B-*,D-*\"' 'hydra.sweeper.excluded=\"*-jitter\"'")
    assert sorted(names(lines(tmp_path, "done"))) == ["A-256", "B-256", "D-256", "D-384"]


def test_what_failed_is_tried_again_alone(multirun: Callable[[str], None], tmp_path: Path) -> None:
    multirun("model=A,B,C")
    for name in ("B-256", "C-256"):
        folder = folder_of(tmp_path, name)
        folder.weights.unlink()
        folder.update_status(state="failed" if name == "B-256" else "interrupted")
    with pytest.raises(RunError, match="1 of 2 runs are not done"):
        multirun("model=A,B 'hydra.sweeper.excluded=\"C-*\"'")
    multirun("model=A,B,C,D hydra.sweeper.retry=failed")
    assert names(lines(tmp_path, "done"))[3:] == ["B-256"]
