"""What `data check` says of boxes: each fault once, and nothing of sound ones."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.conftest import Outcome
from tests.ilsvrc import write
from tests.images.sets.test_boxes import folder_config, png, xml
from vgg_sweep.images.check.check import Findings, check_boxes
from vgg_sweep.images.sets.boxes import open_boxes
from vgg_sweep.images.sets.sources import open_images

SOUND = {"1": xml(("cat", 1, 1, 30, 20)), "2": xml(("cat", 2, 3, 4, 5), ("dog", 1, 1, 9, 9)), "3": xml()}


def folder_of(tmp_path: Path, annotations: dict[str, bytes]) -> Path:
    """Images of 30 x 20 px, of which one lies on its side by EXIF."""
    root = tmp_path / "set"
    write((root / split / "cat" / f"{number}.png", png()) for split, number in (("train", n) for n in range(1, 6)))
    write((root / split / label / f"{label}{split}.png", png((40, 30)))
          for split in ("train", "val") for label in ("cat", "dog"))  # fmt: skip
    turned = Image.new("RGB", (30, 20), (50, 60, 70))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(root / "train" / "cat" / "9.jpg", exif=exif)
    write((root / "annotations" / f"{name}.xml", content) for name, content in annotations.items())
    return root


def problems(root: Path) -> tuple[dict[str, list[tuple[str, str]]], list[str]]:
    """Kind -> (id, detail), and the notes."""
    config = folder_config(root)
    images, findings = open_images(config), Findings()
    check_boxes(images, open_boxes(config, images), findings, lambda done, total: None)
    found: dict[str, list[tuple[str, str]]] = {}
    for problem in findings.problems:
        found.setdefault(problem.kind, []).append((problem.id, problem.detail))
    return found, findings.notes


def test_sound_boxes_are_no_problem_and_images_without_are_counted(tmp_path: Path) -> None:
    found, notes = problems(folder_of(tmp_path, SOUND))
    assert found == {}
    assert "boxes of their class: 2 of 8 train images" in notes and "boxes of their class: 0 of 2 val images" in notes


def test_each_fault_is_found(tmp_path: Path) -> None:
    found, _ = problems(
        folder_of(
            tmp_path,
            {
                "1": xml(("cat", 1, 1, 31, 20)),
                "2": xml(("cat", 1, 1, 9, 9), size=(60, 40)),
                "3": xml(("dog", 1, 1, 9, 9), size=None),
                "4": xml(("cat", 1, -2, 9, 9)),
                "5": xml(("cat", 9, 9, 9, 30), ("wolf", 1, 1, 2, 2)),
                "6": xml(("cat", 1, 1, 9, 9)),
                "9": xml(("cat", 1, 1, 9, 9), size=(20, 30)),
                "catval": b"no xml",
            },
        )
    )
    assert {kind: [id for id, _ in each] for kind, each in found.items()} == {
        "box-file": ["val/cat/catval.png"],
        "box-of-none": ["6"],
        "box-class": ["train/cat/5.png"],
        "box-empty": ["train/cat/5.png"],
        "box-size": ["train/cat/2.png", "train/cat/9.jpg"],
        "box-outside": ["train/cat/1.png", "train/cat/4.png"],
        "box-other": ["train/cat/3.png"],
    }
    assert found["box-size"][1][1] == "said to be 20 x 30 px, is 30 x 20 px, perhaps turned by EXIF"
    # a coordinate below 0 is a fault and says nothing: the set counts from 1
    assert found["box-outside"][0][1] == "x 0 to 30, y 0 to 19, counted from 0, of 30 x 20 px"


def test_the_command_lists_them(tmp_path: Path, call: Callable[..., Outcome]) -> None:
    root = folder_of(tmp_path, SOUND | {"4": xml(("cat", 9, 9, 2, 12))})
    words = ("data", "check", "data=folder", f"data.root={root}", f"cache={tmp_path / 'cache'}")
    told = call(*words)
    assert told.exit_code == 1 and "box-empty" in told.out
    assert "left out: 1 boxes of swapped corners or without area" in told.out
    refused = call(*words, "data.boxes=no.csv")
    assert refused.exit_code == 2 and "data.boxes=no.csv does not exist" in refused.err.replace("\n", " ")
