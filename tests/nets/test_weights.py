import hashlib

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from vgg_sweep.config.options import load_option
from vgg_sweep.errors import RunError
from vgg_sweep.nets.vgg import VGG
from vgg_sweep.nets.weights import load_state, load_weights, save_weights
from vgg_sweep.protocols.seals import sha256_of


def net_of(name, width=1 / 16, classes=5, crop=64):
    return VGG(load_option("model", name).columns, width=width, classes=classes, crop=crop).eval()


def test_torchvision_takes_the_file_of_D_as_it_is(tmp_path):
    net = net_of("D", width=1, classes=1000, crop=224)
    save_weights(net, tmp_path / "D.safetensors", {})
    with torch.device("meta"):
        theirs = torchvision.models.vgg16()
    state = load_file(tmp_path / "D.safetensors")
    theirs.load_state_dict(state, assign=True)
    assert state["classifier.0.weight"].shape == (4096, 25088)
    images_NCHW = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(theirs.eval()(images_NCHW), net(images_NCHW).flatten(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["A", "A-LRN", "B", "C", "D", "E", "B-5x5"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_saved_net_comes_back(name, layout, tmp_path):
    path = tmp_path / "weights.safetensors"
    source, net = net_of(name).to(memory_format=layout), net_of(name)
    metadata = {"config": name, "note": 'quotes " and é'}
    save_weights(source, path, metadata)
    assert load_weights(net, path) == metadata
    for key, tensor in source.state_dict().items():
        assert torch.equal(tensor, net.state_dict()[key])
    assert load_state(path).keys() == net.state_dict().keys()


def test_equal_nets_give_equal_files(tmp_path):
    net = net_of("A")
    for number in range(5):
        metadata = [(key, key) for key in "abcdefgh"]
        save_weights(net, tmp_path / str(number), dict(metadata[number:] + metadata[:number]))
    assert len({sha256_of(tmp_path / str(number)) for number in range(5)}) == 1
    assert sha256_of(tmp_path / "0") == hashlib.sha256((tmp_path / "0").read_bytes()).hexdigest()


def test_a_failed_save_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    save_weights(net_of("A"), path, {"which": "old"})
    before = path.read_bytes()

    def fail_half_way(tensors, temporary, metadata):
        temporary.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("vgg_sweep.nets.weights.save_file", fail_half_way)
    with pytest.raises(OSError, match="No space left"):
        save_weights(net_of("A"), path, {"which": "new"})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_files_of_other_programs_have_no_metadata(tmp_path):
    save_file(net_of("A").state_dict(), tmp_path / "A", {"format": "pt"})
    assert load_weights(net_of("A"), tmp_path / "A") == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("features.3.bias"), r"lack features\.3\.bias"),
        (
            lambda state: state.update({"features.1.running_mean": torch.ones(4)}),
            r"no place for features\.1\.running_mean",
        ),
        (lambda state: state.update({"classifier.3.bias": torch.ones(9)}), r"classifier\.3\.bias is \[9\].*\[256\]"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_and_the_net_left_alone(change, message, tmp_path):
    path = tmp_path / "weights.safetensors"
    state = {name: torch.zeros_like(tensor) for name, tensor in net_of("A").state_dict().items()}
    change(state)
    save_file(state, path)
    net = net_of("A")
    with pytest.raises(RunError, match=f"{path.name} does not fit the net.*{message}"):
        load_weights(net, path)
    assert all(tensor.any() for tensor in net.state_dict().values())


def test_classes_that_do_not_match_are_said(tmp_path):
    save_weights(net_of("A", classes=9), tmp_path / "A", {})
    with pytest.raises(RunError, match=r"have 9 classes, the net 5: use weights for 5 classes or set classes=9\.$"):
        load_weights(net_of("A"), tmp_path / "A")


def test_a_truncated_or_absent_file_is_named(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(RunError, match=f"{path} cannot be read as weights"):
        load_weights(net_of("A"), path)
    save_weights(net_of("A"), path, {})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match=f"{path} cannot be read as weights"):
        load_state(path)
