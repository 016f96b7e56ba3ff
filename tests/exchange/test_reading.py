"""What people take for a file of weights: prefixes, several nets in a file, other formats; each is read or named."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.exchange.test_importing import CAFFE, TORCHVISION, imported, in_a_folder_of_its_own, oxfords, scores_of  # noqa: F401
from tests.exchange.test_keras import keras_layers, write_keras_3
from tests.foreign import timm_net, torchvision_net
from vgg_sweep.config.imported import Imported, Preprocessing
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.exchange.readers.files import read_weights


def read(path: str | Path) -> dict[str, Tensor]:
    return read_weights(Path(path), mirrored=None).tensors


def assert_equal(read: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize(
    "prefix",
    ["_orig_mod.", "module.", "_orig_mod.module.", "model.", "net.", "backbone.", "timm_model.", "model.encoder."],
)
@pytest.mark.parametrize("make", [torchvision_net, timm_net])
def test_a_common_prefix_is_stripped_and_said(prefix: str, make: object) -> None:
    state = make("A").state_dict()  # type: ignore[operator]
    torch.save({"state_dict": {f"{prefix}{name}": tensor for name, tensor in state.items()}, "epoch": 3}, "net.pth")
    assert_equal(read("net.pth"), state)
    notes: list[str] = []
    imported("net.pth", notes, preprocessing=TORCHVISION)
    assert f"  {prefix} was stripped from the names of all tensors" in notes


def test_names_without_a_prefix_are_kept() -> None:
    for state in (
        torchvision_net("A").state_dict(),
        oxfords(torchvision_net("D")),
        {"features.0.weight": torch.ones(1)},
    ):
        torch.save(state, "net.pth")
        assert_equal(read("net.pth"), state)


def test_a_renamed_last_layer_is_named_by_the_user() -> None:
    state = oxfords(torchvision_net("D"))
    torch.save({name.replace("fc8", "fc8-1"): tensor for name, tensor in state.items()}, "renamed.pth")
    torch.save(state, "net.pth")
    with pytest.raises(RunError, match=r"another name than fc8, give imported.last_layer=NAME") as told:
        imported("renamed.pth", preprocessing=CAFFE)
    assert "of another shape" not in str(told.value)  # the size is told by fc6
    with pytest.raises(ConfigError, match=r"imported.last_layer=fc9 is no layer of the file; it has conv1_1"):
        imported("renamed.pth", preprocessing=CAFFE, imported=Imported(last_layer="fc9"))
    renamed = imported("renamed.pth", preprocessing=CAFFE, imported=Imported(last_layer="fc8-1"))
    assert torch.equal(scores_of(renamed), scores_of(imported("net.pth", preprocessing=CAFFE)))


def test_one_of_several_nets_in_a_file_is_chosen() -> None:
    own, ema = (torchvision_net("A", seed=seed).state_dict() for seed in (0, 1))
    torch.save({"model": own, "ema": {"decay": 0.999, "shadow": ema}}, "both.pth")
    with pytest.raises(ConfigError, match=r"choose one with imported.state_dict=NAME.* model, ema.shadow"):
        imported("both.pth", preprocessing=TORCHVISION)
    with pytest.raises(ConfigError, match=r"no state dict emma; choose one of model, ema.shadow"):
        imported("both.pth", preprocessing=TORCHVISION, imported=Imported(state_dict="emma"))
    assert_equal(read_weights(Path("both.pth"), mirrored=None, state_dict="ema.shadow").tensors, ema)
    assert_equal(read_weights(Path("both.pth"), mirrored=None, state_dict="model").tensors, own)


def test_nothing_that_tells_no_preprocessing_is_taken_for_one() -> None:
    torch.save(oxfords(torchvision_net("D")), "oxford.pth")
    torch.save(timm_net("A").state_dict(), "timm.pth")
    write_keras_3(Path("keras.h5"), keras_layers(oxfords(torchvision_net("D"))))
    for file in ("oxford.pth", "timm.pth", "keras.h5"):
        with pytest.raises(ConfigError, match=f"{file} does not say for which preprocessing"):
            imported(file)
    assert not Path("sweep").exists()


@pytest.mark.parametrize(
    ("preprocessing", "sentence"),
    [
        (Preprocessing(), r"preprocessing.mean=\[\] must be three numbers, one for each of RGB"),
        (Preprocessing(mean=[1.0, 2.0]), r"preprocessing.mean=\[1.0, 2.0\] must be three numbers"),
        (Preprocessing(mean=[1.0] * 4), "must be three numbers"),
        (Preprocessing(mean=[1.0] * 3, std=[1.0]), r"preprocessing.std=\[1.0\] must be three numbers"),
        (Preprocessing(mean=[1.0] * 3, std=[0.0] * 3), r"preprocessing.std=\[0.0, 0.0, 0.0\] must be greater than 0"),
    ],
)
def test_a_preprocessing_that_cannot_be_is_refused(preprocessing: Preprocessing, sentence: str) -> None:
    torch.save(timm_net("A").state_dict(), "net.pth")
    with pytest.raises(ConfigError, match=sentence):
        imported("net.pth", preprocessing=preprocessing)
    assert not Path("sweep").exists()


def onnx_of_others() -> bytes:
    import onnx

    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
    body: bytes = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y])).SerializeToString()
    return body


def saved(how: str) -> bytes:
    match how:
        case "npy":
            np.save("array.npy", np.ones(3))
        case "npz":
            np.savez("array.npz", a=np.ones(3))
            return Path("array.npz").read_bytes()
        case "pt2":
            program = torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),))
            torch.export.save(program, "array.npy")
    return Path("array.npy").read_bytes()


FOREIGN = {
    "npy": "a NumPy array; import reads safetensors, PyTorch state dicts",
    "npz": "a NumPy .npz file; import reads",
    "pt2": "a program that `vgg-sweep export` did not write",
    "onnx": "a program that `vgg-sweep export` did not write",
    "mat": "a MATLAB .mat file; import reads",
    "t7": "a Lua Torch .t7 file; import reads",
    "ckpt": "a TensorFlow checkpoint; import reads",
    "html": "a web page, perhaps sent instead of the file; import reads",
    "lfs": "a Git LFS pointer, which `git lfs pull` replaces by the file; import reads",
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", FOREIGN)
def test_other_formats_are_named(kind: str) -> None:
    contents = {
        "onnx": onnx_of_others,
        "mat": lambda: b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(128) + bytes(200),
        "t7": lambda: b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1\x11\0\0\0torch.FloatTensor",
        "ckpt": lambda: bytes(100) + (0xDB4775248B80FB57).to_bytes(8, "little"),
        "html": lambda: b"<!DOCTYPE html>\n<html><head>Sign in</head></html>",
        "lfs": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:397923\nsize 553433881\n",
    }
    Path("net.pth").write_bytes(contents[kind]() if kind in contents else saved(kind))
    with pytest.raises(RunError) as told:
        imported("net.pth", preprocessing=CAFFE)
    assert str(told.value).startswith(f"net.pth is {FOREIGN[kind]}")
    assert "truncated" not in str(told.value)


def test_links_to_nothing_and_to_themselves_are_said() -> None:
    Path("dangling.pth").symlink_to("nowhere.pth")
    Path("loop.pth").symlink_to("loop.pth")
    Path("folder.pth").mkdir()
    with pytest.raises(RunError, match=r"there is no file dangling.pth\."):
        read("dangling.pth")
    with pytest.raises(RunError, match=r"loop.pth cannot be read \(Too many levels of symbolic links\)\."):
        read("loop.pth")
    with pytest.raises(RunError, match=r"folder.pth cannot be read \(Is a directory\)\."):
        read("folder.pth")


def test_a_keras_vgg_inside_another_model_is_found() -> None:
    tensors = oxfords(torchvision_net("D"))
    layers = keras_layers(tensors)
    convs = {name: arrays for name, arrays in layers.items() if name.startswith("block")}
    write_keras_3(Path("inner.h5"), convs)
    write_keras_3(Path("nested.h5"), {name: arrays for name, arrays in layers.items() if name not in convs})
    with h5py.File("nested.h5", "a") as file, h5py.File("inner.h5") as inner:
        file.copy(inner["layers"], file.create_group("layers/functional"), "layers")
    assert_equal(read("nested.h5"), tensors)
    with h5py.File("legacy.h5", "w") as file:
        heads = [name for name in layers if name not in convs]
        file.attrs["layer_names"] = [b"vgg16", *(name.encode() for name in heads)]
        for outer, own in {"vgg16": convs, **{name: {name: layers[name]} for name in heads}}.items():
            group = file.create_group(outer)
            keys = [f"{name}/{key}:0" for name in own for key in ("kernel", "bias")]
            group.attrs["weight_names"] = [key.encode() for key in keys]
            for key, array in zip(keys, [array for arrays in own.values() for array in arrays], strict=True):
                group[key] = array
    assert_equal(read("legacy.h5"), tensors)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_of_classes_may_come_from_windows(encoding: str) -> None:
    torch.save(timm_net("A", classes=3).state_dict(), "net.pth")
    Path("names.txt").write_text("chat\r\nchâteau\r\nchien\r\n", encoding=encoding)
    folder = imported("net.pth", preprocessing=TORCHVISION, imported=Imported(class_order="names.txt"))
    from vgg_sweep.predict.trained import load

    assert load(folder.path).classes == ["chat", "château", "chien"]


def test_a_damaged_tag_is_said() -> None:
    save_file(timm_net("A").state_dict(), "net.safetensors", {"vgg_sweep": '{"config": "", "preprocessing": "{"}'})
    with pytest.raises(RunError, match=r"the tag of net.safetensors is damaged \(.*\); export the net again"):
        imported("net.safetensors")
