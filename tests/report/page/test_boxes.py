"""The page's examples of boxes: which images, and what is drawn on them."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.report.localised import SIDE_PX, make_box_run, true_boxes
from tests.sweeps import Spec, make_sweep
from vgg_sweep.report.page.boxes import box_galleries, drawn
from vgg_sweep.report.page.page import to_html
from vgg_sweep.report.results.results import Source, Sweep, read_sweep
from vgg_sweep.report.tables.boxes import table8
from vgg_sweep.report.tables.contents import make_contents


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Images of one grey; of the last there is no file."""
    folder = tmp_path_factory.mktemp("sweep")
    spec = Spec(num_images=30, passes=("dense@multi",), settings={"data.source": "folder", "data.root": str(folder)})
    make_sweep(folder, [("D", "384")], spec=spec)
    make_box_run(folder, "384", noise_px=9, spec=spec)
    make_box_run(folder, "384", "scr", noise_px=30, spec=spec)
    (folder / "val").mkdir()
    for n in range(29):
        Image.new("RGB", (SIDE_PX, SIDE_PX), (40, 40, 40)).save(folder / f"val/{n}.png")
    return read_sweep(Source(folder, str(folder)), [])


def test_right_and_wrong_ones_of_the_best_net(sweep: Sweep) -> None:
    right, wrong = box_galleries(sweep)
    error = table8(sweep.localised.errors)["loc_error"].min()
    assert f"{round(30 * (1 - error / 100))} of 30 images" in right.note and "D-384-pcr" in right.note
    assert right.title == "Boxes: right" and wrong.title == "Boxes: wrong"
    assert all(float(each.note.removeprefix("overlap ")) >= 0.5 for each in right.examples)
    assert all(float(each.note.removeprefix("overlap ")) <= 0.5 for each in wrong.examples)
    assert len({each.image for each in [*right.examples, *wrong.examples]}) == len(right.examples) + len(wrong.examples)


def test_the_true_boxes_are_drawn_in_white(sweep: Sweep) -> None:
    example = next(each for gallery in box_galleries(sweep) for each in gallery.examples if each.thumbnail)
    n = int(Path(example.image).stem)
    assert example.thumbnail is not None
    picture = Image.open(io.BytesIO(base64.b64decode(example.thumbnail.partition(",")[2]))).convert("RGB")
    pixels_HW3 = np.asarray(picture).astype(int)
    assert pixels_HW3.shape == (SIDE_PX, SIDE_PX, 3)
    x0, y0, x1, y1 = true_boxes(30, 7).of(n)[0].astype(int)
    border = np.concatenate([pixels_HW3[y0, x0 : x1 + 1], pixels_HW3[y0 : y1 + 1, x0]])
    assert (border.min(axis=1) > 120).mean() > 0.6  # white, where the orange one does not cross it


def test_a_box_that_was_not_predicted_is_not_drawn() -> None:
    plain = Image.new("L", (20, 20), 60)
    none = np.array([0.0, 0, -1, -1])
    assert np.asarray(drawn(plain, np.empty((0, 4)), none)).tolist() == np.asarray(plain.convert("RGB")).tolist()
    both = np.asarray(drawn(plain, np.array([[5.0, 5, 14, 14]]), none))
    assert (
        both[5, 9].tolist() == [255, 255, 255] and both[4, 9].tolist() == [0, 0, 0] and both[9, 9].tolist() == [60] * 3
    )


def test_the_page_has_them(sweep: Sweep) -> None:
    page = to_html(make_contents([sweep], ["8", "9"]))
    assert "Predicted boxes" in page and "Boxes: right" in page and "Table 8. Localisation" in page


def test_a_page_of_boxes_alone_says_what_it_is_about(tmp_path: Path) -> None:
    spec = Spec(num_images=12, settings={"data.source": "folder", "data.name": "folder", "data.root": "my/photos"})
    make_box_run(tmp_path, "384", noise_px=9, spec=spec)
    page = to_html(make_contents([read_sweep(Source(tmp_path, "boxes"), [])], ["8"]))
    assert "<dd>photos: " in page and " classes, 12 validation images</dd>" in page
    assert "crop 64 px (the paper: 224)</dd>" in page
