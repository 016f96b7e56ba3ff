"""Features: those that a command asks for, and on disk a folder for each set of images in a run's folder. No torch.

    features/<set>/manifest.json    images, labels, contents; a line for each file
    features/<set>/<feature>.npy    float32 [N, C], a row for each image
    features/<set>/parts/           while they are made

Axes: N images, C channels of a layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.config.transfer import IMAGE, Transfer
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.protocols.methods import scaled_px
from vgg_sweep.protocols.passes import Pass, passes_of
from vgg_sweep.protocols.scored import is_whole
from vgg_sweep.protocols.seals import check_whole
from vgg_sweep.runs.files import read_json
from vgg_sweep.runs.folder import RunFolder

COLOUR = "colour"
"""In place of a layer: the mean of the red, green and blue of the view, from 0 to 1, which needs no net."""
OWN, RANDOM = "own", "random"
"""Whose weights: the run's, or for a control random ones in the same net."""
SCALES = {"single": (256,), "multi": (256, 384, 512), "five": (256, 384, 512, 640, 768)}
"""Q in pixels at crop 224. `multi` and `five` are Appendix B's."""
FIVE = "five"


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
        whole = {entry["file"] for entry in self.manifest().get("files", []) if is_whole(self.path, entry)}
        return [each for each in wanted if self.file(each).name not in whole]

    def read(self, feature: Feature) -> NDArray[np.float32]:
        """The rows of a feature, mapped into memory. Raises `RunError` if they are not there whole."""
        if self.missing([feature]):
            raise RunError(f"{self.file(feature)} is missing or incomplete; `vgg-sweep features` computes it.")
        rows_NC: NDArray[np.float32] = np.load(self.file(feature), mmap_mode="r")
        return rows_NC

    def check(self, features: list[Feature]) -> None:
        """Raise `RunError` if the files of `features` are not those that were written."""
        entries = {entry["file"]: entry for entry in self.manifest().get("files", [])}
        for file in map(self.file, features):
            check_whole(file, entries[file.name]["sha256"], "repeat the command, which computes it again.")


def scales_px(words: list[str], crop: int) -> tuple[int, ...]:
    """The Q in pixels of transfer.scales for a net of this crop: a rule's name alone, or numbers.

    Raises `ConfigError` for another word.
    """
    if len(words) == 1 and words[0] in SCALES:
        return tuple(scaled_px(Q, crop) for Q in SCALES[words[0]])
    if not words or not all(word.isdigit() for word in words):
        raise ConfigError(
            f"scales={','.join(words)} is neither {', '.join(SCALES)} nor a list of pixels such as 256,384."
        )
    return tuple(sorted({int(word) for word in words}))


def check_scales(asked: Transfer, crop: int) -> None:
    """Raise `ConfigError` for a Q at which the FC layers, or a centre crop, do not fit into the image."""
    least = min(scales_px(asked.scales, crop))
    if least < crop and (asked.method == "centre-crop" or any(layer.startswith("fc") for layer in asked.layers)):
        what = "a centre crop needs" if asked.method == "centre-crop" else "the FC layers need, and conv5_3 does not"
        raise ConfigError(
            f"scales={','.join(asked.scales)}: Q={least} px is smaller than the crop of {crop} px, which {what}."
        )


def wanted_features(asked: Transfer, crop: int, regions: Sequence[str] = (IMAGE,)) -> list[Feature]:
    """The features of `asked.layers` under its method at its scales. Raises `ConfigError` for scales that cannot be."""
    check_scales(asked, crop)
    in_turn = [(region, view) for region in regions for view in passes_of(asked.method, scales_px(asked.scales, crop))]
    return [Feature(layer, view, region=region) for layer in asked.layers for region, view in in_turn]
