"""Features against a plain forward hook, dense means against sliding by hand, and what a kill leaves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny import random_run
from vgg_sweep.config.schema import Config, Data
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.features import compute as module
from vgg_sweep.features.compute import compute, content_of
from vgg_sweep.features.store import COLOUR, RANDOM, Feature, FeatureFolder
from vgg_sweep.images.sets.probe_set import ProbeSet
from vgg_sweep.images.sets.splits import Split
from vgg_sweep.machine.hardware import Hardware, choose_hardware
from vgg_sweep.machine.ranks import Ranks
from vgg_sweep.predict.trained import TrainedNet, load
from vgg_sweep.protocols.passes import Pass
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.progress import Interrupted, Reporter
from vgg_sweep.score.parts import Parts

SIZES = [(90, 70), (64, 64), (70, 90), (90, 70), (200, 80), (64, 100), (66, 66)]


def some_images(seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, (height, width, 3), np.uint8) for width, height in SIZES]


def probed_set(images: list, **data: object) -> ProbeSet:  # type: ignore[type-arg]
    labels_N = np.arange(len(images)) % 2
    settings = Data(name="some", source="folder", cache="none", **data)  # type: ignore[arg-type]
    split = Split([f"{index}.png" for index in range(len(images))], labels_N, images.__getitem__, settings)
    return ProbeSet(split, labels_N, None, ["a", "b"], "f" * 64, "recall")


class Place:
    """A run of random weights and what its features are computed with."""

    def __init__(self, tmp_path: Path) -> None:
        self.run = random_run(tmp_path, "D")
        self.loaded: TrainedNet = load(self.run.path)
        self.fingerprint = self.run.weights_fingerprint()
        config: Config = replace(self.loaded.config, layout="nchw")
        self.hardware: Hardware = choose_hardware(config)
        self.folder = FeatureFolder.of(self.run, "some", "f" * 64)
        self.folder.path.mkdir(parents=True)

    def compute(
        self, probed: ProbeSet, wanted: list[Feature], folder: FeatureFolder | None = None, **more: object
    ) -> FeatureFolder:
        folder = folder or self.folder
        folder.path.mkdir(parents=True, exist_ok=True)
        reporter = Reporter(RunFolder(folder.path), live=False)
        compute(self.loaded, self.fingerprint, folder, probed, wanted, self.hardware, reporter, **more)  # type: ignore[arg-type]
        return folder


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def dense(layer: str, Q: int = 64, flip: bool = False) -> Feature:
    return Feature(layer, Pass("dense", Q, flip))


def test_features_are_what_a_forward_hook_sees(place: Place) -> None:
    """One image at a time through the net of torch's modules; several layers from one pass."""
    layers = {
        "conv1_2": "features.3",
        "conv5_3": "features.29",
        "pool5": "features.30",
        "fc6": "classifier.1",
        "fc7": "classifier.4",
    }
    images = some_images()
    wanted = [dense(layer, Q, flip) for layer in layers for Q in (64, 80) for flip in (False, True)]
    folder = place.compute(probed_set(images), wanted)
    mean, pixel_max = place.loaded.preprocessing.mean, place.loaded.preprocessing.pixel_max
    seen: dict[str, torch.Tensor] = {}
    for layer, name in layers.items():
        module = place.loaded.net.get_submodule(name)
        module.register_forward_hook(lambda module, inputs, output, layer=layer: seen.update({layer: output.clone()}))
    for row, image_HWC in enumerate(images):
        for Q in (64, 80):
            height, width = image_HWC.shape[:2]
            size = round(width * Q / min(width, height)), round(height * Q / min(width, height))
            resized = np.array(Image.fromarray(image_HWC).resize(size, Image.Resampling.BILINEAR))
            for flip in (False, True):
                pixels = resized[:, ::-1] if flip else resized
                x = torch.tensor(pixels / 255 * pixel_max - np.array(mean), dtype=torch.float32).permute(2, 0, 1)[None]
                with torch.no_grad():
                    place.loaded.net(x)
                for layer in layers:
                    expected = seen[layer][0].flatten(1).mean(1).numpy()
                    got = folder.read(dense(layer, Q, flip))[row]
                    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_a_dense_mean_of_fc7_is_that_of_sliding_the_fc_layers_by_hand(place: Place) -> None:
    image_HWC = some_images()[4]  # 80 x 200 at Q = 96 is 96 x 240
    got = place.compute(probed_set([image_HWC]), [dense("fc7", 96)]).read(dense("fc7", 96))[0]
    net = place.loaded.net
    with torch.no_grad():
        maps_Chw = net.features(place.loaded.input(Image.fromarray(image_HWC), 96))[0]
        windows = [
            maps_Chw[:, y : y + 2, x : x + 2].flatten()
            for y in range(maps_Chw.shape[1] - 1)
            for x in range(maps_Chw.shape[2] - 1)
        ]
        fc6, fc7 = net.classifier[0], net.classifier[3]
        slid = [(fc7.weight @ (fc6.weight @ window + fc6.bias).relu() + fc7.bias).relu() for window in windows]  # type: ignore[operator,union-attr]
    assert len(windows) == 2 * 6
    np.testing.assert_allclose(got, torch.stack(slid).mean(0), rtol=1e-4, atol=1e-5)


def test_of_a_box_the_features_are_those_of_the_image_cut_to_it(place: Place, tmp_path: Path) -> None:
    images, boxes_N4 = some_images(), np.array([[2, 3, 70, 60], *[[0, 0, 999, 40]] * 6])
    with_boxes = replace(probed_set(images), boxes_N4=boxes_N4)
    cut = probed_set([image[y0:y1, x0:x1] for image, (x0, y0, x1, y1) in zip(images, boxes_N4, strict=True)])
    box = replace(dense("pool5"), region="box")
    found = place.compute(with_boxes, [box, dense("pool5")])
    expected = place.compute(cut, [dense("pool5")], FeatureFolder(tmp_path / "cut"))
    np.testing.assert_array_equal(found.read(box), expected.read(dense("pool5")))
    assert not np.array_equal(found.read(box), found.read(dense("pool5")))


def test_centre_crops_mean_colour_and_random_weights(place: Place) -> None:
    images = some_images()
    crop = Feature("fc7", Pass("centre-crop", 80, False))
    colour, random = Feature(COLOUR, Pass("dense", 64, False)), Feature("fc7", Pass("dense", 64, False), RANDOM)
    folder = place.compute(probed_set(images), [crop, colour, random, dense("fc7")])
    image = place.loaded.input(Image.fromarray(images[0]), 80)  # 103 x 80
    with torch.no_grad():
        alone = place.loaded.net.classifier[:5](place.loaded.net.features(image[:, :, 8:72, 19:83]))
    np.testing.assert_allclose(folder.read(crop)[0], alone.flatten(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(folder.read(colour)[1], images[1].reshape(-1, 3).mean(0) / 255, rtol=1e-5)
    assert np.abs(folder.read(random) - folder.read(dense("fc7"))).max() > 0.1
    assert folder.file(random).name == "random-fc7-dense-Q64-flip0.npy"


class _StopAfter(Reporter):
    """Is asked to stop at the second view."""

    left = 2

    def step(self, stage: str, done: int, total: int, **figures: float) -> None:
        super().step(stage, done, total, **figures)
        self.left -= "eta_seconds" not in figures  # which a whole chunk has
        if self.left == 0:
            self.stop_requested = "a test"


def test_resumed_equals_undisturbed_and_nothing_is_computed_twice(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    probed = probed_set(some_images())
    wanted = [dense(layer, Q) for layer in ("fc7", "pool5") for Q in (64, 80)]
    whole = place.compute(probed, wanted, FeatureFolder(tmp_path / "whole"))
    forwards = []
    means = module._Computer.means
    monkeypatch.setattr(
        module._Computer, "means", lambda self, net, images, view, layers: forwards.append((len(images), view.Q))
        or means(self, net, images, view, layers),
    )  # fmt: skip
    args = (place.loaded, place.fingerprint, place.folder, probed)
    for _ in range(2):
        with pytest.raises(Interrupted):
            compute(*args, wanted, place.hardware, _StopAfter(RunFolder(place.folder.path), live=False))
        assert place.folder.missing(wanted) == wanted
    place.compute(probed, wanted)
    assert sorted(forwards) == sorted([(images, Q) for images in (2, 2, 2, 1) for Q in (64, 80)])
    for each in wanted:
        assert place.folder.file(each).read_bytes() == whole.file(each).read_bytes()
    assert place.folder.manifest() == whole.manifest()
    assert not place.folder.parts.exists()
    forwards.clear()
    place.compute(probed, [*wanted, dense("fc6", 64)])
    assert forwards == [(2, 64), (2, 64), (2, 64), (1, 64)]


def test_a_kill_between_manifest_and_files_costs_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    probed, wanted = probed_set(some_images()), [dense("pool5"), dense("fc7")]
    joined: list[str] = []
    join = module.Parts.join

    def once(parts: Parts, each: Feature, target: Path) -> None:  # type: ignore[type-arg]
        join(parts, each, target)
        joined.append(target.name)
        if len(joined) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(module.Parts, "join", once)
    with pytest.raises(KeyboardInterrupt):
        place.compute(probed, wanted)
    monkeypatch.undo()
    monkeypatch.setattr(module._Computer, "means", None)
    place.compute(probed, wanted)
    assert place.folder.missing(wanted) == []
    place.folder.check(wanted)


def test_images_that_cannot_be_decoded_are_named_or_left_out(place: Place) -> None:
    images: list[object] = [*some_images(), b"no image"]
    with pytest.raises(RunError, match=r"7\.png cannot be read as an image"):
        place.compute(probed_set(images), [dense("fc7")])
    folder = place.compute(probed_set(images, on_bad_image="skip"), [dense("fc7")])
    rows_NC = folder.read(dense("fc7"))
    assert np.isnan(rows_NC[7]).all() and np.isfinite(rows_NC[:7]).all()
    assert folder.manifest()["left_out"] == ["7.png"]


def test_the_manifest_says_what_is_there(place: Place) -> None:
    images = some_images()
    images[3] = images[0].copy()
    manifest = place.compute(probed_set(images), [dense("fc7")]).manifest()
    assert manifest["labels"] == [0, 1, 0, 1, 0, 1, 0] and manifest["test"] is None
    assert manifest["contents"][3] == manifest["contents"][0] == f"{content_of(images[0]):016x}"
    assert len(set(manifest["contents"])) == 6
    assert manifest["files"][0]["N"] == 7


def test_other_weights_precision_layers_and_damaged_files_are_refused(place: Place) -> None:
    probed = probed_set(some_images())
    with pytest.raises(ConfigError, match="the net has no layer fc9; choose one of conv1_1, "):
        place.compute(probed, [dense("fc9")])
    place.compute(probed, [dense("fc7")])
    place.hardware = replace(place.hardware, precision="bf16")
    with pytest.raises(RunError, match="give precision=fp32"):
        place.compute(probed, [dense("fc6")])
    place.fingerprint = "0" * 64
    with pytest.raises(RunError, match="made from other weights"):
        place.compute(probed, [dense("fc6")])
    file = place.folder.file(dense("fc7"))
    file.write_bytes(file.read_bytes()[:-4] + b"some")
    with pytest.raises(RunError, match="is damaged .its sha256 is not that in manifest.json.; .* computes it again"):
        place.folder.check([dense("fc7")])
    file.write_bytes(b"")
    assert place.folder.missing([dense("fc7")]) == [dense("fc7")]


def test_ranks_share_the_images(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks, one after the other, each computing its own share; what they gather is put together by hand."""
    probed, wanted = probed_set(some_images()), [dense("fc7")]
    alone = place.compute(probed, wanted).read(wanted[0])
    shares: list[np.ndarray] = []

    class Half(Ranks):
        def agree(self, choose):  # type: ignore[no-untyped-def]
            return choose()

        def gather(self, rows: np.ndarray) -> np.ndarray | None:
            shares.append(rows)
            return None

        def any(self, flag: bool) -> bool:
            return flag

    other = FeatureFolder(tmp_path / "other")
    for rank in (0, 1):
        with monkeypatch.context() as patched:
            patched.setattr(module._Computer, "finish", lambda *args: None)
            place.compute(probed, wanted, other, ranks=Half(rank, 2))
    rows = [share for share in shares if share.dtype == np.float32]
    np.testing.assert_allclose(np.concatenate(rows), alone, rtol=1e-4, atol=1e-5)
