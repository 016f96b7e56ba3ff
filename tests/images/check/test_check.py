"""Every kind of problem is found in a set that has one of each, and nothing in a set that has none."""

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Outcome
from tests.images.sets.test_sources import folder_config
from vgg_sweep.cli.findings import findings_csv
from vgg_sweep.images.check.check import Findings, _enter, check_images
from vgg_sweep.images.sets.sources import open_images


def picture(seed: int, width: int = 100, height: int = 80) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def sound(root: Path, num_train: int = 4, num_val: int = 2) -> Path:
    """Two classes of different images, all larger than S = 256, which is 73 px at crop 64, and of the same number."""
    seed = 0
    for split, count in (("train", num_train), ("val", num_val)):
        for name in ("ant", "bee"):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                picture(seed := seed + 1).save(root / split / name / f"{index}.jpg", quality=30)
    return root


def found(root: Path) -> set[tuple[str, str]]:
    """(kind, id) of every problem."""
    config = folder_config(root, cache=str(root.parent / "cache"))
    findings = Findings()
    check_images(open_images(config), config, findings, lambda done, total: None, [])
    rows = csv.DictReader(io.StringIO(findings_csv(findings)))
    return {(row["kind"], row["id"]) for row in rows}


def test_a_sound_set_has_no_problem(tmp_path: Path) -> None:
    assert found(sound(tmp_path / "set")) == set()


def test_each_problem_is_found_once(tmp_path: Path) -> None:
    root = sound(tmp_path / "set")
    train, val = root / "train", root / "val"
    (train / "ant" / "broken.jpg").write_bytes(b"not an image")
    whole = (train / "ant" / "0.jpg").read_bytes()
    (train / "ant" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    picture(50).save(train / "ant" / "png.jpg", "PNG")
    picture(51).save(train / "ant" / "twin.png")
    picture(51).save(train / "ant" / "twin2.bmp")
    picture(52).save(train / "bee" / "leak.png")
    picture(52).save(val / "bee" / "leaked.png")
    picture(53).save(train / "bee" / "ant-or-bee.png")
    picture(53).save(train / "ant" / "ant-or-bee.png")
    picture(54).save(train / "bee" / "moving.gif", save_all=True, append_images=[picture(55)])
    picture(56, 400, 80).save(train / "bee" / "long.png")
    picture(57, 100, 72).save(train / "bee" / "small.png")
    picture(58, 100, 73).save(train / "bee" / "just-large-enough.png")
    assert found(root) == {
        ("undecodable", "train/ant/broken.jpg"),
        ("undecodable", "train/ant/cut.jpg"),
        ("extension", "train/ant/png.jpg"),
        ("duplicate", "train/ant/twin2.bmp"),
        ("leak", "val/bee/leaked.png"),
        ("label", "train/bee/ant-or-bee.png"),
        ("animated", "train/bee/moving.gif"),
        ("aspect", "train/bee/long.png"),
        ("small", "train/bee/small.png"),
    }


def test_a_class_far_from_the_median_is_imbalanced(tmp_path: Path) -> None:
    root = sound(tmp_path / "set", num_train=4)
    for name, count in (("wasp", 3), ("fly", 9), ("gnat", 1)):
        for split in ("train", "val"):
            (root / split / name).mkdir()
        for index in range(count):
            picture(100 + 10 * count + index).save(root / "train" / name / f"{index}.png")
        for index in range(2):
            picture(300 + 10 * count + index).save(root / "val" / name / f"{index}.png")
    assert found(root) == {("imbalance", "fly"), ("imbalance", "gnat")}  # 4 is the median


def test_a_set_that_is_enlarged_as_a_whole_is_a_choice(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for split in ("train", "val"):
        (root / split / "ant").mkdir(parents=True)
        Image.new("L", (32, 32), 9 if split == "train" else 8).save(root / split / "ant" / "0.png")
    config = folder_config(root, cache=str(tmp_path / "cache"))
    findings = Findings()
    check_images(open_images(config), config, findings, lambda done, total: None, [])
    assert findings.problems == [] and "every image is smaller than S = 73 px" in findings.notes[0]
    assert findings.modes == {"L": 2} and findings.formats == {"PNG": 2}


def test_the_command(tmp_path: Path, call: Callable[..., Outcome]) -> None:
    sound(tmp_path / "set")
    asked = ("data", "check", "data=folder", "data.root=set")
    assert call(*asked).exit_code == 0
    (tmp_path / "set" / "val" / "bee" / "0.jpg").write_bytes(b"nothing")
    shown = call(*asked, "--csv", "problems.csv")
    assert shown.exit_code == 1
    assert "val/bee/0.jpg" in shown.out and "folder: 1 undecodable" in shown.out
    assert (tmp_path / "problems.csv").read_text().splitlines()[0] == "kind,split,id,detail"
    nowhere = call(*asked, "--csv", "nowhere/problems.csv")
    assert nowhere.exit_code == 2 and "nowhere is not a folder; make it first" in nowhere.err and not nowhere.out
    as_json = json.loads(call(*asked, "--json").out)
    assert as_json["num_problems"] == {"undecodable": 1} and as_json["num_images"] == 12


def test_what_was_found_is_shown_when_it_is_stopped(
    tmp_path: Path, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound(tmp_path / "set")
    (tmp_path / "set" / "train" / "ant" / "0.jpg").write_bytes(b"nothing")

    monkeypatch.setattr("vgg_sweep.images.check.check._enter", lambda *all: (_enter(*all), _stop_at(5, all[0])))
    stopped = call("data", "check", "data=folder", "data.root=set")
    assert stopped.exit_code == 130 and "1 undecodable" in stopped.out and "after 5 of 12 images" in stopped.err


def _stop_at(num_images: int, findings: Findings) -> None:
    if findings.num_images == num_images:
        raise KeyboardInterrupt


def test_names_that_are_not_utf8_are_checked_like_others(tmp_path: Path, call: Callable[..., Outcome]) -> None:
    root = sound(tmp_path / "set")
    for split in ("train", "val"):
        (root / split / "ant").rename(root / split / os.fsdecode(b"caf\xe9"))
    (root / "train" / "bee" / os.fsdecode(b"fr\xfc.jpg")).write_bytes(b"not an image")
    outcome = call("data", "check", "data=folder", f"data.root={root}", "crop=64", "--csv", "problems.csv")
    assert outcome.exit_code == 1, outcome.err
    assert r"train/bee/fr\xfc.jpg: it is in no known image format" in outcome.out
    assert b"undecodable,train,train/bee/fr\xfc.jpg," in (tmp_path / "problems.csv").read_bytes()
    assert r"caf\xe9" in call("data", "prepare", "data=folder", f"data.root={root}").out
