"""Nets of other libraries, saved by those, imported, against those libraries' own answers; and what is refused."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.conftest import Outcome
from tests.foreign import CONVS, CROP, normalised, timm_net, torchvision_net
from vgg_sweep.config.imported import Imported
from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Config, Data, Recipe
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.exchange.importing import import_weights
from vgg_sweep.images.views.preprocessing import in_rgb, net_input
from vgg_sweep.nets.vgg import VGG, build_net, posteriors
from vgg_sweep.nets.weights import load_state, load_weights, read_metadata
from vgg_sweep.plan.folders import read_run
from vgg_sweep.runs.folder import RunFolder, find_runs
from vgg_sweep.score.sanity import check_classifier

PIXELS_NCHW = torch.randint(0, 256, (2, 3, CROP, CROP), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def imported(file: str, notes: list[str] | None = None, **settings: object) -> RunFolder:
    """The run that `vgg-sweep import` makes of `file`, with some fields of `Config` given."""
    config = replace(
        Config(
            model=load_option("model", "D"),
            train_scale=load_option("train_scale", "256"),
            recipe=Recipe(name="paper"),
            data=Data(name="imagenet", source="imagenet"),
            protocol=load_option("protocol", "single"),
            out="sweep",
            device="cpu",
            threads=1,
        ),
        **settings,  # type: ignore[arg-type]
    )
    return import_weights(Path(file), config, settings.keys(), ([] if notes is None else notes).append).folder


TORCHVISION, CAFFE = (load_option("preprocessing", name) for name in ("torchvision", "caffe"))


def net_of(folder: RunFolder) -> VGG:
    """The run's net, built and read as for scoring."""
    net = build_net(read_run(folder).config, len(load_state(folder.weights)["classifier.6.bias"])).eval()
    load_weights(net, folder.weights)
    return net


def scores_of(folder: RunFolder) -> Tensor:
    """scores_NK of the run's net for some RGB images."""
    preprocessing = in_rgb(read_run(folder).config.preprocessing)
    with torch.inference_mode():
        return net_of(folder)(net_input(PIXELS_NCHW, preprocessing)).flatten(1)


def assert_same(ours_NK: Tensor, theirs_NK: Tensor) -> None:
    """To 1e-5 of the largest score, which different orders of summing in float32 may take."""
    torch.testing.assert_close(ours_NK, theirs_NK, rtol=1e-5, atol=1e-5 * float(theirs_NK.abs().max()))


@pytest.mark.parametrize(("model", "batch_norm"), [*((model, False) for model in "ABDE"), ("A", True), ("E", True)])
def test_torchvisions_nets_give_torchvisions_scores(model: str, batch_norm: bool) -> None:
    net = torchvision_net(model, batch_norm=batch_norm)
    torch.save(net.state_dict(), "net.pth")
    folder = imported("net.pth", preprocessing=TORCHVISION)
    assert read_run(folder).config.model.name == (f"{model}-BN" if batch_norm else model)
    with torch.inference_mode():
        assert_same(scores_of(folder), net(normalised(PIXELS_NCHW)))
    state = net.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in load_state(folder.weights).items())


@pytest.mark.parametrize("model", ["A", "B", "D", "E"])
def test_timms_nets_give_timms_scores(model: str) -> None:
    net = timm_net(model, batch_norm=model == "D")
    torch.save(net.state_dict(), "net.pth")
    folder = imported("net.pth", preprocessing=TORCHVISION)
    with torch.inference_mode():
        assert_same(scores_of(folder), net(normalised(PIXELS_NCHW)))
    record = folder.record()["imported"]
    assert (record["source"], record["preprocessing"]["name"], record["pool_ceil"]) == ("timm", "torchvision", False)


def test_what_belongs_to_the_weights_is_kept_with_the_run() -> None:
    torch.save(oxfords(torchvision_net("D")), "vgg16_caffe.pth")
    folder = imported("vgg16_caffe.pth", preprocessing=CAFFE)
    config, record = read_run(folder).config, folder.record()
    digest = hashlib.sha256(Path("vgg16_caffe.pth").read_bytes()).hexdigest()
    assert config.imported.sha256 == record["imported"]["sha256"] == digest
    assert digest[:8] in folder.id
    assert config.preprocessing.channel_order == "BGR" and config.preprocessing.mean == [103.939, 116.779, 123.68]
    assert config.pool_ceil and config.train_scale.name == "jitter"
    assert folder.status()["state"] == "done"
    assert json.loads(read_metadata(folder.weights)["classes"])[:2] == ["n01440764", "n01443537"]


def oxfords(net: nn.Module, model: str = "D") -> dict[str, Tensor]:
    """The tensors of a torchvision net under the paper's names, as people convert Oxford's."""
    layers = [f"conv{stage}_{place}" for stage, number in enumerate(CONVS[model], 1) for place in range(1, number + 1)]
    modules = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return {
        f"{layer}.{name}": tensor.clone()
        for layer, module in zip([*layers, "fc6", "fc7", "fc8"], modules, strict=True)
        for name, tensor in module.state_dict().items()
    }


def test_bgr_from_0_to_255_and_the_same_net_in_rgb_agree() -> None:
    rgb = torchvision_net("D")
    bgr = oxfords(rgb)
    std_C = torch.tensor([0.229, 0.224, 0.225])
    bgr["conv1_1.weight"] = (bgr["conv1_1.weight"] / (255 * std_C)[:, None, None])[:, [2, 1, 0]]
    torch.save(rgb.state_dict(), "rgb.pth")
    torch.save(bgr, "bgr.pth")
    same_mean = replace(CAFFE, mean=[255 * mean for mean in (0.406, 0.456, 0.485)])
    in_bgr = imported("bgr.pth", preprocessing=same_mean)
    in_rgb = imported("rgb.pth", preprocessing=TORCHVISION)
    one_NK, other_NK = (posteriors(scores_of(folder)[:, :, None, None]) for folder in (in_bgr, in_rgb))
    torch.testing.assert_close(one_NK, other_NK, rtol=1e-5, atol=1e-6)
    assert one_NK.std() > 1e-4  # not all alike


def test_old_names_wrappers_and_data_parallel_prefixes_are_the_same_net() -> None:
    state = torchvision_net("A").state_dict()
    old = {"classifier.0.": "classifier.1.", "classifier.3.": "classifier.4."}

    def renamed(name: str) -> str:
        return next((name.replace(now, then) for now, then in old.items() if name.startswith(now)), name)

    torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, "new.pth")
    torch.save({renamed(name).replace("features.", "features.module."): t for name, t in state.items()}, "old.pth")
    new, then = (imported(file, preprocessing=TORCHVISION) for file in ("new.pth", "old.pth"))
    assert torch.equal(scores_of(new), scores_of(then))


def test_nan_in_the_classifier_alone_leaves_features() -> None:
    state = torchvision_net("D").state_dict()
    for name, tensor in state.items():
        if name.startswith("classifier."):
            tensor.fill_(torch.nan)
    torch.save(state, "features.pth")
    notes: list[str] = []
    folder = imported("features.pth", notes)
    assert "features up to pool5 only" in notes[-1]
    pre = read_run(folder).config.preprocessing
    assert [round(255 * each) for each in pre.mean] == [123, 117, 104] and pre.std == [1 / 255] * 3
    with pytest.raises(RunError, match="has features up to pool5, but no scores"):
        check_classifier(net_of(folder))


def test_a_file_imported_twice_is_left_alone() -> None:
    torch.save(timm_net("A").state_dict(), "net.pth")
    folder = imported("net.pth", preprocessing=TORCHVISION)
    before = folder.weights.stat().st_mtime_ns
    assert imported("net.pth", preprocessing=TORCHVISION) == folder
    assert folder.weights.stat().st_mtime_ns == before


def test_half_precision_is_widened() -> None:
    state = {name: tensor.half() for name, tensor in timm_net("A").state_dict().items()}
    save_file(state, "net.safetensors")
    weights = load_state(imported("net.safetensors", preprocessing=TORCHVISION).weights)
    assert torch.equal(weights["features.0.weight"], state["features.0.weight"].float())


class Calls:
    """A pickle of this would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch it-ran",)


def test_a_pickle_that_would_run_code_is_refused() -> None:
    torch.save({"state_dict": Calls()}, "evil.pth")
    with pytest.raises(RunError, match="evil.pth is a pickle that would call posix.system when it is read"):
        imported("evil.pth")
    assert not Path("it-ran").exists()


@pytest.mark.parametrize("kind", ["zip", "pickle", "safetensors"])
@pytest.mark.parametrize("num_bytes", [0, 5, 3000, -1000])
def test_a_truncated_file_is_refused(kind: str, num_bytes: int) -> None:
    state = torchvision_net("A").state_dict()
    if kind == "safetensors":
        save_file(state, "net.pth")
    else:
        torch.save(state, "net.pth", _use_new_zipfile_serialization=kind == "zip")
    path = Path("net.pth")
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(RunError, match="net.pth .*truncated: download it again") as told:
        imported("net.pth")
    assert "torch." not in str(told.value) and "weights_only" not in str(told.value)
    assert not Path("sweep").exists()


def test_bn_is_not_plain() -> None:
    torch.save(torchvision_net("A", batch_norm=True).state_dict(), "net.pth")
    with pytest.raises(ConfigError, match="the file holds A-BN, not A; leave model=A out"):
        imported("net.pth", model=load_option("model", "A"), preprocessing=TORCHVISION)
    with pytest.raises(ConfigError, match=r"give preprocessing=torchvision") as told:  # no Caffe net of these has BN
        imported("net.pth")
    assert "caffe" not in str(told.value)


def test_other_numbers_of_classes_need_their_names() -> None:
    torch.save(timm_net("A", classes=999).state_dict(), "net.pth")
    with pytest.raises(ConfigError, match="has 999 classes and ILSVRC has 1000; give imported.class_order=FILE"):
        imported("net.pth", preprocessing=TORCHVISION)
    Path("names.txt").write_text("\n".join(f"class {number}" for number in range(999)))
    folder = imported("net.pth", preprocessing=TORCHVISION, imported=Imported(class_order="names.txt"))
    assert read_run(folder).config.classes == 999
    assert json.loads(read_metadata(folder.weights)["classes"])[998] == "class 998"


def test_torchvisions_names_do_not_tell_the_preprocessing() -> None:
    torch.save(torchvision_net("A").state_dict(), "net.pth")
    with pytest.raises(ConfigError, match="give preprocessing=torchvision .* or preprocessing=caffe"):
        imported("net.pth")


def test_the_command(call: Callable[..., Outcome]) -> None:
    torch.save(timm_net("A").state_dict(), "net.pth")
    outcome = call("import", "net.pth", "out=mine", "preprocessing=torchvision")
    (folder,) = find_runs(Path("mine"))
    assert outcome.exit_code == 0 and f"Imported: {folder.path}\n" in outcome.out and "timm's names" in outcome.out
    assert call("import", "nothing.pth").err == "Error: there is no file nothing.pth.\n"
    assert call("import", "model=D").exit_code == 2
