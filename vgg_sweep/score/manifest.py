"""The manifest beside what was scored: which images, from which weights, in which files."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.errors import RunError
from vgg_sweep.images.sets.splits import Split
from vgg_sweep.machine.device import Device
from vgg_sweep.protocols.passes import Pass
from vgg_sweep.runs.files import read_json
from vgg_sweep.runs.folder import RunFolder


def begun(scored: Path, new: dict[str, Any], origins: Sequence[str]) -> dict[str, Any]:
    """The manifest in the folder `scored`, which must have the `origins` (`data_fingerprint`, ...) of `new`; `new` if
    none is there. Raises `RunError`.
    """
    old = read_json(scored / "manifest.json")
    for key in origins:
        if old and old[key] != new[key]:
            raise RunError(
                f"{scored} was made from other {key.split('_')[0]}; move that folder elsewhere to score this run anew."
            )
    return old or new


def leave_out(
    manifest: dict[str, Any], scored: Path, val: Split, is_there_N: NDArray[np.bool_], folder: RunFolder
) -> None:
    """Take the images that could not be decoded out of the manifest and say so there and in the record.

    Raises `RunError` if there is none left, or if what is in `scored` has others.
    """
    rows = np.flatnonzero(is_there_N).tolist()
    ids = [val.ids[row] for row in rows]
    if not ids:
        raise RunError("no validation image can be decoded; `vgg-sweep data check` lists them.")
    if manifest["files"] and manifest["images"] != ids:
        raise RunError(
            f"{scored} has {len(manifest['images'])} images where {len(ids)} can be decoded now; move that folder "
            "elsewhere to score this run anew."
        )
    left_out = [val.ids[row] for row in np.flatnonzero(~is_there_N).tolist()]
    manifest |= {"images": ids, "labels": val.labels_N[rows].tolist()}
    if left_out:
        manifest["left_out"] = left_out
        folder.update_record(bad_val_images=left_out)


def enter(manifest: dict[str, Any], each: Pass, file: Path, device: Device, **shape: int) -> None:
    """Enter the file of a pass, of this `shape`, in the place of an older one."""
    entry = {
        "file": file.name,
        "method": each.method,
        "Q": each.Q,
        "flip": each.flip,
        **shape,
        "precision": device.precision,
        "tf32": device.tf32,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    others = [entry for entry in manifest["files"] if entry["file"] != file.name]
    manifest["files"] = [*others, entry]
