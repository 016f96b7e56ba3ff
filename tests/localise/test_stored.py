"""Predictions read back from disk, and what is said of damaged ones."""

from pathlib import Path

import numpy as np
import pytest

from tests.localise.boxes import ARRAYS, random_pass, truth_of, write_predictions
from vgg_sweep.errors import RunError
from vgg_sweep.localise.stored import PassBoxes, Predictions

RNG = np.random.default_rng(0)
PASSES = {
    ("dense", 64, False): random_pass(RNG, (2, 1, 3), 2),
    ("dense", 64, True): random_pass(RNG, (2, 1, 3), 2, is_shared=True),
    ("dense", 73, False): random_pass(RNG, (2, 2, 3), 2),
    ("centre-crop", 64, False): random_pass(RNG, (1, 1, 1), 2),
}
TRUTH = truth_of([[[0, 0, 9, 9]], [], [[1, 2, 3, 4], [5, 6, 7, 8]]], [0, 1, 1])


@pytest.fixture
def predictions(tmp_path: Path) -> Predictions:
    write_predictions(tmp_path / "boxes", PASSES, TRUTH, [0, 1, 1], ["cat", "dog"], blacklisted=[1])
    return Predictions(tmp_path / "boxes", "vgg-sweep score task=localise")


def test_what_was_written_is_read(predictions: Predictions) -> None:
    assert predictions.are_there and predictions.labels_N.tolist() == [0, 1, 1]
    for key, written in PASSES.items():
        read = predictions.read(*key)
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert [predictions.truth.boxes.of(n).tolist() for n in range(3)] == [TRUTH.of(n).tolist() for n in range(3)]
    assert predictions.truth.blacklisted_N.tolist() == [False, True, False]
    assert PASSES["dense", 64, False].starts_N.tolist() == [0, 2, 3]


def test_passes_are_all_flips_of_each_scale_or_none(predictions: Predictions) -> None:
    def shapes(found: list[PassBoxes] | None) -> list[int] | None:
        return found and [len(each.scores_Rk) for each in found]

    assert shapes(predictions.passes("dense", [64])) == [6, 6]
    assert shapes(predictions.passes("dense", [64, 73])) == [6, 6, 7]
    assert shapes(predictions.passes("centre-crop", [64])) == [3]
    assert predictions.passes("dense", [64, 80]) is None and predictions.passes("centre-crop", [73]) is None


def test_damage_is_told(predictions: Predictions) -> None:
    file = predictions.folder / "dense-Q73-flip0.npz"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(RunError, match="sha256 is not that in manifest.json.*make it again: vgg-sweep score"):
        predictions.passes("dense", [73])
    file.unlink()
    with pytest.raises(RunError, match="dense-Q73-flip0.npz is missing; make it again"):
        predictions.read("dense", 73, False)
    manifest = predictions.folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"truth"', '"lies"'))
    with pytest.raises(RunError, match="is not a whole manifest"):
        _ = Predictions(predictions.folder, "again").manifest


def test_arrays_of_other_images_are_told(tmp_path: Path) -> None:
    key = ("dense", 64, False)
    write_predictions(tmp_path, {key: random_pass(RNG, (1, 1), 2)}, TRUTH, [0, 1, 1], ["cat", "dog"])
    with pytest.raises(RunError, match="its arrays do not fit the images"):
        Predictions(tmp_path, "again").read(*key)
