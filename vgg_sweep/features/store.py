"""Features on disk: a folder for each set of images in a run's folder, read without torch.

    features/<set>/manifest.json    images, labels, contents; a line for each file
    features/<set>/<feature>.npy    float32 [N, C], a row for each image
    features/<set>/parts/           while they are made

Axes: N images, C channels of a layer.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.config.transfer import IMAGE
from vgg_sweep.errors import RunError
from vgg_sweep.protocols.passes import BYTES_PER_POSTERIOR, NPY_HEADER_BYTES, Pass
from vgg_sweep.runs.files import read_json, sha256_of
from vgg_sweep.runs.folder import RunFolder

COLOUR = "colour"
"""In place of a layer: the mean of the red, green and blue of the view, from 0 to 1, which needs no net."""
OWN, RANDOM = "own", "random"
"""Whose weights: the run's, or for a control random ones in the same net."""


@dataclass(frozen=True, order=True)
class Feature:
    """What one file holds: a layer's activations, averaged over their positions, for one view of every image."""

    layer: str
    view: Pass
    weights: str = OWN
    region: str = IMAGE

    @property
    def name(self) -> str:
        unusual = [word for word in (self.weights, self.region) if word not in (OWN, IMAGE)]
        return "-".join([*unusual, self.layer, self.view.name])


@dataclass(frozen=True)
class FeatureFolder:
    """The features of one set of images by one run."""

    path: Path

    @staticmethod
    def of(run: RunFolder, data: str, fingerprint: str) -> "FeatureFolder":
        return FeatureFolder(run.path / "features" / f"{data}-{fingerprint[:8]}")

    @property
    def parts(self) -> Path:
        return self.path / "parts"

    def file(self, feature: Feature) -> Path:
        return self.path / f"{feature.name}.npy"

    def manifest(self) -> dict[str, Any]:
        """Empty where there is none."""
        return read_json(self.path / "manifest.json")

    def missing(self, wanted: list[Feature]) -> list[Feature]:
        """Those that are not on disk, or no longer whole."""
        entries = {entry["file"]: entry for entry in self.manifest().get("files", [])}
        return [each for each in wanted if not self._is_whole(entries.get(self.file(each).name))]

    def _is_whole(self, entry: dict[str, Any] | None) -> bool:
        if entry is None:
            return False
        file: Path = self.path / entry["file"]
        num_bytes: int = NPY_HEADER_BYTES + entry["N"] * entry["C"] * BYTES_PER_POSTERIOR
        return file.exists() and file.stat().st_size == num_bytes

    def read(self, feature: Feature) -> NDArray[np.float32]:
        """The rows of a feature, mapped into memory. Raises `RunError` if they are not there whole."""
        if self.missing([feature]):
            raise RunError(f"{self.file(feature)} is not there or not whole; `vgg-sweep features` makes it.")
        rows_NC: NDArray[np.float32] = np.load(self.file(feature), mmap_mode="r")
        return rows_NC

    def check(self, features: list[Feature]) -> None:
        """Raise `RunError` if the files of `features` are not those that were written."""
        entries = {entry["file"]: entry for entry in self.manifest().get("files", [])}
        for file in map(self.file, features):
            if sha256_of(file) != entries[file.name]["sha256"]:
                raise RunError(
                    f"{file} is damaged: its sha256 is not that in its manifest; remove it and give the command again, "
                    "which computes it anew."
                )
