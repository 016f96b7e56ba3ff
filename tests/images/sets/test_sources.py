"""Class folders as people have them, and a sentence for each way in which they can be wrong."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.plan.test_plan import config
from vgg_sweep.config.checks import valid
from vgg_sweep.config.schema import Config, Data, Fractals
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.images.sets.sources import open_images, refuse_dropped


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, count in (("train", 3), ("val", 2)):
        for label, name in enumerate(("bee", "ant")):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (40 + index, 30), (label * 200, index, 0)).save(
                    tmp_path / split / name / f"{index}.png"
                )
    return tmp_path


def folder_config(root: Path | None, source: str = "folder", **settings: object) -> Config:
    return replace(
        config("A"),
        data=Data(name="mine", source=source, root=None if root is None else str(root)),
        **settings,
    )  # type: ignore[arg-type]


def test_classes_are_sorted_and_rows_carry_their_label(root: Path) -> None:
    images = open_images(folder_config(root))
    assert images.classes == ["ant", "bee"]
    assert images.train.ids[:2] == ["train/ant/0.png", "train/ant/1.png"]
    assert images.train.labels_N.tolist() == [0, 0, 0, 1, 1, 1]
    for index, name in enumerate(images.val.ids):
        is_ant = name.split("/")[1] == "ant"
        assert images.val.image(index).getpixel((0, 0))[0] == (200 if is_ant else 0)  # type: ignore[index]


def test_the_fingerprint_sees_a_changed_file(root: Path) -> None:
    before = open_images(folder_config(root)).fingerprint
    assert before == open_images(folder_config(root)).fingerprint
    Image.new("RGB", (90, 90)).save(root / "val" / "ant" / "0.png")
    assert before != open_images(folder_config(root)).fingerprint


def _empty(root: Path) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def _extra_class(root: Path) -> None:
    (root / "val" / "wasp").mkdir()
    Image.new("RGB", (9, 9)).save(root / "val" / "wasp" / "0.png")


def _without_val(root: Path) -> None:
    (root / "val").rename(root / "test")


def _empty_class(root: Path) -> None:
    (root / "train" / "wasp").mkdir()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_empty, "has no train/.*data.val_share=0.1 to hold out a tenth of the images in it"),
        (_without_val, "has no val/"),
        (_extra_class, "none is only in train/ and wasp is only in val/"),
        (_empty_class, "wasp has no images"),
    ],
)
def test_a_wrong_layout_is_refused_with_a_sentence(root: Path, spoil: Callable[[Path], None], sentence: str) -> None:
    spoil(root)
    with pytest.raises(ConfigError, match=sentence):
        open_images(folder_config(root))


def test_a_missing_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs data.root=DIR"):
        open_images(folder_config(None))
    with pytest.raises(ConfigError, match="nowhere is not a folder"):
        open_images(folder_config(tmp_path / "nowhere"))


def test_imagenet_wants_wnids(root: Path) -> None:
    with pytest.raises(ConfigError, match="wnids such as n01440764, but there is ant"):
        open_images(folder_config(root, source="imagenet"))
    for split in ("train", "val"):
        (root / split / "ant").rename(root / split / "n02219486")
        (root / split / "bee").rename(root / split / "n02206856")
    assert open_images(folder_config(root, source="imagenet")).classes == [
        "n02206856",
        "n02219486",
    ]


def test_another_number_of_classes_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match="classes=10, but mine has 2"):
        open_images(folder_config(root, classes=10))


def test_an_unreadable_image_is_named(root: Path) -> None:
    (root / "train" / "bee" / "1.png").write_bytes(b"not an image")
    images = open_images(folder_config(root))
    for look in (images.train.image, images.train.size_px):
        with pytest.raises(RunError, match="train/bee/1.png cannot be read"):
            look(4)
    whole = (root / "train" / "ant" / "2.png").read_bytes()
    (root / "train" / "ant" / "2.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match="train/ant/2.png cannot be read"):
        images.train.image(2)


def test_fractals_are_drawn_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Fractals(num_classes=2, train_per_class=2, val_per_class=1, side_px=64)
    settings = replace(
        config("A", cache=str(tmp_path)),
        data=Data(name="fractals", source="fractals", fractals=spec),
    )
    first = open_images(settings)
    assert (len(first.train), len(first.val), len(first.classes)) == (4, 2, 2)
    monkeypatch.setattr("vgg_sweep.images.sets.fractals.render_split", None)
    again = open_images(settings)
    assert np.array_equal(np.asarray(first.train.image(3)), np.asarray(again.train.image(3)))
    assert first.fingerprint == again.fingerprint


def test_a_class_of_one_image_is_named_where_a_part_is_held_out(root: Path) -> None:
    for name in ("1.png", "2.png"):
        (root / "train" / "bee" / name).unlink()
    settings = folder_config(root)
    with pytest.raises(ConfigError, match="and bee has one; add images of it"):
        open_images(replace(settings, data=replace(settings.data, val_share=0.2)))


@pytest.mark.parametrize(("name", "value"), [("cache", "packed"), ("decode", "scaled")])
def test_what_was_dropped_is_said_to_who_asks_and_known_to_old_runs(name: str, value: str) -> None:
    asked = folder_config(None)
    asked = replace(asked, data=replace(asked.data, **{name: value}))  # type: ignore[arg-type]
    assert valid(asked) is asked, "a config.yaml of such a run is read"
    with pytest.raises(ConfigError, match=f"data.{name}={value} was dropped, .* leave data.{name} out to train"):
        refuse_dropped(asked.data)
    refuse_dropped(Data())


def test_classes_that_only_look_alike_are_told_apart_in_words(tmp_path: Path) -> None:
    for split, name in (("train", "ch\u00e2teau"), ("val", "cha\u0302teau")):
        (tmp_path / split / name).mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(tmp_path / split / name / "0.png")
    with pytest.raises(ConfigError, match=r"composed \(Unicode NFC\) in one and decomposed \(NFD\) in the other"):
        open_images(folder_config(tmp_path))
    (tmp_path / "val" / "cha\u0302teau").rename(tmp_path / "val" / "ch\u00e2teau")
    assert open_images(folder_config(tmp_path)).classes == ["ch\u00e2teau"]
