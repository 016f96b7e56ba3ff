"""Views made on the device against the loader's, pixel by pixel, and where the loader has to make them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny import RECIPE, tiny_run
from vgg_sweep.config.schema import Data
from vgg_sweep.errors import RunError
from vgg_sweep.images.sets.splits import Split
from vgg_sweep.images.views import on_device
from vgg_sweep.images.views.augment import draw_epoch
from vgg_sweep.images.views.loader import Batch, Loader
from vgg_sweep.images.views.on_device import OnDevice, kept_on_device, weights
from vgg_sweep.machine.ranks import Ranks
from vgg_sweep.plan.folders import prepare
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.progress import Reporter
from vgg_sweep.sweep.work import work

CPU = torch.device("cpu")


def split_of(width: int, height: int, num_images: int = 9, cache: str = "device") -> Split:
    rng = np.random.default_rng([width, height])
    images = rng.integers(0, 256, (num_images, height, width, 3), dtype=np.uint8)
    labels_N = rng.integers(0, 5, num_images)
    return Split([str(i) for i in range(num_images)], labels_N, lambda i: images[i], Data(cache=cache))


@pytest.fixture
def reporter(tmp_path: Path) -> Reporter:
    return Reporter(RunFolder(tmp_path), live=False)


def assert_same(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.images_NCHW.numpy(), other.images_NCHW.numpy())
        assert one.labels_N.tolist() == other.labels_N.tolist()
        assert torch.equal(one.alpha_NC, other.alpha_NC)
        assert list(one.rows) == list(other.rows)
        assert (one.size, one.num_images, one.mean_S_px) == (other.size, other.num_images, other.mean_S_px)


@pytest.mark.parametrize("size_px", [(32, 32), (64, 64), (161, 67), (97, 96), (45, 31)])
@pytest.mark.parametrize(("crop", "S_px"), [(32, (37, 37)), (32, (37, 73)), (64, (64, 64)), (64, (110, 146))])
def test_pixels_labels_and_draws_are_the_loaders(
    size_px: tuple[int, int], crop: int, S_px: tuple[int, int], reporter: Reporter
) -> None:
    """Enlarged and reduced, of square and odd sides, at a fixed and a jittered S, half of them flipped."""
    split, draws = split_of(*size_px), draw_epoch(9, S_px, 3, 1)
    assert 0 < int(draws.flip_N.sum()) < 9
    loader = Loader(4, crop, 0, 60)
    source = kept_on_device(loader, split, CPU, reporter)
    assert isinstance(source, OnDevice)
    assert_same(list(source.batches(split, draws, 0)), list(loader.batches(split, draws, 0)))


def test_ranks_wrapped_batches_and_a_later_start_are_the_loaders(
    reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_device, "IMAGES_AT_ONCE", 2)
    split, draws = split_of(64, 64, 11), draw_epoch(11, (40, 60), 0, 0)
    for rank in range(2):
        loader = Loader(4, 32, 0, 60, ranks=Ranks(rank, 2), wraps=True)
        source = kept_on_device(loader, split, CPU, reporter)
        assert_same(list(source.batches(split, draws, 1)), list(loader.batches(split, draws, 1)))


def test_weights_of_a_stretch_that_halves_are_those_of_a_triangle() -> None:
    """Pixels 2 to 6 of eight seen as two: middles at 3 and 5, a triangle from 1 to 5 and one from 3 to 7."""
    found_2L = weights(torch.tensor([[2.0, 6.0]]), 8, 2)[0] / on_device.UNIT
    expected_2L = [[0, 1, 3, 3, 1, 0, 0, 0], [0, 0, 0, 1, 3, 3, 1, 0]]
    np.testing.assert_array_equal(found_2L.numpy(), np.array(expected_2L) / 8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"filter": "bicubic"}, "other than bilinear"),
        ({"settings": {"on_bad_image": "skip"}}, r"data\.on_bad_image=skip"),
        ({"size_px": (32, 40)}, "as wide as tall"),
        ({"odd": 0}, "not of one size"),
        ({"odd": 5}, "not of one size"),
        ({"free": 100}, "0.0 GB are free on cpu"),
    ],
)
def test_what_speaks_against_it_is_said_or_leaves_it_to_the_loader(
    change: dict[str, object], words: str, reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = split_of(*change.get("size_px", (40, 32)), num_images=100)  # type: ignore[misc]
    if "odd" in change:
        stored = split.stored
        small = np.asarray(Image.new("RGB", (33, 32)))
        split = replace(split, stored=lambda index: small if index == change["odd"] else stored(index))
    split = replace(split, settings=replace(split.settings, **change.get("settings", {})))  # type: ignore[arg-type]
    if "free" in change:
        monkeypatch.setattr(on_device, "free_memory_bytes", lambda: change["free"])
    loader = Loader(4, 32, 0, 60, filter=str(change.get("filter", "bilinear")))
    with pytest.raises(RunError, match=words):
        kept_on_device(loader, split, CPU, reporter)
    for cache in ("auto", "memory", "none"):
        other = replace(split, settings=replace(split.settings, cache=cache))
        assert kept_on_device(loader, other, CPU, reporter) is loader


def test_a_run_trains_so_under_the_id_that_it_has_anyway(tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=1.0)
    plain = tiny_run(tmp_path, recipe=recipe)
    run = tiny_run(tmp_path, recipe=recipe, data=replace(plain.config.data, cache="device"))
    assert run.id == plain.id
    prepare(run)
    work(run, live=False)
    assert "the 24 training images are kept on cpu, where their views are made" in run.folder.log.read_text()
