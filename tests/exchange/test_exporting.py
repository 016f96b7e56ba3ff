"""Exports, read by the libraries they are for. Axes: N images, C colours, H W pixels, K classes, h w map positions."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

import vgg_sweep
from tests.tiny import CLASSES, IMPORTED, random_run, with_batch_norm
from vgg_sweep.cli.card import export
from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Model
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.exchange import exporting, writers
from vgg_sweep.exchange.writers import program, state_dicts

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
SIZES = [(2, 64, 64), (1, 97, 150)]
"""N H W: crops, and one larger image with odd sides."""


def pixels(num_images: int, height: int, width: int) -> np.ndarray:
    shape = (num_images, 3, height, width)
    return np.random.default_rng(height).integers(0, 256, shape, np.uint8)


def ours(folder, pixels_NCHW):
    """posteriors_NK, scores_NKhw and the input, by the package's own net and the formula of the preprocessing."""
    loaded = vgg_sweep.load(folder.path)
    own = loaded.preprocessing
    images_NCHW = pixels_NCHW / 255 * own.pixel_max - np.array(own.mean)[:, None, None]
    images_NCHW = torch.from_numpy(images_NCHW.astype(np.float32))
    with torch.no_grad():
        scores_NKhw = loaded.net(images_NCHW)
    return scores_NKhw.mean((2, 3)).softmax(1).numpy(), scores_NKhw.numpy(), images_NCHW


def run_onnx(file, pixels_NCHW):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(file)
    return session.run(["posteriors", "scores"], {"pixels": pixels_NCHW.astype(np.float32)})


def run_keras(file, pixels_NCHW):
    keras = pytest.importorskip("keras")
    outputs = keras.models.load_model(file)(pixels_NCHW.transpose(0, 2, 3, 1).astype(np.float32))
    posteriors_NK, scores_NhwK = (np.array(output.detach().tolist(), np.float32) for output in outputs)
    return posteriors_NK, scores_NhwK.transpose(0, 3, 1, 2)


def run_pt2(file, pixels_NCHW):
    with torch.no_grad():
        return [each.numpy() for each in torch.export.load(file).module()(torch.from_numpy(pixels_NCHW).float())]


PROJECTED = Model("A-BN-1x1", [word.replace("skip", "skip-1x1") for word in load_option("model", "A-BN-skip").columns])
NETS = {
    "D": ("D", {}),
    "A-LRN, ceil": ("A-LRN", {"pool_ceil": True}),
    "C": ("C", {}),
    "A with BN, imported": (with_batch_norm("A"), IMPORTED),
    "D-BN": ("D-BN", {}),
    "A-skip": ("A-skip", {}),
    "A-BN with 1x1 shortcuts": (PROJECTED, {}),
}
SLOW = {"keras": ["A-LRN, ceil", "A with BN, imported"], "pt2": ["A-LRN, ceil"]}
ONE_FC = {"res-20": ("res-20", {"width": 1 / 4, "crop": 64})}
"""Not imported again, since its size cannot be told from its tensors."""
PROGRAMS = {"onnx": run_onnx, "keras": run_keras, "pt2": run_pt2}


@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")
@pytest.mark.parametrize(
    ("to", "net"),
    [
        *((to, net) for to in PROGRAMS for net in SLOW.get(to, NETS)),
        ("onnx", "res-20"),
        ("pt2", "A-BN with 1x1 shortcuts"),
    ],
)
def test_a_program_sees_pixels_of_any_size_as_the_net_does(to, net, tmp_path):
    pytest.importorskip({"onnx": "onnx"}.get(to, "torch"))
    model, settings = (NETS | ONE_FC)[net]
    folder = random_run(tmp_path, model, **settings)
    file = export(folder, to, tmp_path).file
    for size in SIZES:
        pixels_NCHW = pixels(*size)
        posteriors_NK, scores_NKhw, _ = ours(folder, pixels_NCHW)
        theirs_NK, theirs_NKhw = PROGRAMS[to](str(file), pixels_NCHW)
        assert theirs_NKhw.shape == scores_NKhw.shape
        np.testing.assert_allclose(theirs_NK, posteriors_NK, **CLOSE)
        np.testing.assert_allclose(theirs_NKhw, scores_NKhw, rtol=1e-4, atol=1e-5)
    assert posteriors_NK.std() > 0.01  # the classes are told apart


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
    with pytest.raises(ConfigError, match=rf"{to}'s VGG has 3x3 convolutions and max-pools alone, .* no {layer} \("):
        export(folder, to, tmp_path / "out.pth")
    assert not list(tmp_path.glob("*out.pth*"))


@pytest.mark.parametrize(("model", "layer"), [("A-skip", "skip3_1"), ("plain-20", "conv2_1"), ("res-20", "skip1_1")])
@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_keras_has_no_place_for_shortcuts_and_strides(model, layer, ending, tmp_path):
    pytest.importorskip("keras")
    with pytest.raises(ConfigError, match=rf"have|has no place for {layer} \(.*; export it to onnx or pt2"):
        export(random_run(tmp_path, model), "keras", tmp_path / f"out.{ending}")


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


def test_a_net_with_one_fc_layer_is_not_imported_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = export(random_run(tmp_path, "res-20"), "safetensors", Path("out.file")).file
    with pytest.raises(RunError, match="res-20 ends in avgpool, and such nets are not imported"):
        imported(file)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")
@pytest.mark.parametrize("model", ["D", "C"])
def test_keras_loads_the_h5_by_its_own_layout(model, tmp_path):
    h5py = pytest.importorskip("h5py")
    folder = random_run(tmp_path, model)
    exported = export(folder, "keras", tmp_path / "out.h5")
    state = vgg_sweep.load(folder.path).net.state_dict()
    with h5py.File(exported.file) as file:
        names = [str(name, "ascii") for name in file.attrs["layer_names"]]
        assert names[:3] == ["block1_conv1", "block1_conv2", "block2_conv1"]
        assert names[-3:] == ["fc1", "fc2", "predictions"]
        fc1 = file["fc1/fc1/kernel:0"][...]  # [h * w * c, out] of a 2x2 map
        conv = file["block2_conv1/block2_conv1/kernel:0"][...]
    own = state["classifier.0.weight"].numpy()
    channels = own.shape[1] // 4
    for h, w, c in np.ndindex(2, 2, channels):
        np.testing.assert_array_equal(fc1[(h * 2 + w) * channels + c], own[:, c * 4 + h * 2 + w])
    np.testing.assert_array_equal(conv[2, 0], state["features.5.weight"][:, :, 2, 0].T)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")
def test_the_h5_has_no_place_for_lrn(tmp_path):
    pytest.importorskip("h5py")
    with pytest.raises(ConfigError, match=r"no place for norm1; write a \.keras file instead"):
        export(random_run(tmp_path, "A-LRN"), "keras", tmp_path / "out.h5")


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


@pytest.mark.parametrize("to", ["torchvision", "onnx", "safetensors"])
def test_the_cards_code_runs_from_an_image_file(to, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    folder = random_run(tmp_path, "D")
    exported = export(folder, to, tmp_path)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pixels(1, 90, 120)[0].transpose(1, 2, 0)).save("image.jpg")
    [code] = re.findall(r"```python\n(.*?)```", exported.card.read_text(), re.DOTALL)
    variables: dict[str, object] = {}
    exec(code, variables)
    loaded = vgg_sweep.load(folder.path)
    images_1CHW = loaded.input("image.jpg")
    if to == "torchvision":
        top, left = (images_1CHW.shape[2] - 64) // 2, (images_1CHW.shape[3] - 64) // 2
        images_1CHW = images_1CHW[:, :, top : top + 64, left : left + 64]
    with torch.no_grad():
        expected_1K = loaded.net(images_1CHW).mean((2, 3)).softmax(1)
    np.testing.assert_allclose(variables["posteriors_NK"], expected_1K, **CLOSE)


def test_a_file_that_is_there_is_kept(tmp_path):
    folder = random_run(tmp_path)
    file = tmp_path / "out.pth"
    file.write_text("mine")
    with pytest.raises(ConfigError, match="out.pth is there already; give --force"):
        export(folder, "torchvision", file)
    assert file.read_text() == "mine"
    export(folder, "torchvision", file, force=True)
    assert len(torch.load(file, weights_only=True)) == 32


def test_what_does_not_agree_is_not_written(tmp_path, monkeypatch):
    folder = random_run(tmp_path)
    honest = state_dicts.file_state

    def with_one_bias_changed(loaded):
        state = honest(loaded)
        return {**state, "features.0.bias": state["features.0.bias"] + 1e-2}

    monkeypatch.setattr(state_dicts, "file_state", with_one_bias_changed)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError, match="gives other posteriors than ours"):
        export(folder, "torchvision", tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    folder = random_run(tmp_path)

    def fail_half_way(loaded, path):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(program, "save_pt2", fail_half_way)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError, match="No space"):
        export(folder, "pt2", tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")
@pytest.mark.parametrize(("to", "package"), [("timm", "timm"), ("onnx", "onnxruntime"), ("keras", "keras")])
def test_a_missing_package_is_named_with_its_extra(to, package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "vgg_sweep.exchange.writers.keras", raising=False)
    monkeypatch.delattr(writers, "keras", raising=False)
    with pytest.raises(ConfigError, match=rf"--to {to} needs a package that is not installed .* 'vgg-sweep\[{to}\]'"):
        export(random_run(tmp_path), to, tmp_path)


def test_wrong_places_are_said(tmp_path):
    with pytest.raises(ConfigError, match="nowhere is not a folder; make it first"):
        export(random_run(tmp_path), "torchvision", tmp_path / "nowhere" / "out.pth")
    for name in ("net", "net.pth", "net.weights.h5"):
        with pytest.raises(ConfigError, match=f"{name}: Keras knows a file by its ending; give it .keras or .h5"):
            export(random_run(tmp_path), "keras", tmp_path / name)


def test_the_difference_is_that_of_log_posteriors(tmp_path):
    folder = random_run(tmp_path)

    def example(loaded, file):
        return [
            "import vgg_sweep",
            f"posteriors_NK = vgg_sweep.load({str(folder.path)!r}).posteriors(pixels_NCHW).numpy()",
            "posteriors_NK[0, 0] *= 1.001",
        ]

    wrong = exporting.Format(".x", lambda loaded, path: None, example)
    posteriors_NK = ours(folder, np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), np.uint8))[0]
    expected = np.log(1.001) / max(1, np.abs(np.log(posteriors_NK)).max())
    difference = exporting._difference(vgg_sweep.load(folder.path), wrong, Path("x"))
    assert difference == pytest.approx(expected, rel=0.5)  # the larger image has another scale
    assert difference > exporting.TOLERANCE


def test_class_names_travel_with_onnx(tmp_path):
    onnx = pytest.importorskip("onnx")
    exported = export(random_run(tmp_path), "onnx", tmp_path)
    model = onnx.load(exported.file)
    assert {entry.key: entry.value for entry in model.metadata_props}["classes"] == str(CLASSES).replace("'", '"')
    assert [node.name for node in model.graph.node[:5]] == ["gain", "offset", "conv1_1", "relu1_1", "conv1_2"]


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


@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")
def test_so_does_an_h5(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    from tests.exchange.test_importing import oxfords
    from tests.exchange.test_keras import keras_layers, write_keras_2
    from tests.foreign import torchvision_net

    monkeypatch.chdir(tmp_path)
    write_keras_2(Path("in.h5"), keras_layers(oxfords(torchvision_net("D"))), "/")
    exported = export(imported("in.h5", preprocessing=load_option("preprocessing", "caffe")), "keras", Path("out.h5"))

    def datasets(path):
        found = {}
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item: found.update({name: item[...]} if isinstance(item, h5py.Dataset) else {})
            )
        return found

    ours, theirs = datasets(exported.file), datasets("in.h5")
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, name)


def imported(file, **settings):
    from tests.exchange.test_importing import imported

    return imported(file, **settings)


COMES_BACK = [
    *((to, net) for to in ["safetensors", *PROGRAMS] for net in SLOW.get(to, NETS)),
    *((to, net) for to in ["torchvision", "timm"] for net in ("D", "A with BN, imported")),
    *((to, "D, imported") for to in ["h5", "torchvision", "onnx", "keras"]),
    ("h5", "D"),
    ("h5", "C"),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")
@pytest.mark.parametrize(("to", "net"), COMES_BACK)
def test_every_export_comes_back_by_itself_with_the_same_answers(to, net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, settings = (NETS | {"D, imported": ("D", IMPORTED)})[net]
    folder = random_run(tmp_path, model, train_scale=load_option("train_scale", "384"), **settings)
    out = Path(f"out.{to if to in ('h5', 'keras') else 'file'}")
    file = export(folder, "keras" if to == "h5" else to, out).file
    came_back = imported(file)
    back, was = vgg_sweep.load(came_back.path), vgg_sweep.load(folder.path)
    assert back.classes == CLASSES
    assert (back.config.model, back.config.pool_ceil) == (was.config.model, was.config.pool_ceil)
    assert (back.test_scale_px, back.config.data.name) == (was.test_scale_px, "fractals")
    for size in SIZES:
        posteriors_NK, scores_NKhw, _ = ours(folder, pixels(*size))
        np.testing.assert_allclose(back.posteriors(pixels(*size)), posteriors_NK, **CLOSE)
        np.testing.assert_allclose(ours(came_back, pixels(*size))[1], scores_NKhw, rtol=1e-4, atol=1e-5)


def test_what_the_user_says_stands_above_what_the_file_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = export(random_run(tmp_path, "D"), "torchvision", Path("out.pth")).file
    caffe = load_option("preprocessing", "caffe")
    config = vgg_sweep.load(imported(file, preprocessing=caffe, pool_ceil=True).path).config
    assert (config.preprocessing, config.pool_ceil) == (caffe, True)
    assert config.train_scale.name == "256"


def test_a_folder_that_is_not_there_is_made_if_it_is_named_as_one(tmp_path, call):
    folder = random_run(tmp_path, "A")
    outcome = call("export", str(folder.path), "--to", "torchvision", "--out", "new/deep/")
    assert outcome.exit_code == 0, outcome.err
    assert sorted(path.suffix for path in (tmp_path / "new" / "deep").iterdir())[0] == ".md"
