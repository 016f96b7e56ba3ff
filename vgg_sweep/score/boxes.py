"""Scoring of a net that localises (Appendix A): views of the validation images become predicted boxes on disk, a file a
pass, so that merging and fusing them later needs no net. A killed scoring goes on at the chunk where it was.

Axes: N images, k classes kept of an image, P positions of one image, R of all. docs/localisation.md has the files.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.images.sets.matching import SetBoxes
from vgg_sweep.images.sets.splits import ImageSet
from vgg_sweep.images.views.crops import usable_or_none
from vgg_sweep.localise.stored import truth_arrays
from vgg_sweep.machine.device import Device
from vgg_sweep.machine.ranks import ALONE, Ranks
from vgg_sweep.plan.passes import missing
from vgg_sweep.plan.runs import Run
from vgg_sweep.protocols.passes import Pass
from vgg_sweep.runs.files import sha256_of, write_json
from vgg_sweep.runs.progress import Reporter
from vgg_sweep.score.batches import at_each_Q
from vgg_sweep.score.localiser import MOST_CLASSES, NUM_KEPT, Localiser, kept_classes
from vgg_sweep.score.manifest import begun, enter, leave_out
from vgg_sweep.score.parts import Parts, origin, save
from vgg_sweep.score.score import largest_Q

Arrays = dict[str, NDArray[Any]]


def score_boxes(
    run: Run, localiser: Localiser, images: ImageSet, boxes: SetBoxes, reporter: Reporter, ranks: Ranks = ALONE
) -> None:
    """Compute the missing passes over the validation images into `folder.boxes` and enter them in its manifest.

    Raises `RunError` if the boxes there are of other images, boxes or weights, `Interrupted` when asked to stop.
    """
    folder = run.folder
    if not (wanted := missing(folder, run.config)):
        return
    manifest = _manifest(run, images, boxes)
    parts = Parts(folder.boxes / "parts" / _origin(manifest, localiser.device), wanted, len(images.val), ".npz")
    localiser.device.expect_shapes(alike=False)
    localiser.to_device()
    began = time.monotonic()
    _fill(parts, localiser, images, reporter, ranks)
    if not ranks.is_first:
        return
    _write_truth(run, manifest, images, boxes, _joined(parts, wanted[0])["positions_N"] > 0)
    for each in wanted:
        file, arrays = folder.boxes / f"{each.name}.npz", _joined(parts, each)
        arrays["positions_N"], arrays["classes_Nk"] = _without_left_out(arrays)
        save(file, arrays)
        num_images, num_kept = arrays["classes_Nk"].shape
        num_bytes = file.stat().st_size
        enter(manifest, each, file, localiser.device, N=num_images, k=num_kept, bytes=num_bytes)
    folder.update_record(score_seconds=round(time.monotonic() - began, 2))
    write_json(folder.boxes / "manifest.json", manifest)
    shutil.rmtree(folder.boxes / "parts")


def _joined(parts: Parts[Pass], each: Pass) -> Arrays:
    """The arrays of a pass; an image that is left out has 0 positions."""
    files = [np.load(file) for file in parts.files(each)]
    return {name: np.concatenate([file[name] for file in files]) for name in files[0].files}


def _fill(parts: Parts[Pass], localiser: Localiser, images: ImageSet, reporter: Reporter, ranks: Ranks) -> None:
    """Make the parts that are not there."""
    usable = partial(usable_or_none, images.val, Q_px=largest_Q(localiser.config, parts.wanted))

    def make(chunk: range, todo: list[Pass]) -> None:
        own = ranks.share(chunk)
        found = list(pool.map(usable, own))
        decoded = [image for image in found if image is not None]
        sizes_px = [image.size for image in decoded]
        for each, images_HWC in at_each_Q(pool, decoded, todo, localiser.preprocessing.interpolation):
            predicted = iter(localiser.predicted(images_HWC, sizes_px, each))
            rows = [
                _kept(*next(predicted), int(images.val.labels_N[index])) if image is not None else None
                for index, image in zip(own, found, strict=True)
            ]
            gathered = {name: ranks.gather(array) for name, array in _stacked(rows, localiser).items()}
            if ranks.is_first:
                save(parts.file(each, chunk), gathered)  # type: ignore[arg-type]
            ranks.share_stop(reporter)
            reporter.check_stop()

    with ThreadPoolExecutor(max(1, localiser.config.workers)) as pool:
        parts.fill(make, reporter, "score", passes=len(parts.wanted))


def _kept(
    boxes_PK4: NDArray[np.float32], scores_PK: NDArray[np.float32], label: int
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """classes_k, boxes_Pk4 (or boxes_P14 of a net with one box for all) and scores_Pk."""
    classes_k = kept_classes(scores_PK, label)
    is_shared = boxes_PK4.shape[1] < scores_PK.shape[1]
    return classes_k, boxes_PK4 if is_shared else boxes_PK4[:, classes_k], scores_PK[:, classes_k]


def _stacked(rows: Sequence[tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None], localiser: Localiser) -> Arrays:
    """The arrays of a file; images that are left out have 0 positions and the classes -1."""
    num_kept = localiser.num_classes if localiser.num_classes <= MOST_CLASSES else NUM_KEPT + 1
    num_boxes = 1 if localiser.config.boxes == "scr" else num_kept
    left_out = np.full(num_kept, -1, np.int32), np.empty((0, num_boxes, 4)), np.empty((0, num_kept))
    whole = [row if row is not None else left_out for row in rows]
    empty = np.empty((0, num_boxes, 4), np.float32), np.empty((0, num_kept), np.float32)
    return {
        "positions_N": np.array([len(boxes_Pk4) for _, boxes_Pk4, _ in whole], np.int32),
        "classes_Nk": np.array([classes_k for classes_k, _, _ in whole], np.int32).reshape(-1, num_kept),
        "boxes_Rk4": np.concatenate([empty[0], *(boxes_Pk4 for _, boxes_Pk4, _ in whole)]).astype(np.float32),
        "scores_Rk": np.concatenate([empty[1], *(scores_Pk for _, _, scores_Pk in whole)]).astype(np.float32),
    }


def _without_left_out(arrays: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    is_there_N = arrays["positions_N"] > 0
    return arrays["positions_N"][is_there_N], arrays["classes_Nk"][is_there_N]


def _write_truth(
    run: Run, manifest: dict[str, Any], images: ImageSet, boxes: SetBoxes, is_there_N: NDArray[np.bool_]
) -> None:
    """Put the true boxes of the images that are scored beside the predicted ones, and these images into the manifest.

    Raises `RunError` if there is none, or if those scored before are others.
    """
    leave_out(manifest, run.folder.boxes, images.val, is_there_N, run.folder)
    rows = np.flatnonzero(is_there_N)
    sizes_N2 = np.array([images.val.size_px(int(row)) for row in rows], np.int32)
    file = run.folder.boxes / "truth.npz"
    save(file, truth_arrays(boxes.val.chosen(rows), boxes.blacklisted_N[rows], sizes_N2))
    manifest["truth"] = {"file": file.name, "sha256": sha256_of(file)}


def _manifest(run: Run, images: ImageSet, boxes: SetBoxes) -> dict[str, Any]:
    """The manifest on disk, which must be of these images, boxes and weights, or a new one."""
    new: dict[str, Any] = {
        "format": 1,
        "regression": run.config.boxes,
        "classes": images.classes,
        "images": list(images.val.ids),
        "labels": images.val.labels_N.tolist(),
        "data_fingerprint": images.fingerprint,
        "boxes_fingerprint": boxes.fingerprint,
        "weights_fingerprint": run.folder.weights_fingerprint(),
        "classifier": run.parent.id if run.parent is not None else None,
        "files": [],
    }
    return begun(run.folder.boxes, new, ("data_fingerprint", "boxes_fingerprint", "weights_fingerprint"))


def _origin(manifest: dict[str, Any], device: Device) -> str:
    keys = ("weights_fingerprint", "data_fingerprint", "boxes_fingerprint")
    return origin(*(manifest[key] for key in keys), device.precision, device.tf32)
