"""Mean RGB and RGB principal components of a training set, computed once and kept.

Units: pixels in [0, 1]. The mean is what Sect. 2.1 subtracts; the components are those of the colour shift of
Krizhevsky et al. (2012, Sect. 4.1), which the paper uses. Their formula adds eigenvalue times N(0, 0.1), which is not
free of scale: in [0, 1] units it is the shift that made it into common use, about five grey levels for ILSVRC.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vgg_sweep.images.splits import ImageSet
from vgg_sweep.store import read_json, waiting_lock, write_json


@dataclass(frozen=True)
class Statistics:
    mean_rgb: list[float]
    eigenvalues: list[float]
    eigenvectors: list[list[float]]
    """Row r, column i: the share of colour r (R, G, B) in principal component i."""


def statistics(
    images: ImageSet,
    cache: Path,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> Statistics:
    """Mean and principal components over all pixels of the training images, kept in `cache` under the data's
    fingerprint.
    """
    file = cache / f"statistics-{images.fingerprint[:12]}.json"
    with waiting_lock(file.with_suffix(".lock")):
        if not file.exists():
            write_json(file, asdict(_computed(images, workers, progress)))
        return Statistics(**read_json(file))


def _computed(images: ImageSet, workers: int, progress: Callable[[int, int], None] | None) -> Statistics:
    num_pixels, sum_3, products_33 = 0, np.zeros(3), np.zeros((3, 3))
    with ThreadPoolExecutor(workers) as pool:
        sums = pool.map(
            lambda index: _sums(np.asarray(images.train.image(index))),
            range(len(images.train)),
        )
        for done, (pixels, one_3, one_33) in enumerate(sums, start=1):
            num_pixels, sum_3, products_33 = (
                num_pixels + pixels,
                sum_3 + one_3,
                products_33 + one_33,
            )
            if progress is not None:
                progress(done, len(images.train))
    mean_3 = sum_3 / num_pixels
    covariance_33 = products_33 / num_pixels - np.outer(mean_3, mean_3)
    eigenvalues_3, eigenvectors_33 = np.linalg.eigh(covariance_33)
    return Statistics(mean_3.tolist(), eigenvalues_3.tolist(), eigenvectors_33.tolist())


def _sums(image_HWC: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Number of pixels, their sum and the sum of their outer products, in [0, 1] units."""
    pixels_P3 = image_HWC.reshape(-1, 3).astype(np.float32) / 255
    return (
        len(pixels_P3),
        pixels_P3.sum(axis=0, dtype=np.float64),
        (pixels_P3.T @ pixels_P3).astype(np.float64),
    )
