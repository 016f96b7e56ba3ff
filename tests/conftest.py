"""What tests of several modules use."""

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from vgg_sweep import cli
from vgg_sweep.config.schema import Fractals
from vgg_sweep.images.sets import fractals

os.fsync = lambda fd: None  # the tests end processes, not machines, and what was written outlives its process


def once_each(draw: Callable[..., tuple[np.ndarray, np.ndarray]]) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """`draw` with what it has drawn kept: many tests train on the same few images, each in a folder of its own."""
    drawn: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    @functools.wraps(draw)
    def drawing(spec: Fractals, split: str, progress: Callable[[int, int], None] | None = None):
        key = f"{spec} {split}"
        if key not in drawn:
            drawn[key] = draw(spec, split)
        images_NHW3, labels_N = drawn[key]
        for done in range(len(images_NHW3)) if progress else ():
            progress(done + 1, len(images_NHW3))
        return images_NHW3.copy(), labels_N.copy()

    return drawing


fractals.render_split = once_each(fractals.render_split)


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
