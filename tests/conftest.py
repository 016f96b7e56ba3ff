"""What tests of several modules use."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from vgg_sweep import cli

os.fsync = lambda fd: None  # the tests end processes, not machines, and what was written outlives its process


@dataclass(frozen=True)
class Outcome:
    """What a command line came to."""

    exit_code: int
    out: str
    err: str


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`call("train", "model=D")` runs that command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VGG_SWEEP_CONF", "")  # as --config-dir
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")  # the command sets it; this puts it back

    def run(*words: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["vgg-sweep", *words])
        monkeypatch.setattr(sys, "orig_argv", [sys.executable, "vgg-sweep", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return Outcome(int(end.value.code or 0), out, err)

    return run
