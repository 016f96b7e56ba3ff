"""Real loggers, offline: what they kept is what metrics.csv has."""

import csv
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny import tiny_run
from tests.train.test_train import trained
from vgg_sweep.errors import ConfigError
from vgg_sweep.plan.runs import Run
from vgg_sweep.train.loggers import open_logger


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


def losses(run: Run) -> dict[int, float]:
    with open(run.folder.metrics) as file:
        return {int(row["step"]): float(row["loss"]) for row in csv.DictReader(file)}


@needs("tensorboard")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_the_curves_of_a_continued_run_once(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tiny_run(tmp_path, logger="tensorboard", log_every_steps=2)
    trained(run, stops=(5,))
    kept = EventAccumulator(str(run.folder.path / "tensorboard")).Reload()
    assert {event.step: pytest.approx(event.value, rel=1e-4) for event in kept.Scalars("loss")} == losses(run)
    assert [event.step for event in kept.Scalars("val_error")] == [4, 8, 12]
    assert "step" not in kept.Tags()["scalars"]


@needs("wandb")
@pytest.mark.filterwarnings("ignore")
def test_wandb_keeps_the_curves_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = tiny_run(tmp_path, logger="wandb", log_every_steps=2)
    trained(run)
    [kept] = (run.folder.path / "wandb").glob("offline-run-*/run-*.wandb")
    assert run.id in kept.name
    assert _wandb_losses(kept) == {step: pytest.approx(loss, rel=1e-4) for step, loss in losses(run).items()}


def _wandb_losses(kept: Path) -> dict[int, float]:
    from wandb.proto.wandb_internal_pb2 import Record

    found = {}
    for data in _leveldb_records(kept.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        if "loss" in items:
            found[int(items["_step"])] = json.loads(items["loss"])
    return found


def _leveldb_records(content: bytes, block: int = 2**15) -> Iterator[bytes]:
    """The records of LevelDB's log format, in which wandb keeps a run: blocks of (checksum, length, kind, data)."""
    place, record = 7, b""  # after wandb's own header
    while place < len(content):
        if block - place % block < 7:
            place += block - place % block
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part of one
            yield record
            record = b""


def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    run = tiny_run(tmp_path, logger="trackio")
    with pytest.raises(ConfigError, match=r"logger=trackio .* pip install 'vgg-sweep\[trackio\]'"):
        with open_logger(run, 1, True):
            pass


def test_only_the_first_of_several_processes_logs(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, logger="tensorboard")
    with open_logger(run, 1, False) as log:
        log({"step": 1, "loss": 2.0})
    assert not run.folder.path.exists()
