"""The SVMs against scikit-learn's LinearSVC, class by class."""

import numpy as np
import pytest

from vgg_sweep.transfer.svm import train

LinearSVC = pytest.importorskip("sklearn.svm").LinearSVC


def some(num_per_class: int = 30, num_dimensions: int = 64, num_classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    means_KD = generator.normal(size=(num_classes, num_dimensions))
    labels_N = np.repeat(np.arange(num_classes), num_per_class)
    rows_ND = np.maximum(0, 0.5 * means_KD[labels_N] + generator.normal(size=(len(labels_N), num_dimensions)))
    return (rows_ND / np.linalg.norm(rows_ND, axis=1, keepdims=True)).astype(np.float32), labels_N


@pytest.mark.parametrize("C", [0.1, 1.0, 10.0, 100.0])
def test_decisions_are_scikit_learns(C: float) -> None:
    rows_ND, labels_N = some()
    signs_NK = np.where(labels_N[:, None] == np.arange(5), 1, -1).astype(np.int8)
    ours_NK = train(rows_ND, signs_NK, C).decisions(rows_ND)
    for k in range(5):
        theirs = LinearSVC(C=C, loss="squared_hinge", tol=1e-8, max_iter=100_000).fit(rows_ND, signs_NK[:, k])
        np.testing.assert_allclose(ours_NK[:, k], theirs.decision_function(rows_ND), atol=0.01)


def test_images_of_sign_0_are_left_out_of_that_class_alone() -> None:
    rows_ND, labels_N = some(num_classes=2)
    signs_NK = np.where(labels_N[:, None] == np.arange(2), 1, -1).astype(np.int8)
    signs_NK[::3, 0] = 0
    ours_NK = train(rows_ND, signs_NK, 1.0).decisions(rows_ND)
    kept_N = signs_NK[:, 0] != 0
    theirs = LinearSVC(C=1.0, tol=1e-8, max_iter=100_000).fit(rows_ND[kept_N], signs_NK[kept_N, 0])
    np.testing.assert_allclose(ours_NK[:, 0], theirs.decision_function(rows_ND), atol=0.01)
    whole = LinearSVC(C=1.0, tol=1e-8, max_iter=100_000).fit(rows_ND, signs_NK[:, 1])
    np.testing.assert_allclose(ours_NK[:, 1], whole.decision_function(rows_ND), atol=0.01)


def test_where_one_starts_makes_no_difference_but_in_steps() -> None:
    rows_ND, labels_N = some()
    signs_NK = np.where(labels_N[:, None] == np.arange(5), 1, -1).astype(np.int8)
    steps: list[int] = []
    cold = train(rows_ND, signs_NK, 3.0, on_step=lambda: steps.append(0))
    warm = train(rows_ND, signs_NK, 3.0, train(rows_ND, signs_NK, 2.5), on_step=lambda: steps.append(1))
    np.testing.assert_allclose(cold.decisions(rows_ND), warm.decisions(rows_ND), atol=0.01)
    assert steps.count(1) < steps.count(0)
