"""Training views against whole-image resizing, Krizhevsky's formula written anew, and the paper's ranges."""

import numpy as np
import pytest
import torch
from PIL import Image

from vgg_sweep.images.sets.statistics import Statistics
from vgg_sweep.images.views.augment import Draws, color_shift, draw_epoch, training_view


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("width", "height", "S"),
    [(341, 256, 256), (200, 300, 384), (500, 375, 512), (230, 230, 224)],
)
def test_a_view_is_a_crop_of_the_whole_rescaled_image(width: int, height: int, S: int) -> None:
    image, crop = picture(width, height), 224
    shorter = min(width, height)
    whole = np.asarray(
        image.resize(
            (round(width * S / shorter), round(height * S / shorter)),
            Image.Resampling.BILINEAR,
        )
    )
    for place in [(0.0, 0.0), (0.999999, 0.999999), (0.3, 0.7)]:
        view = training_view(image, S, place, flip=False, crop=crop).astype(int)
        top, left = (int(p * (side - crop + 1)) for p, side in zip(place, whole.shape[:2], strict=True))
        expected = whole[top : top + crop, left : left + crop].astype(int)
        apart = np.abs(view - expected)
        assert apart.max() <= 2 and (apart > 1).mean() < 1e-4, "more than the rounding of Pillow's two passes"


def test_the_last_place_reaches_the_far_corner() -> None:
    ramp = np.zeros((256, 320, 3), dtype=np.uint8)
    ramp[-1, -1] = 255
    view = training_view(Image.fromarray(ramp), 256, (0.999999, 0.999999), flip=False, crop=224)
    assert view[-1, -1, 0] == 255 and view.sum() == 3 * 255


def test_a_flip_mirrors_left_and_right() -> None:
    image = picture(256, 256)
    plain = training_view(image, 256, (0.5, 0.5), flip=False, crop=224)
    assert np.array_equal(training_view(image, 256, (0.5, 0.5), flip=True, crop=224), plain[:, ::-1])


def test_S_is_uniform_over_the_whole_range_and_each_image_comes_once() -> None:
    draws = draw_epoch(20_000, (256, 512), seed=3, epoch=5)
    assert sorted(draws.order_N.tolist()) == list(range(20_000))
    assert int(draws.S_N.min()) == 256 and int(draws.S_N.max()) == 512
    assert abs(draws.S_N.float().mean() - 384) < 3
    assert abs(draws.flip_N.float().mean() - 0.5) < 0.02


def test_draws_depend_on_seed_and_epoch_alone() -> None:
    def all_of(draws: Draws) -> torch.Tensor:
        return torch.cat(
            [
                draws.S_N.double(),
                draws.offset_N2.flatten(),
                draws.alpha_NC.double().flatten(),
            ]
        )

    same = all_of(draw_epoch(50, (73, 146), 1, 2))
    assert torch.equal(same, all_of(draw_epoch(50, (73, 146), 1, 2)))
    assert not torch.equal(same, all_of(draw_epoch(50, (73, 146), 1, 3)))
    assert not torch.equal(same, all_of(draw_epoch(50, (73, 146), 2, 2)))


# Eigenvectors (columns) and eigenvalues of ILSVRC's RGB covariance in [0, 1] units, as published with fb.resnet.
ILSVRC = Statistics(
    mean_rgb=[0.485, 0.456, 0.406],
    eigenvalues=[0.2175, 0.0188, 0.0045],
    eigenvectors=[
        [-0.5675, 0.7192, 0.4009],
        [-0.5808, -0.0045, -0.8140],
        [-0.5836, -0.6948, 0.4203],
    ],
)


def test_the_main_component_moves_red_green_and_blue_nearly_alike() -> None:
    shift = color_shift(torch.tensor([[1.0, 0.0, 0.0]]), ILSVRC)[0]
    assert shift.max() / shift.min() == pytest.approx(1, abs=0.05)


def test_the_shift_is_krizhevskys_formula() -> None:
    alpha = [0.3, -1.2, 0.7]
    expected = [sum(ILSVRC.eigenvectors[c][i] * alpha[i] * ILSVRC.eigenvalues[i] for i in range(3)) for c in range(3)]
    assert color_shift(torch.tensor([alpha]), ILSVRC)[0].tolist() == pytest.approx(expected, abs=1e-6)
