"""What `data prepare` says of a set, and what it leaves in the cache."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import ilsvrc
from tests.conftest import Outcome


def test_ilsvrc_is_described(tmp_path: Path, call: Callable[..., Outcome]) -> None:
    for make in (ilsvrc.train_tar, ilsvrc.val_flat, ilsvrc.devkit_tar):
        make(tmp_path / "set", ilsvrc.made())
    asked = ("data", "prepare", "data=imagenet", "data.root=set", "cache=kept")
    said = call(*asked)
    assert said.exit_code == 0, said.err
    assert "imagenet: 18 training and 12 validation images, 6 classes" in said.out
    assert "classes: tench (n01440764), goldfish (n01443537), Chihuahua (n02085620) ..." in said.out
    assert "tar of class tars" in said.out and "labels from ILSVRC2012_devkit_t12.tar.gz" in said.out
    assert "note: a part of ILSVRC: 6 of its 1000 classes" in said.out
    [index] = (tmp_path / "kept").glob("index-*/index.json")
    made_at = index.stat().st_mtime_ns
    assert call(*asked).exit_code == 0 and index.stat().st_mtime_ns == made_at
    assert call(*asked, "--again").exit_code == 0 and index.stat().st_mtime_ns > made_at


def test_the_mean_is_made_beforehand(
    tmp_path: Path, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "val"):
        for name, grey in (("ant", 20), ("bee", 30)):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            Image.fromarray(np.full((8, 8), grey, np.uint8)).save(tmp_path / "set" / split / name / "0.png")
    asked = ("data", "prepare", "data=folder", "data.root=set", "cache=kept", "--statistics")
    with monkeypatch.context() as patch:
        patch.setattr("vgg_sweep.images.sets.statistics.Sums.add", _interrupt)
        stopped = call(*asked)
    assert stopped.exit_code == 130 and "repeat the command to continue computing the mean" in stopped.err
    assert "mean RGB of 0 to 255: 25.00, 25.00, 25.00" in call(*asked).out
    assert len(list((tmp_path / "kept").glob("statistics-*.json"))) == 1


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_is_not_there_is_refused(tmp_path: Path, call: Callable[..., Outcome]) -> None:
    (tmp_path / "set").mkdir()
    for asked, sentence in (
        (("data=imagenet",), "data=imagenet needs data.root=DIR"),
        (("data=imagenet", "data.root=set"), "has no train/ and no ILSVRC2012_img_train.tar"),
        (("data=cifar10", "data.root=set"), "or give data.download=true to download it"),
        (("data=folder", "data.root=nowhere"), "data.root=nowhere is not a folder"),
    ):
        refused = call("data", "prepare", *asked)
        assert refused.exit_code == 2 and sentence in refused.err and not refused.out
