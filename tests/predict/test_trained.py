"""Nets as a library. Axes: N images, C channels, H W pixels, K classes, h w positions of a layer."""

import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

import vgg_sweep
from tests.paths import ROOT
from tests.predict.test_predict import scored
from tests.tiny import CLASSES, IMPORTED, MEAN_RGB, random_run, with_batch_norm
from vgg_sweep.cli.card import export
from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Data
from vgg_sweep.errors import ConfigError, RunError

DOCS = ROOT / "docs" / "weights.md"


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_the_net_the_classes_and_the_preprocessing_come_together(tmp_path):
    folder = random_run(tmp_path)
    loaded = vgg_sweep.load(folder.path)
    assert loaded.classes == CLASSES
    assert not loaded.net.training
    assert all(torch.equal(loaded.net.state_dict()[name], tensor) for name, tensor in load_file(folder.weights).items())
    pixels_HWC = noise(90, 73)  # Q of S=256 at crop 64 is 73 px, so that nothing is rescaled
    expected_CHW = (pixels_HWC.transpose(2, 0, 1) / 255 - np.array(MEAN_RGB)[:, None, None]) * 4.0
    np.testing.assert_allclose(loaded.input(pixels_HWC)[0], expected_CHW, rtol=1e-5, atol=1e-5)


def test_a_file_a_picture_and_an_array_are_the_same_to_it(tmp_path):
    loaded = vgg_sweep.load(random_run(tmp_path).path)
    pixels_HWC = noise(120, 160)
    image = Image.fromarray(pixels_HWC)
    image.save(tmp_path / "image.png")
    inputs = [
        loaded.input(each, 80) for each in (tmp_path / "image.png", str(tmp_path / "image.png"), image, pixels_HWC)
    ]
    assert inputs[0].shape == (1, 3, 80, 107)
    assert all(torch.equal(each, inputs[0]) for each in inputs)


def test_arrays_are_grey_coloured_or_refused(tmp_path):
    loaded = vgg_sweep.load(random_run(tmp_path).path)
    grey_HW = noise(90, 73)[:, :, 0]
    of_three = loaded.input(np.stack([grey_HW] * 3, axis=2))
    assert torch.equal(loaded.input(grey_HW), of_three)
    opaque_HW1 = np.full((90, 73, 1), 255, np.uint8)
    assert torch.equal(loaded.input(np.concatenate([noise(90, 73), opaque_HW1], axis=2)), loaded.input(noise(90, 73)))
    for wrong, words in (
        (noise(90, 73) / 255, "float64 [90, 73, 3]"),
        (noise(90, 73).transpose(2, 0, 1), "[3, 90, 73]"),
    ):
        with pytest.raises(ConfigError, match=re.escape(words)):
            loaded.input(wrong)


def test_features_are_what_plain_torch_computes(tmp_path):
    loaded = vgg_sweep.load(random_run(tmp_path, "A").path)
    state = loaded.net.state_dict()
    images = [noise(73, 73), noise(100, 140, seed=1)]
    for image, conv2_1, fc6, before in zip(
        images,
        loaded.features(images, "conv2_1"),
        loaded.features(images, "fc6"),
        loaded.features(images, "fc6", before_relu=True),
        strict=True,
    ):
        x = loaded.input(image)
        x = F.max_pool2d(F.conv2d(x, state["features.0.weight"], state["features.0.bias"], padding=1).relu(), 2)
        expected = F.conv2d(x, state["features.3.weight"], state["features.3.bias"], padding=1).relu()
        torch.testing.assert_close(conv2_1, expected[0])
        pool5 = loaded.features(image, "pool5")[0]
        kernel = state["classifier.0.weight"].reshape(len(fc6), -1, 2, 2)
        expected = F.conv2d(pool5[None], kernel, state["classifier.0.bias"])[0]
        torch.testing.assert_close(before, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(fc6, before.relu())
        assert (before < 0).any()


def test_fc7_is_torchvisions_penultimate_activation(tmp_path):
    loaded = vgg_sweep.load(random_run(tmp_path, "D").path)
    theirs = torchvision.models.VGG(loaded.net.features, num_classes=6).eval()
    theirs.avgpool = torch.nn.Identity()
    for index in (0, 3, 6):
        ours = loaded.net.classifier[index]
        theirs.classifier[index] = torch.nn.Linear(ours.in_features, ours.out_features)
    theirs.load_state_dict(loaded.net.state_dict())
    theirs.classifier = theirs.classifier[:5]
    crop = noise(64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded.features(crop, "fc7", 64)[0][:, 0, 0], theirs(loaded.input(crop, 64))[0])


@pytest.mark.parametrize(
    ("layer", "options", "sentence"),
    [
        ("conv5_4", {}, "the net has no layer conv5_4; choose one of conv1_1, "),
        ("pool5", {"before_relu": True}, "no ReLU follows pool5"),
        ("fc8", {"before_relu": True}, "no ReLU follows fc8"),
        ("fc6", {"Q_px": 50}, "The image is too small: fc6 needs 2 positions a side and gets 1"),
    ],
)
def test_features_that_there_are_not_are_refused(layer, options, sentence, tmp_path):
    loaded = vgg_sweep.load(random_run(tmp_path).path)
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        loaded.features(noise(64, 64), layer, **options)


def test_small_images_have_features_below_the_fc_layers(tmp_path):
    loaded = vgg_sweep.load(random_run(tmp_path).path)
    assert loaded.features(noise(33, 47), "conv5_3", 33)[0].shape[1:] == (2, 2)


def test_batch_normalisation_comes_before_the_relu(tmp_path):
    loaded = vgg_sweep.load(random_run(tmp_path, with_batch_norm("A"), **IMPORTED).path)
    image = noise(64, 64)
    conv, norm = loaded.net.features[:2]
    with torch.no_grad():
        expected = norm(conv(loaded.input(image)))[0]
    torch.testing.assert_close(loaded.features(image, "conv1_1", before_relu=True)[0], expected)
    torch.testing.assert_close(loaded.features(image, "conv1_1")[0], expected.relu())


def test_an_exported_file_is_as_good_as_its_run(tmp_path):
    data = Data(name="mine", source="folder", root="/somewhere/private")
    folder = random_run(tmp_path, "A-LRN", pool_ceil=True, data=data)
    exported = export(folder, "safetensors", tmp_path / "net.safetensors")
    ours, again = vgg_sweep.load(folder.path), vgg_sweep.load(exported.file)
    assert (again.classes, again.preprocessing) == (ours.classes, ours.preprocessing)
    own = replace(ours.config, data=replace(data, root=None), out="outputs/mine", cache="outputs/cache")
    assert again.config == own
    content = exported.file.read_bytes()
    assert b"private" not in content
    assert str(tmp_path).encode() not in content
    pixels_NCHW = noise(101, 83).transpose(2, 0, 1)[None]
    assert torch.equal(again.posteriors(pixels_NCHW), ours.posteriors(pixels_NCHW))


def test_what_cannot_be_loaded_is_said(tmp_path):
    folder = random_run(tmp_path)
    with pytest.raises(ConfigError, match="nowhere is neither the folder nor the name of a run"):
        vgg_sweep.load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="is neither the folder nor the name of a run"):
        vgg_sweep.load(tmp_path)
    with pytest.raises(ConfigError, match=r"does not say what net it is; `vgg-sweep import .*` makes a run of it"):
        vgg_sweep.load(folder.weights.rename(tmp_path / "bare.safetensors"))
    with pytest.raises(ConfigError, match="holds no finished net"):
        vgg_sweep.load(folder.path)
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(RunError, match="cannot be read as weights"):
        vgg_sweep.load(tmp_path / "text")


def test_weights_inside_a_run_folder_are_loaded_with_it(tmp_path):
    folder = random_run(tmp_path)
    assert vgg_sweep.load(folder.weights).classes == CLASSES


def test_the_example_in_the_documentation_runs(tmp_path, monkeypatch):
    folder = random_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(noise(120, 150)).save("image.jpg")
    text = DOCS.read_text()
    [code] = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "vgg_sweep.load" in block]
    variables: dict[str, object] = {}
    exec(code.replace("outputs/demo/D-jitter", str(folder.path)), variables)
    assert variables["conv5_3_Chw"].shape[0] == loaded_channels(folder)


def loaded_channels(folder) -> int:
    return next(layer.out_channels for layer in vgg_sweep.load(folder.path).net.layers if layer.name == "conv5_3")


@pytest.mark.parametrize("damage", ["binary", "folder", "half", "list"])
def test_a_damaged_configuration_is_named_and_nothing_is_to_be_removed(damage, tmp_path):
    folder = random_run(tmp_path)
    content = folder.config.read_bytes()
    folder.config.unlink()
    if damage == "folder":
        folder.config.mkdir()
    else:
        broken = {"binary": b"\xff\xfe\x00\x81", "half": content[: len(content) // 2] + b": [", "list": b"- a"}
        folder.config.write_bytes(broken[damage])
    with pytest.raises(RunError, match=r"config.yaml is not a whole configuration") as told:
        vgg_sweep.load(folder.path)
    assert "remove" not in str(told.value) and "\n" not in str(told.value)


def test_a_flipped_bit_in_scored_weights_is_noticed(tmp_path):
    folder = scored(random_run(tmp_path, protocol=load_option("protocol", "single")))
    vgg_sweep.load(folder.path)
    content = bytearray(folder.weights.read_bytes())
    content[-3] ^= 1
    folder.weights.write_bytes(content)
    with pytest.raises(RunError, match=r"weights.safetensors is damaged"):
        vgg_sweep.load(folder.path)


def test_a_flipped_bit_in_weights_is_noticed_before_they_are_scored_or_lent(tmp_path):
    folder = random_run(tmp_path)
    folder.update_record(weights_sha256=hashlib.sha256(folder.weights.read_bytes()).hexdigest())
    vgg_sweep.load(folder.path)
    content = bytearray(folder.weights.read_bytes())
    content[-3] ^= 1
    folder.weights.write_bytes(content)
    for use in (vgg_sweep.load, lambda path: folder.weights_fingerprint()):
        with pytest.raises(RunError, match=r"weights.safetensors is damaged .* remove only this file"):
            use(folder.path)
