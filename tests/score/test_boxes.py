"""Predicted boxes on disk: where a position's box lies in the image, which classes are kept, and resuming."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.score.test_score import FIGURES, NUM_IMAGES, StopAfter, image_set
from tests.tiny import tiny_run
from vgg_sweep.config.schema import Data
from vgg_sweep.errors import RunError
from vgg_sweep.images.sets.boxes import SetBoxes
from vgg_sweep.images.sets.splits import ImageSet
from vgg_sweep.images.views.preprocessing import own_preprocessing
from vgg_sweep.localise.boxes import Boxes
from vgg_sweep.localise.stored import Predictions
from vgg_sweep.machine.hardware import choose_hardware
from vgg_sweep.nets.vgg import VGG, build_net, posteriors
from vgg_sweep.plan.folders import prepare
from vgg_sweep.plan.passes import missing, passes
from vgg_sweep.plan.runs import Run
from vgg_sweep.protocols.passes import Pass
from vgg_sweep.runs.progress import Interrupted, Reporter
from vgg_sweep.score import parts as parts_module
from vgg_sweep.score.boxes import score_boxes
from vgg_sweep.score.localiser import Localiser, kept_classes
from vgg_sweep.train.beginning import set_initial_weights

OUTPUTS = {"scr": [[0.25, 0.5, 0.5, 0.75]], "pcr": [[0.5, 0.5, 0.5, 0.5], [0.25, 0.5, 0.5, 0.75], [0.9, 0.2, 0.4, 0.1]]}
"""What the nets of these tests predict everywhere, in units of their crop: a box, or one for each of three classes."""


def set_boxes() -> SetBoxes:
    lists = [[(i % 3, (1.0, 2.0, 30.0 + i, 40.0))] * (1 + i % 2) for i in range(NUM_IMAGES)]
    boxes = Boxes.of_lists(lists, [(0, 0)] * NUM_IMAGES)
    return SetBoxes(boxes, boxes, np.arange(NUM_IMAGES) == 3, "fingerprint of the boxes")


def box_run(path: Path, boxes: str, **settings: object) -> Run:
    return tiny_run(path, task="localise", boxes=boxes, warm_start="none", protocol="multi", **settings)


def localiser(run: Run) -> Localiser:
    """Of a net that predicts `OUTPUTS` whatever it sees, and a classifier of random weights."""
    net = build_net(run.config, 3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.classifier[6].bias.copy_(torch.tensor(OUTPUTS[run.config.boxes]).flatten())
    classifier = build_net(replace(run.config, task="classify"), 3)
    set_initial_weights(classifier, replace(run, config=replace(run.config, task="classify")))
    preprocessing = own_preprocessing(FIGURES, run.config.recipe.pixel_max)
    return Localiser(net, classifier, run.config, 3, preprocessing, choose_hardware(run.config))


def scored(run: Run, images: ImageSet | None = None, reporter: Reporter | None = None) -> Localiser:
    prepare(run)
    run.folder.weights.write_bytes(b"stands for the weights")
    own = localiser(run)
    score_boxes(run, own, images or image_set(), set_boxes(), reporter or Reporter(run.folder, live=False))
    return own


@pytest.mark.parametrize("boxes", ["scr", "pcr"])
def test_a_box_lies_in_the_crop_that_its_position_sees(tmp_path: Path, boxes: str) -> None:
    """The crop of position (y, x) begins at (32 y, 32 x) of the rescaled image, or of its mirror image."""
    run = box_run(tmp_path, boxes, crop=64)
    scored(run)
    images, stored = image_set(), Predictions(run.folder.boxes, "")
    assert stored.manifest["regression"] == boxes
    for each in passes(run.config):
        found, row = stored.read(each.method, each.Q, each.flip), 0
        for index in range(NUM_IMAGES):
            width, height = images.val.image(index).size
            scale = each.Q / min(width, height)
            wide, high = round(width * scale), round(height * scale)
            corners = [(0, 0)] if each.method == "dense" else [((high - 64) // 2, (wide - 64) // 2)]
            if each.method == "dense":
                corners = [(32 * y, 32 * x) for y in range(high // 32 - 1) for x in range(wide // 32 - 1)]
            assert found.positions_N[index] == len(corners)
            for top, left in corners:
                for place, label in enumerate([0] if boxes == "scr" else found.classes_Nk[index]):
                    x, y, w, h = (64 * np.array(OUTPUTS[boxes][label])).tolist()
                    low, right = left + x - w / 2, left + x + w / 2
                    if each.flip:
                        low, right = wide - right, wide - low
                    edges = np.array([low, top + y - h / 2, right, top + y + h / 2])
                    edges *= [width / wide, height / high] * 2
                    np.testing.assert_allclose(found.boxes_Rk4[row, place], edges - [0, 0, 1, 1], atol=1e-4)
                row += 1
        assert row == len(found.scores_Rk)


def test_scores_are_those_of_the_classifier_at_the_position(tmp_path: Path) -> None:
    """Their logarithms averaged over positions are its class score map's mean, up to a constant."""
    run = box_run(tmp_path, "pcr")
    own, images = scored(run), image_set()
    assert own.classifier is not None
    [each] = (each for each in passes(run.config) if each.method == "centre-crop")
    stored = Predictions(run.folder.boxes, "").read(each.method, each.Q, each.flip)
    pixels = [own_view(images, index, each) for index in range(NUM_IMAGES)]
    with torch.no_grad():
        expected_NK = posteriors(classified(own.classifier, np.stack(pixels), own)).numpy()
    for index in range(NUM_IMAGES):
        np.testing.assert_allclose(stored.scores_Rk[index], expected_NK[index][stored.classes_Nk[index]], atol=1e-6)
        assert (np.diff(stored.scores_Rk[index]) <= 0).all()


def own_view(images: ImageSet, index: int, each: Pass) -> np.ndarray:
    image = images.val.image(index)
    scale = each.Q / min(image.size)
    resized = image.resize((round(image.width * scale), round(image.height * scale)), 2)
    left, top = (resized.width - 32) // 2, (resized.height - 32) // 2
    return np.asarray(resized.crop((left, top, left + 32, top + 32)))


def classified(net: VGG, pixels_NHWC: np.ndarray, own: Localiser) -> torch.Tensor:
    pixel_max, mean = own.preprocessing.pixel_max, torch.tensor(own.preprocessing.mean)
    pixels_NCHW = torch.tensor(pixels_NHWC).permute(0, 3, 1, 2) / 255 * pixel_max - mean[:, None, None]
    scores: torch.Tensor = net.eval()(pixels_NCHW)
    return scores


def test_the_true_class_is_kept_of_many() -> None:
    """Eleven of thirty classes: the best ten by the mean over positions, and the label or the next best."""
    scores_PK = np.random.default_rng(0).random((4, 30)).astype(np.float32)
    order = sorted(range(30), key=lambda label: -scores_PK[:, label].mean())
    assert kept_classes(scores_PK, order[25]).tolist() == [*order[:10], order[25]]
    assert kept_classes(scores_PK, order[4]).tolist() == order[:11]
    assert sorted(kept_classes(scores_PK[:, :20], 3).tolist()) == list(range(20))


def test_stopped_anywhere_and_repeated_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "CHUNK", 4)
    whole, pieces = box_run(tmp_path / "whole", "pcr"), box_run(tmp_path / "pieces", "pcr")
    scored(whole)
    for checks in (1, 3, 9):
        with pytest.raises(Interrupted):
            scored(pieces, reporter=StopAfter(pieces, checks))
        assert missing(pieces.folder, pieces.config) == passes(pieces.config)
    scored(pieces)
    assert missing(pieces.folder, pieces.config) == []
    files = sorted(file.name for file in whole.folder.boxes.glob("*.npz"))
    assert len(files) == 1 + len(passes(whole.config)) == 8
    for file in files:
        assert (whole.folder.boxes / file).read_bytes() == (pieces.folder.boxes / file).read_bytes()


def test_images_that_cannot_be_decoded_are_left_out(tmp_path: Path) -> None:
    images = image_set()
    stored, no_image = images.val.stored, tmp_path / "broken.jpg"
    no_image.write_bytes(b"no image")
    broken = replace(
        images.val,
        stored=lambda index: no_image if index == 2 else stored(index),
        settings=Data(on_bad_image="skip"),
    )
    run = box_run(tmp_path, "pcr")
    scored(run, replace(images, val=broken))
    found = Predictions(run.folder.boxes, "")
    assert found.manifest["images"] == [f"val/{i}" for i in range(NUM_IMAGES) if i != 2]
    assert found.manifest["left_out"] == ["val/2"]
    assert len(found.read("dense", 37, False).positions_N) == NUM_IMAGES - 1
    assert found.truth.boxes.of(2).tolist() == set_boxes().val.of(3).tolist()
    assert found.truth.blacklisted_N.tolist() == [i == 3 for i in range(NUM_IMAGES) if i != 2]


def test_boxes_of_other_truth_are_not_mixed(tmp_path: Path) -> None:
    run = box_run(tmp_path, "pcr")
    scored(run)
    next(run.folder.boxes.glob("dense-Q41*")).unlink()
    others = replace(set_boxes(), fingerprint="another")
    with pytest.raises(RunError, match="was made from other boxes"):
        score_boxes(run, localiser(run), image_set(), others, Reporter(run.folder, live=False))
