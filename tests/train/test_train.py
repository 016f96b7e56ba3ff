"""The update against the paper's formula written anew; resuming against never having stopped; health."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import RECIPE, tiny_config, tiny_run
from vgg_sweep.images.sets.sources import open_images
from vgg_sweep.images.sets.splits import ImageSet
from vgg_sweep.images.sets.statistics import Statistics, statistics
from vgg_sweep.images.views.loader import Batch
from vgg_sweep.machine.device import Device, choose_device
from vgg_sweep.nets.vgg import build_net
from vgg_sweep.plan.folders import prepare
from vgg_sweep.plan.runs import Run, plan
from vgg_sweep.runs.progress import Diverged, Interrupted, Reporter
from vgg_sweep.train.checkpoints import checkpoint_files
from vgg_sweep.train.step import Learner
from vgg_sweep.train.train import start, train, validate


def materials(run: Run) -> tuple[ImageSet, Statistics, Device]:
    images = open_images(run.config)
    return images, statistics(images, Path(run.config.cache), 1), choose_device(run.config)


class StopAt(Reporter):
    """Asks for a stop once `step` steps are done, as a signal would."""

    def __init__(self, run: Run, step: int | None = None) -> None:
        super().__init__(run.folder, live=False)
        self.at = step

    def step(self, stage: str, done: int, total: int, **figures: float) -> None:
        super().step(stage, done, total, **figures)
        if done == self.at:
            self.stop_requested = "SIGTERM"


def trained(run: Run, stops: tuple[int, ...] = ()) -> dict[str, torch.Tensor]:
    prepare(run)
    for stop in stops:
        with pytest.raises(Interrupted):
            train(run, *materials(run), StopAt(run, stop))
        assert not run.folder.is_trained
    train(run, *materials(run), StopAt(run))
    return load_file(run.folder.weights)


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_update_is_krizhevskys(tmp_path: Path) -> None:
    """v <- 0.9 v - 0.0005 lr w - lr g;  w <- w + v  (Krizhevsky et al. 2012, Sect. 5), over a drop of the rate."""
    run = tiny_run(tmp_path, recipe=replace(RECIPE, dropout=0.0, color_shift_std=0.1))
    net = build_net(run.config, 3)
    start(net, run)
    figures = Statistics([0.4, 0.5, 0.6], [0.1, 0.02, 0.01], torch.eye(3).tolist())
    learner = Learner(net, run.config, figures, choose_device(run.config))
    generator = torch.Generator().manual_seed(0)
    weights = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    velocity = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    twin = build_net(run.config, 3)
    learner.lr = 0.02
    for step, lr in enumerate([0.02, 0.02, 0.002, 0.002]):
        batch = Batch(
            torch.randint(0, 256, (5, 3, 32, 32), generator=generator, dtype=torch.uint8),
            torch.randint(0, 3, (5,), generator=generator),
            torch.randn(5, 3, generator=generator),
            rows=range(5),
            size=5,
            num_images=5,
            mean_S_px=37,
        )
        learner.set_learning_rate(lr)
        learner.step(batch, step)

        shift = 0.1 * batch.alpha_NC * torch.tensor(figures.eigenvalues)
        pixels = batch.images_NCHW / 255 - torch.tensor(figures.mean_rgb)[:, None, None] + shift[:, :, None, None]
        twin.load_state_dict(weights)
        posteriors = twin(4 * pixels).flatten(1).softmax(1)
        loss = -posteriors[range(5), batch.labels_N].log().mean()
        names = [name for name, _ in twin.named_parameters()]
        gradients = torch.autograd.grad(loss, list(twin.parameters()))
        for name, gradient in zip(names, gradients, strict=True):
            velocity[name] = 0.9 * velocity[name] - 0.0005 * lr * weights[name] - lr * gradient
            weights[name] = weights[name] + velocity[name]
        for name, parameter in net.named_parameters():
            torch.testing.assert_close(parameter.detach(), weights[name], atol=1e-6, rtol=1e-5)


def test_stopped_and_continued_is_bitwise_never_stopped(tmp_path: Path) -> None:
    whole = trained(tiny_run(tmp_path / "whole"))
    in_pieces = trained(tiny_run(tmp_path / "pieces"), stops=(1, 5, 9))
    assert equal(whole, in_pieces)


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    assert not equal(trained(tiny_run(tmp_path)), trained(tiny_run(tmp_path, seed=1)))


def test_a_broken_checkpoint_is_said_and_the_one_before_is_used(tmp_path: Path) -> None:
    whole = trained(tiny_run(tmp_path / "whole"))
    run = tiny_run(tmp_path / "broken")
    prepare(run)
    for stop in (5, 6):
        with pytest.raises(Interrupted):
            train(run, *materials(run), StopAt(run, stop))
    newest, before = checkpoint_files(run.folder)
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    assert before.exists()
    train(run, *materials(run), StopAt(run))
    assert "step-000000006.pt is broken" in run.folder.log.read_text()
    assert equal(whole, load_file(run.folder.weights))


def test_metrics_have_each_step_once_whatever_was_interrupted(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, log_every_steps=1)
    trained(run, stops=(3, 6))
    with open(run.folder.metrics) as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 13))  # 24 images in batches of 7 are 4 steps an epoch
    assert [row["step"] for row in rows if row["val_error"]] == ["4", "8", "12"]


def test_a_child_takes_the_layers_of_A_and_a_larger_scale_takes_all(tmp_path: Path) -> None:
    A, D, D384 = plan([tiny_config(tmp_path, "D", "384")])
    A_weights = trained(A)
    net = build_net(D.config, 3)
    copied = start(net, D)
    assert copied == ["conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8"]
    assert torch.equal(net.state_dict()["features.0.weight"], A_weights["features.0.weight"])
    D_weights = trained(D)
    net = build_net(D384.config, 3)
    assert len(start(net, D384)) == 16
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor.flatten(), D_weights[name].flatten())


def test_only_the_fc_layers_move_in_the_fc_variant(tmp_path: Path) -> None:
    *parents, run = plan([tiny_config(tmp_path, "D", "jitter-fc")])
    for parent in parents:
        trained(parent)
    before, after = load_file(parents[-1].folder.weights), trained(run)
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith("features")


def test_the_first_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, recipe=replace(RECIPE, lr=1e30))
    prepare(run)
    with pytest.raises(Diverged, match="the loss is (nan|inf) at step [23]; lower recipe.lr"):
        train(run, *materials(run), StopAt(run))
    assert not run.folder.is_trained


def test_a_loss_that_stays_at_chance_is_said(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, recipe=replace(RECIPE, init="normal", lr=1e-6))
    trained(run)
    assert "no better than guessing: start from A" in run.folder.log.read_text()
    assert run.folder.record()["stuck_at_chance"] is True


def test_validation_counts_every_image_once(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    images, figures, device = materials(run)
    net = build_net(run.config, 3)
    start(net, run)
    torch.nn.init.zeros_(net.classifier[-1].weight)
    with torch.no_grad():
        net.classifier[-1].bias.copy_(torch.tensor([0.0, 1.0, 0.0]))  # always says class 1
    learner = Learner(net, run.config, figures, device)
    assert validate(learner, images.val) == pytest.approx(100 * 8 / 12)


def test_a_missing_parent_is_named(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, model="B")
    prepare(run)
    with pytest.raises(Exception, match=r"starts from A-256-s0-\w+, which has no weights"):
        train(run, *materials(run), StopAt(run))


def test_the_record_tells_what_it_cost(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    trained(run)
    record = run.folder.record()
    assert record["params"] == sum(tensor.numel() for tensor in load_file(run.folder.weights).values())
    assert record["steps"] == 12 and record["train_seconds"] > 0 and math.isfinite(record["val_error"])
    assert not checkpoint_files(run.folder)
