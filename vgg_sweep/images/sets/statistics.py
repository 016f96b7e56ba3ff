"""Mean RGB and RGB principal components of a training set, computed once and kept.

Units: pixels in [0, 1]. The mean is what Sect. 2.1 subtracts; the components are those of the colour shift of
Krizhevsky et al. (2012, Sect. 4.1), which the paper uses. Their formula adds eigenvalue times N(0, 0.1), which is not
free of scale: in [0, 1] units it is the shift that made it into common use, about five grey levels for ILSVRC.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vgg_sweep.images.sets.index import ProgressCallback, silent
from vgg_sweep.images.sets.splits import ImageSet, contents
from vgg_sweep.runs.files import read_json, write_json
from vgg_sweep.runs.folder import waiting_lock

BLOCK = 64
"""Decoded images in memory at a time."""
KEEP_EVERY_SECONDS = 20.0


@dataclass(frozen=True)
class Statistics:
    mean_rgb: list[float]
    eigenvalues: list[float]
    eigenvectors: list[list[float]]
    """Row r, column i: the share of colour r (R, G, B) in principal component i."""

    def covariance(self) -> np.ndarray:
        """Of the colours, [3, 3]: what the components represent, whatever their signs."""
        vectors_33 = np.array(self.eigenvectors, np.float64)
        covariance_33: np.ndarray = vectors_33 * self.eigenvalues @ vectors_33.T
        return covariance_33


@dataclass
class Sums:
    """Over the pixels of the first `num_images` training images, in [0, 1] units."""

    num_images: int
    num_pixels: int
    sum_3: np.ndarray
    products_33: np.ndarray
    """Sum of the pixels' outer products."""

    def add(self, image_HWC: np.ndarray) -> None:
        pixels_P3 = image_HWC.reshape(-1, 3).astype(np.float32) / 255
        self.num_pixels += len(pixels_P3)
        self.sum_3 += pixels_P3.sum(axis=0, dtype=np.float64)
        self.products_33 += (pixels_P3.T @ pixels_P3).astype(np.float64)

    def statistics(self) -> Statistics:
        mean_3 = self.sum_3 / self.num_pixels
        covariance_33 = self.products_33 / self.num_pixels - np.outer(mean_3, mean_3)
        eigenvalues_3, eigenvectors_33 = np.linalg.eigh(covariance_33)
        return Statistics(mean_3.tolist(), eigenvalues_3.tolist(), eigenvectors_33.tolist())


def statistics(images: ImageSet, cache: Path, workers: int, progress: ProgressCallback = silent) -> Statistics:
    """Mean and principal components over all pixels of the training images, kept in `cache` under the data's
    fingerprint, what a sample of the files holds, and what changes the pixels that are read.

    One pass over the images in the order of their ids, `BLOCK` in memory at a time; the sums are kept now and then, so
    that a pass that was stopped goes on where it was, to the same result. `progress` may raise to stop it.
    """
    sample = contents(images.train)[:12]
    name = f"statistics-{images.fingerprint[:12]}{'-' * bool(sample)}{sample}{_as_read(images)}"
    file, unfinished = cache / f"{name}.json", cache / f"{name}.part.json"
    with waiting_lock(file.with_suffix(".lock")):
        if not file.exists():
            write_json(file, asdict(_computed(images, unfinished, workers, progress)))
            unfinished.unlink(missing_ok=True)
        return Statistics(**read_json(file))


def _as_read(images: ImageSet) -> str:
    settings = images.train.settings
    return "-upright" * settings.exif_rotation + f"-{settings.on_bad_image}" * (settings.on_bad_image != "error")


def _computed(images: ImageSet, unfinished: Path, workers: int, progress: ProgressCallback) -> Statistics:
    sums, kept_at = _read_sums(unfinished), time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        for first in range(sums.num_images, len(images.train), BLOCK):
            block = range(first, min(first + BLOCK, len(images.train)))
            for image in pool.map(images.train.image_or_none, block):
                if image is not None:
                    sums.add(np.asarray(image))
            sums.num_images = block.stop
            if time.monotonic() - kept_at > KEEP_EVERY_SECONDS:
                kept_at = time.monotonic()
                write_json(unfinished, {name: np.asarray(value).tolist() for name, value in asdict(sums).items()})
            progress(block.stop, len(images.train))
    return sums.statistics()


def _read_sums(file: Path) -> Sums:
    if not (there := read_json(file)):
        return Sums(0, 0, np.zeros(3), np.zeros((3, 3)))
    return Sums(**there | {name: np.array(there[name], np.float64) for name in ("sum_3", "products_33")})
