import math

import pytest
import torch

from vgg_sweep.config.options import load_option
from vgg_sweep.errors import RunError
from vgg_sweep.nets.initial import copy_all, draw_weights, warm_start_from_A
from vgg_sweep.nets.vgg import VGG


def net_of(name, width=1 / 16, classes=5, crop=64):
    return VGG(load_option("model", name).columns, width=width, classes=classes, crop=crop)


def drawn(init, seed=0, width=1 / 8, channels_last=False):
    net = net_of("D", width)
    if channels_last:
        net.to(memory_format=torch.channels_last)
    draw_weights(net, init, torch.Generator().manual_seed(seed))
    return net.state_dict()


# std of each init for a layer with the given inputs and outputs, from the papers' formulas
STDS = {
    "normal": lambda fan_in, fan_out: 0.01,
    "literal": lambda fan_in, fan_out: math.sqrt(1e-2),
    "glorot": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
    "he": lambda fan_in, fan_out: math.sqrt(2 / fan_in),
}
FANS = {  # width 1/8, crop 64: fc6 sees 2x2 positions and has 512 outputs; it is no convolution to Glorot's formula
    "features.12.weight": (9 * 32, 9 * 32),
    "classifier.0.weight": (64 * 4, 512),
    "classifier.3.weight": (512, 512),
}


@pytest.mark.parametrize("init", STDS)
@pytest.mark.parametrize("name", FANS)
def test_weights_have_the_std_of_the_formula(init, name):
    weight = drawn(init)[name]
    assert weight.std().item() == pytest.approx(STDS[init](*FANS[name]), rel=0.03)
    assert abs(weight.mean().item()) < 4 * weight.std().item() / math.sqrt(weight.numel())


def test_glorot_is_uniform():
    weight = drawn("glorot")["classifier.3.weight"]
    bound = math.sqrt(6 / 1024)
    assert 0.99 * bound < weight.abs().max() <= bound


@pytest.mark.parametrize("init", STDS)
def test_biases_are_zero(init):
    state = drawn(init)
    assert all(not state[name].any() for name in state if name.endswith("bias"))


@pytest.mark.parametrize("init", STDS)
def test_the_generator_alone_decides(init):
    torch.manual_seed(1)
    first = drawn(init)
    torch.manual_seed(2)
    again, other_layout, other_seed = drawn(init), drawn(init, channels_last=True), drawn(init, seed=1)
    for name in first:
        assert torch.equal(first[name], again[name])
        assert torch.equal(first[name], other_layout[name])
        assert name.endswith("bias") or not torch.equal(first[name], other_seed[name])


def tagged_A(**settings):
    """A state of A whose tensors are constant: 1, 2, 3, ... from top to bottom."""
    return {
        name: torch.full_like(tensor, number)
        for number, (name, tensor) in enumerate(net_of("A", **settings).state_dict().items(), 1)
    }


@pytest.mark.parametrize("name", ["B", "C", "D", "E"])
def test_a_deeper_net_takes_four_conv_and_three_fc_layers_of_A_by_name(name):
    net = net_of(name)
    draw_weights(net, "he", torch.Generator().manual_seed(0))
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    copied = warm_start_from_A(net, tagged_A(), net_of("A"))
    # A has the layers conv1_1, conv2_1, conv3_1, conv3_2, conv4_1, conv4_2, conv5_1, conv5_2, fc6, fc7, fc8
    number_of_weight_in_A = {"conv1_1": 1, "conv2_1": 3, "conv3_1": 5, "conv3_2": 7, "fc6": 17, "fc7": 19, "fc8": 21}
    taken = []
    for module, layer in net.layer_names.items():
        if not layer.startswith(("conv", "fc")):
            continue
        for offset, key in enumerate((f"{module}.weight", f"{module}.bias")):
            if layer in number_of_weight_in_A:
                assert (net.state_dict()[key] == number_of_weight_in_A[layer] + offset).all()
                taken.append(key)
            else:
                assert torch.equal(net.state_dict()[key], before[key])
    assert sorted(copied) == sorted(taken)
    assert len(copied) == 14


def test_another_parent_than_A_lends_its_layers_of_the_same_names():
    """B, which has conv2_1 at features.5 where A has it at 3, and 10 and 12 for 6 and 8."""
    net, parent = net_of("D"), net_of("B")
    draw_weights(parent, "he", torch.Generator().manual_seed(0))
    copied = warm_start_from_A(net, parent.state_dict(), parent)
    places = {"features.0": "features.0", "features.5": "features.5", "features.10": "features.10"}
    places |= {"features.12": "features.12"} | {f"classifier.{place}": f"classifier.{place}" for place in (0, 3, 6)}
    assert copied == [f"{place}.{tensor}" for place in places for tensor in ("weight", "bias")]
    for own, theirs in places.items():
        assert torch.equal(net.get_submodule(own).weight, parent.get_submodule(theirs).weight)


def test_copied_tensors_do_not_share_memory_with_the_parent():
    net, state = net_of("B"), tagged_A()
    warm_start_from_A(net, state, net_of("A"))
    net.state_dict()["features.0.weight"].zero_()
    assert state["features.0.weight"].all()


def test_nets_that_cannot_start_from_A_are_refused():
    with pytest.raises(RunError, match=r"no conv3_2 to take from A; set model\.parent=null"):
        warm_start_from_A(net_of("B-5x5"), tagged_A(), net_of("A"))
    columns = [word.replace("conv3-64", "conv5-64") for word in load_option("model", "B").columns]
    with pytest.raises(RunError, match=r"features.0.weight is \[4, 3, 3, 3\], .* of the net is \[4, 3, 5, 5\]"):
        warm_start_from_A(VGG(columns, width=1 / 16, classes=5, crop=64), tagged_A(), net_of("A"))


def test_other_classes_are_refused_by_number():
    net = net_of("D", classes=7)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    message = r"classifier.6.weight is \[5, 256\], .* is \[7, 256\].* have 5 classes, the net 7"
    with pytest.raises(RunError, match=message):
        warm_start_from_A(net, tagged_A(), net_of("A"))
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())


def test_a_missing_tensor_of_A_is_named():
    state = tagged_A()
    del state["classifier.3.bias"]
    with pytest.raises(RunError, match=r"lack classifier\.3\.bias;"):
        warm_start_from_A(net_of("D"), state, net_of("A"))


def test_copy_all_makes_an_equal_net():
    source, net = net_of("C"), net_of("C")
    names = copy_all(net, source.state_dict())
    assert names == list(source.state_dict())
    images_NCHW = torch.randn(2, 3, 64, 64)
    assert torch.equal(source.eval()(images_NCHW), net.eval()(images_NCHW))


def test_copy_all_refuses_another_column():
    with pytest.raises(RunError, match=r"no place for .*features\.34\.weight"):
        copy_all(net_of("D"), net_of("E").state_dict())
    state = net_of("E").state_dict()
    del state["features.34.bias"]
    with pytest.raises(RunError, match=r"lack features\.34\.bias;"):
        copy_all(net_of("E"), state)
    with pytest.raises(RunError, match="Use weights of the same model, width and crop"):
        copy_all(net_of("A", width=1 / 8), net_of("A").state_dict())
