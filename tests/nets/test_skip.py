"""Nets with BN and shortcuts against modules written anew, with the same weights: forward, a step, the statistics."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.nets.test_vgg import images, traced_macs
from tests.tiny import RECIPE, tiny_run
from tests.train.test_step import FIGURES, batch
from vgg_sweep.config.options import load_option
from vgg_sweep.images.views.preprocessing import net_input, own_preprocessing
from vgg_sweep.machine.hardware import choose_hardware
from vgg_sweep.nets.activations import activations, mean_activations
from vgg_sweep.nets.columns import net_macs, num_params
from vgg_sweep.nets.describe import activation_bytes_training
from vgg_sweep.nets.initial import draw_weights
from vgg_sweep.nets.skip import Skip
from vgg_sweep.nets.vgg import VGG, build_net
from vgg_sweep.train.beginning import begin, draw
from vgg_sweep.train.step import Learner

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


class Block(nn.Module):
    """Two convolutions with BN and the shortcut of He et al., as their Fig. 2 and option A say."""

    def __init__(self, given, made, stride, bn, projects=False):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(given, made, 3, stride, 1), nn.Conv2d(made, made, 3, 1, 1)
        self.bn1, self.bn2 = (nn.BatchNorm2d(made) if bn else nn.Identity() for _ in range(2))
        self.stride, self.new = stride, made - given
        self.projection = nn.Identity()
        if projects and (self.new or stride > 1):
            self.projection = nn.Sequential(
                nn.Conv2d(given, made, 1, stride, bias=not bn), *[nn.BatchNorm2d(made)] * bn
            )
        self.projects = projects

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if not self.projects:
            x = x[:, :, :: self.stride, :: self.stride]
            x = torch.cat([x, torch.zeros(len(x), self.new, *x.shape[2:])], 1)
        return F.relu(out + self.projection(x))


class Plain(Block):
    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


def vgg_stages(bn, kind, pairs=(1, 2, 3, 3, 3), projects=False):
    """F at width 1/32 as stages of pairs of convolutions, and its three FC layers without dropout at crop 32."""
    channels = [3, 2, 4, 8, 16, 16]
    modules = []
    for stage, (given, made) in enumerate(pairwise(channels)):
        for number in range(pairs[stage]):
            block = kind if stage else Plain
            modules.append(block(made if number else given, made, 1, bn, projects and block is Block))
        modules.append(nn.MaxPool2d(2))
    return nn.Sequential(*modules, nn.Flatten(), nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(),
                         nn.Linear(128, 3))  # fmt: skip


def he_stages(depth, kind):
    """The net of 6n + 2 layers at width 1/4 for three classes."""
    modules = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()]
    for given, made in ((4, 4), (4, 8), (8, 16)):
        for number in range((depth - 2) // 6):
            modules.append(kind(made if number else given, made, 1 + (given != made and not number), True))
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3))


PROJECTED = [word.replace("skip", "skip-1x1") for word in load_option("model", "F-BN-skip").columns]
REFERENCES = {
    "F-BN": (1 / 32, lambda: vgg_stages(True, Plain)),
    "F-skip": (1 / 32, lambda: vgg_stages(False, Block)),
    "F-BN-skip": (1 / 32, lambda: vgg_stages(True, Block)),
    "F-BN-skip-1x1": (1 / 32, lambda: vgg_stages(True, Block, projects=True)),
    "G-BN-skip": (1 / 32, lambda: vgg_stages(True, Block, pairs=(1, 3, 4, 4, 5))),
    "plain-20": (1 / 4, lambda: he_stages(20, Plain)),
    "res-32": (1 / 4, lambda: he_stages(32, Block)),
}


def model_of(name):
    if name.endswith("1x1"):
        return replace(load_option("model", "F-BN-skip"), name=name, columns=PROJECTED)
    return load_option("model", name)


def both(name, tmp_path):
    """A learner of ours without dropout and colour shifts, and the reference with its weights."""
    width, make = REFERENCES[name]
    run = tiny_run(tmp_path, recipe=replace(RECIPE, dropout=0.0, color_shift_std=0.0, batch_size=8), width=width,
                   warm_start="none")  # fmt: skip
    config = replace(run.config, model=model_of(name))
    net = build_net(config, 3)
    draw_weights(net, "he", torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() == 1:  # biases, scales and shifts that differ
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    theirs = make()
    copy(net, theirs)
    return Learner(net, config, FIGURES, choose_hardware(config)), theirs


def in_order(module):
    """The modules with weights, a block's shortcut last, as a `skip` stands last in a block."""
    return [each for each in module.modules() if isinstance(each, nn.Conv2d | nn.BatchNorm2d | nn.Linear)]


def reference_order(module):
    if isinstance(module, Block):
        parts = [module.conv1, module.bn1, module.conv2, module.bn2, *in_order(module.projection)]
        return [part for part in parts if not isinstance(part, nn.Identity)]
    if isinstance(module, nn.Sequential):
        return [part for each in module for part in reference_order(each)]
    return in_order(module)


def copy(net, theirs):
    for own, other in zip(in_order(net), reference_order(theirs), strict=True):
        other.load_state_dict(own.state_dict())


@pytest.mark.parametrize("name", REFERENCES)
def test_forward_steps_and_statistics_are_those_of_the_reference(name, tmp_path):
    """In float64: with normalisations over few numbers, float32's rounding grows from layer to layer, theirs too."""
    ours, theirs = both(name, tmp_path)
    ours.net.double()
    theirs.double()
    ours.set_learning_rate(0.02)
    sgd = torch.optim.SGD(theirs.parameters(), 0.02, 0.9, weight_decay=ours.config.recipe.weight_decay)
    input_NCHW = net_input(batch().images_NCHW, own_preprocessing(FIGURES, ours.config.recipe.pixel_max)).double()
    for _ in range(3):
        losses = []
        for net, optimizer in ((ours.net.train(), ours.optimizer), (theirs.train(), sgd)):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(input_NCHW).flatten(1), batch().labels_N)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[0] == pytest.approx(losses[1], abs=1e-9)
    for own, other in zip(in_order(ours.net), reference_order(theirs), strict=True):
        for key, tensor in own.state_dict().items():
            torch.testing.assert_close(tensor, other.state_dict()[key], rtol=1e-7, atol=1e-7)
    with torch.no_grad():
        scores_NK = theirs.eval()(input_NCHW)
        torch.testing.assert_close(ours.net.eval()(input_NCHW).flatten(1), scores_NK, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", ["F-skip", "F-BN-skip", "res-32"])
def test_a_step_of_training_is_that_of_the_reference(name, tmp_path):
    """As `train` takes it, in float32: the loss, the weights and the running statistics after it."""
    ours, theirs = both(name, tmp_path)
    ours.net.train()
    ours.set_learning_rate(0.001)
    sgd = torch.optim.SGD(theirs.parameters(), 0.001, 0.9, weight_decay=ours.config.recipe.weight_decay)
    input_NCHW = net_input(batch().images_NCHW, own_preprocessing(FIGURES, ours.config.recipe.pixel_max))
    loss, _ = ours.step(batch(), 0)
    of_theirs = F.cross_entropy(theirs(input_NCHW), batch().labels_N)
    of_theirs.backward()
    sgd.step()
    assert loss == pytest.approx(of_theirs.item(), abs=1e-5)
    for own, other in zip(in_order(ours.net), reference_order(theirs), strict=True):
        for key, tensor in own.state_dict().items():
            torch.testing.assert_close(tensor, other.state_dict()[key], **CLOSE)


@pytest.mark.parametrize("name", ["F-BN-skip", "res-20"])
@pytest.mark.parametrize("projects", [False, True])
def test_has_the_parameters_and_multiply_adds_that_its_layers_count(name, projects):
    words = [word.replace("skip", "skip-1x1") if projects else word for word in load_option("model", name).columns]
    net = VGG(words, width=1 / 8, classes=3, crop=32)
    assert sum(parameter.numel() for parameter in net.parameters()) == sum(map(num_params, net.layers))
    assert traced_macs(net, images(1, 64, 96)) == net_macs(net.layers, 64, 96, pool_ceil=False)


@pytest.mark.parametrize("name", ["F-BN-skip", "F-skip", "F-BN-skip-1x1"])
def test_training_keeps_the_activations_that_are_counted(name):
    """What autograd saves for the backward pass up to the last pooling, in float32, without the parameters."""
    net = VGG(model_of(name).columns, width=1 / 8, classes=3, crop=32)
    own = {tensor.untyped_storage().data_ptr() for tensor in [*net.parameters(), *net.buffers()]}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if tensor.dtype == torch.float32 and tensor.dim() == 4 and storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features_NChw = net.features(images(1, 32, 32))
    kept_bytes = sum(storage.nbytes() for storage in kept.values()) + features_NChw.nbytes
    assert kept_bytes == activation_bytes_training(net.layers[:-3], 32, pool_ceil=False)


def test_activations_of_a_block_are_those_behind_the_sum(tmp_path):
    ours, theirs = both("F-BN-skip", tmp_path)
    images_NCHW, net = images(2, 32, 32), ours.net.eval()
    with torch.no_grad():
        expected = theirs.eval()[:3](images_NCHW)  # stage 1, its pool, and the first block of stage 2
    for layer in ("conv2_2", "skip2_1"):
        torch.testing.assert_close(activations(net, images_NCHW, layer), expected, **CLOSE)
    means = dict(mean_activations(net, images_NCHW, ["skip2_1", "conv1_1", "conv2_2"]))
    assert list(means) == ["conv1_1", "skip2_1", "conv2_2"]
    torch.testing.assert_close(means["skip2_1"], expected.mean((2, 3)), **CLOSE)
    torch.testing.assert_close(means["conv2_2"], expected.mean((2, 3)), **CLOSE)
    sums = activations(net, images_NCHW, "conv2_2", before_relu=True)
    assert sums.min() < 0
    torch.testing.assert_close(sums.relu(), expected, **CLOSE)


def test_an_average_pool_sees_all_of_a_larger_image():
    net = VGG(load_option("model", "res-20").columns, width=1 / 4, classes=3, crop=32).eval()
    with torch.no_grad():
        assert net(images(2, 45, 37)).shape == (2, 3, 1, 1)
        map_NChw = net.features[:-1](images(2, 45, 37))
        assert map_NChw.shape[2:] == (12, 10)  # each stride 2 rounds up
        expected = net.classifier(map_NChw.mean((2, 3), keepdim=True))
        torch.testing.assert_close(net(images(2, 45, 37)), expected)


def test_blocks_that_begin_at_zero_add_nothing(tmp_path):
    """res-20 then is its first convolution, every second position at two strides, and zeros for new channels."""
    run = tiny_run(tmp_path, model="res-20", width=1.0, recipe=replace(RECIPE, zero_init_residual=True))
    net = build_net(run.config, 3)
    begin(net, run, ["a", "b", "c"])
    net.train()
    first_NChw = net.features[:3](images(2, 32, 32))
    expected_NC = torch.cat([first_NChw[:, :, ::4, ::4].mean((2, 3)), torch.zeros(2, 64 - 16)], 1)
    torch.testing.assert_close(net.features(images(2, 32, 32)).flatten(1), expected_NC, **CLOSE)
    plain = build_net(run.config, 3)
    draw(plain, replace(run, config=replace(run.config, recipe=RECIPE)))
    other = {name for name, tensor in plain.state_dict().items() if not torch.equal(tensor, net.state_dict()[name])}
    ends = [sequence - 1 for sequence, module in enumerate(net.features) if isinstance(module, Skip)]
    assert other - {name for name in other if name.endswith(("running_mean", "running_var", "tracked"))} == {
        f"features.{place}.weight" for place in ends
    }
