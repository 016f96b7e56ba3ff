"""`vgg-sweep logs`: what a run has said, as it says it, and why runs failed."""

from collections.abc import Callable
from pathlib import Path
from threading import Timer

import pytest

from tests.conftest import Outcome
from vgg_sweep.cli import logs
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.logs import last_words

Call = Callable[..., Outcome]


def make(id: str, log: str = "", **status: object) -> RunFolder:
    folder = RunFolder(Path("outputs/demo") / id)
    folder.path.mkdir(parents=True)
    folder.config.touch()
    if log:
        folder.log.write_text(log)
    folder.update_status(**status)
    return folder


def test_a_log_is_shown_by_the_name_of_its_run(call: Call) -> None:
    make("A-256-s0-11111111", "one\ntwo\nthree\n", state="done")
    make("B-256-s0-22222222")
    assert call("logs", "A-256").out == "one\ntwo\nthree\n"
    assert call("logs", "A", "-n", "2").out == "two\nthree\n"
    assert call("logs", "B").out == "outputs/demo/B-256-s0-22222222 has logged nothing yet.\n"


def test_the_failed_runs_of_a_sweep_say_why(call: Call) -> None:
    for id, state in (("A-256-s0-11111111", "done"), ("B-256-s0-22222222", "failed"), ("C-256-s0-3", "diverged")):
        folder = make(id, f"log of {id}\n", state=state)
        if state != "done":
            folder.fail("out of luck", "Traceback: out of luck\n", state=state)
    outcome = call("logs", "--failed")
    assert outcome.out == "".join(
        f"== outputs/demo/{id}\nlog of {id}\n\noutputs/demo/{id}/error.txt:\nTraceback: out of luck\n"
        for id in ("B-256-s0-22222222", "C-256-s0-3")
    )
    assert outcome.err == "The most recent sweep: outputs/demo\n"
    make("../good/A-256-s0-11111111", state="done")
    assert call("logs", "--failed", "outputs/good").out == "No run of outputs/good has failed.\n"


def test_a_log_is_followed_to_the_end_of_its_run(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "POLL_SECONDS", 0.02)
    Path("outputs").mkdir()
    folder = make("A-256-s0-11111111", "one\ntwo\nhal", state="interrupted")
    folder.update_status(state="waiting")

    def goes_on() -> None:
        with open(folder.log, "a") as log:
            log.write("f\nthree\n")
        folder.update_status(state="done")

    timer = Timer(0.2, goes_on)
    timer.start()
    outcome = call("logs", "A-256", "--follow", "-n", "1")
    timer.join()
    assert outcome.out == "two\nhalf\nthree\n"
    assert outcome.err.endswith("A-256-s0-11111111 is done.\n")


def test_the_last_words_are_those_before_the_failure(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert last_words(folder, "out of luck") == ""
    folder.log.write_text("10:00 took the first step\n10:01 failed: out of luck\n\n")
    assert last_words(folder, "out of luck\nsecond line") == "10:00 took the first step"
    folder.log.write_text("killed\n")
    assert last_words(folder, "") == "killed"
