import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from vgg_sweep.config.options import load_option
from vgg_sweep.nets.columns import net_macs, num_params, receptive_fields
from vgg_sweep.nets.describe import activation_bytes_training
from vgg_sweep.nets.initial import draw_weights
from vgg_sweep.nets.vgg import VGG, posteriors

NETS = ["A", "A-LRN", "B", "C", "D", "E", "B-5x5"]
TORCHVISION = {"A": "vgg11", "B": "vgg13", "D": "vgg16", "E": "vgg19"}


def net_of(name, **settings):
    net = VGG(load_option("model", name).columns, **settings)
    draw_weights(net, "he", torch.Generator().manual_seed(0))
    return net.eval()


def small(name, **settings):
    return net_of(name, **{"width": 1 / 16, "classes": 5, **settings})


def images(num_images, height_px, width_px, dtype=torch.float32):
    return torch.randn(num_images, 3, height_px, width_px, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize("name", TORCHVISION)
def test_equals_torchvision_with_the_same_weights(name):
    ours = net_of(name)
    with torch.device("meta"):
        theirs = getattr(torchvision.models, TORCHVISION[name])()
    theirs.load_state_dict(ours.state_dict(), assign=True)
    images_NCHW = images(2, 224, 224)
    with torch.inference_mode():
        scores_NK = theirs.eval()(images_NCHW)
        scores_NKhw = ours(images_NCHW)
    assert scores_NKhw.shape == (2, 1000, 1, 1)
    torch.testing.assert_close(scores_NKhw.flatten(1), scores_NK, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("width", "classes", "crop"), [(1 / 16, 5, 64), (0.11, 3, 224), (1e-6, 1000, 32)])
def test_has_the_parameters_and_multiply_adds_that_its_layers_count(name, width, classes, crop):
    net = VGG(load_option("model", name).columns, width=width, classes=classes, crop=crop)
    assert sum(parameter.numel() for parameter in net.parameters()) == sum(map(num_params, net.layers))
    assert traced_macs(net, images(1, crop, crop + 32)) == net_macs(net.layers, crop, crop + 32, pool_ceil=True)


def traced_macs(net, images_NCHW):
    """Weights used times output positions, as the layers really run."""
    counts = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(
                lambda module, _, output: counts.append(module.weight.numel() * output.shape[2] * output.shape[3])
            )
    with torch.inference_mode():
        net.eval()(images_NCHW)
    return sum(counts)


def test_layer_names_name_the_modules():
    net = small("C")
    named = {net.layer_names[name]: module for name, module in net.named_modules() if name in net.layer_names}
    assert list(named) == [layer.name for layer in net.layers]
    assert [name for name, module in named.items() if getattr(module, "kernel_size", 0) == (1, 1)] == [
        "conv3_3",
        "conv4_3",
        "conv5_3",
    ]
    assert named["fc8"].out_features == 5


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_dropout_follows_the_relu_of_the_first_two_fc_layers_only(dropout):
    net = small("A", dropout=dropout)
    kinds = [type(module).__name__ for module in net.classifier]
    assert kinds == ["FullyConnected", "ReLU", "Dropout", "FullyConnected", "ReLU", "Dropout", "FullyConnected"]
    assert {module.p for module in net.modules() if isinstance(module, nn.Dropout)} == {dropout}


@pytest.mark.parametrize(("Q", "side"), [(224, 1), (256, 2), (288, 3), (352, 5), (384, 6), (416, 7), (512, 10)])
def test_side_of_the_class_score_map(Q, side):
    """No padding in fc6: floor(Q / 32) - 6."""
    with torch.inference_mode():
        assert small("A", width=1 / 64)(images(1, Q, 224)).shape == (1, 5, side, 1)


@pytest.mark.parametrize("name", ["A-LRN", "C", "B-5x5"])
def test_a_dense_net_is_the_fc_net_slid_over_the_feature_map(name):
    net = small(name, crop=64)
    with torch.inference_mode():
        scores_NKhw = net(images(2, 160, 96))
        features_NChw = net.features(images(2, 160, 96))
        assert scores_NKhw.shape[2:] == (4, 2)
        for row in range(4):
            for column in range(2):
                window_NC = features_NChw[:, :, row : row + 2, column : column + 2].flatten(1)
                torch.testing.assert_close(scores_NKhw[:, :, row, column], fc_net(net, window_NC))


def fc_net(net, features_NC):
    weights = net.state_dict()
    for index in (0, 3, 6):
        features_NC = features_NC @ weights[f"classifier.{index}.weight"].T + weights[f"classifier.{index}.bias"]
        if index < 6:
            features_NC = features_NC.clamp(min=0)
    return features_NC


def test_the_dense_net_equals_convolutions_made_of_the_fc_layers():
    """The paper's own wording (Sect. 3.2): a 7x7 convolution and two 1x1."""
    net = small("A", crop=224)
    weights = net.state_dict()
    with torch.inference_mode():
        expected = net.features(images(1, 288, 256))
        for index, kernel in ((0, 7), (3, 1), (6, 1)):
            weight = weights[f"classifier.{index}.weight"].unflatten(1, (-1, kernel, kernel))
            expected = F.conv2d(expected, weight, weights[f"classifier.{index}.bias"])
            expected = expected.relu() if index < 6 else expected
        torch.testing.assert_close(net(images(1, 288, 256)), expected)


@pytest.mark.parametrize("pool_ceil", [False, True])
def test_pooling_rounds_as_asked(pool_ceil):
    """A side of 341 px pools to 10 positions rounded down and to 11 rounded up; fc6 takes 6 off."""
    with torch.inference_mode():
        scores_NKhw = small("A", width=1 / 64, pool_ceil=pool_ceil)(images(1, 341, 224))
    assert scores_NKhw.shape[2] == 4 + pool_ceil


def test_memory_layout_changes_nothing():
    net = small("D", crop=64)
    with torch.inference_mode():
        plain = net(images(2, 96, 64))
        net.to(memory_format=torch.channels_last)
        torch.testing.assert_close(net(images(2, 96, 64).contiguous(memory_format=torch.channels_last)), plain)


def test_receptive_fields_are_what_gradients_reach():
    """At one central position after each layer of C; positive weights and mean pooling let every path through."""
    net = VGG(load_option("model", "C").columns, width=1e-6, classes=2, crop=32).double().eval()
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    part, reached_px = nn.Sequential(), []
    for index, module in enumerate(net.features):
        part.append(nn.AvgPool2d(2) if isinstance(module, nn.MaxPool2d) else module)
        if f"features.{index}" in net.layer_names:
            reached_px.append(reached_side_px(part))
    assert reached_px == receptive_fields(net.layers)[:-3]


def reached_side_px(part):
    image_NCHW = torch.ones(1, 3, 288, 288, dtype=torch.float64, requires_grad=True)
    output_NChw = part(image_NCHW)
    output_NChw[0, 0, output_NChw.shape[2] // 2, output_NChw.shape[3] // 2].backward()
    return int((image_NCHW.grad[0].sum((0, 1)) > 0).sum())


@pytest.mark.parametrize("name", ["A-LRN", "D"])
def test_training_keeps_the_activations_that_are_counted(name):
    """What autograd saves in float32 up to the last pooling, once a storage, without the parameters."""
    net = small(name, crop=64)
    own = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if tensor.dtype == torch.float32 and storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features_NChw = net.features(images(1, 64, 64))
    kept_bytes = sum(storage.nbytes() for storage in kept.values())
    assert kept_bytes + features_NChw.nbytes == activation_bytes_training(net.layers[:-3], 64, pool_ceil=True)


def test_posteriors_average_scores_over_space_before_the_softmax():
    scores_NKhw = torch.tensor([[[[0.0, 4.0]], [[2.0, 0.0]]]])  # means 2 and 1; the other order gives 0.5506
    posteriors_NK = posteriors(scores_NKhw)
    torch.testing.assert_close(posteriors_NK, torch.tensor([[0.73105858, 0.26894142]]))


def test_posteriors_of_half_precision_scores_are_float32():
    posteriors_NK = posteriors(torch.randn(3, 7, 2, 2, dtype=torch.bfloat16))
    assert posteriors_NK.dtype == torch.float32
    torch.testing.assert_close(posteriors_NK.sum(1), torch.ones(3))
