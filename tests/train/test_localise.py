"""Learning boxes (Appendix A): what has a gradient, what is left out, resuming, and that it can be learnt."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import FRACTALS, RECIPE, tiny_config
from tests.train.test_train import StopAt, equal, materials, trained
from vgg_sweep.config.localise import Localise
from vgg_sweep.config.schema import Data, TrainScale
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.sets.boxes import open_boxes
from vgg_sweep.images.sets.sources import open_images
from vgg_sweep.images.views.crops import rescaled
from vgg_sweep.images.views.loader import Batch
from vgg_sweep.images.views.preprocessing import own_preprocessing
from vgg_sweep.localise.boxes import Boxes
from vgg_sweep.localise.geometry import iou
from vgg_sweep.nets.vgg import build_net
from vgg_sweep.nets.weights import load_weights
from vgg_sweep.plan.folders import prepare
from vgg_sweep.plan.passes import passes
from vgg_sweep.plan.runs import Run, plan
from vgg_sweep.runs.progress import Interrupted
from vgg_sweep.score.localiser import Localiser
from vgg_sweep.train.beginning import draw
from vgg_sweep.train.objectives import localisation, overlaps
from vgg_sweep.train.tasks import only_with_boxes
from vgg_sweep.train.train import train


def chain(tmp_path: Path, boxes: str = "pcr", **settings: object) -> list[Run]:
    """A classifier and the run that learns boxes from it."""
    return plan([replace(tiny_config(tmp_path), task="localise", boxes=boxes, **settings)])  # type: ignore[arg-type]


def localised(run: Run, stops: tuple[int, ...] = ()) -> dict[str, torch.Tensor]:
    prepare(run)
    images = open_images(run.config)
    more = {"boxes": open_boxes(run.config, images)}
    for stop in stops:
        with pytest.raises(Interrupted):
            train(run, *materials(run), StopAt(run, stop), **more)  # type: ignore[arg-type]
    train(run, *materials(run), StopAt(run), **more)  # type: ignore[arg-type]
    return load_file(run.folder.weights)


def batch(labels: list[int], targets: list[list[float]]) -> Batch:
    """Of as many images as labels, with as many positions as fit."""
    empty = torch.empty(0)
    labels_N, targets_NP4 = torch.tensor(labels), torch.tensor(targets).reshape(len(labels), -1, 4)
    return Batch(empty, labels_N, empty, range(len(labels)), len(labels), len(labels), 0.0, targets_NP4)


def test_the_box_of_the_true_class_alone_has_a_gradient() -> None:
    outputs_NK = torch.randn(2, 3 * 4, 1, 1, requires_grad=True)
    targets = [[0.5, 0.5, 0.4, 0.4], [0.2, 0.6, 0.3, 0.1]]
    loss, _ = localisation(Localise(loss_weight=3.0))(outputs_NK, batch([2, 0], targets), slice(0, 2))
    loss.backward()
    gradient_NK4 = outputs_NK.grad.reshape(2, 3, 4)  # type: ignore[union-attr]
    own = outputs_NK.detach().reshape(2, 3, 4)[[0, 1], [2, 0]]
    torch.testing.assert_close(gradient_NK4[[0, 1], [2, 0]], 3 * (own - torch.tensor(targets)))
    torch.testing.assert_close(loss.detach(), 1.5 * ((own - torch.tensor(targets)) ** 2).sum())
    others = torch.ones(2, 3, dtype=torch.bool)
    others[[0, 1], [2, 0]] = False
    assert (gradient_NK4[others] == 0).all() and (gradient_NK4[~others] != 0).all()


def test_a_view_without_a_target_teaches_nothing_and_is_not_wrong() -> None:
    outputs_NK = torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.0, 0.0, 9.0, 9.0]], requires_grad=True)
    nothing = [float("nan")] * 4
    loss, wrong = localisation(Localise())(
        outputs_NK[..., None, None], batch([0, 1], [[0.5, 0.5, 0.4, 0.2], nothing]), slice(0, 2)
    )
    loss.backward()
    torch.testing.assert_close(loss.detach(), torch.tensor(0.5 * 0.2**2))
    assert wrong == 0  # 0.4 x 0.2 in 0.4 x 0.4 is an overlap of a half, which is right
    assert outputs_NK.grad is not None and (outputs_NK.grad[1] == 0).all()


def test_the_positions_of_a_map_learn_each_its_box_and_an_image_counts_once() -> None:
    """The mean over two positions of one image, of which the second is exact: (0.1^2 / 2 + 0) / 2."""
    outputs_NK12 = torch.tensor([[0.5, 0.2], [0.5, 0.2], [0.1, 0.2], [0.2, 0.2]])[None, :, None]
    targets = [[0.5, 0.5, 0.2, 0.2], [0.2, 0.2, 0.2, 0.2]]
    loss, wrong = localisation(Localise())(outputs_NK12, batch([0], targets), slice(0, 1))
    torch.testing.assert_close(loss, torch.tensor(0.1**2 / 2 / 2))
    assert wrong == 0  # 0.1 x 0.2 in 0.2 x 0.2
    _, wrong = localisation(Localise())(outputs_NK12.flip(3), batch([0], targets), slice(0, 1))
    assert wrong == 1
    _, wrong = localisation(Localise())(outputs_NK12, batch([0], [targets[0], [0.9, 0.9, 0.2, 0.2]]), slice(0, 1))
    assert wrong == 0.5


def test_overlaps_are_those_of_the_boxes_pixels() -> None:
    """Against the overlap of inclusive pixels, which the evaluator measures."""
    rng = np.random.default_rng(0)
    low_N2 = rng.integers(0, 20, (50, 2, 2))
    boxes = np.concatenate([low_N2, low_N2 + rng.integers(0, 15, (50, 2, 2))], axis=2).astype(float)
    ends = boxes + [0, 0, 1, 1]
    centre_form = np.concatenate([(ends[..., :2] + ends[..., 2:]) / 2, ends[..., 2:] - ends[..., :2]], axis=2)
    found = overlaps(*torch.tensor(centre_form).unbind(1)).numpy()
    expected = [iou(one[None], other[None])[0, 0] for one, other in boxes]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert overlaps(torch.tensor([[0.5, 0.5, -1.0, 1.0]]), torch.tensor([[0.5, 0.5, 1.0, 1.0]])) == 0


@pytest.mark.parametrize("boxes", ["scr", "pcr"])
def test_stopped_and_continued_is_bitwise_never_stopped(tmp_path: Path, boxes: str) -> None:
    """SCR also with views of two sizes and a last layer drawn otherwise."""
    more = {"views": "wide", "init": "normal"} if boxes == "scr" else {}
    S = TrainScale("448", [448, 448], parent=None)
    settings = {"boxes": boxes, "train_scale": S, "localise": Localise(epochs=2, lr=0.01, **more)}  # type: ignore[arg-type]
    nets = []
    for name, stops in (("whole", ()), ("pieces", (1, 6))):
        parent, run = chain(tmp_path / name, **settings)  # type: ignore[arg-type]
        trained(parent)
        nets.append(localised(run, stops))
    assert equal(*nets)
    assert nets[0]["classifier.6.weight"].shape[0] == {"scr": 4, "pcr": 12}[boxes]


def test_the_new_layer_alone_is_drawn_otherwise(tmp_path: Path) -> None:
    nets = []
    for init in ("recipe", "normal"):
        [*_, run] = chain(tmp_path, localise=Localise(init=init))
        nets.append(build_net(run.config, 3))
        draw(nets[-1], run)
    he, normal = (net.state_dict() for net in nets)
    assert [name for name in he if not torch.equal(he[name], normal[name])] == ["classifier.6.weight"]
    assert normal["classifier.6.weight"].std().item() == pytest.approx(0.01, rel=0.1)


def test_only_the_last_layer_is_new(tmp_path: Path) -> None:
    parent, run = chain(tmp_path, localise=Localise(epochs=1, lr=1e-30), recipe=replace(RECIPE, weight_decay=0.0))
    before, after = trained(parent), localised(run)
    below = [name for name in before if not name.startswith("classifier.6")]
    assert all(torch.allclose(before[name], after[name], rtol=0, atol=1e-25) for name in below)
    assert after["classifier.6.weight"].shape != before["classifier.6.weight"].shape
    assert run.folder.record()["copied"][-1] == "fc7"


def test_ten_images_are_learnt_by_heart(tmp_path: Path) -> None:
    """The net finds the box of each in its centre crop, with an overlap of more than 0.9."""
    fractals = replace(FRACTALS, num_classes=2, train_per_class=5, val_per_class=5, side_px=40)
    config = replace(
        tiny_config(tmp_path),
        train_scale=TrainScale("224", [224, 224]),
        data=Data(name="fractals", source="fractals", fractals=fractals),
        recipe=replace(
            RECIPE,
            batch_size=10,
            dropout=0.0,
            color_shift_std=0.0,
            weight_decay=0.0,
            validate_epochs=300,
            pixel_max=2.0,
        ),
        task="localise",
        warm_start="none",
        width=1 / 16,
        localise=Localise(epochs=600, lr=0.03),
    )
    [run] = plan([config])
    images, figures, hardware = materials(run)
    boxes = open_boxes(config, images)
    images, boxes = replace(images, val=images.train), replace(boxes, val=boxes.train)
    prepare(run)
    train(run, images, figures, hardware, StopAt(run), boxes=boxes)
    assert run.folder.record()["val_error"] == 0
    net = build_net(config, 2)
    load_weights(net, run.folder.weights)
    localiser = Localiser(net, None, config, 2, own_preprocessing(figures, config.recipe.pixel_max), hardware)
    localiser.to_device()
    [each] = (each for each in passes(config) if each.method == "centre-crop")
    pictures = [images.val.image(index) for index in range(10)]
    found = localiser.predicted([rescaled(image, each.Q) for image in pictures], [(40, 40)] * 10, each)
    labels = images.val.labels_N.tolist()
    own = [iou(found[i][0][0, label][None], boxes.val.of(i))[0, 0] for i, label in enumerate(labels)]
    assert min(own) > 0.9


def test_training_images_without_a_box_are_left_out_and_said(tmp_path: Path) -> None:
    images = open_images(tiny_config(tmp_path))
    boxes = open_boxes(tiny_config(tmp_path), images)
    has_N = np.arange(24) % 3 > 0
    lists = [
        [(int(label), tuple(boxes.train.of(i)[0]))] if has_N[i] else [] for i, label in enumerate(images.train.labels_N)
    ]
    some = replace(boxes, train=Boxes.of_lists(lists, [(64, 64)] * 24))
    said: list[str] = []
    kept, of_kept = only_with_boxes(images, some, said.append)
    assert said == ["8 of 24 training images have no box of their class and are left out"]
    assert list(kept.train.ids) == [images.train.ids[i] for i in np.flatnonzero(has_N)]
    for row, index in enumerate(np.flatnonzero(has_N).tolist()):
        assert kept.train.labels_N[row] == images.train.labels_N[index]
        assert np.array_equal(np.asarray(kept.train.image(row)), np.asarray(images.train.image(index)))
        assert np.array_equal(of_kept.train.of(row), boxes.train.of(index))
    assert kept.val is images.val
    with pytest.raises(ConfigError, match="no training image has a box of its class"):
        only_with_boxes(images, replace(boxes, train=Boxes.of_lists([[]] * 24, [(64, 64)] * 24)), said.append)
