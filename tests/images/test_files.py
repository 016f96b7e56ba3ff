"""One rule for which files are images."""

from pathlib import Path

import pytest
from PIL import Image

from tests.images.sets.test_sources import folder_config
from vgg_sweep.images.files import files, image_files, is_image_name
from vgg_sweep.images.sets.sources import open_images
from vgg_sweep.predict.predict import find_images

NONE = (
    "._a.jpg", ".DS_Store", ".hidden.jpg", "notes.txt", ".ipynb_checkpoints/a.jpg", "__MACOSX/a.jpg", "@eaDir/a.jpg",
    "deep/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
)  # fmt: skip
IMAGES = ("a.jpg", "B.JPEG", "deep/c.png", "folder.jpg/d.png", "link.jpg", "linked/e.jpg")


def fill(folder: Path) -> None:
    """What people have in a folder of images."""
    for name in (*NONE, *IMAGES[:4]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40)).save(folder / name, "JPEG")
    (folder.parents[1] / "elsewhere").mkdir(exist_ok=True)
    Image.new("RGB", (40, 40)).save(folder.parents[1] / "elsewhere" / "e.jpg")
    (folder / "link.jpg").symlink_to(folder.parents[1] / "elsewhere" / "e.jpg")
    (folder / "linked").symlink_to(folder.parents[1] / "elsewhere")
    (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "deep" / "cycle").symlink_to(folder)


def test_training_and_prediction_see_the_same_images(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / "set" / split / "__MACOSX").mkdir(parents=True)
        fill(tmp_path / "set" / split / "ant")
    folder = tmp_path / "set" / "train" / "ant"
    expected = sorted(folder / name for name in IMAGES)
    assert image_files(folder) == expected and find_images([folder]) == expected
    images = open_images(folder_config(tmp_path / "set"))
    assert images.classes == ["ant"]
    assert sorted(images.train.ids) == sorted(f"train/ant/{name}" for name in IMAGES)
    assert images.train.image(0).size == (40, 40)
    said = [note.partition(", such as ")[0] for note in images.notes]
    assert said == ["1 files without an image's extension are left out", "2 links that lead nowhere are left out"] * 2


def test_files_that_are_no_images_are_seen_too(tmp_path: Path) -> None:
    fill(tmp_path / "set" / "ant")
    seen = {path for _, path, _ in files(tmp_path / "set" / "ant")}
    assert seen == {*IMAGES, "notes.txt", "dangling.jpg", "loop.jpg"}


@pytest.mark.parametrize("name", NONE)
def test_names_in_archives_follow_the_rule(name: str) -> None:
    assert not is_image_name(name) and not is_image_name(f"n01440764/{name}")


@pytest.mark.parametrize("name", IMAGES)
def test_names_of_images_do_too(name: str) -> None:
    assert is_image_name(name)
