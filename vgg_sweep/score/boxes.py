"""Scoring of a net that localises (Appendix A): views of the validation images become predicted boxes on disk, a file
per pass, so that merging and fusing them later needs no net. A killed scoring continues at the chunk where it was.

Axes: N images, k classes kept of an image, P positions of one image, R of all. docs/localisation.md has the files.
"""

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.images.sets.boxes import SetBoxes
from vgg_sweep.images.sets.splits import ImageSet
from vgg_sweep.localise.stored import Truth
from vgg_sweep.machine.ranks import ALONE, Ranks
from vgg_sweep.plan.passes import missing
from vgg_sweep.plan.runs import Run
from vgg_sweep.protocols.passes import Pass
from vgg_sweep.protocols.seals import sha256_of
from vgg_sweep.runs.files import write_json
from vgg_sweep.runs.progress import Reporter
from vgg_sweep.score.batches import in_passes
from vgg_sweep.score.localiser import MOST_CLASSES, NUM_KEPT, Localiser, kept_classes
from vgg_sweep.score.manifest import begun, enter, leave_out
from vgg_sweep.score.parts import Parts, origin, save
from vgg_sweep.score.score import largest_Q, num_pixels

Arrays = dict[str, NDArray[Any]]


def score_boxes(
    run: Run, localiser: Localiser, images: ImageSet, boxes: SetBoxes, reporter: Reporter, ranks: Ranks = ALONE
) -> None:
    """Compute the missing passes over the validation images into `folder.boxes` and enter them in its manifest.

    Raises `RunError` if the boxes there are of other images, boxes or weights, or in another precision, `Interrupted`
    when asked to stop.
    """
    folder, scored, val, hardware = run.folder, run.folder.boxes, images.val, localiser.hardware
    if not (wanted := missing(folder, run.config)):
        return
    manifest = begun(
        scored, val.ids, val.labels_N, images.classes, hardware, reporter.note,
        data_fingerprint=images.fingerprint, boxes_fingerprint=boxes.fingerprint,
        weights_fingerprint=folder.weights_fingerprint(), regression=run.config.boxes,
        classifier=run.parent.id if run.parent is not None else None,
    )  # fmt: skip
    parts = Parts(scored / "parts" / origin(manifest, hardware), wanted, len(val), ".npz")
    hardware.expect_shapes(alike=False)
    localiser.to_device()
    Q_px, interpolation = largest_Q(localiser.config, wanted), localiser.preprocessing.interpolation

    def rows_of(own: range, todo: list[Pass]) -> Iterator[dict[Pass, Arrays]]:
        found, in_turn = in_passes(pool, val, own, todo, Q_px, interpolation)
        sizes_px = [image.size for image in found if image is not None]
        for each, images_HWC in in_turn:
            predicted = iter(localiser.predicted(images_HWC, sizes_px, each))
            rows = [
                _kept(*next(predicted), int(val.labels_N[index])) if image is not None else None
                for index, image in zip(own, found, strict=True)
            ]
            yield {each: _stacked(rows, localiser)}

    with ThreadPoolExecutor(max(1, localiser.config.workers)) as pool:
        cost = partial(num_pixels, crop=localiser.config.crop)
        seconds = parts.fill(rows_of, reporter, ranks, "score", cost, passes=len(wanted))
    if not ranks.is_first:
        return
    _write_truth(run, manifest, images, boxes, _joined(parts, wanted[0])["positions_N"] > 0)
    for each in wanted:
        file, arrays = scored / f"{each.name}.npz", _joined(parts, each)
        is_there_N = arrays["positions_N"] > 0
        arrays |= {name: arrays[name][is_there_N] for name in ("positions_N", "classes_Nk")}
        save(file, arrays)
        num_images, num_kept = arrays["classes_Nk"].shape
        enter(manifest, each, file, hardware, N=num_images, k=num_kept, bytes=file.stat().st_size)
    if seconds is not None:
        folder.update_record(score_seconds=round(seconds, 2))
    write_json(scored / "manifest.json", manifest)
    shutil.rmtree(scored / "parts")


def _joined(parts: Parts[Pass], each: Pass) -> Arrays:
    """The arrays of a pass; an image that is left out has 0 positions."""
    files = [np.load(file) for file in parts.files(each)]
    return {name: np.concatenate([file[name] for file in files]) for name in files[0].files}


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
    save(file, Truth(replace(boxes.val.chosen(rows), sizes_N2=sizes_N2), boxes.blacklisted_N[rows]).arrays())
    manifest["truth"] = {"file": file.name, "sha256": sha256_of(file)}
