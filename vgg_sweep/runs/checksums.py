"""Checksums of weights, by which damage is noticed."""

import hashlib
from pathlib import Path

from vgg_sweep.errors import RunError
from vgg_sweep.runs.folder import RunFolder


def own_fingerprint(folder: RunFolder) -> str:
    """SHA-256 of a run's weights. Raises `RunError` if they are not those that its training wrote."""
    there = weights_fingerprint(folder.weights)
    if there != folder.record().get("weights_sha256", there):
        raise RunError(
            f"{folder.weights} is damaged or was replaced: its sha256 is not that in record.json; put back a copy, "
            "or remove this file alone and give the command of this run again, which trains it anew."
        )
    return there


def weights_fingerprint(path: Path) -> str:
    """SHA-256 of the file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
