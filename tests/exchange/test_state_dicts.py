"""State dicts, loaded by torchvision's and timm's own nets."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import vgg_sweep
from tests.exchange.exports import CLOSE, SIZES, imported, ours, pixels
from tests.tiny import IMPORTED, random_run, with_batch_norm
from vgg_sweep.cli.card import export
from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Model
from vgg_sweep.errors import ConfigError
from vgg_sweep.exchange.writers import state_dicts


def hand_built_torchvision(net, **options):
    """torchvision's VGG of this small size, by its own parts."""
    channels = [layer.out_channels if layer.kind == "conv" else "M" for layer in net.layers[:-3] if layer.kind != "bn"]
    with torch.device("meta"):
        theirs = torchvision.models.VGG(torchvision.models.vgg.make_layers(channels, **options))
        theirs.avgpool = nn.Identity()
        for index, layer in zip((0, 3, 6), net.layers[-3:], strict=True):
            theirs.classifier[index] = nn.Linear(layer.kernel**2 * layer.in_channels, layer.out_channels)
    return theirs.eval()


@pytest.mark.parametrize("model", ["A", "B", "D", "E"])
def test_torchvision_loads_it(model, tmp_path):
    folder = random_run(tmp_path, model)
    exported = export(folder, "torchvision", tmp_path / "out.pth")
    pixels_NCHW = pixels(2, 64, 64)
    posteriors_NK, _, images_NCHW = ours(folder, pixels_NCHW)
    theirs = hand_built_torchvision(vgg_sweep.load(folder.path).net)
    theirs.load_state_dict(torch.load(exported.file, weights_only=True), assign=True)
    with torch.no_grad():
        np.testing.assert_allclose(theirs(images_NCHW).softmax(1), posteriors_NK, **CLOSE)


def hand_built_timm(net, **options):
    vgg, layers = pytest.importorskip("timm.models.vgg"), pytest.importorskip("timm.layers")
    channels = [layer.out_channels if layer.kind == "conv" else "M" for layer in net.layers[:-3] if layer.kind != "bn"]
    fc6, fc7, fc8 = net.layers[-3:]
    with torch.device("meta"):
        theirs = vgg.VGG(channels, **options)
        theirs.pre_logits = vgg.ConvMlp(fc6.in_channels, fc7.out_channels, fc6.kernel)
        theirs.head = layers.ClassifierHead(fc8.in_channels, fc8.out_channels)
    return theirs.eval()


@pytest.mark.parametrize("model", ["A", "B", "D", "E"])
def test_timm_loads_it_and_is_dense_too(model, tmp_path):
    folder = random_run(tmp_path, model)
    theirs = hand_built_timm(vgg_sweep.load(folder.path).net)
    exported = export(folder, "timm", tmp_path / "out.pth")
    theirs.load_state_dict(torch.load(exported.file, weights_only=True), assign=True)
    for size in SIZES:
        posteriors_NK, _, images_NCHW = ours(folder, pixels(*size))
        with torch.no_grad():
            np.testing.assert_allclose(theirs(images_NCHW).softmax(1), posteriors_NK, **CLOSE)


@pytest.mark.parametrize("to", ["torchvision", "timm"])
def test_an_imported_net_with_batch_norm_goes_out_in_its_files_order_of_colours(to, tmp_path):
    folder = random_run(tmp_path, with_batch_norm("D"), **IMPORTED)
    net = vgg_sweep.load(folder.path).net
    if to == "torchvision":
        theirs = hand_built_torchvision(net, batch_norm=True)
    else:
        theirs = hand_built_timm(net, norm_layer=nn.BatchNorm2d)
    exported = export(folder, to, tmp_path / "out.pth")
    theirs.load_state_dict(torch.load(exported.file, weights_only=True), assign=True)
    pixels_NCHW = pixels(2, 64, 64)
    as_caffe_NCHW = pixels_NCHW[:, ::-1] - np.array([103.939, 116.779, 123.68], np.float32)[:, None, None]
    posteriors_NK, _, _ = ours(folder, pixels_NCHW)
    with torch.no_grad():
        theirs_NK = theirs(torch.from_numpy(as_caffe_NCHW)).softmax(1)
    np.testing.assert_allclose(theirs_NK, posteriors_NK, **CLOSE)


HALF_BN = Model("half", ["conv3-64", "BN", "conv3-64", "maxpool", *["conv3-64", "BN", "maxpool"] * 4])


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        ("A-LRN", "norm1"),
        ("C", "conv3_3"),
        ("B-5x5", "conv1_1"),
        ("A-BN-skip", "skip3_1"),
        (HALF_BN, "conv1_2"),
    ],
)
@pytest.mark.parametrize("to", ["torchvision", "timm"])
def test_nets_that_they_have_not_are_refused(model, layer, to, tmp_path):
    folder = random_run(tmp_path, model)
    with pytest.raises(ConfigError, match=rf"{to}'s VGG has only 3x3 convolutions and max-pools, .* no {layer} \("):
        export(folder, to, tmp_path / "out.pth")
    assert not list(tmp_path.glob("*out.pth*"))


@pytest.mark.parametrize("to", ["torchvision", "timm"])
def test_a_trained_bn_net_is_their_bn_net(to, tmp_path):
    """A deeper one has no name there, but the same parts."""
    for model, pairs in (("D-BN", 13), ("F-BN", 24)):
        folder = random_run(tmp_path / model, model)
        net = vgg_sweep.load(folder.path).net
        hand_built = {"torchvision": hand_built_torchvision, "timm": hand_built_timm}[to]
        theirs = hand_built(net, **{"torchvision": {"batch_norm": True}, "timm": {"norm_layer": nn.BatchNorm2d}}[to])
        file = export(folder, to, tmp_path / f"{model}.pth").file
        theirs.load_state_dict(torch.load(file, weights_only=True), assign=True)
        assert sum(isinstance(module, nn.BatchNorm2d) for module in theirs.modules()) == pairs
        posteriors_NK, _, images_NCHW = ours(folder, pixels(2, 64, 64))
        with torch.no_grad():
            np.testing.assert_allclose(theirs(images_NCHW).softmax(1), posteriors_NK, **CLOSE)


def test_at_papers_size_the_code_is_theirs_alone():
    from tests.tiny import tiny_config
    from vgg_sweep.nets.vgg import VGG

    for name, theirs in {"A": "vgg11", "B": "vgg13", "D": "vgg16", "E": "vgg19", "C": None}.items():
        with torch.device("meta"):
            columns = tiny_config(Path(), name).model.columns
            assert state_dicts.paper_name(VGG(columns)) == theirs
            assert state_dicts.paper_name(VGG(columns, crop=192)) is None
            assert state_dicts.paper_name(VGG(columns, width=0.5)) is None
            if theirs is not None:
                with_bn = VGG(with_batch_norm(name).columns)
                assert state_dicts.paper_name(with_bn) == f"{theirs}_bn"
                expected = getattr(torchvision.models, f"{theirs}_bn")().state_dict()
                assert {key: value.shape for key, value in with_bn.state_dict().items()} == {
                    key: value.shape for key, value in expected.items()
                }


def assert_same_tensors(file, other):
    ours, theirs = (torch.load(each, weights_only=True) for each in (file, other))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype
        assert torch.equal(ours[name], tensor), name


@pytest.mark.parametrize("to", ["torchvision", "timm"])
@pytest.mark.parametrize("model", ["A", "B", "D", "E", "D-BN"])
def test_what_was_imported_goes_out_as_it_came(model, to, tmp_path, monkeypatch):
    pytest.importorskip("timm")
    from tests.foreign import timm_net, torchvision_net

    monkeypatch.chdir(tmp_path)
    make = {"torchvision": torchvision_net, "timm": timm_net}[to]
    net = make(model.removesuffix("-BN"), batch_norm=model.endswith("-BN"))
    torch.save(net.state_dict(), "in.pth")
    folder = imported("in.pth", preprocessing=load_option("preprocessing", "torchvision"))
    assert_same_tensors(export(folder, to, Path("out.pth")).file, "in.pth")


def test_so_does_what_came_in_the_order_blue_green_red(tmp_path, monkeypatch):
    pytest.importorskip("timm")
    from tests.foreign import torchvision_net

    monkeypatch.chdir(tmp_path)
    torch.save(torchvision_net("A").state_dict(), "in.pth")
    folder = imported("in.pth", preprocessing=load_option("preprocessing", "caffe"))
    exported = export(folder, "torchvision", Path("out.pth"))
    assert_same_tensors(exported.file, "in.pth")
    card = exported.card.read_text()
    assert "images_NCHW = pixels_NCHW[:, ::-1] * np.float32(255.0 / 255) - mean_C11  # BGR" in card
    assert "vgg-sweep import in.pth preprocessing=caffe" in card
