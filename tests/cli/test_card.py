"""Model cards, read as a user would."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.predict.test_predict import scored
from tests.tiny import IMPORTED, random_run
from vgg_sweep.cli.card import LICENCES, _drops, export
from vgg_sweep.config.imported import Preprocessing
from vgg_sweep.config.options import conf_dir, load_option
from vgg_sweep.config.schema import Data, Recipe
from vgg_sweep.plan.configs import read_config
from vgg_sweep.plan.folders import read_run
from vgg_sweep.protocols.metrics import wilson
from vgg_sweep.report.results.errors import ReportedRun, run_scores


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The file and the card of a scored run, exported to the file that its own library reads."""
    tmp_path = tmp_path_factory.mktemp("card")
    folder = scored(random_run(tmp_path, "D", protocol=load_option("protocol", "multi")))
    exported = export(folder, "safetensors", tmp_path / "D.safetensors")
    assert exported.card == tmp_path / "D.safetensors.md"
    return exported.file, exported.card.read_text()


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    section = re.split(r"^#+ ", text, flags=re.MULTILINE)
    [own] = [part for part in section if part.startswith(heading)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in own.splitlines() if line.startswith("|")]


def test_the_checksum_is_that_of_the_file_beside_it(card: tuple[Path, str]) -> None:
    file, text = card
    head = dict(rows(text, "VGG net D")[2:])
    assert head["SHA-256"] == f"`{hashlib.sha256(file.read_bytes()).hexdigest()}`"
    assert head["file"].startswith("`D.safetensors`, for safetensors, ")
    assert head["net"].startswith("D: conv3-2, conv3-2, maxpool, conv3-4")
    num_classes = len(re.findall(r"^\d+ ", text.partition("## Classes")[2], flags=re.MULTILINE))
    assert head["net"].endswith(f", FC-128, FC-128, FC-{num_classes}")
    assert head["size"] == "crop 64 px, width 1/32, 40,156 parameters"


def test_the_errors_are_those_of_the_report(card: tuple[Path, str], tmp_path: Path) -> None:
    _, text = card
    folder = scored(random_run(tmp_path, "D", protocol=load_option("protocol", "multi")))
    reported = ReportedRun(folder, read_config(folder.config.read_text()), "sweep")
    head, _, *body = rows(text, "Errors")
    assert head == ["method", "Q, px", "top-1", "95 %", "top-5", "95 %"]
    scores = run_scores(reported)
    assert [row[:2] for row in body] == [["dense", "64"], ["dense", "73"], ["dense", "82"], ["dense", "64, 73, 82"]]
    for row, score in zip(body, scores, strict=True):
        low, high = wilson(score.top1.error, 4)
        assert row[2:4] == [f"{score.top1.error:.1f}", f"{low:.1f}–{high:.1f}"]
    assert "In percent of the 4 validation images of fractals" in text


def test_how_it_was_trained_and_on_what(card: tuple[Path, str]) -> None:
    _, text = card
    training = dict(rows(text, "Training")[2:])
    assert training["S, px"] == "73"
    assert training["started from"] == "random weights (he)"
    assert training["length"] == "12 steps of 7 images, at most 3 epochs"
    data = dict(rows(text, "Data")[2:])
    assert data["set"] == "fractals, 6 classes"
    assert "drawn by this program" in data["licence"]
    assert data["pixels"] == "RGB, 0 to 4, minus 2, 1.6, 1.2, divided by 1, 1, 1"
    assert "vgg-sweep train model=D train_scale=256 seed=0 data=fractals" in text
    assert "vgg-sweep export" in text
    assert text.endswith("```text\n0 crane\n1 daisy\n2 drake\n3 koala\n4 wolf\n5 zebra\n```\n")


def test_parents_are_named_from_the_first_on(tmp_path: Path) -> None:
    folder = random_run(tmp_path, "D", train_scale=load_option("train_scale", "jitter"), warm_start="paper")
    text = export(folder, "torchvision", tmp_path).card.read_text()
    started = dict(rows(text, "Training")[2:])["started from"]
    assert re.fullmatch(r"`A-256-s0-\w+` -> `D-256-s0-\w+` -> `D-384-s0-\w+`", started)
    assert dict(rows(text, "Training")[2:])["S, px"] == "[73;146]"


def test_a_net_that_was_not_scored_says_how_to(tmp_path: Path) -> None:
    text = export(random_run(tmp_path), "torchvision", tmp_path).card.read_text()
    assert re.search(r"Not measured. `vgg-sweep score model=D train_scale=256 .*` measures them.", text)


def test_an_imported_net_was_not_trained_here(tmp_path: Path) -> None:
    folder = random_run(tmp_path, "D", **IMPORTED)
    text = export(folder, "torchvision", tmp_path).card.read_text()
    assert f"Not trained here: imported from a file of oxford with SHA-256 `{'0' * 64}`." in text
    assert "vgg-sweep import vgg16.pth preprocessing=caffe" in text
    assert dict(rows(text, "Data")[2:])["pixels"] == "RGB, 0 to 255, minus 123.68, 116.779, 103.939, divided by 1, 1, 1"


def test_the_images_of_every_set_have_a_word_on_their_licence() -> None:
    sets = [OmegaConf.load(path).data.source for path in (conf_dir() / "data").glob("*.yaml")]
    assert len(sets) >= 13
    assert set(LICENCES) == set(sets)


def test_a_net_of_cifar_has_a_card(tmp_path: Path) -> None:
    folder = random_run(tmp_path, data=Data(name="cifar10", source="cifar10"))
    text = export(folder, "safetensors", tmp_path).card.read_text()
    assert "ask to be cited" in dict(rows(text, "Data")[2:])["licence"]


def test_a_preprocessing_of_the_users_own_is_in_the_command(tmp_path: Path) -> None:
    own = Preprocessing(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0])
    folder = random_run(tmp_path, "D", **(IMPORTED | {"preprocessing": own}))
    text = export(folder, "safetensors", tmp_path).card.read_text()
    command = "vgg-sweep import vgg16.pth 'preprocessing.mean=[1.0,2.0,3.0]' 'preprocessing.std=[4.0,5.0,6.0]'"
    assert command in text


def test_a_net_whose_record_was_damaged_and_removed_has_a_card(tmp_path: Path) -> None:
    folder = random_run(tmp_path)
    (folder.path / "record.json").unlink()
    text = export(folder, "safetensors", tmp_path).card.read_text()
    assert "| seed | 0 |" in text and "| length |" not in text


def test_the_rate_s_drops_are_told_though_its_curve_has_a_single_row(tmp_path: Path) -> None:
    """0.01 divided by ten twice, which ten steps are too few to write down one by one."""
    run = read_run(random_run(tmp_path, "A", recipe=Recipe(name="short", lr=0.01, schedule="fractions")))
    rates = {"1e-4": ", 2 drops in training", "0.001": ", 1 drop in training", "0.01": ", 0 drops in training"}
    for rate, told in rates.items():
        run.folder.metrics.write_text(f"step,lr\n10,{rate}\n")
        assert _drops(run) == told
    assert _drops(replace(run, config=replace(run.config, recipe=Recipe(name="modern", schedule="cosine")))) == ""
