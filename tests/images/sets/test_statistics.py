"""Mean and principal components against numpy on all pixels at once."""

from pathlib import Path

import numpy as np
import pytest

from vgg_sweep.images.sets.splits import ImageSet, Split
from vgg_sweep.images.sets.statistics import statistics


def image_set(arrays: list[np.ndarray]) -> ImageSet:
    split = Split(
        [str(i) for i in range(len(arrays))],
        np.zeros(len(arrays), dtype=np.int64),
        arrays.__getitem__,
    )
    return ImageSet(split, split, ["one"], "fingerprint-of-this")


def test_they_are_those_of_all_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mix = np.array([[0.8, 0.1, 0.3], [0.2, 0.9, 0.1], [0.1, 0.2, 0.7]])
    arrays = [(rng.random((20 + i, 30, 3)) @ mix * 200).astype(np.uint8) for i in range(5)]
    found = statistics(image_set(arrays), tmp_path, workers=2)
    pixels = np.concatenate([a.reshape(-1, 3) for a in arrays]) / 255
    assert found.mean_rgb == pytest.approx(pixels.mean(axis=0).tolist(), abs=1e-6)
    vectors, values = np.array(found.eigenvectors), np.array(found.eigenvalues)
    assert vectors @ np.diag(values) @ vectors.T == pytest.approx(np.cov(pixels.T, bias=True), abs=1e-6)


def test_they_are_computed_once(tmp_path: Path) -> None:
    black, white = (image_set([np.full((4, 4, 3), level, dtype=np.uint8)]) for level in (0, 255))
    first = statistics(black, tmp_path, workers=1)
    assert statistics(white, tmp_path, workers=1) == first


def test_a_pass_that_was_stopped_goes_on_to_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vgg_sweep.images.sets.statistics.BLOCK", 4)
    monkeypatch.setattr("vgg_sweep.images.sets.statistics.KEEP_EVERY_SECONDS", -1.0)
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (9, 9, 3), np.uint8) for _ in range(18)]
    whole = statistics(image_set(arrays), tmp_path / "whole", workers=1)

    def stop(done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        statistics(image_set(arrays), tmp_path / "parts", workers=1, progress=stop)
    assert [file.name for file in (tmp_path / "parts").glob("*.json")] == ["statistics-fingerprint-.part.json"]
    arrays[:8] = [np.zeros((9, 9, 3), np.uint8)] * 8  # not read again
    assert statistics(image_set(arrays), tmp_path / "parts", workers=1) == whole
    assert [file.name for file in (tmp_path / "parts").glob("*.json")] == ["statistics-fingerprint-.json"]
