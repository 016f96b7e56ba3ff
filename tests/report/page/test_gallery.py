import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.sweeps import Spec, make_run, write_posteriors
from vgg_sweep.config.schema import Fractals
from vgg_sweep.images.sets.fractals import render_split
from vgg_sweep.images.sets.splits import ImageSet, Split
from vgg_sweep.report.page.gallery import ImageByImage, class_errors, galleries, image_by_image
from vgg_sweep.report.page.thumbnails import thumbnail
from vgg_sweep.report.results.errors import ReportedRun
from vgg_sweep.report.results.results import Source, read_sweep

LABELS = [0, 0, 1, 1, 2, 2]
CLASSES = ["ash", "beech", "cedar"]
RIGHT = np.eye(3)[LABELS] * 0.8 + 0.1
IMAGES = [f"val/{CLASSES[label]}/{n}.png" for n, label in enumerate(LABELS)]


def first_run(close: ImageByImage) -> ReportedRun:
    return close.run(close.results["run_id"].iloc[0])


def picture_of(run: ReportedRun, n: int) -> str | None:
    return thumbnail(run, run.posteriors.manifest, n)


def wrong_at(*images: int) -> np.ndarray:
    """Posteriors of a net that takes these for the next class, with the true one second."""
    posteriors_NK = RIGHT.copy()
    for n in images:
        posteriors_NK[n] = np.roll([0.6, 0.1, 0.3], LABELS[n] + 1)
    return posteriors_NK


@pytest.fixture
def close(tmp_path: Path) -> ImageByImage:
    """A is wrong on images 0, 1 and 2, of which C is wrong on 1 and 2; C's crops are wrong on 2 and 4."""
    root = tmp_path / "data"
    settings = {"data.source": "folder", "data.root": str(root)}
    for net, dense, crops in (("A", (0, 1, 2), None), ("C", (1, 2), (2, 4))):
        folder = make_run(tmp_path / "sweep", net, "256", spec=Spec(settings=settings))
        for old in (folder / "posteriors").iterdir():
            old.unlink()
        halves = {("dense", Q, flip): wrong_at(*dense) for Q in (64, 73, 82) for flip in (False, True)}
        if crops is not None:
            halves |= {("multi-crop", Q, flip): wrong_at(*crops) for Q in (64, 73, 82) for flip in (False, True)}
        write_posteriors(folder, halves, LABELS, CLASSES, IMAGES)
    for image in IMAGES[:-1]:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (400, 300), "red").save(root / image)
    return image_by_image(read_sweep(Source(tmp_path / "sweep", "sweep"), []))


def test_the_best_net_s_mistakes_that_most_nets_make_one_a_class(close: ImageByImage) -> None:
    wrong, _ = galleries(close)
    assert "C-256" in wrong.title and "2 of 6 images are wrong" in wrong.note
    assert [(example.image, example.truth) for example in wrong.examples] == [(IMAGES[1], "ash"), (IMAGES[2], "beech")]
    assert {example.note for example in wrong.examples} == {"2 of 2 nets err"}
    [guesses] = wrong.examples[0].guesses.values()
    assert [(guess.name, round(guess.posterior), guess.is_true) for guess in guesses] == [
        ("beech", 60, False),
        ("ash", 30, True),
        ("cedar", 10, False),
    ]


def test_where_protocols_disagree_each_is_right_in_turn(close: ImageByImage) -> None:
    _, disagree = galleries(close)
    assert [(example.image, example.note) for example in disagree.examples] == [
        (IMAGES[1], "only multi-crop, three Q is right"),
        (IMAGES[4], "only dense, three Q is right"),
    ]
    assert list(disagree.examples[0].guesses) == ["dense, three Q", "multi-crop, three Q"]
    assert "1 images are right under dense, three Q alone, and 1 under multi-crop, three Q alone" in disagree.note


def test_errors_by_class_hardest_first(close: ImageByImage) -> None:
    frame = class_errors(close)
    assert frame.to_dict("list") == {
        "class": ["ash", "beech", "cedar"],
        "images": [2, 2, 2],
        "mean": [75.0, 50.0, 0.0],
        "A-256": [100.0, 50.0, 0.0],
        "C-256": [50.0, 50.0, 0.0],
    }


def test_a_thumbnail_is_the_image_made_small_or_nothing(close: ImageByImage) -> None:
    small = opened(picture_of(first_run(close), 0))
    assert small.size == (224, 168) and np.allclose(np.asarray(small), (254, 0, 0), atol=6)
    assert picture_of(first_run(close), 5) is None


def test_a_fractal_is_drawn_again(tmp_path: Path) -> None:
    spec = {"num_classes": 2, "val_per_class": 2, "side_px": 32}
    images_NHWC, labels_N = render_split(Fractals(**spec), "val")
    run = scored(tmp_path, ["val/0", "val/1", "val/x.png", "val/3"], labels_N, {"data.fractals": spec})
    drawn = np.asarray(opened(picture_of(run, 3)), dtype=float)
    assert np.abs(drawn - images_NHWC[3]).mean() < 12  # WebP is lossy
    assert np.abs(drawn - images_NHWC[2]).mean() > 12
    assert picture_of(run, 2) is None


def test_an_image_of_an_archive_is_found_by_the_index_of_its_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = ["val/0", "val/1"]
    settings = {"data.source": "stl10", "data.root": str(tmp_path), "cache": str(tmp_path / "cache")}
    run = scored(tmp_path / "sweep", [*ids[:1], "val/7"], np.array([0, 1]), settings)
    val = Split(ids, np.array([0, 1]), lambda n: np.full((10, 20, 3), 90 * n, dtype=np.uint8))
    images = ImageSet(val, val, ["a", "b"], "")
    asked = []
    monkeypatch.setattr("vgg_sweep.report.page.thumbnails.open_images", lambda config: asked.append(config) or images)
    assert picture_of(run, 0) is None and asked == []  # it was never indexed here
    (tmp_path / "cache").mkdir()
    assert opened(picture_of(run, 0)).size == (20, 10)
    assert asked[0].data.source == "stl10" and not asked[0].data.download
    assert picture_of(run, 1) is None  # another image has taken its place


def scored(sweep: Path, images: list[str], labels_N: np.ndarray, settings: dict[str, Any]) -> ReportedRun:
    folder = make_run(sweep, "A", "256", spec=Spec(settings=settings))
    posteriors_NK = np.full((len(images), 2), 0.5)
    write_posteriors(
        folder, {("dense", 73, False): posteriors_NK, ("dense", 73, True): posteriors_NK}, labels_N, None, images
    )
    return read_sweep(Source(sweep, "sweep"), []).runs[0]


def opened(uri: str | None) -> Image.Image:
    assert uri is not None
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/webp;base64,"))))
