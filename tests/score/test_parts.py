"""Parts that are joined, images that are made ready ahead, and images rescaled once a Q."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vgg_sweep.protocols.passes import Pass
from vgg_sweep.score import batches
from vgg_sweep.score.batches import ahead, at_each_Q
from vgg_sweep.score.parts import Parts, save


@pytest.mark.parametrize("dtype", [np.float32, np.uint64])
def test_joined_parts_are_the_file_that_numpy_would_write(tmp_path: Path, dtype: type) -> None:
    whole = np.arange(7 * 3).reshape(7, 3).astype(dtype)
    each = Pass("dense", 64, False)
    parts = Parts(tmp_path / "parts", [each], len(whole), chunk=3)
    for chunk in parts.chunks:
        assert parts.missing(chunk) == [each]
        save(parts.file(each, chunk), whole[chunk.start : chunk.stop])
    parts.join(each, tmp_path / "joined.npy")
    np.save(tmp_path / "whole.npy", whole)
    assert (tmp_path / "joined.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_the_next_batch_is_made_while_one_is_in_use_and_no_further() -> None:
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return -number

    with ThreadPoolExecutor(1) as pool:
        each = ahead(pool, make, iter([[1, 2], [3], [4, 5]]))
        assert next(each) == [-1, -2]
        deadline = time.monotonic() + 10
        while 3 not in made and time.monotonic() < deadline:
            time.sleep(0.001)
        assert made == [1, 2, 3]
        assert list(each) == [[-3], [-4, -5]]


def test_what_is_ahead_is_given_up_with_its_user() -> None:
    made: list[int] = []

    def make(number: int) -> None:
        made.append(number)
        time.sleep(0.05)

    with ThreadPoolExecutor(1) as pool:
        each = ahead(pool, make, [[1], list(range(2, 100))])
        next(each)
        each.close()
    assert len(made) < 50


def test_images_are_rescaled_once_for_all_passes_of_a_Q(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def rescaled(image: Image.Image, Q_px: int, interpolation: str) -> np.ndarray:
        calls.append(Q_px)
        return np.zeros((Q_px, Q_px, 3), np.uint8)

    monkeypatch.setattr(batches, "rescaled", rescaled)
    passes = [Pass("dense", Q, flip) for Q in (80, 64) for flip in (False, True)]
    with ThreadPoolExecutor(1) as pool:
        found: Iterator[tuple[Pass, list[np.ndarray]]] = at_each_Q(pool, [Image.new("RGB", (9, 9))] * 2, passes, "box")
        seen = [(each, [len(image_HWC) for image_HWC in images_HWC]) for each, images_HWC in found]
    assert seen == [(each, [each.Q] * 2) for each in (passes[2], passes[3], passes[0], passes[1])]
    assert sorted(calls) == [64, 64, 80, 80]
