"""Boxes in the layouts that people have them in, and what is said where they are wrong."""

import dataclasses
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.ilsvrc import SHARED, Ilsvrc, made, name, train_tree, write
from tests.tiny import FRACTALS, tiny_config
from vgg_sweep.config.schema import Config, Data
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.sets import fractals
from vgg_sweep.images.sets.annotations import read_xml
from vgg_sweep.images.sets.boxes import SetBoxes, open_boxes
from vgg_sweep.images.sets.sources import open_images

ILSVRC_XML = """<annotation><folder>val</folder><filename>{name}</filename>
<source><database>ILSVRC_2012</database></source><size><width>48</width><height>40</height><depth>3</depth></size>
<object><name>{wnid}</name><bndbox><xmin>3</xmin><xmax>20</xmax><ymin>5</ymin><ymax>39</ymax></bndbox></object>
<object><name>{wnid}</name><bndbox><ymin>0</ymin><xmin>0</xmin><ymax>7</ymax><xmax>47</xmax></bndbox></object>
</annotation>"""


def xml(*boxes: tuple[str, object, object, object, object], size: tuple[object, object] | None = (30, 20)) -> bytes:
    """VOC's, each box (class, x0, y0, x1, y1)."""
    said = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    for label, x0, y0, x1, y1 in boxes:
        said += (
            f"<object><name>{label}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
            f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        )
    return f"<annotation>{said}</annotation>".encode()


def png(size: tuple[int, int] = (30, 20)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (9, 9, 9)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes with images of the same names in both splits."""
    root = tmp_path / "set"
    write(
        (root / split / label / f"{number}.png", png())
        for split in ("train", "val")
        for label in ("cat", "dog")
        for number in (1, 2)
    )
    return root


def folder_config(root: Path, boxes: Path | None = None) -> Config:
    data = Data(name="set", source="folder", root=str(root), boxes=str(boxes) if boxes else None)
    return tiny_config(root.parent, data=data)


def opened(config: Config) -> SetBoxes:
    return open_boxes(config, open_images(config))


def of_csv(folder: Path, text: str) -> SetBoxes:
    (folder / "boxes.csv").write_text(text)
    return opened(folder_config(folder))


def named_boxes(config: Config) -> dict[str, list[list[float]]]:
    images, boxes = open_images(config), opened(config)
    return {id: boxes.val.of(row).tolist() for row, id in enumerate(images.val.ids)}


# --- ILSVRC ---


def ilsvrc_xmls(of: Ilsvrc) -> dict[str, bytes]:
    """Path in Kaggle's tree -> content; a training image of each class, and all of val."""
    train = {f"train/{wnid}/{wnid}_7.xml": ILSVRC_XML.format(name="7", wnid=wnid) for wnid in of.train}
    val = {
        f"val/{Path(name(number)).stem}.xml": ILSVRC_XML.format(name=number, wnid=wnid)
        for number, (wnid, _) in of.val.items()
    }
    return {path: text.encode() for path, text in (train | val).items()}


def tgz(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def ilsvrc_config(tmp_path: Path, base: str) -> tuple[Config, Ilsvrc, Path]:
    of, root = made(), tmp_path / "ilsvrc"
    train_tree(root / base, of)
    write((root / base / "val" / wnid / name(number), content) for number, (wnid, content) in of.val.items())
    data = Data(name="imagenet", source="imagenet", root=str(root))
    return tiny_config(tmp_path, data=data), of, root


def check_ilsvrc(config: Config, of: Ilsvrc) -> SetBoxes:
    """ILSVRC's files count pixels from 0; an image without a file has no box."""
    images, boxes = open_images(config), opened(config)
    assert len(boxes.val) == len(of.val) and boxes.val.has(images.val.labels_N).all()
    assert boxes.val.of(0).tolist() == [[3, 5, 20, 39], [0, 0, 47, 7]]
    assert boxes.val.sizes_N2[0].tolist() == [48, 40]
    has_N = boxes.train.has(images.train.labels_N)
    assert [Path(id).stem.endswith("_7") for id in images.train.ids] == has_N.tolist()
    assert "boxes of their class: 6 of 18 train images" in boxes.notes
    return boxes


def test_kaggles_tree(tmp_path: Path) -> None:
    config, of, root = ilsvrc_config(tmp_path, "ILSVRC/Data/CLS-LOC")
    write((root / "ILSVRC/Annotations/CLS-LOC" / path, content) for path, content in ilsvrc_xmls(of).items())
    boxes = check_ilsvrc(config, of)
    assert not boxes.blacklisted_N.any()


def test_the_published_archives_and_the_blacklist(tmp_path: Path) -> None:
    config, of, root = ilsvrc_config(tmp_path, ".")
    xmls = ilsvrc_xmls(of)
    train = {path.removeprefix("train/"): content for path, content in xmls.items() if path.startswith("train/")}
    val = {path: content for path, content in xmls.items() if path.startswith("val/")}
    (root / "ILSVRC2012_bbox_train_v2.tar.gz").write_bytes(tgz(train))
    (root / "ILSVRC2012_bbox_val_v3.tgz").write_bytes(tgz(val))
    (root / "ILSVRC2014_clsloc_validation_blacklist.txt").write_text("23\n28\n40000\n")
    boxes = check_ilsvrc(config, of)
    ids = open_images(config).val.ids
    assert {ids[row] for row in np.flatnonzero(boxes.blacklisted_N)} == {
        f"val/{of.val[number][0]}/{name(number)}" for number in (23, 28)
    }
    assert check_ilsvrc(config, of).notes == boxes.notes  # from the cache


# --- VOC ---


def test_voc_counts_from_one_and_matches_by_folders_where_names_recur(folder: Path) -> None:
    boxes = folder / "Annotations"
    write(
        (boxes / split / label / f"{number}.xml", xml((label, number, 1, 30, 20)))
        for split in ("train", "val")
        for label in ("cat", "dog")
        for number in (1, 2)
    )
    assert named_boxes(folder_config(folder)) == {
        f"val/{label}/{number}.png": [[number - 1, 0, 29, 19]] for label in ("cat", "dog") for number in (1, 2)
    }
    write([(boxes / "train/cat/2.xml", xml(("cat", -3, 1, 29, 19)))])  # a fault, which says nothing of how they count
    assert named_boxes(folder_config(folder))["val/dog/2.png"] == [[1, 0, 29, 19]]
    write([(boxes / "train/cat/1.xml", xml(("cat", 0, 1, 29, 19)))])  # one box at 0: so does the set count
    config = folder_config(folder)
    assert named_boxes(config)["val/dog/2.png"] == [[2, 1, 30, 20]]  # a file that changed is read again
    (boxes / "train/cat/x.xml").write_bytes(xml())
    assert any(fault.kind == "box-of-none" for fault in opened(config).faults)


@pytest.mark.skipif(not (SHARED / "raccoon-voc.tar").exists(), reason="the raccoons are not here")
def test_raccoons(tmp_path: Path) -> None:
    """200 photographs: their XML counts from 1, and the largest box reaches the last pixel."""
    with tarfile.open(SHARED / "raccoon-voc.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    (tmp_path / "set").mkdir()
    (tmp_path / "images").rename(tmp_path / "set/raccoon")
    data = Data("raccoons", "folder", root=str(tmp_path / "set"), val_share=0.2, boxes=str(tmp_path / "annotations"))
    config = tiny_config(tmp_path, data=data)
    images, boxes = open_images(config), opened(config)
    assert len(boxes.train.boxes_B4) + len(boxes.val.boxes_B4) == 217 and boxes.faults == ()
    corners = np.concatenate([boxes.train.boxes_B4, boxes.val.boxes_B4])
    assert corners.min() == 0
    sizes_N2 = np.array([images.val.size_px(row) for row in range(len(images.val))])
    np.testing.assert_array_equal(boxes.val.sizes_N2, sizes_N2)
    assert all((boxes.val.of(row)[:, 2:] < sizes_N2[row]).all() for row in range(len(images.val)))


# --- fractals ---


def test_fractals_have_exact_boxes(tmp_path: Path) -> None:
    """Against the drawn cover: the figure's pixels, which the blur widens by one each way."""
    config = tiny_config(tmp_path)
    boxes = opened(config)
    assert len(boxes.train) == 24 and boxes.val.labels_B.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    for label in range(3):
        system = fractals.class_system(FRACTALS.seed, label)
        for index in range(4):
            points_px_2N, tones_N, _ = fractals._figure(system, FRACTALS, "val", label, index)
            cover_HW, _ = fractals._rasterise(points_px_2N, tones_N, FRACTALS.side_px)
            rows, columns = (np.flatnonzero(cover_HW.any(axis=axis)) for axis in (1, 0))
            x0, y0, x1, y1 = boxes.val.of(4 * label + index)[0]
            last = FRACTALS.side_px - 1
            assert (columns[0], rows[0]) == (max(x0 - 1, 0), max(y0 - 1, 0))
            assert (columns[-1], rows[-1]) == (min(x1 + 1, last), min(y1 + 1, last))


# --- CSV ---


def test_a_csv_without_header_counts_from_zero(folder: Path) -> None:
    boxes = of_csv(folder, "val/cat/1.png,1,2,3,4\nval/cat/1.png,5,6,7.5,8,dog\n")
    assert boxes.val.of(0).tolist() == [[1, 2, 3, 4], [5, 6, 7.5, 8]]
    assert boxes.val.of(0, label=0).tolist() == [[1, 2, 3, 4]]  # of the image's own class where none is named
    assert boxes.val.has(np.array([0, 0, 1, 1])).tolist() == [True, False, False, False]
    assert boxes.val.has(np.array([1, 0, 1, 1])).tolist() == [True, False, False, False]


def test_a_csv_with_header_and_absolute_paths(folder: Path) -> None:
    text = f"filename,width,height,class,xmin,ymin,xmax,ymax\n{folder}/train/dog/2.png,30,20,dog,1,2,3,4\n"
    boxes = of_csv(folder, text)
    assert boxes.train.of(3).tolist() == [[1, 2, 3, 4]] and boxes.train.sizes_N2[3].tolist() == [30, 20]


@pytest.mark.parametrize(
    "text, said",
    [
        ("a,b\n", "boxes.csv:1 is `a,b`, neither a box nor the names of columns"),
        ("val/cat/1.png,1,2,3,4\nval/cat/2.png,1,two,3,4\n", "boxes.csv:2 is `val/cat/2.png,1,two,3,4`; write `file,"),
        ("val/cat/1.png,1,2,nan,4\n", "neither a box"),
        ("elsewhere.png,1,2,3,4\n", "boxes of 1 images such as elsewhere, none of which is in the set"),
        ("val/cat/1.png,1,2,3,4,wolf\n", "has boxes of wolf, but the set's classes are cat, dog"),
        ("", "has no boxes; give data.boxes=PATH"),
    ],
)
def test_a_csv_that_is_wrong(folder: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        of_csv(folder, text)


# --- what is wrong ---


def test_what_is_left_out_is_said(folder: Path) -> None:
    boxes = folder / "annotations"
    write(
        [
            (boxes / "train/cat/1.xml", xml(("cat", 9, 1, 3, 20))),  # swapped
            (boxes / "train/cat/2.xml", xml(("cat", 4, 5, 4, 15))),  # no area
            (boxes / "train/dog/1.xml", xml(("wolf", 1, 1, 9, 9), ("dog", 1, 1, 9, 9))),
            (boxes / "train/dog/2.xml", b"<annotation><object>"),
            (boxes / "val/dog/2.xml", xml(("dog", "left", 1, 9, 9))),
            (boxes / "val/dog/9.xml", xml(("dog", 1, 1, 9, 9))),
            (boxes / "val/dog/1.xml", xml(("dog", 1.5, -3, 90, 9), size=None)),  # floats, negative: kept
        ]
    )
    found = opened(folder_config(folder))
    assert found.train.of(2).tolist() == [[0, 0, 8, 8]] and len(found.train.boxes_B4) == 1  # counted from 1
    assert found.val.of(2).tolist() == [[0.5, -4, 89, 8]] and found.val.sizes_N2[2].tolist() == [0, 0]
    kinds = {fault.id: (fault.kind, fault.detail) for fault in found.faults}
    assert kinds == {
        "train/cat/1.png": ("box-empty", "x 9 to 3, y 1 to 20"),
        "train/cat/2.png": ("box-empty", "x 4 to 4, y 5 to 15"),
        "train/dog/1.png": ("box-class", "a box of wolf, which is not a class of the set"),
        "train/dog/2.png": ("box-file", "its annotation is no XML (no element found: line 1, column 20)"),
        "val/dog/2.png": ("box-file", "its annotation object 1 has no number as its xmin"),
        "val/dog/9": ("box-of-none", "no image of the set has this name, or several have"),
    }
    assert "left out: 1 boxes of classes that are not in the set, such as wolf" in found.notes


def test_no_boxes_at_all(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"set has no boxes; give data\.boxes=PATH"):
        opened(folder_config(folder))
    with pytest.raises(ConfigError, match=r"data\.boxes=.*nowhere does not exist"):
        opened(folder_config(folder, folder / "nowhere"))
    (folder / "boxes.zip").write_bytes(b"")
    with pytest.raises(ConfigError, match="is neither a folder or tar of XML files nor a CSV"):
        opened(folder_config(folder, folder / "boxes.zip"))
    (folder / "boxes.tgz").write_bytes(b"no tar")
    with pytest.raises(ConfigError, match="is not a whole archive"):
        opened(folder_config(folder, folder / "boxes.tgz"))


def test_an_xml_without_objects_says_that_there_are_none() -> None:
    annotation = read_xml("a/b.xml", xml())
    assert (annotation.path, annotation.size_px, annotation.drawn, annotation.error) == ("a/b", (30, 20), [], "")


def test_the_fingerprint_is_of_the_boxes(folder: Path) -> None:
    first = of_csv(folder, "val/cat/1.png,1,2,3,4\n").fingerprint
    assert of_csv(folder, "file,x0,y0,x1,y1\nval/cat/1.png,1,2,3,4\n").fingerprint == first
    assert of_csv(folder, "val/cat/1.png,1,2,3,5\n").fingerprint != first
    assert dataclasses.fields(SetBoxes)[3].name == "fingerprint"
