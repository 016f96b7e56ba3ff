"""Exports of any kind: proved, whole or not there, with a card, and back again."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vgg_sweep
from tests.exchange.exports import CLOSE, NETS, PROGRAMS, SIZES, SLOW, imported, ours, pixels
from tests.tiny import CLASSES, IMPORTED, random_run
from vgg_sweep.cli.card import export
from vgg_sweep.config.options import load_option
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.exchange import exporting, writers
from vgg_sweep.exchange.writers import program, state_dicts


def test_a_net_with_one_fc_layer_is_not_imported_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = export(random_run(tmp_path, "res-20"), "safetensors", Path("out.file")).file
    with pytest.raises(RunError, match="res-20 ends in avgpool, and such nets are not imported"):
        imported(file)


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
    with pytest.raises(ConfigError, match="out.pth already exists; give --force"):
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
        with pytest.raises(ConfigError, match=f"{name}: Keras goes by a file's extension; use .keras or .h5"):
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
