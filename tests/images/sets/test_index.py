"""The index: compact, the same after a restart, and stale when the files are others."""

import os
from pathlib import Path

import numpy as np
import pytest

from vgg_sweep.errors import ConfigError
from vgg_sweep.images.decode import ByteRange
from vgg_sweep.images.sets.index import (
    WHOLE_FILE,
    FoundImage,
    Ids,
    Listing,
    held_out,
    hold_out,
    indexed,
)

WORDS = ["", "a", "train/été/1.jpg", "train/x/\udcff.jpg", "日本"]


def listing(root: Path, num_images: int = 4) -> Listing:
    """Two classes, one of files and one of stretches of a tar."""
    (root / "ant").mkdir(parents=True, exist_ok=True)
    (root / "bees.tar").write_bytes(b"0123456789")
    made = Listing(classes=["ant", "bee"])
    made.stamp(root / "ant")
    made.stamp(root / "bees.tar")
    for split in made.splits:
        for index in range(num_images):
            (root / "ant" / f"{split}{index}.jpg").write_bytes(bytes(index + 1))
        ants = [
            FoundImage(f"{split}/ant/{split}{index}.jpg", str(root / "ant"), WHOLE_FILE, index + 1)
            for index in range(num_images)
        ]
        bees = [FoundImage(f"{split}/bee/{index}.jpg", str(root / "bees.tar"), 3 * index, 2) for index in range(3)]
        made.add(split, "ant", reversed(ants))
        made.add(split, "bee", bees)
    made.stamp(root / "ant")
    return made


def test_names_are_those_put_in() -> None:
    names = Ids.of(WORDS)
    assert list(names) == WORDS and names[1:4] == WORDS[1:4] and names[-1] == WORDS[-1] and len(names) == len(WORDS)
    assert list(Ids.joined([names, Ids.of([]), names])) == WORDS * 2
    with pytest.raises(IndexError):
        names[len(WORDS)]


def test_an_index_finds_each_image(tmp_path: Path) -> None:
    images = indexed(tmp_path / "index", lambda: listing(tmp_path)).images
    assert list(images.train.ids) == [
        *(f"train/ant/train{index}.jpg" for index in range(4)),
        *(f"train/bee/{index}.jpg" for index in range(3)),
    ]
    assert images.train.labels_N.tolist() == [0] * 4 + [1] * 3
    assert images.train.stored(2) == tmp_path / "ant" / "train2.jpg"
    assert images.val.stored(6) == ByteRange(tmp_path / "bees.tar", 6, 2)


def test_it_is_made_once_and_again_when_asked(tmp_path: Path) -> None:
    made = listing(tmp_path)
    first = indexed(tmp_path / "index", lambda: made).facts
    again = indexed(tmp_path / "index", lambda: pytest.fail("scanned again")).facts
    assert again == first
    fresh = indexed(tmp_path / "index", lambda: listing(tmp_path, 5), again=True)
    assert len(fresh.images.train) == 8 and fresh.facts["fingerprint"] != first["fingerprint"]
    assert not list(tmp_path.glob(".index*"))


def _grow(root: Path) -> None:
    (root / "ant" / "train1.jpg").write_bytes(b"other bytes")


def _add(root: Path) -> None:
    (root / "ant" / "more.jpg").write_bytes(b"1")


def _remove(root: Path) -> None:
    (root / "ant" / "train1.jpg").unlink()


def _change_tar(root: Path) -> None:
    (root / "bees.tar").write_bytes(b"01234567890")


def _touch_tar(root: Path) -> None:
    os.utime(root / "bees.tar", (1, 1))


def _remove_tar(root: Path) -> None:
    (root / "bees.tar").unlink()


@pytest.mark.parametrize("change", [_grow, _add, _remove, _change_tar, _touch_tar, _remove_tar])
def test_other_files_make_it_stale(tmp_path: Path, change: object) -> None:
    made = listing(tmp_path)
    indexed(tmp_path / "index", lambda: made)
    change(tmp_path)  # type: ignore[operator]
    scans = []
    indexed(tmp_path / "index", lambda: scans.append(1) or made)  # type: ignore[func-returns-value,return-value]
    assert scans == [1]


def test_a_scan_that_fails_leaves_what_there_was(tmp_path: Path) -> None:
    made = listing(tmp_path)
    indexed(tmp_path / "index", lambda: made)

    def fail() -> Listing:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        indexed(tmp_path / "index", fail, again=True)
    assert indexed(tmp_path / "index", fail).facts["classes"] == ["ant", "bee"]


def test_what_is_held_out_is_a_share_of_each_class() -> None:
    labels_N = np.repeat([0, 1, 2], [100, 10, 2])
    is_val_N = held_out(labels_N, 0.2, 3, "abc")
    assert [int(is_val_N[labels_N == label].sum()) for label in range(3)] == [20, 2, 1]
    assert np.array_equal(is_val_N, held_out(labels_N, 0.2, 3, "abc"))
    assert not np.array_equal(is_val_N, held_out(labels_N, 0.2, 4, "abc"))
    assert np.array_equal(is_val_N[:100], held_out(labels_N[:100], 0.2, 3, "abc"))  # whatever other classes there are


def test_holding_out_parts_the_training_images(tmp_path: Path) -> None:
    made = listing(tmp_path)
    before = {name: set(entries.ids) for name, entries in made.train.items()}
    hold_out(made, 0.5, seed=0)
    for name in made.classes:
        train, val = set(made.train[name].ids), set(made.val[name].ids)
        assert train | val == before[name] and not train & val
    one = indexed(tmp_path / "index", lambda: made).facts
    assert "val is 50% of the training images" in one["notes"][-1]


def test_a_class_of_one_image_cannot_be_held_out_of() -> None:
    with pytest.raises(ConfigError, match=r"data.val_share=0.1 needs two images of every class, .* and bee has one"):
        held_out(np.array([0, 0, 1, 2, 2]), 0.1, 0, ["ant", "bee", "cat"])
    assert held_out(np.array([0, 0, 1, 1, 1]), 0.9, 0, ["ant", "bee"]).sum() == 3  # one of each class stays in train
