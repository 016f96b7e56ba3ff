"""Parts of later recipes: a cosine, label smoothing, and a moving average of the weights."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.tiny import RECIPE, tiny_config, tiny_run
from tests.train.test_step import batch
from tests.train.test_train import equal, materials, trained
from vgg_sweep.config.checks import valid
from vgg_sweep.errors import ConfigError
from vgg_sweep.exchange.importing import import_weights
from vgg_sweep.nets.vgg import build_net
from vgg_sweep.nets.weights import load_weights
from vgg_sweep.train.averaging import Average, averaged
from vgg_sweep.train.objectives import classification
from vgg_sweep.train.schedule import is_over, learning_rate
from vgg_sweep.train.step import Learner
from vgg_sweep.train.validate import validate

AVERAGED = replace(RECIPE, ema_decay=0.6, schedule="cosine", label_smoothing=0.1)


@pytest.mark.parametrize(("share_done", "share"), [(0, 1), (1 / 3, 0.75), (0.5, 0.5), (2 / 3, 0.25), (1, 0)])
def test_a_cosine_falls_to_nothing(share_done: float, share: float) -> None:
    recipe = replace(RECIPE, schedule="cosine")
    assert learning_rate(0.4, recipe, share_done, [50.0] * 100) == pytest.approx(0.4 * share)
    assert is_over(recipe, share_done, [50.0] * 100) == (share_done == 1)


def test_label_smoothing_gives_a_share_to_all_classes() -> None:
    outputs_NK = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    loss, num_wrong = classification(outputs_NK, batch(), slice(2, 8), label_smoothing=0.3)
    labels_NK = 0.7 * F.one_hot(batch().labels_N[2:], 3) + 0.1
    assert loss.item() == pytest.approx(-(labels_NK * outputs_NK.log_softmax(1)).sum().item())
    assert num_wrong == classification(outputs_NK, batch(), slice(2, 8))[1]


def test_the_average_is_that_of_the_formula() -> None:
    """With decays of 2/11 and 3/12, by which a short run forgets its beginning, and then 0.3."""
    net = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.BatchNorm1d(1))
    values = [1.0, 5.0, 2.0, 8.0]
    average, expected = None, 0.0
    for step, value in enumerate(values):
        torch.nn.init.constant_(net[0].weight, value)
        net[1].running_mean.fill_(-value)
        net[1].num_batches_tracked.fill_(step)
        if average is None:
            average, expected = Average(net, 0.3), value
            continue
        average.update()
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert average is not None
    with averaged(average):
        assert net[0].weight.item() == pytest.approx(expected)
        assert net[1].running_mean.item() == pytest.approx(-expected)
        assert net[1].num_batches_tracked == 3
    assert (net[0].weight.item(), net[1].running_mean.item()) == (8.0, -8.0)
    with averaged(average):
        assert net[0].weight.item() == pytest.approx(expected)


def test_stopped_and_continued_is_bitwise_never_stopped(tmp_path: Path) -> None:
    whole = trained(tiny_run(tmp_path / "whole", model="A-BN", recipe=AVERAGED))
    in_pieces = trained(tiny_run(tmp_path / "pieces", model="A-BN", recipe=AVERAGED), stops=(4, 9))
    assert equal(whole, in_pieces)


def test_the_average_is_what_is_validated_and_saved(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, recipe=replace(AVERAGED, ema_decay=0.999))
    saved = trained(run)
    images, figures, hardware = materials(run)
    net = build_net(run.config, 3)
    load_weights(net, run.folder.weights)
    learner = Learner(net, run.config, figures, hardware)
    assert run.folder.record()["val_error"] == validate(learner, images.val)
    plain = trained(tiny_run(tmp_path / "plain", recipe=replace(AVERAGED, ema_decay=0.0)))
    assert math.dist(saved["classifier.6.weight"].flatten(), plain["classifier.6.weight"].flatten()) > 1e-3


def test_what_is_not_for_a_run_is_refused(tmp_path: Path) -> None:
    boxes = tiny_config(tmp_path, recipe=replace(RECIPE, label_smoothing=0.1), task="localise")
    with pytest.raises(ConfigError, match="recipe.label_smoothing=0.1 is for classes, and task=localise learns boxes"):
        valid(boxes)
    config = tiny_config(tmp_path, recipe=replace(RECIPE, ema_decay=0.9))
    with pytest.raises(ConfigError, match="recipe.ema_decay=0.9 averages .* an imported net is not trained"):
        import_weights(tmp_path / "D.pth", config, set(), print)
