"""One bit of one file of a run is flipped: each command answers as if nothing had happened, or names the file."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Outcome
from tests.sweep.test_origin import SMALL, make_set
from vgg_sweep.runs.folder import find_runs
from vgg_sweep.runs.progress import Reporter
from vgg_sweep.sweep import work

FILES = ("weights.safetensors", "record.json", "metrics.csv", "config.yaml", "origin.json", "status.json",
         "posteriors/manifest.json", "posteriors/errors.json", "posteriors/dense-Q37-flip0.npy")  # fmt: skip
MADE = {"report": "tables/*.csv", "export": "net*"}
"""By a command."""


class Stopped(Reporter):
    """Stopped after four steps, as by a signal."""

    def step(self, stage: str, done: int, total: int, **figures: float) -> None:
        super().step(stage, done, total, **figures)
        if (stage, done) == ("train", 4):
            self.stop_requested = "SIGTERM"


def flip(file: Path, rng: np.random.Generator) -> str:
    """Flip a bit of `file` drawn with `rng`; returns where."""
    content = bytearray(file.read_bytes())
    place, bit = int(rng.integers(len(content))), int(rng.integers(8))
    content[place] ^= 1 << bit
    file.write_bytes(content)
    return f"bit {bit} of byte {place} of {file.name}"


def test_a_flipped_bit_changes_nothing_or_is_named(tmp_path: Path, call: Callable[..., Outcome], seed: int = 0) -> None:
    root = make_set(tmp_path / "set", "cat", "dog")
    train = ["train", *SMALL, f"data.root={root}", "out=runs"]
    assert call(*train).exit_code == 0
    folder = find_runs(tmp_path / "runs")[0].path
    assert call("report", "runs").exit_code == 0  # keeps errors.json
    shutil.copytree(folder, tmp_path / "kept")
    commands = {
        "train": train,
        "score": ["score", f"run={folder}"],
        "report": ["report", "runs", "--format", "csv,html", "--out", "tables"],
        "predict": ["predict", str(folder), str(next(root.rglob("val/cat/*.jpg"))), "--json"],
        "export": ["export", str(folder), "--to", "safetensors", "--out", "net.safetensors", "--force"],
        "status": ["status", "runs", "--json"],
    }

    def answer(command: str, name: str | None = None) -> tuple[str, Outcome, list[bytes]]:
        """What `command` comes to where a bit of the file `name` is flipped, and where."""
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "kept", folder)
        where = f"{command}, {flip(folder / name, rng)}" if name else command
        outcome = call(*commands[command])
        made = tmp_path.glob(MADE.get(command, "nothing")) if outcome.exit_code == 0 else ()
        return where, outcome, [path.read_bytes() for path in sorted(made)]

    rng = np.random.default_rng(seed)
    whole = {command: answer(command)[1:] for command in commands}
    assert {outcome.exit_code for outcome, _ in whole.values()} == {0}
    wrong = []
    for number, name in enumerate(FILES):
        alike = ("train", "score")[number % 2]  # to the other, in what it looks at
        for command in [command for command in commands if command != alike]:
            where, outcome, made = answer(command, name)
            is_named = outcome.exit_code == 1 and name in outcome.err and outcome.err.count("\n") == 1
            if not is_named and (outcome, made) != whole[command]:
                wrong.append(f"{where}: {outcome.exit_code} {outcome.err}")
    assert not wrong


def test_a_flipped_bit_of_a_stopped_run_changes_nothing_or_is_named(
    tmp_path: Path, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, seed: int = 0
) -> None:
    train = ["train", *SMALL, f"data.root={make_set(tmp_path / 'set', 'cat', 'dog')}", "out=runs"]
    train += ["recipe.epochs=3", "recipe.batch_size=4", "checkpoint_every_steps=1", "log_every_steps=1"]
    with monkeypatch.context() as patch:
        patch.setattr(work, "Reporter", Stopped)
        assert call(*train).exit_code == 130
    folder = find_runs(tmp_path / "runs")[0].path
    newest = max(path.name for path in (folder / "checkpoints").iterdir())
    shutil.copytree(folder, tmp_path / "kept")

    def outcome() -> tuple[int, bytes, list[list[str]]]:
        exit_code = call(*train).exit_code
        rows = (folder / "metrics.csv").read_text().splitlines()
        return exit_code, (folder / "weights.safetensors").read_bytes(), [row.split(",")[:7] for row in rows]

    whole, rng = outcome(), np.random.default_rng(seed)
    assert whole[0] == 0 and len(whole[2]) == 7
    for name in (f"checkpoints/{newest}", "record.json", "metrics.csv", "config.yaml", "origin.json", "status.json"):
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "kept", folder)
        where = flip(folder / name, rng)
        said = call(*train)
        if not (said.exit_code == 1 and name in said.err and said.err.count("\n") == 1):
            assert outcome() == whole, f"{where}: {said}"
