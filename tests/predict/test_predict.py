"""Predictions against scoring, and the command. Axes: N images, K classes, h w map positions, H W pixels."""

import csv
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vgg_sweep
from tests.conftest import Outcome
from tests.tiny import CLASSES, IMPORTED, random_run
from vgg_sweep.cli.predictions import class_index
from vgg_sweep.config.options import load_option
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.images.sets.splits import ImageSet, Split
from vgg_sweep.machine.hardware import choose_hardware
from vgg_sweep.nets.weights import save_weights
from vgg_sweep.predict.maps import centres_px, class_posteriors, overlay, stretched
from vgg_sweep.predict.predict import find_images, predict, protocols
from vgg_sweep.protocols.means import Posteriors, Protocol, protocol_posteriors
from vgg_sweep.protocols.methods import BOTH
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.progress import Reporter
from vgg_sweep.score.score import score

Call = Callable[..., Outcome]

SIZES = [(96, 96), (96, 140), (150, 96), (70, 100)]


def images(num_images: int = len(SIZES)) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*SIZES[index % len(SIZES)], 3), np.uint8) for index in range(num_images)]


def write_images(folder: Path, num_images: int = len(SIZES)) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index}.png" for index in range(num_images)]
    for path, array in zip(paths, images(num_images), strict=True):
        Image.fromarray(array).save(path)
    return paths


def scored(folder: RunFolder) -> RunFolder:
    """`folder` with the posteriors of `images` under protocol=all."""
    loaded = vgg_sweep.load(folder.path)
    split = Split([str(index) for index in range(len(SIZES))], np.arange(len(SIZES)), images().__getitem__)
    hardware = choose_hardware(loaded.config)
    image_set = ImageSet(split, split, CLASSES, "fingerprint")
    score(loaded.net, loaded.config, folder, image_set, loaded.preprocessing, hardware, Reporter(folder, live=False))
    return folder


def test_posteriors_are_those_of_scoring(tmp_path: Path) -> None:
    folder = scored(random_run(tmp_path, "A", protocol=load_option("protocol", "all")))
    loaded = vgg_sweep.load(folder.path)
    wanted = protocols(loaded, "all")
    assert wanted[0] == Protocol("dense", (73,))
    assert wanted[-1] == Protocol(BOTH, (64, 73, 82))
    assert len(set(wanted)) == 6
    on_disk = Posteriors(folder.posteriors, "redo")
    found = list(predict(loaded, write_images(tmp_path / "images"), wanted, choose_hardware(loaded.config)))
    assert [prediction.path.name for prediction in found] == ["0.png", "1.png", "2.png", "3.png"]
    for protocol in wanted:
        ours_NK = np.stack([prediction.posteriors_K[protocol] for prediction in found])
        np.testing.assert_allclose(ours_NK, protocol_posteriors(on_disk, protocol, slice(None)), rtol=1e-4, atol=1e-6)
    single, multi, crops = (found[1].posteriors_K[wanted[index]] for index in (0, 1, 5))
    assert not np.allclose(single, multi, atol=1e-4)
    assert not np.allclose(multi, crops, atol=1e-4)


def test_each_protocol_is_one_answer_and_the_papers(tmp_path: Path) -> None:
    jittered = vgg_sweep.load(random_run(tmp_path, train_scale=load_option("train_scale", "jitter")).path)
    assert protocols(jittered, "single") == [Protocol("dense", (110,))]
    assert protocols(jittered, "multi") == [Protocol("dense", (73, 110, 146))]
    assert protocols(jittered, "centre") == [Protocol("centre-crop", (110,))]
    assert protocols(jittered, "crops") == [Protocol(BOTH, (73, 110, 146))]


def test_a_bad_file_is_told_of_in_its_place(tmp_path: Path) -> None:
    loaded = vgg_sweep.load(random_run(tmp_path).path)
    paths = write_images(tmp_path / "images")
    paths[1].write_bytes(b"no image")
    paths[3].write_bytes(paths[2].read_bytes()[:1000])
    found = list(predict(loaded, paths, protocols(loaded, "single"), choose_hardware(loaded.config)))
    assert [prediction.error is None for prediction in found] == [True, False, True, False]
    [alone] = predict(loaded, paths[2:3], protocols(loaded, "single"), choose_hardware(loaded.config))
    for protocol, posteriors_K in alone.posteriors_K.items():
        np.testing.assert_allclose(found[2].posteriors_K[protocol], posteriors_K, rtol=1e-5)


def test_a_thin_image_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    loaded = vgg_sweep.load(random_run(tmp_path).path)
    write_images(tmp_path / "images", 2)
    Image.new("RGB", (65_000, 1)).save(tmp_path / "images" / "thin.png")
    paths = find_images([tmp_path / "images"])
    first, second, thin = predict(loaded, paths, protocols(loaded, "single"), choose_hardware(loaded.config))
    assert first.error is second.error is None and len(first.posteriors_K) == 1
    assert thin.path.name == "thin.png" and not thin.posteriors_K
    assert thin.error is not None and "thin.png has 65000 x 1 px and would have 4745000 x 73 px at Q=73" in thin.error


def test_images_are_found_at_any_depth_and_in_order(tmp_path: Path) -> None:
    write_images(tmp_path / "b" / "c", 2)
    write_images(tmp_path / "a", 1)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / "big.JPEG").write_bytes(b"")
    names = [str(path.relative_to(tmp_path)) for path in find_images([tmp_path / "b", tmp_path])]
    assert names == ["b/c/0.png", "b/c/1.png", "a/0.png", "a/big.JPEG", "b/c/0.png", "b/c/1.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty has no images"):
        find_images([tmp_path / "empty"])
    with pytest.raises(ConfigError, match="nowhere.jpg does not exist"):
        find_images([tmp_path / "nowhere.jpg"])


def run_in(tmp_path: Path, **settings: object) -> RunFolder:
    folder = random_run(tmp_path, **settings)  # type: ignore[arg-type]
    return RunFolder(folder.path.rename(tmp_path / "run"))


def test_the_command_tells_the_best_classes(tmp_path: Path, call: Call) -> None:
    run_in(tmp_path)
    write_images(tmp_path / "images")
    outcome = call("predict", "run", "images", "--top", "3", "--csv", "out.csv")
    assert outcome.exit_code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "images/0.png  (dense, Q 73 px)"
    assert len(lines) == 16
    shares = [float(line.split("%")[0]) for line in lines[1:4]]
    assert shares == sorted(shares, reverse=True)
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2", "3"] * 4
    assert {row["class"] for row in rows} <= set(CLASSES)
    loaded = vgg_sweep.load(tmp_path / "run")
    [first, *_] = predict(
        loaded, [tmp_path / "images/0.png"], protocols(loaded, "single"), choose_hardware(loaded.config)
    )
    [posteriors_K] = first.posteriors_K.values()
    assert rows[0]["class"] == CLASSES[int(posteriors_K.argmax())]
    assert float(rows[0]["posterior"]) == pytest.approx(posteriors_K.max(), rel=1e-5)


def test_json_is_a_list_and_bad_files_are_in_it(tmp_path: Path, call: Call) -> None:
    run_in(tmp_path)
    write_images(tmp_path / "images", 2)
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    outcome = call("predict", "run", "images", "--json", "--protocol", "all", "--csv", "out.csv")
    assert outcome.exit_code == 1
    assert "Error: 1 of 3 images could not be read; the others are done." in outcome.err
    records = json.loads(outcome.out)
    assert [record["image"] for record in records] == ["images/0.png"] * 6 + ["images/1.png"] * 6 + [
        "images/broken.png"
    ]
    assert records[0]["method"] == "dense"
    assert [len(record["top"]) for record in records[:-1]] == [5] * 12
    assert "cannot be read" in records[-1]["error"]
    [last] = [row for row in csv.DictReader((tmp_path / "out.csv").read_text().splitlines()) if row["error"]]
    assert (last["image"], last["rank"], last["posterior"]) == ("images/broken.png", "", "")


def test_a_csv_has_what_was_done_before_the_command_was_stopped(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vgg_sweep.cli import predictions

    run_in(tmp_path)
    write_images(tmp_path / "images")
    whole = predictions.predict

    def stopped(*words: object) -> object:
        for number, prediction in enumerate(whole(*words)):  # type: ignore[arg-type]
            if number == 2:
                raise KeyboardInterrupt
            yield prediction

    monkeypatch.setattr(predictions, "predict", stopped)
    outcome = call("predict", "run", "images", "--csv", "out.csv", "--json")
    assert outcome.exit_code != 0
    assert {row["image"] for row in csv.DictReader((tmp_path / "out.csv").read_text().splitlines())} == {
        "images/0.png",
        "images/1.png",
    }
    assert len(json.loads(outcome.out.removesuffix("Aborted!\n"))) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "nowhere.jpg"], "nowhere.jpg does not exist; name image files, or folders of them."),
        (["run", "images", "--csv", "no/out.csv"], "--csv no/out.csv: no is not a folder; make it first."),
        (["rum", "images"], "rum is neither the folder nor the name of a run: there is none under outputs/ yet"),
        (["run", "images", "--map", "zebre"], "zebre is not a class of this net; its classes include zebra,"),
        (["run", "images", "--device", "cuda:99"], "device=cuda:99 is not available here"),
        (["run", "images", "--map", "zebra", "--map-q", "40"], "--map-q 40 is smaller than the crop of 64 px"),
    ],
)
def test_a_wrong_request_is_one_sentence(words: list[str], sentence: str, tmp_path: Path, call: Call) -> None:
    run_in(tmp_path)
    write_images(tmp_path / "images", 1)
    outcome = call("predict", *words)
    assert outcome.exit_code == 2
    assert sentence in outcome.err


def test_a_net_for_features_only_is_refused(tmp_path: Path, call: Call) -> None:
    """As torchvision's IMAGENET1K_FEATURES, whose classifier is NaN."""
    folder = run_in(tmp_path)
    loaded = vgg_sweep.load(folder.path)
    with torch.no_grad():
        loaded.net.classifier[3].weight.fill_(torch.nan)
    save_weights(loaded.net, folder.weights, loaded.metadata)
    write_images(tmp_path / "images", 1)
    outcome = call("predict", "run", "images")
    assert outcome.exit_code == 1
    assert "features up to pool5, but no scores" in outcome.err
    assert call("export", "run", "--to", "torchvision", "--out", "D.pth").exit_code == 0
    assert vgg_sweep.load(folder.path).features(images(1)[0], "pool5")[0].isfinite().all()


def test_a_run_is_found_by_its_id_or_enough_of_it(tmp_path: Path, call: Call) -> None:
    for model, seed in (("A", 0), ("D", 0), ("D", 1)):
        folder = random_run(tmp_path, model, seed=seed, out=str(tmp_path / "outputs" / "sweep"))
        folder.update_status(state="done")
    write_images(tmp_path / "images", 1)
    assert call("predict", "A", "images").exit_code == 0
    assert call("predict", "D-256-s1", "images").exit_code == 0
    outcome = call("predict", "D", "images")
    assert outcome.exit_code == 2
    assert "D may be outputs/sweep/D-256-s0-" in outcome.err
    outcome = call("predict", "E-256", "images")
    assert outcome.exit_code == 2
    assert "E-256 is neither the folder nor the name of a run: did you mean" in outcome.err
    assert "D-256-s" in outcome.err


def test_a_class_is_found_by_its_names() -> None:
    loaded = type("Stand-in", (), {"classes": ["n02012849", "n03126707", "n01440764", "daisy"]})()
    assert class_index(loaded, "daisy") == 3
    assert class_index(loaded, "tench") == class_index(loaded, "n01440764") == 2
    with pytest.raises(ConfigError, match="crane is the name of n02012849 and of n03126707; give one"):
        class_index(loaded, "crane")


def test_the_centre_of_a_position_is_where_the_net_is_symmetric_about_it(tmp_path: Path) -> None:
    """With symmetric kernels, a spot at the centre of a position has the same effect on both its neighbours. Without
    biases, and on a ground of the mean colour, the edges of the image have none.
    """
    loaded = vgg_sweep.load(random_run(tmp_path, "A").path)
    preprocessing = replace(loaded.preprocessing, pixel_max=100.0, mean=[20.0, 40.0, 60.0])
    for module in [*loaded.net.features, loaded.net.classifier[0]]:
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            kernel = (
                module.weight.data
                if module.weight.dim() == 4
                else module.weight.data.view(len(module.weight), -1, 2, 2)
            )
            kernel.copy_((kernel + kernel.flip(2) + kernel.flip(3) + kernel.flip(2, 3)) / 4)
    for name, tensor in loaded.net.state_dict().items():
        tensor.mul_(not name.endswith("bias"))
    image_HWC = np.full((192, 288, 3), (51, 102, 153), np.uint8)
    y, x = (int(centres_px(8, 64)[place]) for place in (1, 5))
    image_HWC[y - 8 : y + 8, x - 8 : x + 8] = (250, 20, 250)
    map_Khw = class_posteriors(loaded.net, image_HWC, preprocessing, choose_hardware(loaded.config))
    assert map_Khw.shape == (6, 5, 8)
    np.testing.assert_allclose(map_Khw[:, 1, 4], map_Khw[:, 1, 6], rtol=1e-4)
    np.testing.assert_allclose(map_Khw[:, 0, 5], map_Khw[:, 2, 5], rtol=1e-4)
    assert np.abs(map_Khw[:, 1, 5] - map_Khw[:, 1, 4]).max() > 0.005
    np.testing.assert_allclose(map_Khw[:, 4, 0], 1 / 6, rtol=1e-4)  # far from it


def test_a_map_lies_over_the_image_at_the_centres_of_its_crops() -> None:
    map_hw = np.array([[0.0, 1.0, 0.0]])
    heat_HW = stretched(map_hw, (128, 64), (256, 128), crop=64)  # shown at twice the size the net saw
    assert heat_HW.shape == (128, 256)
    assert heat_HW[:, 127:129].min() > 0.98  # the middle crop's centre: 64 px of 128, 128 of 256
    assert heat_HW[:, :64].max() == 0  # up to the first centre, 32 px of 128
    np.testing.assert_allclose(heat_HW[5, 96], 0.5, atol=0.02)  # half way between two centres
    np.testing.assert_allclose(heat_HW, heat_HW[:, ::-1])


def test_the_overlay_is_grey_where_nothing_is_seen_and_brighter_where_more_is() -> None:
    image = Image.fromarray(np.full((4, 4, 3), 120, np.uint8))
    heat_HW = np.linspace(0, 1, 4)[None].repeat(4, axis=0)
    overlaid_HWC = np.asarray(overlay(image, heat_HW)).astype(int)
    assert overlaid_HWC[0, 0].tolist() == [72, 72, 72]
    assert overlaid_HWC[0, 3, 0] > overlaid_HWC[0, 2, 0] > overlaid_HWC[0, 1, 0]


def test_maps_are_drawn_at_the_images_size(tmp_path: Path, call: Call) -> None:
    run_in(tmp_path)
    write_images(tmp_path / "images" / "deep", 2)
    write_images(tmp_path / "images", 1)
    assert call("predict", "run", "images", "--map", "zebra", "--out", "seen").exit_code == 0
    files = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "seen").rglob("*.png"))
    assert files == ["seen/0.png.zebra.png", "seen/deep/0.png.zebra.png", "seen/deep/1.png.zebra.png"]
    with Image.open(tmp_path / "seen" / "deep" / "1.png.zebra.png") as drawn:
        assert drawn.size == (140, 96)
    outcome = call("predict", "run", "images/0.png", "--map", "top", "--out", "best", "--json")
    [record] = json.loads(outcome.out)
    assert record["map"] == f"best/0.png.{record['top'][0]['class']}.png"


def test_the_exported_file_predicts_as_its_run(tmp_path: Path, call: Call) -> None:
    run_in(tmp_path)
    write_images(tmp_path / "images", 2)
    assert call("export", "run", "--to", "safetensors", "--out", "D.safetensors").exit_code == 0
    assert call("predict", "D.safetensors", "images").out == call("predict", "run", "images").out


@pytest.mark.parametrize(("width", "height"), [(1, 20_000), (20_000, 1), (10, 331), (65_000, 30)])
def test_a_long_thin_image_is_told_of_and_the_others_go_on(width: int, height: int, tmp_path: Path, call: Call) -> None:
    run_in(tmp_path)
    write_images(tmp_path / "images", 2)
    Image.new("RGB", (width, height)).save(tmp_path / "images" / "1.png")
    outcome = call("predict", "run", "images", "--csv", "out.csv", "--map", "top")
    assert outcome.exit_code == 1 and "1 of 2 images could not be read" in outcome.err
    assert f"images/1.png has {width} x {height} px and would have " in outcome.out
    assert "images/0.png  (dense" in outcome.out


def test_an_image_32_times_as_long_as_wide_is_seen(tmp_path: Path) -> None:
    loaded = vgg_sweep.load(random_run(tmp_path).path)
    Image.new("RGB", (320, 10)).save(tmp_path / "thin.png")
    [found] = predict(loaded, [tmp_path / "thin.png"], protocols(loaded, "single"), choose_hardware(loaded.config))
    assert found.error is None
    [found] = predict(loaded, [tmp_path / "thin.png"], protocols(loaded, "single"), choose_hardware(loaded.config), 600)
    assert found.error is not None and "at Q=600" in found.error  # 600 x 19200 px are more than 8 million


@pytest.mark.parametrize("how", [[], ["--json"], ["--csv", "out.csv"], ["--map", "top"]])
def test_a_name_that_is_not_utf8_is_an_image_like_others(how: list[str], tmp_path: Path, call: Call) -> None:
    run_in(tmp_path)
    name = os.fsdecode(b"fr\xfc.png")
    write_images(tmp_path / "images", 1)[0].rename(tmp_path / "images" / name)
    outcome = call("predict", "run", "images", *how)
    assert outcome.exit_code == 0, outcome.err
    if how == ["--json"]:
        assert json.loads(outcome.out)[0]["image"] == f"images/{name}"
    else:
        assert outcome.out.startswith(r"images/fr\xfc.png  (dense")
    if how[:1] == ["--csv"]:
        assert b"images/fr\xfc.png,dense," in (tmp_path / "out.csv").read_bytes()


def test_an_imported_net_is_checked_as_before_scoring_on_images_in_folders_of_its_classes(tmp_path: Path) -> None:
    """Labelled by the net's own answers it knows all of them; labelled by the class after that, none."""
    loaded = vgg_sweep.load(random_run(tmp_path, "A", **IMPORTED).path)  # type: ignore[arg-type]
    hardware, wanted = choose_hardware(loaded.config), protocols(loaded, "centre")
    paths = write_images(tmp_path / "some", 40)
    answers = [next(iter(each.posteriors_K.values())).argmax() for each in predict(loaded, paths, wanted, hardware)]
    broken = tmp_path / CLASSES[0] / "broken.png"
    broken.parent.mkdir()
    broken.write_bytes(b"no image")
    assert [each.error is None for each in predict(loaded, [broken], wanted, hardware)] == [False]
    for right, shift in ((True, 0), (False, 1)):
        labelled = []
        for path, answer in zip(paths, answers, strict=True):
            copy = tmp_path / str(right) / CLASSES[(answer + shift) % 6] / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
            labelled.append(copy)
        if right:
            assert len(list(predict(loaded, labelled, wanted, hardware))) == 40
        else:
            with pytest.raises(RunError, match="the net knows 0 of 40 images"):
                list(predict(loaded, labelled, wanted, hardware))
