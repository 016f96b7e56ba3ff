"""Training with batch normalisation: over which images it takes its statistics, and what keeps them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.machine.test_ranks import same, worked
from tests.tiny import RECIPE, tiny_config, tiny_run
from tests.train.test_step import FIGURES, OUT_OF_MEMORY, Memory, batch
from tests.train.test_train import equal, trained
from vgg_sweep.config.checks import valid
from vgg_sweep.config.options import load_option
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.images.views.preprocessing import net_input, own_preprocessing
from vgg_sweep.machine.hardware import choose_hardware
from vgg_sweep.nets.norm import normalisations
from vgg_sweep.nets.vgg import VGG, build_net
from vgg_sweep.train.beginning import set_initial_weights
from vgg_sweep.train.micro_batches import in_groups
from vgg_sweep.train.step import Learner

QUIET = replace(RECIPE, dropout=0.0, color_shift_std=0.0, batch_size=8)


def learner(tmp_path: Path, micro_batch: int = 0, **recipe: object) -> Learner:
    run = tiny_run(tmp_path, model="A-BN", recipe=replace(QUIET, **recipe))  # type: ignore[arg-type]
    net = build_net(run.config, 3)
    set_initial_weights(net, run)
    made = Learner(net, run.config, FIGURES, replace(choose_hardware(run.config), micro_batch=micro_batch))
    made.set_learning_rate(0.01)
    net.train()
    return made


def input_of(made: Learner) -> torch.Tensor:
    return net_input(batch().images_NCHW, own_preprocessing(FIGURES, made.config.recipe.pixel_max))


def close(net: VGG, other: VGG) -> None:
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, atol=1e-6, rtol=1e-5)


def test_a_batch_goes_through_at_once_whatever_was_measured(tmp_path: Path) -> None:
    whole, measured = learner(tmp_path), learner(tmp_path, micro_batch=2)
    assert measured.micro_batch == 8
    assert whole.step(batch(), 0) == measured.step(batch(), 0)
    assert equal(whole.net.state_dict(), measured.net.state_dict())


@pytest.mark.parametrize(
    ("num_images", "most", "sizes"),
    [(8, 4, [4, 4]), (8, 3, [2, 3, 3]), (33, 32, [16, 17]), (3, 2, [3]), (5, 2, [2, 3]), (1, 2, [1]), (6, 8, [6])],
)
def test_groups_are_even_and_no_image_is_alone(num_images: int, most: int, sizes: list[int]) -> None:
    rows = [list(range(num_images))[part] for part in in_groups(num_images, most)]
    assert [row for part in rows for row in part] == list(range(num_images))
    assert [len(part) for part in rows] == sizes


def test_groups_have_their_own_statistics_and_the_step_is_their_mean(tmp_path: Path) -> None:
    """Gradients of two halves, each normalised by its own mean and variance, added up, and as many updates of the
    running statistics.
    """
    ours, by_hand = learner(tmp_path, bn_images=4), learner(tmp_path)
    ours.step(batch(), 0)
    by_hand.optimizer.zero_grad()
    for half in (slice(4), slice(4, 8)):
        scores_NK = by_hand.net(input_of(by_hand)[half]).flatten(1)
        (F.cross_entropy(scores_NK, batch().labels_N[half]) / 2).backward()
    by_hand.optimizer.step()
    close(by_hand.net, ours.net)
    whole = learner(tmp_path)
    whole.step(batch(), 0)
    assert not torch.allclose(whole.net.features[0].weight, ours.net.features[0].weight, atol=1e-6)


def test_stopped_and_continued_is_bitwise_never_stopped(tmp_path: Path) -> None:
    whole = trained(tiny_run(tmp_path / "whole", model="A-BN"))
    in_pieces = trained(tiny_run(tmp_path / "pieces", model="A-BN"), stops=(4, 9))
    assert equal(whole, in_pieces)
    assert whole["features.1.num_batches_tracked"] == 12  # steps: validations leave the statistics as they are
    assert whole["features.1.running_var"].std() > 0


def test_two_processes_normalise_as_one(tmp_path: Path) -> None:
    """Two steps of 3 and 4 images; later, float32's rounding has grown too large to compare."""
    recipe = replace(RECIPE, epochs=0.5)  # of 24 images in batches of 7
    alone = worked(tiny_run(tmp_path / "one", model="A-BN-skip", recipe=recipe))
    both = worked(tiny_run(tmp_path / "two", model="A-BN-skip", recipe=recipe, devices=2))
    assert alone.id == both.id
    assert both.folder.record()["steps"] == 2
    same(alone, both, atol=2e-5)


def test_decay_spares_scale_and_shift_if_asked(tmp_path: Path) -> None:
    """Their update is then that of a step without decay; all other parameters are those of a step with it."""
    steps = {}
    for name, recipe in {"spared": {"bn_decay": False}, "all": {}, "none": {"weight_decay": 0.0}}.items():
        made = learner(tmp_path, **{"weight_decay": 0.1} | recipe)
        made.step(batch(), 0)
        steps[name] = made.net.state_dict()
    for index in ("1", "5"):
        for key in ("weight", "bias"):
            name = f"features.{index}.{key}"
            assert torch.equal(steps["spared"][name], steps["none"][name])
    assert not torch.equal(steps["all"]["features.1.weight"], steps["none"]["features.1.weight"])
    assert torch.equal(steps["spared"]["features.0.weight"], steps["all"]["features.0.weight"])


def test_frozen_layers_keep_their_statistics_and_normalise_by_them(tmp_path: Path) -> None:
    """In the variant that trains the FC layers alone, which then goes in micro-batches again."""
    config = tiny_config(tmp_path, "A-BN", recipe=QUIET)
    config = replace(config, train_scale=replace(config.train_scale, trainable="fc"))
    made = []
    for micro_batch in (0, 3):
        net = build_net(config, 3)
        set_initial_weights(net, tiny_run(tmp_path, model="A-BN"))
        with torch.no_grad():
            for norm in normalisations(net):
                norm.running_mean.fill_(0.3)
        hardware = replace(choose_hardware(config), micro_batch=micro_batch)
        made.append(Learner(net, config, FIGURES, hardware))
        made[-1].set_learning_rate(0.01)
        expected_NChw = net.eval().features(input_of(made[-1]))
        torch.testing.assert_close(net.train().features(input_of(made[-1])), expected_NChw)
        made[-1].step(batch(), 0)
        assert all((norm.running_mean == 0.3).all() and norm.num_batches_tracked == 0 for norm in normalisations(net))
    assert made[1].micro_batch == 3
    close(made[0].net, made[1].net)


def test_too_little_memory_is_said_since_the_batch_cannot_be_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = learner(tmp_path)
    Memory(monkeypatch, 4, OUT_OF_MEMORY[0])
    with pytest.raises(
        RunError, match=r"for 8 images at once, as batch normalisation needs them; .*recipe.bn_images=N"
    ):
        made.step(batch(), 0)
    learner(tmp_path, bn_images=4).step(batch(), 0)


@pytest.mark.parametrize(
    ("recipe", "settings", "sentence"),
    [
        ({}, {"micro_batch": 1}, "micro_batch=1 would change what the batch normalisations of model=A-BN see"),
        ({}, {"micro_batch": 6}, "micro_batch=6 would change"),
        ({"bn_images": 1}, {}, "recipe.bn_images=1, .* leaves one image to normalise model=A-BN over"),
        ({"batch_size": 1}, {}, "recipe.batch_size=1 leaves one image"),
        ({"bn_images": 4}, {"devices": 2}, "normalisation is over the whole batch, so recipe.bn_images=4"),
    ],
)
def test_what_would_change_the_statistics_unseen_is_refused(
    tmp_path: Path, recipe: dict[str, object], settings: dict[str, object], sentence: str
) -> None:
    changed = replace(RECIPE, **recipe)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=sentence):
        valid(tiny_config(tmp_path, "A-BN", recipe=changed, **settings))
    valid(tiny_config(tmp_path, "A", recipe=changed, **settings))
    valid(tiny_config(tmp_path, "A-BN", micro_batch=7))


def test_a_last_batch_of_one_image_is_refused(tmp_path: Path) -> None:
    recipe = replace(RECIPE, batch_size=23, epochs=1.0)  # of 24 images
    with pytest.raises(ConfigError, match=r"last batch .* of 24 images is a single one.*recipe.last_batch=wrap"):
        trained(tiny_run(tmp_path, model="A-BN", recipe=recipe))
    trained(tiny_run(tmp_path / "wrap", model="A-BN", recipe=replace(recipe, last_batch="wrap")))
    trained(tiny_run(tmp_path / "A", recipe=recipe))


def test_a_deeper_net_takes_the_normalisations_of_A_BN_along(tmp_path: Path) -> None:
    """conv1_1, 2_1, 3_1 and 3_2, where A-BN has them at features.0, 4, 8 and 11, and E-BN at 0, 7, 14 and 17."""
    model = replace(load_option("model", "E-BN"), parent="A-BN")
    recipe = replace(RECIPE, epochs=1.0)
    run = tiny_run(tmp_path, recipe=recipe, model="A-BN")
    parent = trained(run)
    child = replace(run, config=replace(run.config, model=model), parent=run)
    net = build_net(child.config, 3)
    copied = set_initial_weights(net, child)
    assert copied == [
        "conv1_1",
        "bn1_1",
        "conv2_1",
        "bn2_1",
        "conv3_1",
        "bn3_1",
        "conv3_2",
        "bn3_2",
        "fc6",
        "fc7",
        "fc8",
    ]
    state = net.state_dict()
    for own, of_A in {0: 0, 1: 1, 7: 4, 8: 5, 14: 8, 15: 9, 17: 11, 18: 12}.items():
        for key in ("weight", "bias", *(("running_mean", "running_var") if own in (1, 8, 15, 18) else ())):
            assert torch.equal(state[f"features.{own}.{key}"], parent[f"features.{of_A}.{key}"])
    assert (state["features.4.running_mean"] == 0).all()
