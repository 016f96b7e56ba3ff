"""A run that localises from the command line to predicted boxes; refusals before anything is trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Outcome
from tests.tiny import tiny_config
from vgg_sweep.config.localise import Localise
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.localise.stored import Predictions
from vgg_sweep.plan.folders import prepare
from vgg_sweep.plan.passes import missing
from vgg_sweep.plan.runs import Run, plan
from vgg_sweep.runs.files import read_json, write_json
from vgg_sweep.sweep.work import work

SHORT = Localise(epochs=1.0, lr=0.01)


def done(run: Run) -> Run:
    prepare(run)
    work(run, live=False)
    return run


def test_a_chain_ends_with_predicted_boxes(tmp_path: Path) -> None:
    """Of each dense pass and the centre crop, rated by the parent; done again, nothing changes."""
    parent, run = (done(each) for each in plan([tiny_config(tmp_path, task="localise", localise=SHORT)]))
    assert run.folder.status()["state"] == "done" and not run.folder.posteriors.exists()
    stored = Predictions(run.folder.boxes, "")
    assert sorted(stored.files) == [("centre-crop", 37, False), ("dense", 37, False), ("dense", 37, True)]
    assert stored.manifest["classifier"] == parent.id
    assert missing(run.folder, run.config) == []
    before = {file.name: file.read_bytes() for file in run.folder.boxes.iterdir()}
    done(replace(run, config=replace(run.config, protocol=tiny_config(tmp_path, protocol="multi").protocol)))
    after = {file.name: file.read_bytes() for file in run.folder.boxes.iterdir()}
    assert len(after) == len(before) + 4
    assert {name: after[name] for name in before if name.endswith(".npz")} == {
        name: content for name, content in before.items() if name.endswith(".npz")
    }


def test_boxes_are_not_rated_by_other_weights_than_they_came_from(tmp_path: Path) -> None:
    parent, run = (done(each) for each in plan([tiny_config(tmp_path, task="localise", localise=SHORT)]))
    run.folder.update_record(parent_weights_sha256="another")
    (run.folder.boxes / "dense-Q37-flip0.npz").unlink()
    with pytest.raises(RunError, match=f"was made from other weights than {parent.id} has now"):
        work(run, live=False)


def test_a_run_goes_on_with_the_boxes_that_it_began_with(tmp_path: Path) -> None:
    _, run = (done(each) for each in plan([tiny_config(tmp_path, task="localise", localise=SHORT)]))
    write_json(run.folder.origin, read_json(run.folder.origin) | {"boxes_fingerprint": "another"})
    (run.folder.boxes / "dense-Q37-flip0.npz").unlink()
    with pytest.raises(ConfigError, match="was made from other boxes"):
        work(run, live=False)


def test_a_set_without_boxes_is_refused_before_a_parent_is_trained(
    tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    for name in ("train/ant/0.png", "train/ant/1.png", "val/ant/2.png"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "set" / name)
    outcome = call("train", "model=A", "task=localise", "data=folder", f"data.root={tmp_path}/set")
    assert outcome.exit_code == 2 and "folder has no boxes; give data.boxes=PATH" in outcome.err
    assert not (tmp_path / "outputs").exists()
