"""Files without FC layers: recognised, converted and kept as trunks, against the features of the nets they are from."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
import torch
from torch import Tensor, nn

from tests.conftest import Outcome
from tests.exchange.test_importing import (  # noqa: F401
    CAFFE,
    PIXELS_NCHW,
    TORCHVISION,
    assert_same,
    imported,
    in_a_folder_of_its_own,
    oxfords,
)
from tests.exchange.test_keras import keras_layers, write_keras_2, write_keras_3
from tests.foreign import normalised, torchvision_net
from vgg_sweep.config.imported import Imported
from vgg_sweep.config.options import load_option
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.nets.columns import parse_columns
from vgg_sweep.nets.weights import load_state, read_metadata
from vgg_sweep.plan.folders import read_run
from vgg_sweep.predict.trained import load
from vgg_sweep.runs.folder import RunFolder

TRUNK = Imported(trunk=True)


def features(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name.startswith(("features.", "conv"))}


def pool5(folder: RunFolder, pixels_NCHW: Tensor = PIXELS_NCHW) -> Tensor:
    """pool5_NChw of the run for RGB pixels."""
    loaded = load(folder.path)
    mean_C, std_C = (
        torch.tensor(values)[:, None, None] for values in (loaded.preprocessing.mean, loaded.preprocessing.std)
    )
    with torch.inference_mode():
        return loaded.net.features((pixels_NCHW.float() / 255 * loaded.preprocessing.pixel_max - mean_C) / std_C)


NAMES: dict[str, Callable[[str], str]] = {
    "as in a whole net": lambda name: name,
    "of vgg.features": lambda name: name.removeprefix("features."),
    "behind prefixes": lambda name: f"model.encoder.{name}",
    "of Cadene": lambda name: f"_{name}",
}


@pytest.mark.parametrize(
    ("names", "model", "batch_norm"), [*zip(NAMES, "ADBE", (False, False, True, True), strict=True)]
)
def test_a_file_without_fc_layers_gives_the_features_of_its_net(names: str, model: str, batch_norm: bool) -> None:
    net = torchvision_net(model, batch_norm=batch_norm)
    torch.save({NAMES[names](name): tensor for name, tensor in features(net.state_dict()).items()}, "net.pth")
    notes: list[str] = []
    asked = {"model": load_option("model", "A")} if names == "as in a whole net" else {}  # A-LRN's tensors are A's
    folder = imported("net.pth", notes, preprocessing=TORCHVISION, **asked)
    config = read_run(folder).config
    assert config.model.name == (f"{model}-BN" if batch_norm else model)
    assert config.imported.trunk and config.classes is None and config.width == 1 / 16
    assert "as a trunk" in notes[0] and notes[-1].startswith("  no FC layers: features up to pool5")
    with torch.inference_mode():
        assert_same(pool5(folder), net.features(normalised(PIXELS_NCHW)))  # type: ignore[operator]


def test_what_is_on_disk_is_the_convolutions_alone() -> None:
    torch.save(features(torchvision_net("D").state_dict()), "net.pth")
    folder = imported("net.pth", preprocessing=TORCHVISION)
    assert load_state(folder.weights).keys() == features(torchvision_net("D").state_dict()).keys()
    assert json.loads(read_metadata(folder.weights)["classes"]) == []
    assert folder.record()["imported"]["classifies"] is False and folder.record()["imported"]["trunk"] is True


@pytest.mark.parametrize("layout", ["weights", "model", "keras 3"])
def test_a_notop_h5_in_bgr_gives_the_features_of_its_net(layout: str) -> None:
    net = torchvision_net("D")
    layers = keras_layers(features(oxfords(net)))
    if layout == "keras 3":
        write_keras_3(Path("net.h5"), layers)
    else:
        write_keras_2(Path("net.h5"), layers, "model_weights" if layout == "model" else "/")
    folder = imported("net.h5", preprocessing=CAFFE)
    bgr_NCHW = PIXELS_NCHW.flip(1).float() - torch.tensor(CAFFE.mean)[:, None, None]
    with torch.inference_mode():
        assert_same(pool5(folder), net.features(bgr_NCHW))  # type: ignore[operator]


def write_edges(path: Path, tensors: dict[str, Tensor]) -> None:
    """As Keras 3 keeps a model that is a class of its own: a block of layers to an attribute, and outputs beside."""
    with h5py.File(path, "w") as file:
        for name, (kernel, bias) in keras_layers(tensors).items():
            block, _, conv = name.partition("_")
            place = int(conv[-1]) - 1
            variables = file.create_group(f"{block}/layers/conv2d{f'_{place}' if place else ''}/vars")
            variables.attrs["name"] = name
            variables["0"], variables["1"] = kernel, bias
        for name, shape in {"fuse": (1, 1, 5, 1), "depthwise": (3, 3, 4), "scale": (2,)}.items():
            variables = file.create_group(f"{name}/vars")
            variables.attrs["name"] = name
            variables["0"] = torch.rand(shape).numpy()


def test_the_trunk_of_another_model_is_taken_where_that_is_asked_for() -> None:
    net = torchvision_net("D")
    write_edges(Path("edges.h5"), features(oxfords(net)))
    notes: list[str] = []
    folder = imported("edges.h5", notes, preprocessing=CAFFE, imported=TRUNK)
    assert any(note == "  left out, as no part of the trunk: depthwise.0, fuse.0, scale.0" for note in notes)
    bgr_NCHW = PIXELS_NCHW.flip(1).float() - torch.tensor(CAFFE.mean)[:, None, None]
    with torch.inference_mode():
        assert_same(pool5(folder), net.features(bgr_NCHW))  # type: ignore[operator]


def test_what_else_a_file_holds_is_left_only_if_that_is_asked_for() -> None:
    state = features(torchvision_net("B").state_dict())
    more = {"decoder.0.weight": torch.ones(2, 2), "decoder.0.bias": torch.ones(2)}
    torch.save({f"encoder.{name}": tensor for name, tensor in state.items()} | more, "net.pth")
    with pytest.raises(RunError, match=r"of B without its FC layers, and decoder.0.weight, decoder.0.bias; give "
                                       r"imported.trunk=true to take"):  # fmt: skip
        imported("net.pth", preprocessing=TORCHVISION)
    assert not Path("sweep").exists()
    folder = imported("net.pth", preprocessing=TORCHVISION, imported=TRUNK)
    assert all(torch.equal(tensor, state[name]) for name, tensor in load_state(folder.weights).items())


@pytest.mark.parametrize("make", [lambda net: net.state_dict(), oxfords])
def test_of_a_whole_net_the_trunk_alone_can_be_taken(make: Callable[[nn.Module], dict[str, Tensor]]) -> None:
    net = torchvision_net("D")
    torch.save(make(net), "net.pth")
    notes: list[str] = []
    folder = imported("net.pth", notes, preprocessing=TORCHVISION, imported=TRUNK)
    assert read_run(folder).config.model.name == "D"  # among whose layers are all of A's, under the paper's names
    own = load_state(folder.weights)
    assert own.keys() == features(net.state_dict()).keys()
    assert all(torch.equal(tensor, own[name]) for name, tensor in features(net.state_dict()).items())
    assert any("left out" in note and "weight" in note for note in notes)


def test_half_a_trunk_and_other_nets_are_refused() -> None:
    state = features(torchvision_net("D").state_dict())
    torch.save({name: tensor for name, tensor in state.items() if name != "features.7.bias"}, "half.pth")
    with pytest.raises(RunError, match="nearest is D in torchvision's names: the file lacks features.7.bias"):
        imported("half.pth", preprocessing=TORCHVISION, imported=TRUNK)
    torch.save({"layer1.0.conv1.weight": torch.ones(2, 2), "layer1.0.bn1.weight": torch.ones(2)}, "resnet.pth")
    for asked in (Imported(), TRUNK):
        with pytest.raises(RunError, match="neither an FC layer nor a first convolution"):
            imported("resnet.pth", preprocessing=TORCHVISION, imported=asked)
    torch.save(
        features(torchvision_net("B").state_dict()) | {"features.0.weight": torch.full((4, 3, 3, 3), torch.nan)},
        "nan.pth",
    )
    with pytest.raises(RunError, match="features.0.weight hold non-finite numbers"):
        imported("nan.pth", preprocessing=TORCHVISION)


def test_a_trunk_has_no_scores(call: Callable[..., Outcome]) -> None:
    torch.save(features(torchvision_net("D").state_dict()), "net.pth")
    outcome = call("import", "net.pth", "out=outputs/mine", "preprocessing=torchvision")
    (folder,) = Path("outputs/mine").glob("D-*")
    assert outcome.exit_code == 0 and "To score" not in outcome.out
    Path("images/val/n01440764").mkdir(parents=True)
    from PIL import Image

    Image.new("RGB", (300, 300)).save("images/val/n01440764/1.png")
    Image.new("RGB", (300, 300)).save("1.png")
    for words in (["score", str(folder), "data.root=images"], ["predict", str(folder), "1.png"]):
        assert "this net is a trunk, without FC layers" in call(*words).err
    assert "is a trunk, without FC layers, and has no posteriors" in call("export", str(folder), "--to", "timm").err
    with pytest.raises(ConfigError, match="the net has no layer fc7; choose one of"):
        load(folder).features(PIXELS_NCHW[0].permute(1, 2, 0).numpy(), "fc7", 64)


def test_a_trunk_is_a_column_without_fc_layers() -> None:
    whole = parse_columns(["conv3-64", *["maxpool"] * 5], width=1, classes=5, crop=32)
    assert parse_columns(["conv3-64", *["maxpool"] * 5], width=1, classes=0, crop=32) == whole[:-3]
