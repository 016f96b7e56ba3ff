"""The embedded set, against hand-made systems and the properties its name promises."""

import dataclasses

import numpy as np
import pytest

from vgg_sweep.config.schema import Fractals
from vgg_sweep.images.sets import fractals

SPEC = Fractals(num_classes=3, train_per_class=4, val_per_class=2, side_px=80, seed=0)


@pytest.fixture(autouse=True)
def _drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from what tests/conftest.py keeps."""
    monkeypatch.setattr(fractals, "render_split", fractals.render_split.__wrapped__)  # type: ignore[attr-defined]


def test_shapes_labels_and_names() -> None:
    train_NHW3, train_labels_N = fractals.render_split(SPEC, "train")
    val_NHW3, val_labels_N = fractals.render_split(SPEC, "val")
    assert train_NHW3.shape == (12, 80, 80, 3) and train_NHW3.dtype == np.uint8
    assert val_NHW3.shape == (6, 80, 80, 3)
    assert train_labels_N.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2] and train_labels_N.dtype == np.int64
    assert val_labels_N.tolist() == [0, 0, 1, 1, 2, 2]
    assert fractals.class_names(SPEC) == ["ifs-00", "ifs-01", "ifs-02"]


def test_the_same_seed_gives_the_same_images_and_another_gives_others() -> None:
    first_NHW3, _ = fractals.render_split(SPEC, "val")
    again_NHW3, _ = fractals.render_split(SPEC, "val")
    other_NHW3, _ = fractals.render_split(dataclasses.replace(SPEC, seed=1), "val")
    np.testing.assert_array_equal(first_NHW3, again_NHW3)
    assert all((a != b).any() for a, b in zip(first_NHW3, other_NHW3, strict=True))


def test_a_larger_set_holds_the_smaller_one() -> None:
    small_NHW3, _ = fractals.render_split(SPEC, "train")
    larger = dataclasses.replace(SPEC, num_classes=4, train_per_class=6)
    large_NHW3, large_labels_N = fractals.render_split(larger, "train")
    for label in range(SPEC.num_classes):
        of_class_NHW3 = large_NHW3[large_labels_N == label]
        np.testing.assert_array_equal(of_class_NHW3[:4], small_NHW3[4 * label : 4 * label + 4])


def test_no_image_is_in_both_splits_or_twice_in_one() -> None:
    images = [image for split in ("train", "val") for image in fractals.render_split(SPEC, split)[0]]
    assert len({image.tobytes() for image in images}) == 18


def test_progress_counts_to_all_images() -> None:
    calls: list[tuple[int, int]] = []
    fractals.render_split(SPEC, "train", lambda done, total: calls.append((done, total)))
    assert calls == [(done, 12) for done in range(1, 13)]


def test_an_unknown_split_is_an_error() -> None:
    with pytest.raises(KeyError, match="test"):
        fractals.render_split(SPEC, "test")


def test_the_chaos_game_draws_the_sierpinski_triangle() -> None:
    """Its attractor is known: x and y have no binary digit 1 at the same place."""
    halves_M22 = np.broadcast_to(np.eye(2) / 2, (3, 2, 2))
    corners_M2 = np.array([[0, 0], [0.5, 0], [0, 0.5]])
    triangle = fractals.IFS(halves_M22, corners_M2, np.zeros(3))
    (xs_N, ys_N), tones_N = fractals._play(triangle, np.random.default_rng(0))
    digits_x, digits_y = (np.floor(values * 2**8).astype(int) for values in (xs_N, ys_N))
    assert (digits_x & digits_y == 0).all()
    assert xs_N.max() > 0.95 and ys_N.max() > 0.95 and min(xs_N.min(), ys_N.min()) >= 0
    # Each third of the triangle is as likely, and the map that led to it last weighs half of its tone.
    last_map_N = np.where(xs_N >= 0.5, 1, np.where(ys_N >= 0.5, 2, 0))
    np.testing.assert_allclose(np.bincount(last_map_N) / len(last_map_N), 1 / 3, atol=0.02)
    for last_map in range(3):
        tones = tones_N[last_map_N == last_map]
        assert last_map / 4 <= tones.min() and tones.max() <= last_map / 4 + 0.5
        assert np.ptp(tones) > 0.45


@pytest.mark.parametrize("label", range(4))
def test_the_chaos_game_has_the_mean_of_its_invariant_measure(label: int) -> None:
    """E x = sum_m p_m (A_m E x + b_m), with p_m proportional to |det A_m|, is a linear equation for E x."""
    system = fractals.class_system(0, label)
    odds_M = np.abs(np.linalg.det(system.linear_M22))
    odds_M /= odds_M.sum()
    mean_linear_22 = np.tensordot(odds_M, system.linear_M22, axes=1)
    mean_2 = np.linalg.solve(np.eye(2) - mean_linear_22, odds_M @ system.shift_M2)
    points_2N, _ = fractals._play(system, np.random.default_rng(0))
    np.testing.assert_allclose(points_2N.mean(axis=1), mean_2, atol=0.03)


def test_maps_stay_contractive_when_perturbed() -> None:
    rng = np.random.default_rng(0)
    for system in (fractals.class_system(0, label) for label in range(5)):
        for _ in range(20):
            changed = fractals._perturbed(system, rng)
            assert (changed.linear_M22 != system.linear_M22).all() and (changed.shift_M2 != system.shift_M2).all()
            assert np.linalg.norm(changed.linear_M22, ord=2, axis=(1, 2)).max() < 1


def test_the_worst_perturbation_is_contractive() -> None:
    """The bound in `_perturbed`: 4 entries of at most MAP_NOISE have a spectral norm of at most 2 MAP_NOISE."""
    assert fractals.STRETCH_RANGE[1] * (1 + 2 * fractals.MAP_NOISE) < 1


def test_the_figure_is_brighter_than_its_ground() -> None:
    """In shares of full light. A figure fills some 0.35 of an image at most, and more than 0.01."""
    for image_HW3 in fractals.render_split(SPEC, "train")[0] / 255:
        grey_HW = image_HW3.mean(axis=-1)
        assert np.quantile(grey_HW, 0.99) - np.quantile(grey_HW, 0.4) > fractals.CONTRAST_RANGE[0] / 2


def test_figures_are_solid_wholly_inside_and_of_any_size_and_place() -> None:
    rng = np.random.default_rng(0)
    system = fractals.class_system(0, 0)
    points_2N, tones_N = fractals._play(system, rng)
    sizes_px, centres_px = [], []
    for _ in range(60):
        cover_HW, _ = fractals._rasterise(fractals._placed(points_2N, 160, rng), tones_N, 160)
        rows, columns = np.nonzero(cover_HW > 0.5)
        sizes_px.append(max(np.ptp(rows), np.ptp(columns)))
        centres_px.append((columns.mean(), rows.mean()))
        # Solid: of the pixels that are covered, few are so weakly that the ground shines through.
        assert (cover_HW > 0.9).sum() > 0.6 * (cover_HW > 0.1).sum()
    low_px, high_px = (share * 160 for share in fractals.SIZE_RANGE)
    assert low_px - 5 < min(sizes_px) < low_px + 12 and high_px - 12 < max(sizes_px) < high_px + 5
    assert (np.ptp(centres_px, axis=0) > 50).all()


def test_classes_differ_more_than_images_of_a_class() -> None:
    """Figures laid over one another in the same box: those of a class agree better than those of two classes."""
    spec = Fractals(num_classes=8)
    rng = np.random.default_rng(0)
    systems = [fractals.class_system(spec.seed, label) for label in range(spec.num_classes)]
    boxes_KIP = np.array([[_boxed(fractals._perturbed(system, rng), rng) for _ in range(6)] for system in systems])
    centres_KP = boxes_KIP[:, :3].mean(axis=1)
    distances_KIK = np.linalg.norm(boxes_KIP[:, 3:, None] - centres_KP, axis=-1)
    assert (distances_KIK.argmin(axis=-1) == np.arange(spec.num_classes)[:, None]).mean() > 0.8


def _boxed(system: fractals.IFS, rng: np.random.Generator) -> fractals.Floats:
    points_2N, _ = fractals._play(system, rng)
    unit_2N = (points_2N - points_2N.min(axis=1, keepdims=True)) / np.ptp(points_2N, axis=1).max()
    counts_2D: fractals.Floats = np.histogram2d(unit_2N[0], unit_2N[1], bins=24, range=[[0, 1], [0, 1]])[0]
    return (counts_2D > 0).ravel().astype(np.float64)
