"""The manifest of what was computed for images: which images, weights, arithmetic and files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.config.schema import Config
from vgg_sweep.errors import RunError
from vgg_sweep.images.sets.splits import Split
from vgg_sweep.machine.choices import Choice
from vgg_sweep.machine.hardware import Hardware
from vgg_sweep.nets.fastest import fastest_choice
from vgg_sweep.protocols.passes import Pass
from vgg_sweep.protocols.scored import FORMAT
from vgg_sweep.protocols.seals import sha256_of
from vgg_sweep.runs.files import read_json
from vgg_sweep.runs.folder import RunFolder


def scoring_choice(config: Config, scored: Path, num_classes: int, note: Callable[[str], None]) -> Choice:
    """How to score here: in the requested precision, or that of the contents of `scored`, or fp32."""
    entries = read_json(scored / "manifest.json").get("files", [])
    there = [(entry["precision"], entry["tf32"]) for entry in entries if "precision" in entry]
    arithmetic = there[0] if there and config.precision == "auto" and not config.tf32 else None
    return fastest_choice(config, num_classes, note, training=False, arithmetic=arithmetic)


def begun(
    scored: Path,
    ids: Sequence[str],
    labels: NDArray[np.integer],
    classes: Sequence[str],
    hardware: Hardware,
    note: Callable[[str], None],
    **more: Any,
) -> dict[str, Any]:
    """The manifest in the folder `scored`, or, if none is there, a new one of these images, with `more`.

    Raises `RunError` if one is there with other fingerprints than `more` has, or of another precision.
    """
    old = read_json(scored / "manifest.json")
    for key in (key for key in more if key.endswith("_fingerprint")):
        if old and old[key] != more[key]:
            raise RunError(f"{scored} was made from other {key.split('_')[0]}; move that folder elsewhere to redo it.")
    if old:
        check_same_arithmetic(scored, old, hardware, note)
        return old
    about = {"format": FORMAT, "classes": classes, "images": list(ids), "labels": labels.tolist()}
    return {**about, **more, "files": []}


def check_same_arithmetic(
    scored: Path, manifest: dict[str, Any], hardware: Hardware, note: Callable[[str], None]
) -> None:
    """Raise `RunError` if what the folder `scored` has is of another precision; note it if only TF32 differs.
    Entries of older versions do not say.
    """
    for entry in manifest["files"]:
        if entry.get("precision", hardware.precision) != hardware.precision:
            raise RunError(
                f"{scored} was computed in {entry['precision']}, and these would be in {hardware.precision}; give "
                f"precision={entry['precision']}, or move that folder elsewhere to redo it."
            )
    others = {entry["tf32"] for entry in manifest["files"] if "tf32" in entry} - {hardware.tf32}
    if others:
        note(
            f"what {scored} has was computed with TF32 for {', '.join(others)} of the products, these with TF32 for "
            f"{hardware.tf32}: they agree to about three digits."
        )


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
            "elsewhere to score this run again."
        )
    left_out = [val.ids[row] for row in np.flatnonzero(~is_there_N).tolist()]
    manifest |= {"images": ids, "labels": val.labels_N[rows].tolist()}
    if left_out:
        manifest["left_out"] = left_out
        folder.update_record(bad_val_images=left_out)


def enter(manifest: dict[str, Any], each: Pass, file: Path, hardware: Hardware, **more: Any) -> None:
    """Enter the file of a pass, with its shape and what `more` there is to say, in the place of an older one."""
    entry = {
        "file": file.name,
        "method": each.method,
        "Q": each.Q,
        "flip": each.flip,
        **more,
        "precision": hardware.precision,
        "tf32": hardware.tf32,
        "sha256": sha256_of(file),
    }
    others = [entry for entry in manifest["files"] if entry["file"] != file.name]
    manifest["files"] = [*others, entry]
