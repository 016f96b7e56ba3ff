"""Posteriors against views made one by one; killed scoring against unkilled; refusals."""

import functools
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.forked import FORKED
from tests.tiny import tiny_config, tiny_run
from vgg_sweep.config.schema import Data
from vgg_sweep.errors import RunError
from vgg_sweep.images.sets.splits import ImageSet, Split
from vgg_sweep.images.sets.statistics import Statistics
from vgg_sweep.images.views.crops import origins
from vgg_sweep.images.views.preprocessing import own_preprocessing
from vgg_sweep.machine.hardware import choose_hardware
from vgg_sweep.nets.vgg import VGG, build_net
from vgg_sweep.plan.folders import prepare
from vgg_sweep.plan.passes import missing, passes
from vgg_sweep.plan.runs import Run
from vgg_sweep.protocols.passes import Pass
from vgg_sweep.runs.files import read_json, write_json
from vgg_sweep.runs.progress import Interrupted, Reporter
from vgg_sweep.score import parts as parts_module
from vgg_sweep.score import score as score_module
from vgg_sweep.score.cost import macs
from vgg_sweep.score.manifest import check_same_arithmetic, scoring_choice
from vgg_sweep.score.score import score
from vgg_sweep.train.beginning import set_initial_weights

FIGURES = Statistics([0.4, 0.5, 0.6], [0.1, 0.02, 0.01], torch.eye(3).tolist())
NUM_IMAGES = 11


def image_set(seed: int = 0) -> ImageSet:
    """Images of several shapes, larger than any Q."""
    rng = np.random.default_rng(seed)
    sizes = [(96, 96), (96, 128), (130, 96)]
    arrays = [rng.integers(0, 256, (*sizes[i % 3], 3), dtype=np.uint8) for i in range(NUM_IMAGES)]
    split = Split([f"val/{i}" for i in range(NUM_IMAGES)], np.arange(NUM_IMAGES) % 3, arrays.__getitem__)
    return ImageSet(split, split, ["a", "b", "c"], f"fingerprint {seed}")


def scored(run: Run, reporter: Reporter | None = None, images: ImageSet | None = None) -> VGG:
    prepare(run)
    net = build_net(run.config, 3)
    set_initial_weights(net, run)
    run.folder.weights.write_bytes(b"stands for the weights")
    score(
        net,
        run.config,
        run.folder,
        images or image_set(),
        own_preprocessing(FIGURES, run.config.recipe.pixel_max),
        choose_hardware(run.config),
        reporter or Reporter(run.folder, live=False),
    )
    return net


def load(run: Run, each: Pass) -> np.ndarray:
    array: np.ndarray = np.load(run.folder.posteriors / f"{each.name}.npy")
    return array


def test_the_passes_of_every_protocol(tmp_path: Path) -> None:
    def of(train_scale: str, protocol: str) -> set[tuple[str, int]]:
        return {(each.method, each.Q) for each in passes(tiny_config(tmp_path, "D", train_scale, protocol, crop=224))}

    assert of("256", "single") == {("dense", 256)}
    assert of("384", "multi") == {("dense", 352), ("dense", 384), ("dense", 416)}
    jitter = {("dense", 256), ("dense", 384), ("dense", 512)}
    assert of("jitter", "crops") == jitter | {("multi-crop", 256), ("multi-crop", 384), ("multi-crop", 512)}


def one_by_one(net: VGG, image: Image.Image, each: Pass) -> np.ndarray:
    """The posteriors of one image, each view by itself, written out from Sect. 3.2."""
    scale = each.Q / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    whole = torch.from_numpy(np.array(image.resize(size, Image.Resampling.BILINEAR))).permute(2, 0, 1)[None].float()
    if each.method == "dense":
        crops = [whole]
    else:
        crops = [whole[:, :, y : y + 32, x : x + 32] for y, x in origins(each.method, size[1], size[0], 32)]
    answers = []
    for crop in crops:
        view = torch.flip(crop, dims=[3]) if each.flip else crop
        with torch.no_grad():
            scores = net(4.0 * (view / 255 - torch.tensor(FIGURES.mean_rgb)[:, None, None]))
        answers.append(torch.softmax(scores.mean(dim=(2, 3)), dim=1)[0])
    return np.asarray(torch.stack(answers).mean(dim=0))


def test_every_row_is_that_image_scored_alone(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, protocol="all")
    net = scored(run)
    images = image_set().val
    for each in passes(run.config):
        posteriors_NK = load(run, each)
        assert posteriors_NK.shape == (NUM_IMAGES, 3) and posteriors_NK.dtype == np.float32
        for index in range(NUM_IMAGES):
            np.testing.assert_allclose(posteriors_NK[index], one_by_one(net, images.image(index), each), atol=2e-6)


def test_a_mirrored_image_mirrored_again_is_the_image(tmp_path: Path) -> None:
    """Images whose smallest side is Q, so that rescaling leaves them as they are."""
    shapes = [(37, 37), (37, 50), (64, 37)]
    arrays = [
        np.random.default_rng(index).integers(0, 256, (*shape, 3), np.uint8) for index, shape in enumerate(shapes)
    ]
    plain, mirrored = tiny_run(tmp_path / "plain"), tiny_run(tmp_path / "mirrored")
    for run, step in ((plain, 1), (mirrored, -1)):
        pictures = [array[:, ::step] for array in arrays]
        split = Split(["0", "1", "2"], np.arange(3), pictures.__getitem__)
        scored(run, images=ImageSet(split, split, ["a", "b", "c"], "fingerprint"))
    as_is, flipped = passes(plain.config)
    assert (load(mirrored, flipped) == load(plain, as_is)).all()
    assert (load(mirrored, as_is) == load(plain, flipped)).all()
    assert (load(plain, flipped) != load(plain, as_is)).any()


def test_images_that_cannot_be_decoded_are_left_out_and_named(tmp_path: Path) -> None:
    plain, gappy = tiny_run(tmp_path / "plain"), tiny_run(tmp_path / "gappy")
    images, bad = image_set(), [2, 7]
    scored(plain, images=images)
    stored, settings = images.val.stored, Data(on_bad_image="skip")
    val = replace(images.val, stored=lambda i: b"broken" if i in bad else stored(i), settings=settings, _decoded={})
    scored(gappy, images=replace(images, val=val))
    there = [index for index in range(NUM_IMAGES) if index not in bad]
    for each in passes(plain.config):
        np.testing.assert_allclose(load(gappy, each), load(plain, each)[there], atol=1e-6)
    manifest = json.loads((gappy.folder.posteriors / "manifest.json").read_text())
    assert manifest["images"] == [f"val/{index}" for index in there] and manifest["labels"] == [i % 3 for i in there]
    assert manifest["left_out"] == gappy.folder.record()["bad_val_images"] == ["val/2", "val/7"]


@pytest.mark.parametrize("forward_px", [1, 32 * 32 * 7, 32 * 32 * 10_000])
def test_what_goes_through_at_once_changes_no_posterior(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forward_px: int
) -> None:
    """From single views, which splits an image's crops, to all of them."""
    usual, other = (tiny_run(tmp_path / name, protocol="all") for name in ("usual", "other"))
    scored(usual)
    largest_px = 0

    def watching(net: VGG, images_NCHW: torch.Tensor) -> torch.Tensor:
        nonlocal largest_px
        largest_px = max(largest_px, len(images_NCHW) * images_NCHW.shape[2] * images_NCHW.shape[3])
        return forward(net, images_NCHW)

    forward = VGG.forward
    monkeypatch.setattr(VGG, "forward", watching)
    monkeypatch.setitem(score_module.FORWARD_PX, "cpu", forward_px)
    scored(other)
    assert largest_px <= max(forward_px, 56 * 41)  # one whole image at the largest Q
    for each in passes(usual.config):
        np.testing.assert_allclose(load(other, each), load(usual, each), atol=1e-6)


def with_memory_for(num_views: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Views that go through the net at once, of which more than `num_views` do not fit."""
    tried: list[int] = []
    forward = VGG.forward

    def limited(net: VGG, images_NCHW: torch.Tensor) -> torch.Tensor:
        tried.append(len(images_NCHW))
        if len(images_NCHW) > num_views:
            raise torch.OutOfMemoryError
        return forward(net, images_NCHW)

    monkeypatch.setattr(VGG, "forward", limited)
    return tried


def test_where_memory_does_not_suffice_halves_go_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roomy, tight = (tiny_run(tmp_path / name, protocol="all") for name in ("roomy", "tight"))
    scored(roomy)
    tried = with_memory_for(3, monkeypatch)
    scored(tight)
    assert max(tried) > 25
    for each in passes(roomy.config):
        np.testing.assert_allclose(load(tight, each), load(roomy, each), atol=1e-6)


def test_memory_that_does_not_suffice_for_one_view_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory_for(0, monkeypatch)
    with pytest.raises(RunError, match="one view of 37 x 37 px; score on another device, or under smaller Q"):
        scored(tiny_run(tmp_path))


def test_the_manifest_says_what_the_rows_are(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    scored(run)
    manifest = json.loads((run.folder.posteriors / "manifest.json").read_text())
    assert manifest["classes"] == ["a", "b", "c"]
    assert manifest["images"] == [f"val/{i}" for i in range(NUM_IMAGES)]
    assert manifest["labels"] == [i % 3 for i in range(NUM_IMAGES)]
    assert [(f["method"], f["Q"], f["flip"], f["N"], f["K"]) for f in manifest["files"]] == [
        ("dense", 37, False, NUM_IMAGES, 3),
        ("dense", 37, True, NUM_IMAGES, 3),
    ]
    assert not (run.folder.posteriors / "parts").exists()


def test_what_is_there_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(tiny_run(tmp_path))
    wider = tiny_run(tmp_path, protocol="multi")
    computed: list[Pass] = []
    original = score_module.pass_posteriors

    def counting(net: VGG, images_HWC: list[np.ndarray], each: Pass, *rest: object) -> np.ndarray:
        computed.append(each)
        return original(net, images_HWC, each, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(score_module, "pass_posteriors", counting)
    scored(wider)
    assert sorted({each.Q for each in computed}) == [32, 41]  # 37 was there
    assert missing(wider.folder, wider.config) == []


def test_a_lost_or_cut_file_is_made_again(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    scored(run)
    before = (run.folder.posteriors / "manifest.json").read_bytes()
    one, other = passes(run.config)
    (run.folder.posteriors / f"{one.name}.npy").unlink()
    whole = (run.folder.posteriors / f"{other.name}.npy").read_bytes()
    (run.folder.posteriors / f"{other.name}.npy").write_bytes(whole[:-8])
    assert missing(run.folder, run.config) == [one, other]
    scored(run)
    assert (run.folder.posteriors / f"{other.name}.npy").read_bytes() == whole
    assert (run.folder.posteriors / "manifest.json").read_bytes() == before


def test_the_cost_of_a_pass_is_that_of_its_views(tmp_path: Path) -> None:
    """Net A at width 1/32 and crop 32, counted by hand: 3x3 convs on maps of 32 to 2 positions a side, then FC."""
    config = tiny_config(tmp_path, protocol="all")
    convs = [(32, 3, 2), (16, 2, 4), (8, 4, 8), (8, 8, 8), (4, 8, 16), (4, 16, 16), (2, 16, 16), (2, 16, 16)]
    on_a_crop = sum(side**2 * 9 * ins * outs for side, ins, outs in convs) + 16 * 128 + 128 * 128 + 128 * 3
    of_pass = macs(passes(config), config, 3, [(50, 60)] * 4)
    assert of_pass[Pass("multi-crop", 37, True)] == 4 * 25 * on_a_crop
    assert of_pass[Pass("ten-crop", 37, False)] == 4 * 5 * on_a_crop
    assert of_pass[Pass("centre-crop", 37, False)] == 4 * on_a_crop
    square = macs([Pass("dense", 64, False)], config, 3, [(64, 64)])[Pass("dense", 64, False)]
    fc = 16 * 128 + 128 * 128 + 128 * 3
    assert square == 4 * (on_a_crop - fc) + 4 * fc


class StopAfter(Reporter):
    """Is asked to stop at the last of so many views."""

    def __init__(self, run: Run, checks: int) -> None:
        super().__init__(run.folder, live=False)
        self.checks = checks

    def step(self, stage: str, done: int, total: int, **figures: float) -> None:
        super().step(stage, done, total, **figures)
        self.checks -= "eta_seconds" not in figures  # which a whole chunk has
        if self.checks == 0:
            self.stop_requested = "a test"


def test_stopped_anywhere_and_repeated_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "CHUNK", 4)
    whole = tiny_run(tmp_path / "whole", protocol="multi")
    scored(whole)
    pieces = tiny_run(tmp_path / "pieces", protocol="multi")
    for checks in (1, 3, 2):
        with pytest.raises(Interrupted):
            scored(pieces, StopAfter(pieces, checks))
        assert len(missing(pieces.folder, pieces.config)) == 6
    scored(pieces)
    for each in passes(whole.config):
        file = f"{each.name}.npy"
        assert (whole.folder.posteriors / file).read_bytes() == (pieces.folder.posteriors / file).read_bytes()


def score_image_by_image(tmp_path: Path) -> None:
    """What the process does that is killed."""
    parts_module.CHUNK = 1
    scored(tiny_run(tmp_path, protocol="multi"))


def test_killed_at_ten_random_moments_and_repeated_gives_the_same_bytes(tmp_path: Path) -> None:
    """SIGKILL to a process of its own; one that comes to its end first starts anew.

    Parts that one killed at its last step leaves are removed by `sweep.work`: tests/sweep/test_crash.py.
    """
    attempt = functools.partial(FORKED.Process, target=score_image_by_image)
    for name in ("first", "whole"):  # the first one waits for the imports
        unkilled = attempt(args=(tmp_path / name,))
        began = time.monotonic()
        unkilled.start()
        unkilled.join()
        seconds = time.monotonic() - began
        assert unkilled.exitcode == 0

    rng = np.random.default_rng()
    folder = tiny_run(tmp_path / "killed", protocol="multi").folder.posteriors
    kills = resumed = 0
    while kills < 10:
        killed = attempt(args=(tmp_path / "killed",))
        before = len(list(folder.rglob("*.npy")))
        killed.start()
        if kills % 2:  # at any moment of its life; otherwise while it scores, which is a small part of that
            killed.join(rng.uniform(0, seconds))
        while not kills % 2 and killed.is_alive() and len(list(folder.rglob("*.npy"))) == before:
            time.sleep(0.001)
        killed.join(rng.uniform(0, 0.02))
        killed.kill()
        killed.join()
        if killed.exitcode == 0:
            shutil.rmtree(folder)
            continue
        kills += 1
        files = [path for path in folder.rglob("*.npy") if not path.name.startswith(".")]
        resumed += bool(files)
        for path in files:
            assert np.load(path).shape in ((1, 3), (NUM_IMAGES, 3))
        if (folder / "manifest.json").exists():
            assert json.loads((folder / "manifest.json").read_text())["files"]
    last = attempt(args=(tmp_path / "killed",))
    last.start()
    last.join()
    assert last.exitcode == 0 and resumed > 0
    whole = tiny_run(tmp_path / "whole", protocol="multi").folder.posteriors
    for path in whole.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()


def test_parts_of_other_images_or_chunks_are_not_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = tiny_run(tmp_path / "fresh", protocol="multi")
    scored(fresh, images=image_set(1))
    mended = tiny_run(tmp_path / "mended", protocol="multi")
    for chunk, seed in ((4, 0), (6, 1)):
        monkeypatch.setattr(parts_module, "CHUNK", chunk)
        with pytest.raises(Interrupted):
            scored(mended, StopAfter(mended, 4), image_set(seed))
    monkeypatch.setattr(parts_module, "CHUNK", 250)
    scored(mended, images=image_set(1))
    for each in passes(fresh.config):
        assert (load(mended, each) == load(fresh, each)).all()


def test_posteriors_of_other_weights_are_not_mixed(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    scored(run)
    wider = tiny_run(tmp_path, protocol="multi")
    manifest_file = run.folder.posteriors / "manifest.json"
    write_json(manifest_file, read_json(manifest_file) | {"weights_fingerprint": "0"})
    with pytest.raises(RunError, match="was made from other weights; move that folder"):
        scored(wider)


def test_posteriors_of_two_precisions_are_not_mixed(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    scored(run)
    wider = tiny_run(tmp_path, protocol="multi")
    entries = read_json(run.folder.posteriors / "manifest.json")["files"]
    assert {(entry["precision"], entry["tf32"]) for entry in entries} == {("fp32", "none")}
    in_bf16 = replace(wider, config=replace(wider.config, precision="bf16"))
    with pytest.raises(RunError, match="computed in fp32, and these would be in bf16; give precision=fp32, or move"):
        scored(in_bf16)
    scored(wider)
    assert len(read_json(run.folder.posteriors / "manifest.json")["files"]) > len(entries)


def test_scoring_goes_on_in_the_precision_of_what_is_there(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, precision="auto")
    folder = run.folder
    assert scoring_choice(run.config, folder.posteriors, 3, lambda text: None).way.precision == "fp32"
    folder.posteriors.mkdir(parents=True)
    write_json(folder.posteriors / "manifest.json", {"files": [{"precision": "bf16", "tf32": "none"}]})
    assert scoring_choice(run.config, folder.posteriors, 3, lambda text: None).way.precision == "bf16"
    asked = replace(run.config, precision="fp32")
    assert scoring_choice(asked, folder.posteriors, 3, lambda text: None).way.precision == "fp32"
    write_json(folder.posteriors / "manifest.json", {"files": [{"method": "dense"}]})  # of an older version
    assert scoring_choice(run.config, folder.posteriors, 3, lambda text: None).way.precision == "fp32"


def test_other_use_of_tf32_is_said(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    hardware, notes = choose_hardware(run.config), list[str]()
    there = [{"precision": "fp32", "tf32": "convolutions"}, {}]
    check_same_arithmetic(run.folder.posteriors, {"files": there}, hardware, notes.append)
    assert len(notes) == 1 and "with TF32 for convolutions of the products, these with TF32 for none" in notes[0]
    agreeing = {"files": [{"precision": "fp32", "tf32": "none"}]}
    check_same_arithmetic(run.folder.posteriors, agreeing, hardware, pytest.fail)


def stored(run: Run) -> dict[str, np.ndarray]:
    return {path.name: np.load(path) for path in sorted(run.folder.posteriors.glob("*.npy"))}


@pytest.mark.parametrize(
    ("settings", "tolerance"), [({"layout": "nchw"}, 1e-5), ({"precision": "bf16"}, 2e-2)], ids=["layout", "bf16"]
)
def test_the_faster_ways_give_the_posteriors_of_the_plain_one(
    tmp_path: Path, settings: dict[str, object], tolerance: float
) -> None:
    fast, plain = (
        tiny_run(tmp_path / name, model="D", protocol="crops", warm_start="none", **given)
        for name, given in (("fast", settings), ("plain", {"precision": "fp32", "layout": "channels-last"}))
    )
    for run in (fast, plain):
        scored(run)
    assert stored(fast).keys() == stored(plain).keys() and len(stored(plain)) > 2
    for name, posteriors_NK in stored(plain).items():
        np.testing.assert_allclose(stored(fast)[name], posteriors_NK, atol=tolerance)
        assert len(np.unique(posteriors_NK.round(4))) > 3  # not all alike, which would agree in any way


def with_a_thin_image(on_bad_image: str) -> ImageSet:
    """Image 4 has 50,000 x 1 px; at Q = 37 it would have 50000 x 37^2 = 68.5 million pixels, and the most are 2^26."""
    images, settings = image_set(), Data(on_bad_image=on_bad_image)
    stored, thin = images.val.stored, np.zeros((1, 50_000, 3), np.uint8)
    val = replace(images.val, stored=lambda i: thin if i == 4 else stored(i), settings=settings, bad={}, _decoded={})
    return replace(images, val=val)


def test_a_thin_image_is_a_bad_image(tmp_path: Path) -> None:
    plain, gappy = tiny_run(tmp_path / "plain"), tiny_run(tmp_path / "gappy")
    scored(plain)
    with pytest.raises(RunError, match=r"val/4 cannot be read as an image .of 50000 x 1 px, .* data.on_bad_image=skip"):
        scored(gappy, images=with_a_thin_image("error"))
    scored(gappy, images=with_a_thin_image("skip"))
    there = [index for index in range(NUM_IMAGES) if index != 4]
    for each in passes(plain.config):
        np.testing.assert_allclose(load(gappy, each), load(plain, each)[there], atol=1e-6)
    assert gappy.folder.record()["bad_val_images"] == ["val/4"]
    scored(tiny_run(tmp_path / "gappy", protocol="multi"), images=with_a_thin_image("skip"))  # the same images are left
