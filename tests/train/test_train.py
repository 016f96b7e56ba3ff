"""The update against the paper's formula written anew; resuming against never having stopped; health."""

import csv
import hashlib
import itertools
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import RECIPE, tiny_config, tiny_run
from vgg_sweep.images.sets.sources import open_images
from vgg_sweep.images.sets.splits import ImageSet
from vgg_sweep.images.sets.statistics import Statistics, statistics
from vgg_sweep.images.views.augment import derived_seed, draw_epoch
from vgg_sweep.images.views.loader import Batch
from vgg_sweep.machine.hardware import Hardware, choose_hardware
from vgg_sweep.nets.vgg import build_net
from vgg_sweep.plan.folders import prepare
from vgg_sweep.plan.runs import Run, plan
from vgg_sweep.runs.progress import Diverged, Interrupted, Reporter
from vgg_sweep.train import train as train_module
from vgg_sweep.train.beginning import fine_tuning_stream, set_initial_weights
from vgg_sweep.train.checkpoints import checkpoint_files
from vgg_sweep.train.step import Learner
from vgg_sweep.train.train import train
from vgg_sweep.train.validate import validate


def materials(run: Run) -> tuple[ImageSet, Statistics, Hardware]:
    images = open_images(run.config)
    return images, statistics(images, Path(run.config.cache), 1), choose_hardware(run.config)


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
    set_initial_weights(net, run)
    figures = Statistics([0.4, 0.5, 0.6], [0.1, 0.02, 0.01], torch.eye(3).tolist())
    learner = Learner(net, run.config, figures, choose_hardware(run.config))
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
    copied = set_initial_weights(net, D)
    assert copied == ["conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8"]
    assert torch.equal(net.state_dict()["features.0.weight"], A_weights["features.0.weight"])
    D_weights = trained(D)
    net = build_net(D384.config, 3)
    assert len(set_initial_weights(net, D384)) == 16
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
    assert "no better than guessing: take recipe.init=glorot" in run.folder.log.read_text()
    assert run.folder.record()["stuck_at_chance"] is True
    deeper = tiny_run(tmp_path, model="B", recipe=replace(RECIPE, init="normal", lr=1e-6), warm_start="none")
    trained(deeper)
    assert "no better than guessing: start from A (warm_start=paper), or take" in deeper.folder.log.read_text()


def test_validation_counts_every_image_once(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    images, figures, hardware = materials(run)
    net = build_net(run.config, 3)
    set_initial_weights(net, run)
    torch.nn.init.zeros_(net.classifier[-1].weight)
    with torch.no_grad():
        net.classifier[-1].bias.copy_(torch.tensor([0.0, 1.0, 0.0]))  # always says class 1
    learner = Learner(net, run.config, figures, hardware)
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
    assert record["weights_sha256"] == hashlib.sha256(run.folder.weights.read_bytes()).hexdigest()


def without_rules(file: Path) -> None:
    """Make of a checkpoint one of before it said under which rules the run began."""
    content = torch.load(file, weights_only=True)
    del content["progress"]["rules"]
    torch.save(content, file)


def test_fine_tuning_does_not_draw_what_its_parent_drew(tmp_path: Path) -> None:
    A, A384, jitter = plan([tiny_config(tmp_path, "A", "jitter")])
    assert [fine_tuning_stream(run) for run in (A, A384, jitter)] == [(), (1, 384, 384), (2, 256, 512)]
    draws = [draw_epoch(50, (73, 73), 0, 0, fine_tuning_stream(run)) for run in (A, A384, jitter)]
    for one, other in itertools.combinations(draws, 2):
        assert not torch.equal(one.order_N, other.order_N) and not torch.equal(one.flip_N, other.flip_N)
        assert not torch.equal(one.offset_N2, other.offset_N2) and not torch.equal(one.alpha_NC, other.alpha_NC)
    generator = torch.Generator().manual_seed(derived_seed("augment", 0, 0))
    assert torch.equal(draws[0].order_N, torch.randperm(50, generator=generator)), "S=256 keeps its draws"


def test_a_run_that_began_under_the_old_rules_goes_on_under_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, run = plan([tiny_config(tmp_path / "old", "A", "384")])
    trained(parent)
    prepare(run)
    with monkeypatch.context() as patch:
        patch.setattr(train_module, "fine_tuning_stream", lambda run: ())
        with pytest.raises(Interrupted):
            train(run, *materials(run), StopAt(run, 2))
        shutil.copytree(run.folder.path.parent, tmp_path / "whole" / "sweep")
        [_, whole] = plan([tiny_config(tmp_path / "whole", "A", "384", cache=run.config.cache)])
        train(whole, *materials(whole), StopAt(whole))
    for file in checkpoint_files(run.folder):
        without_rules(file)
    train(run, *materials(run), StopAt(run))
    assert equal(load_file(run.folder.weights), load_file(whole.folder.weights))
    assert run.folder.record()["rules"] == 1 and parent.folder.record()["rules"] == 2


@pytest.mark.parametrize("lr", [math.inf, 1e30])
def test_a_run_whose_last_step_diverges_is_not_done(tmp_path: Path, lr: float) -> None:
    run = tiny_run(tmp_path, recipe=replace(RECIPE, lr=lr, max_steps=1))
    prepare(run)
    with pytest.raises(Diverged, match=r"not finite.*lower recipe.lr"):
        train(run, *materials(run), StopAt(run))
    assert not run.folder.is_trained


def test_weights_that_are_not_finite_are_never_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vgg_sweep.train.tasks.validate", lambda learner, split: 50.0)
    run = tiny_run(tmp_path, recipe=replace(RECIPE, lr=math.inf, max_steps=1))
    prepare(run)
    with pytest.raises(Diverged, match="the weights are not finite after step 1"):
        train(run, *materials(run), StopAt(run))
    assert not run.folder.is_trained


@pytest.mark.parametrize(("pixel_max", "is_inert"), [(1.0, True), (255.0, False)])
def test_the_spread_of_the_LRN_factor_is_recorded(tmp_path: Path, pixel_max: float, is_inert: bool) -> None:
    recipe = replace(RECIPE, pixel_max=pixel_max, lr=1e-9)
    run = tiny_run(tmp_path, model="A-LRN", recipe=recipe, precision="fp32", micro_batch=12, layout="nchw")
    trained(run)
    net = build_net(run.config, 3)
    net.load_state_dict(load_file(run.folder.weights))
    images, figures, _ = materials(run)
    crops = [np.asarray(image.resize((37, 37), 2))[2:34, 2:34] for image in map(images.val.image, range(7))]
    pixels = pixel_max * (np.stack(crops).transpose(0, 3, 1, 2) / 255 - np.array(figures.mean_rgb)[:, None, None])
    a = net.features[:2](torch.tensor(pixels, dtype=torch.float32)).detach().double()
    sums = sum(torch.nn.functional.pad(a**2, (0, 0, 0, 0, 2, 2))[:, i : i + a.shape[1]] for i in range(5))
    factors = (2 + 1e-4 * sums) ** -0.75
    spread = run.folder.record()["lrn_factor_spread"]
    assert spread == pytest.approx(float(factors.std() / factors.mean()), rel=1e-3)
    assert (spread < 0.01) == is_inert == ("this net does not test LRN" in run.folder.log.read_text())


def test_a_net_without_LRN_has_no_spread(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    trained(run)
    assert "lrn_factor_spread" not in run.folder.record()


def test_a_last_batch_that_wraps_trains(tmp_path: Path) -> None:
    """24 images in batches of 7: the fourth has 3, or is filled up to 7."""
    short, wrap = (tiny_run(tmp_path, recipe=replace(RECIPE, last_batch=last)) for last in ("short", "wrap"))
    assert short.id != wrap.id == tiny_run(tmp_path, recipe=replace(RECIPE, last_batch="wrap")).id
    assert short.id == tiny_run(tmp_path).id
    assert not equal(trained(short), trained(wrap))


def test_a_childs_record_has_the_hash_of_the_weights_that_it_started_from(tmp_path: Path) -> None:
    parent, child = plan([tiny_config(tmp_path, model="B")])
    trained(parent)
    trained(child, stops=(2,))
    of_parent = hashlib.sha256(parent.folder.weights.read_bytes()).hexdigest()
    assert child.folder.record()["parent_weights_sha256"] == of_parent
    assert "parent_weights_sha256" not in parent.folder.record()
