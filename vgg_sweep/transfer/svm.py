"""Linear SVMs, one class against the rest, all classes at once (Appendix B).

Of each class the weights w and the intercept b make 0.5 (|w|^2 + b^2) + C * sum of max(0, 1 - y (x w + b))^2 smallest:
what scikit-learn's LinearSVC does class by class. All classes share the products with the descriptors here, which took
a tenth of the time or less (docs/transfer.md).

Axes: N images, D dimensions of a descriptor, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

TOLERANCE = 1e-7
"""Relative change of the sum of the objectives at which they count as smallest."""
MOST_ITERATIONS = 1000


@dataclass(frozen=True)
class Svm:
    """Weights and intercepts of all classes."""

    weights_DK: NDArray[np.float32]
    intercepts_K: NDArray[np.float32]

    def decisions(self, descriptors_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Decision values [N, K]: above 0 for the class, below for the rest."""
        values_NK: NDArray[np.float32] = descriptors_ND @ self.weights_DK + self.intercepts_K
        return values_NK


def train(
    descriptors_ND: NDArray[np.float32],
    signs_NK: NDArray[np.int8],
    C: float,
    start: Svm | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> Svm:
    """The SVMs of `signs_NK`: 1 in the class, -1 not, 0 left out of that class's training.

    `start`, the SVMs of another C, saves steps. `on_step` is called after each.
    """
    num_dimensions, num_classes = descriptors_ND.shape[1], signs_NK.shape[1]
    signs = signs_NK.astype(np.float32)
    if start is None:
        flat = np.zeros((num_dimensions + 1) * num_classes)
    else:
        flat = np.vstack([start.weights_DK, start.intercepts_K]).astype(np.float64).ravel()

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        both = flat.reshape(num_dimensions + 1, num_classes)
        weights_DK, intercepts_K = both[:-1].astype(np.float32), both[-1].astype(np.float32)
        lacking_NK = np.maximum(0, np.abs(signs) - signs * (descriptors_ND @ weights_DK + intercepts_K))
        pull_NK = signs * lacking_NK
        gradient = both.copy()
        gradient[:-1] -= 2 * C * (descriptors_ND.T @ pull_NK)
        gradient[-1] -= 2 * C * pull_NK.sum(axis=0, dtype=np.float64)
        value = 0.5 * float(flat @ flat) + C * float(np.square(lacking_NK, dtype=np.float64).sum())
        return value, gradient.ravel()

    found = minimize(
        objective, flat, jac=True, method="L-BFGS-B", callback=lambda _: on_step(),
        options={"maxiter": MOST_ITERATIONS, "ftol": TOLERANCE, "gtol": 0.0, "maxcor": 10},
    )  # fmt: skip
    both = found.x.reshape(num_dimensions + 1, num_classes).astype(np.float32)
    return Svm(both[:-1], both[-1])
