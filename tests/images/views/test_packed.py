"""Shards: the same images, made once, checked, mended, and smaller where S needs less."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vgg_sweep.config.schema import Data
from vgg_sweep.errors import RunError
from vgg_sweep.images.decode import BadImage
from vgg_sweep.images.sets.splits import Split
from vgg_sweep.images.views import packed as module
from vgg_sweep.images.views.augment import training_view
from vgg_sweep.images.views.packed import packed

NUM_IMAGES = 11


@pytest.fixture
def split(monkeypatch: pytest.MonkeyPatch) -> Split:
    """JPEGs of smaller sides 60, 90, 120 ... px; the fourth cannot be decoded."""
    monkeypatch.setattr(module, "IMAGES_PER_SHARD", 4)
    rng, files = np.random.default_rng(0), []
    for index in range(NUM_IMAGES):
        coarse = Image.fromarray(rng.integers(60, 196, (4, 6, 3), np.uint8))
        out = io.BytesIO()
        coarse.resize((90 + 45 * index, 60 + 30 * index), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
        files.append(out.getvalue())
    files[3] = b"broken"
    return Split([f"{index}.jpg" for index in range(NUM_IMAGES)], np.arange(NUM_IMAGES), files.__getitem__)


def shards(cache: Path) -> dict[str, tuple[int, bytes]]:
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in cache.glob("packed-*/*.*")}


def test_images_near_what_S_needs_are_kept_to_the_bit_and_larger_ones_at_S(split: Split, tmp_path: Path) -> None:
    one = packed(split, "data", 120, tmp_path, workers=2)
    for index in range(NUM_IMAGES):
        if index == 3:
            with pytest.raises(BadImage, match=r"^3.jpg cannot be read as an image"):
                one.image(index)
        elif 60 + 30 * index < 1.25 * 120:
            assert one.stored(index) == split.stored(index)
        else:
            assert min(one.size_px(index)) == 120
            exact, near = (training_view(each.image(index), each.size_px(index), 100, (0.3, 0.8), False, 64).astype(int)
                           for each in (split, one))  # fmt: skip
            assert abs(exact - near).mean() < 1.5
    assert one.ids == split.ids and one.labels_N is split.labels_N


def test_shards_are_made_once_and_other_data_or_S_have_their_own(split: Split, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    packed(split, "data", 120, tmp_path, 1, lambda done, total: seen.append((done, total)))
    assert seen == [(done, NUM_IMAGES) for done in range(1, NUM_IMAGES + 1)]
    first = shards(tmp_path)
    packed(split, "data", 120, tmp_path, 1, lambda done, total: pytest.fail("made again"))
    assert shards(tmp_path) == first and len(list(tmp_path.iterdir())) == 1
    packed(split, "other data", 120, tmp_path, 1)
    packed(split, "data", 60, tmp_path, 1)
    assert len(list(tmp_path.iterdir())) == 3 and first.items() <= shards(tmp_path).items()


def test_a_build_that_was_stopped_goes_on(split: Split, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packed(split, "data", 120, tmp_path, 1, stop)
    seen: list[int] = []
    packed(split, "data", 120, tmp_path, 1, lambda done, total: seen.append(done))
    assert seen == list(range(5, NUM_IMAGES + 1)), "the first shard of four was there"


@pytest.mark.parametrize("spoil", ["shorter", "without ends"])
def test_a_shard_that_is_not_whole_is_made_anew(split: Split, tmp_path: Path, spoil: str) -> None:
    packed(split, "data", 120, tmp_path, 1)
    first = {name: content for name, (_, content) in shards(tmp_path).items()}
    images, ends = sorted(tmp_path.glob("packed-*/000000004.*"))
    if spoil == "shorter":
        images.write_bytes(images.read_bytes()[:-1])
    else:
        ends.unlink()
    seen: list[int] = []
    packed(split, "data", 120, tmp_path, 1, lambda done, total: seen.append(done))
    assert seen == [5, 6, 7, 8]
    assert {name: content for name, (_, content) in shards(tmp_path).items()} == first


def test_a_damaged_image_is_found_and_the_next_start_mends_it(split: Split, tmp_path: Path) -> None:
    one = packed(split, "data", 120, tmp_path, 1)
    images = next(tmp_path.glob("packed-*/000000004.images"))
    content = bytearray(images.read_bytes())
    content[len(content) // 2] ^= 1
    images.write_bytes(content)
    with pytest.raises(RunError, match=r"000000004.images is damaged .* packs it anew"):
        for index in range(4, 8):
            one.stored(index)
    again = packed(split, "data", 120, tmp_path, 1)
    assert [again.image(index).size for index in range(4, 8)] == [one.image(index).size for index in range(4, 8)]


def test_what_is_upright_in_a_shard_stays_so(tmp_path: Path) -> None:
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("RGB", (300, 200)).save(out, "JPEG", exif=exif.tobytes())
    split = Split(["a.jpg"], np.zeros(1, int), lambda index: out.getvalue(), Data(exif_rotation=True))
    assert packed(split, "data", 100, tmp_path, 1).image(0).size == (100, 150)
    assert packed(split, "data", 190, tmp_path, 1).image(0).size == (200, 300)


def test_pixels_in_an_array_stay_where_they_are(tmp_path: Path) -> None:
    split = Split(["0"], np.zeros(1, int), lambda index: np.zeros((9, 9, 3), np.uint8))
    assert packed(split, "data", 120, tmp_path, 1) is split and not any(tmp_path.iterdir())
