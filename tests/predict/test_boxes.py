"""`predict --boxes`: the box of a net that always says the same, as lines, JSON, CSV and picture; refusals."""

import csv
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Outcome
from tests.score.test_boxes import localiser
from tests.score.test_score import FIGURES
from tests.tiny import random_run, tiny_run
from vgg_sweep.nets.weights import save_weights
from vgg_sweep.plan.folders import prepare
from vgg_sweep.predict.boxes import COLOUR
from vgg_sweep.runs.folder import RunFolder

CLASSES = ["ant", "bee", "cat"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run with one box for all classes, of 0.5 x 0.75 of the crop round (0.25, 0.5), in the folder of the images."""
    monkeypatch.chdir(tmp_path)
    made = tiny_run(tmp_path, task="localise", boxes="scr", warm_start="none")
    folder = prepare(made)
    metadata = {"classes": json.dumps(CLASSES), "statistics": json.dumps(asdict(FIGURES)), "pixel_max": "4.0"}
    save_weights(localiser(made).net, folder.weights, metadata)
    for name, side in (("one.png", 37), ("two.png", 74)):
        Image.fromarray(np.full((side, side, 3), 90, np.uint8)).save(tmp_path / name)
    return folder


def test_the_box_is_printed_kept_and_drawn(run: RunFolder, call: Callable[..., Outcome]) -> None:
    """The centre crop at Q = 37 begins at pixel 2: x 0 to 16 and y 4 to 28 of the crop are 2 to 18 and 6 to 30."""
    asked = ("one.png", "two.png", "--boxes", "--protocol", "centre", "--top", "1")
    outcome = call("predict", str(run.path), *asked, "--json", "--csv", "out.csv", "--out", "seen")
    assert outcome.exit_code == 0
    one, two = json.loads(outcome.out)
    assert one["top"] == [{"class": "ant", "name": "ant", "posterior": pytest.approx(1 / 3), "box": [2, 6, 17, 29]}]
    assert two["top"][0]["box"] == [4, 12, 35, 59]  # twice as large, in edges
    rows = list(csv.DictReader(Path("out.csv").read_text().splitlines()))
    assert [[row[name] for name in ("image", "class", "x0", "y0", "x1", "y1")] for row in rows] == [
        ["one.png", "ant", "2.0", "6.0", "17.0", "29.0"],
        ["two.png", "ant", "4.0", "12.0", "35.0", "59.0"],
    ]
    picture = np.asarray(Image.open(one["picture"]))
    assert one["picture"] == "seen/one.png.ant.boxes.png" and picture.shape == (9 * 37, 9 * 37, 3)
    colour = [int(COLOUR[place : place + 2], 16) for place in (1, 3, 5)]
    ys, xs = np.where((picture == colour).all(axis=2))
    assert (xs.min(), xs.max(), ys.max()) == (9 * 2, 9 * 18 - 1, 9 * 30 - 1)
    text = call("predict", str(run.path), *asked).out
    assert "one.png  (centre-crop, Q 37 px)\n   33.3 %  ant  x 2 to 17, y 6 to 29\n" in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["one.png"], "this net predicts boxes; give --boxes"),
        (["one.png", "--boxes", "--protocol", "crops"], "boxes are predicted dense or from the centre crop"),
        (["one.png", "--boxes", "--map", "ant"], "--map and --boxes are two different pictures"),
    ],
)
def test_what_cannot_be_is_said(run: RunFolder, call: Callable[..., Outcome], words: list[str], sentence: str) -> None:
    outcome = call("predict", str(run.path), *words)
    assert outcome.exit_code == 2 and sentence in outcome.err


def test_such_a_net_is_not_exported(run: RunFolder, call: Callable[..., Outcome]) -> None:
    outcome = call("export", str(run.path), "--to", "safetensors")
    assert outcome.exit_code == 2 and "predicts boxes, which other libraries have no place for" in outcome.err


def test_a_run_that_classifies_has_no_boxes(run: RunFolder, tmp_path: Path, call: Callable[..., Outcome]) -> None:
    other = random_run(tmp_path, "A")
    outcome = call("predict", str(other.path), "one.png", "--boxes")
    assert outcome.exit_code == 2 and "is not the folder of a run that predicts boxes" in outcome.err


def test_what_cannot_be_read_is_named_and_the_others_go_on(run: RunFolder, call: Callable[..., Outcome]) -> None:
    Path("none.png").write_bytes(b"no image")
    outcome = call("predict", str(run.path), "none.png", "one.png", "--boxes")
    assert outcome.exit_code == 1 and "none.png cannot be read as an image" in outcome.out
    assert "picture: maps/one.png.ant.boxes.png" in outcome.out
