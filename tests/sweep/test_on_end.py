"""What is told when all has ended, the code that queued runs work with, and what a plan can know before."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.tiny import tiny_config, tiny_run
from vgg_sweep.config.schema import Data
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.sets.sources import open_images
from vgg_sweep.plan.folders import prepare
from vgg_sweep.plan.runs import plan
from vgg_sweep.runs.progress import Reporter
from vgg_sweep.sweep import forecast, work
from vgg_sweep.sweep.on_end import run_on_end
from vgg_sweep.sweep.snapshot import use_snapshot


def test_a_command_is_told_of_success_and_of_failure(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    prepare(run).update_status(state="failed", error="out of luck")
    with pytest.raises(KeyError), run_on_end(f"cat > '{tmp_path / 'told.json'}'; exit 3", [run]):
        raise KeyError
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["states"] == {"failed": 1} and told["sweeps"] == [str(run.folder.path.parent)]
    assert told["runs"][0]["run"] == run.id and told["runs"][0]["error"] == "out of luck"
    with run_on_end(None, [run]):
        pass


def test_processes_take_their_code_from_the_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "PYTHONSAFEPATH"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder = use_snapshot(tmp_path)
    assert use_snapshot(tmp_path) == folder and sys.path[0] == str(folder)
    (folder / "vgg_sweep" / "errors.py").write_text((folder / "vgg_sweep" / "errors.py").read_text() + "\nOLD = 1\n")
    code = "import vgg_sweep.errors, vgg_sweep.config.options as o; print(vgg_sweep.errors.OLD, o.conf_dir())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", str(folder / "conf")]


def test_a_run_says_that_the_code_changed_since_it_was_queued(tmp_path: Path) -> None:
    folder = prepare(tiny_run(tmp_path))
    folder.update_status(state="new", queued_with=work.made_with() | {"code": "older"})
    with folder.locked():
        work._begin(Reporter(folder, live=False))
    assert "the code or versions changed since it was queued: code of" in folder.log.read_text()
    assert folder.record()["begun_with"][0]["code"] == "older"


def test_a_missing_logger_is_found_when_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "find_spec", lambda name: None)
    runs = plan([replace(tiny_config(tmp_path), logger="wandb")])
    with pytest.raises(ConfigError, match=r"logger=wandb needs a package .*pip install 'vgg-sweep\[wandb\]'"):
        forecast.check_ready(runs)
    forecast.check_ready(plan([tiny_config(tmp_path)]))


@pytest.mark.parametrize("is_drawn", [True, False])
def test_a_last_batch_of_one_image_is_refused_when_planned(tmp_path: Path, is_drawn: bool) -> None:
    """33 images in batches of 8, for a net with batch normalisation; a refusal leaves nothing behind."""
    config = tiny_config(tmp_path / "out", "A-BN")
    fractals = replace(config.data.fractals, num_classes=3, train_per_class=11)
    for part, number in (("train", 11), ("val", 1)):
        for place in range(3 * number):
            file = tmp_path / "set" / part / f"class{place % 3}" / f"{place}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40)).save(file)
    drawn = replace(config.data, fractals=fractals)
    data = drawn if is_drawn else Data(name="folder", source="folder", root=str(tmp_path / "set"))
    recipe = replace(config.recipe, batch_size=8)
    asked = replace(config, data=data, recipe=recipe, cache=str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match="of 33 images is a single one, too few for batch normalisation"):
        forecast.check_ready(plan([asked]))
    assert not list((tmp_path / "cache").glob("*")) and not (tmp_path / "out").exists()
    forecast.check_ready(plan([replace(asked, recipe=replace(recipe, last_batch="wrap"))]))
    forecast.check_ready(plan([replace(asked, recipe=replace(recipe, batch_size=9))]))


def test_a_folder_is_listed_once_for_all_runs_of_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("train", "val"):
        for name in "abcdefgh":
            file = tmp_path / "set" / part / name / "image.png"
            file.parent.mkdir(parents=True)
            Image.new("RGB", (40, 40)).save(file)
    data, listed = Data(name="folder", source="folder", root=str(tmp_path / "set")), []
    monkeypatch.setattr(forecast, "open_images", lambda config: listed.append(config) or open_images(config))
    config = tiny_config(tmp_path / "out", "A-BN")
    recipe = replace(config.recipe, batch_size=4)
    config = replace(config, data=data, recipe=recipe, cache=str(tmp_path / "cache"))
    forecast.check_ready(plan([config, replace(config, seed=1)]))
    assert len(listed) == 1
