"""What is kept in memory, what is decoded again, and what is left out."""

import io
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vgg_sweep.config.schema import Data
from vgg_sweep.errors import RunError
from vgg_sweep.images.decode import BadImage
from vgg_sweep.images.sets import splits
from vgg_sweep.images.sets.splits import ImageSet, Split


def jpeg(width: int, height: int, **settings: object) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(out, "JPEG", **settings)
    return out.getvalue()


def counted(num_images: int = 6, size: tuple[int, int] = (60, 40), **settings: str) -> tuple[Split, Counter[int]]:
    """A split and how often each image was asked for."""
    asked: Counter[int] = Counter()

    def stored(index: int) -> bytes:
        asked[index] += 1
        return jpeg(*size)

    names = [str(index) for index in range(num_images)]
    return Split(names, np.zeros(num_images, int), stored, Data(**settings)), asked


@pytest.mark.parametrize(
    ("cache", "free_bytes", "is_kept"),
    [
        ("auto", 6 * 60 * 40 * 4 * 5 + 5, True),
        ("auto", 6 * 60 * 40 * 4 * 5 - 5, False),
        ("packed", 10**9, True),
        ("memory", 6 * 60 * 40 * 4 + 1, True),
        ("none", 10**12, False),
    ],
)
def test_a_split_is_kept_whole_or_not_at_all(
    cache: str, free_bytes: int, is_kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splits, "free_memory_bytes", lambda: free_bytes)
    split, asked = counted(cache=cache)
    assert split.keeps_decoded is is_kept
    asked.clear()
    for _ in range(3):
        for index in range(6):
            assert split.image(index).size == (60, 40)
    assert set(asked.values()) == {1 if is_kept else 3}


def test_more_than_there_is_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "free_memory_bytes", lambda: 1000)
    with pytest.raises(RunError, match=r"data.cache=memory needs 0.0 GB for 6 decoded images"):
        counted(cache="memory")[0].image(0)


def test_free_memory_is_less_than_the_machine_has() -> None:
    assert 0 < splits.free_memory_bytes() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_other_settings_read_anew() -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    data = jpeg(60, 40, exif=exif.tobytes())
    split = Split(["0"], np.zeros(1, int), lambda index: data)
    images = ImageSet(split, split, ["a"], "fingerprint")
    assert images.train.image(0).size == images.train.size_px(0) == (60, 40)
    upright = images.read_as(Data(exif_rotation=True))
    assert upright.val.image(0).size == upright.val.size_px(0) == (40, 60)


def test_images_are_left_out_only_where_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(60, 40)[:300])
    split = Split(["a.jpg"], np.zeros(1, int), lambda index: tmp_path / "a.jpg")
    with pytest.raises(BadImage, match=r"^a.jpg cannot be read .* data.on_bad_image=skip"):
        split.image_or_none(0)
    for policy in ("skip", "substitute"):
        tolerant = replace(split, settings=Data(on_bad_image=policy), bad={})
        assert tolerant.image_or_none(0) is None and "runcated" in tolerant.bad[0]
