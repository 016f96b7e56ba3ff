"""Training that starts from another run: what is copied, new and frozen to the bit; rates, preprocessing, resuming."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import CLASSES, IMPORTED, random_run, tiny_config, with_batch_norm
from tests.train.test_train import equal, materials, trained
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import RunError
from vgg_sweep.images.views.augment import derived_seed
from vgg_sweep.images.views.preprocessing import in_rgb
from vgg_sweep.nets.initial import draw_weights
from vgg_sweep.nets.norm import FrozenBatchNorm, normalisations
from vgg_sweep.nets.start import freeze_but
from vgg_sweep.nets.vgg import VGG, build_net
from vgg_sweep.nets.weights import METADATA_KEY
from vgg_sweep.plan.runs import Run, plan
from vgg_sweep.predict.trained import load
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.progress import Reporter
from vgg_sweep.sweep.attempt import train_and_score
from vgg_sweep.train.beginning import begin, fine_tuning_stream
from vgg_sweep.train.step import Learner

FC8 = ("classifier.6.weight", "classifier.6.bias")
THREE = [f"figure {number}" for number in range(3)]


def child(parent: RunFolder, **settings: object) -> Run:
    config = tiny_config(parent.path.parents[1], "D", crop=64, start_from=str(parent.path))
    return plan([replace(config, **settings)])[-1]  # type: ignore[arg-type]


def drawn(config: Config, num_classes: int) -> dict[str, torch.Tensor]:
    """The net of `config` as its seed and `recipe.init` draw it."""
    net = build_net(config, num_classes)
    draw_weights(net, config.recipe.init, torch.Generator().manual_seed(derived_seed("init", config.seed)))
    return net.state_dict()


def begun(run: Run, classes: list[str]) -> dict[str, torch.Tensor]:
    net = build_net(run.config, len(classes))
    begin(net, run, classes)
    return net.state_dict()


def test_all_is_copied_but_the_last_layer_where_the_classes_are_others(tmp_path: Path) -> None:
    parent = random_run(tmp_path)
    theirs = load_file(parent.weights)
    run = child(parent)
    assert equal(begun(run, CLASSES), theirs)
    for classes in (THREE, [*CLASSES[:5], "another"], CLASSES[::-1]):
        own, new = begun(run, classes), drawn(run.config, len(classes))
        assert equal({**own, **dict.fromkeys(FC8, torch.zeros(0))}, {**theirs, **dict.fromkeys(FC8, torch.zeros(0))})
        assert all(torch.equal(own[name], new[name]) for name in FC8)


def test_of_a_trunk_and_of_fc_layers_that_are_nan_the_convolutions_are_copied(tmp_path: Path) -> None:
    parent = random_run(tmp_path)
    whole, metadata = load_file(parent.weights), {METADATA_KEY: json.dumps({"classes": "[]", "imported": "{}",
        "preprocessing": json.dumps({"name": "own", "mean": [1.0, 2.0, 3.0]})})}  # fmt: skip
    trunk = {name: tensor for name, tensor in whole.items() if name.startswith("features.")}
    nan = {name: tensor * torch.nan for name, tensor in whole.items() if name not in trunk}
    run = child(parent)
    for state in (trunk, trunk | nan):
        save_file(state, parent.weights, metadata)
        net = build_net(run.config, 3)
        beginning = begin(net, run, THREE)
        own, new = net.state_dict(), drawn(run.config, 3)
        assert equal(own, new | trunk)
        assert beginning.record["start_from"]["new"] == ["fc6", "fc7", "fc8"] and len(beginning.copied) == 13
    assert "it is not a number (NaN) there" in beginning.note


def test_another_column_and_another_crop_lend_what_fits(tmp_path: Path) -> None:
    parent = random_run(tmp_path, "A")
    run = child(parent, crop=96)
    net = build_net(run.config, 6)
    told = begin(net, run, CLASSES).record["start_from"]
    A, D = load_file(parent.weights), net.state_dict()
    pairs = {"features.0": "features.0", "features.5": "features.3", "features.10": "features.6",
             "features.12": "features.8", "classifier.3": "classifier.3", "classifier.6": "classifier.6"}  # fmt: skip
    assert all(torch.equal(D[f"{ours}.weight"], A[f"{theirs}.weight"]) for ours, theirs in pairs.items())
    assert told["unfit"]["fc6"] == "its weight is [128, 64] there and [128, 144] here"
    assert "conv4_1" in told["unfit"] or "conv4_1" not in told["new"]
    assert {"conv1_2", "conv2_2", "conv3_3", "fc6"} <= set(told["new"])


@pytest.mark.parametrize(("trainable", "moving"), [("all", ""), ("fc", "classifier."), ("last", "classifier.6")])
def test_what_is_frozen_does_not_move_by_a_bit(tmp_path: Path, trainable: str, moving: str) -> None:
    parent = random_run(tmp_path)
    theirs = load_file(parent.weights)
    run = child(parent, trainable=trainable)
    ours = trained(run)
    for name, tensor in ours.items():
        if name not in FC8:
            assert torch.equal(tensor, theirs[name]) is not name.startswith(moving)
    record = run.folder.record()
    assert record["copied"][-1] == "fc7" and record["start_from"]["new"] == ["fc8"]
    assert record["parent_weights_sha256"] and ("conv1_1" in record["start_from"]["frozen"]) is (trainable != "all")
    assert f"starts from {parent.id}: 15 layers copied (conv1_1 ... fc7); new: fc8" in run.folder.log.read_text()


def test_what_is_new_is_trained_whatever_is_asked_for(tmp_path: Path) -> None:
    run = child(random_run(tmp_path, "A"), trainable="last")
    net = build_net(run.config, 6)
    begin(net, run, CLASSES)
    moving = {net.layer_names[name.rpartition(".")[0]] for name, each in net.named_parameters() if each.requires_grad}
    told = begin(net, run, CLASSES).record["start_from"]
    assert moving == {*told["new"], "fc8"} and "fc7" in told["frozen"]


def test_copied_layers_learn_at_their_own_rate(tmp_path: Path) -> None:
    """The first step of SGD moves a weight by its rate times its gradient: shares of two rates, exactly."""
    run = child(random_run(tmp_path))
    images, figures, hardware = materials(run)
    net = build_net(run.config, 3)
    beginning = begin(net, run, THREE)
    learner = Learner(net, run.config, figures, hardware, shares=beginning.shares)
    learner.lr = run.lr
    learner.set_learning_rate(run.lr / 10)
    rates = {id(each): group["lr"] for group in learner.optimizer.param_groups for each in group["params"]}
    recipe = run.config.recipe
    for name, parameter in net.named_parameters():
        assert rates[id(parameter)] == pytest.approx((recipe.lr if name in FC8 else recipe.fine_tune_lr) / 10)


@pytest.mark.parametrize("model", ["D", "D-BN"])
def test_a_run_that_was_stopped_is_that_which_was_not(tmp_path: Path, model: str) -> None:
    parent = random_run(tmp_path, model if model == "D" else with_batch_norm("D"), **(IMPORTED if model != "D" else {}))
    settings = {} if model == "D" else {"model": with_batch_norm("D")}
    undisturbed = child(parent, out=str(tmp_path / "one"), **settings)
    stopped = child(parent, out=str(tmp_path / "other"), **settings)
    assert equal(trained(undisturbed), trained(stopped, stops=(1, 3)))
    assert undisturbed.folder.weights.read_bytes() == stopped.folder.weights.read_bytes()


def test_batch_normalisations_keep_their_statistics_and_use_them(tmp_path: Path) -> None:
    model = with_batch_norm("D")
    parent = random_run(tmp_path, model, **IMPORTED)
    theirs = load_file(parent.weights)
    run = child(parent, model=model)
    ours = trained(run)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if "running" in name or "num_batches" in name)
    assert not torch.equal(ours["features.1.weight"], theirs["features.1.weight"])  # scale and shift are trained
    net = build_net(run.config, 3)
    begin(net, run, THREE)
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(norms) == 13 and all(isinstance(module, FrozenBatchNorm) for module in norms)
    images_NCHW = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(net.train().features(images_NCHW), net.eval().features(images_NCHW))


def test_normalisations_that_nobody_lends_take_their_own_statistics(tmp_path: Path) -> None:
    """Those of E-BN that D-BN has not: frozen at mean 0 and variance 1, they would normalise nothing."""
    run = child(random_run(tmp_path, with_batch_norm("D"), **IMPORTED), model=with_batch_norm("E"))
    net = build_net(run.config, 3)
    begin(net, run, THREE)
    own = [
        net.layer_of(f"{name}.weight") for name, module in net.named_modules() if type(module) is torch.nn.BatchNorm2d
    ]
    assert own == ["bn3_4", "bn4_4", "bn5_4"]
    assert sum(isinstance(module, FrozenBatchNorm) for module in normalisations(net)) == 13


def test_a_layer_that_is_not_trained_keeps_its_statistics(tmp_path: Path) -> None:
    net = VGG(with_batch_norm("A").columns, width=1 / 32, classes=3, crop=32)
    freeze_but(net, {"conv5_2", "bn5_2", "fc8"})
    frozen = [name for name, module in net.named_modules() if isinstance(module, FrozenBatchNorm)]
    assert len(frozen) == 7
    assert [name for name, each in net.named_parameters() if each.requires_grad and "features" in name] == [
        f"features.{index}.{key}" for index in (25, 26) for key in ("weight", "bias")
    ]


def test_images_are_what_the_parent_takes_in_training_and_scoring(tmp_path: Path) -> None:
    pre = replace(IMPORTED["preprocessing"], interpolation="bicubic", std=[2.0, 3.0, 4.0])
    parent = random_run(tmp_path, **IMPORTED | {"preprocessing": pre})
    run = child(parent)
    seen: list[object] = []

    class Spy(Reporter):
        def step(self, stage: str, done: int, total: int, **figures: float) -> None:
            seen.append(stage)

    from vgg_sweep.plan.folders import prepare

    prepare(run)
    with run.folder.locked():
        train_and_score(run, Spy(run.folder, live=False))
    loaded, theirs = load(run.folder.path), load(parent.path)
    assert loaded.preprocessing == theirs.preprocessing == in_rgb(pre) and loaded.preprocessing.mean[0] == 123.68
    assert run.folder.record()["start_from"]["preprocessing"]["interpolation"] == "bicubic"
    assert "score" in seen and (run.folder.posteriors / "manifest.json").exists()


def test_of_a_net_trained_here_its_own_mean_is_kept(tmp_path: Path) -> None:
    parent = random_run(tmp_path)
    run = child(parent)
    beginning = begin(build_net(run.config, 3), run, THREE)
    assert beginning.preprocessing == load(parent.path).preprocessing
    assert beginning.preprocessing is not None and beginning.preprocessing.mean == [2.0, 1.6, 1.2]  # of pixel_max 4


def test_draws_are_not_those_of_the_parent_or_of_another_start(tmp_path: Path) -> None:
    first, second = random_run(tmp_path), random_run(tmp_path, seed=1)
    streams = [fine_tuning_stream(child(parent)) for parent in (first, second)]
    assert streams[0] != streams[1] and all(len(stream) == 3 for stream in streams)
    grandchild = child(random_run(tmp_path, start_from=str(first.path), warm_start="paper"))
    assert fine_tuning_stream(grandchild) not in streams


def test_weights_that_do_not_fit_at_all_are_a_sentence(tmp_path: Path) -> None:
    parent = random_run(tmp_path)
    state = {f"other.{name}": tensor for name, tensor in load_file(parent.weights).items()}
    save_file(state, parent.weights, {METADATA_KEY: json.dumps({"classes": "[]", "preprocessing": '{"name": "own"}'})})
    with pytest.raises(RunError, match="no layer of D-256-s0-.* fits into D-256-from-"):
        begun(child(parent), THREE)
    parent.weights.unlink()
    with pytest.raises(RunError, match="starts from D-256-s0-.*, which has no weights .*train that first"):
        begun(child(parent), THREE)
