"""Predictions and true boxes for tests."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vgg_sweep.localise.boxes import Boxes
from vgg_sweep.localise.merging import merged_at
from vgg_sweep.localise.stored import PassBoxes, Truth

ARRAYS = ("positions_N", "classes_Nk", "boxes_Rk4", "scores_Rk")


def truth_of(boxes: Sequence[Sequence[Sequence[float]]], labels: Sequence[int] | None = None) -> Boxes:
    """The boxes of each image, all of the image's class where `labels` gives one an image, else of class 0."""
    labels = labels or [0] * len(boxes)
    lists = [[(label, box) for box in of_image] for label, of_image in zip(labels, boxes, strict=True)]
    return Boxes.of_lists(lists, [(100, 100)] * len(boxes))


def random_pass(
    rng: np.random.Generator, positions: Sequence[int], num_classes: int, side: int = 50, is_shared: bool = False
) -> PassBoxes:
    """Every class is kept, in random order."""
    num_rows = sum(positions)
    corners = rng.uniform(0, side / 2, (num_rows, 1 if is_shared else num_classes, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, side / 2, corners.shape)], axis=-1)
    classes = np.stack([rng.permutation(num_classes) for _ in positions])
    scores = rng.random((num_rows, num_classes))
    return PassBoxes(np.array(positions, np.int32), classes, boxes.astype(np.float32), scores.astype(np.float32))


def write_predictions(
    folder: Path,
    passes: dict[tuple[str, int, bool], PassBoxes],
    truth: Boxes,
    labels: Sequence[int],
    classes: Sequence[str],
    blacklisted: Sequence[int] = (),
    images: Sequence[str] | None = None,
) -> None:
    """A run's `boxes/`, as docs/localisation.md has it."""
    folder.mkdir(parents=True, exist_ok=True)

    def saved(name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
        np.savez(folder / name, **arrays)  # type: ignore[arg-type]
        return {"file": name, "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}

    blacklisted_N = np.isin(np.arange(len(labels)), blacklisted)
    files = []
    for (method, Q, flip), each in passes.items():
        entry = saved(f"{method}-Q{Q}-flip{int(flip)}.npz", {name: getattr(each, name) for name in ARRAYS})
        files.append({"method": method, "Q": Q, "flip": flip} | entry)
    manifest = {
        "format": 1,
        "classes": list(classes),
        "images": list(images or [f"val/{n}" for n in range(len(labels))]),
        "labels": list(labels),
        "truth": saved("truth.npz", Truth(truth, np.asarray(blacklisted_N)).arrays()),
        "files": files,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def merged(boxes_P4: np.ndarray, scores_P: np.ndarray, rule: str, threshold: float = 0.0) -> np.ndarray:
    """The one box that the boxes of one class in one image become."""
    return merged_at(np.asarray(boxes_P4)[None], np.asarray(scores_P)[None], rule, [threshold])[0, 0]
