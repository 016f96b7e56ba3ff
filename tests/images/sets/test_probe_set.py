"""VOC's lists, the real ones and broken ones, and Caltech's folders with what strays in them."""

import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.paths import ROOT
from tests.tiny import tiny_config
from tests.voc import actions_tree
from vgg_sweep.config.schema import Config, Data
from vgg_sweep.config.transfer import Transfer
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.sets.probe_set import ProbeSet, open_probe_set
from vgg_sweep.images.sets.sources import check_source
from vgg_sweep.images.sets.voc import ACTIONS, VOC_CLASSES, read_list

REAL = ROOT.parent / "shared" / "data" / "voc2007-labels.tar.xz"


def opened(tmp_path: Path, source: str, root: Path, **transfer: object) -> ProbeSet:
    data = Data(name=source, source=source, root=str(root))
    config: Config = tiny_config(tmp_path, data=data, transfer=Transfer(**transfer))  # type: ignore[arg-type]
    return open_probe_set(config)


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """VOCdevkit/VOC2007 with the twenty classes: 6 images of trainval, 4 of test."""
    folder = tmp_path / "voc" / "VOCdevkit" / "VOC2007"
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "JPEGImages").mkdir()
    ids = {"trainval": [f"00000{n}" for n in range(6)], "test": [f"00001{n}" for n in range(4)]}
    for part, names in ids.items():
        for id in names:
            Image.new("RGB", (8, 6), (int(id), 0, 0)).save(folder / "JPEGImages" / f"{id}.jpg", "PNG")
        for k, name in enumerate(VOC_CLASSES):
            lines = [f"{id} {(1, -1, 0)[(k + n) % 3]:>2}" for n, id in enumerate(names)]
            (folder / "ImageSets" / "Main" / f"{name}_{part}.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_voc_is_found_wherever_below_the_root(tmp_path: Path, voc: Path) -> None:
    for root in (voc.parents[1], voc.parent, voc):
        probed = opened(tmp_path, "voc2007", root)
        assert (len(probed.images), probed.classes, probed.metric) == (10, list(VOC_CLASSES), "AP11")
    assert probed.labels.shape == (10, 20)
    assert probed.labels[:6, 0].tolist() == [1, -1, 0, 1, -1, 0] and probed.labels[6:, 2].tolist() == [0, 1, -1, 0]
    assert probed.is_test_N is not None and probed.is_test_N.tolist() == 6 * [False] + 4 * [True]
    assert probed.images.image(7).getpixel((0, 0)) == (11, 0, 0)


def test_voc_in_separate_roots(tmp_path: Path, voc: Path) -> None:
    together = opened(tmp_path, "voc2007", voc.parent)
    for part, other in (("2007_trainval", "test"), ("2007_test", "trainval")):
        for file in (voc / "ImageSets" / "Main").glob(f"*_{'trainval' if other == 'test' else 'test'}.txt"):
            target = tmp_path / "apart" / part / "ImageSets" / "Main" / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
        (tmp_path / "apart" / part / "JPEGImages").symlink_to(voc / "JPEGImages")
    apart = opened(tmp_path, "voc2007", tmp_path / "apart")
    assert list(apart.images.ids) == list(together.images.ids)
    assert apart.fingerprint == together.fingerprint


def _without_test(voc: Path) -> None:
    for file in (voc / "ImageSets" / "Main").glob("*_test.txt"):
        file.unlink()


def _xml_alone(voc: Path) -> None:
    (voc / "Annotations").mkdir()
    for file in (voc / "ImageSets" / "Main").iterdir():
        file.unlink()


def _packed(voc: Path) -> None:
    root = voc.parents[1]
    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / "VOCtest_06-Nov-2007.tar").touch()


def _cow(text: str) -> Callable[[Path], object]:
    return lambda voc: (voc / "ImageSets" / "Main" / "cow_test.txt").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_without_test, r"has no lists such as ImageSets/Main/aeroplane_test.txt; unpack VOC2007's archive of test"),
        (_xml_alone, "its XML annotations do not take their place"),
        (_packed, r"holds VOCtest_06-Nov-2007.tar packed; unpack it there \(tar xf\) first"),
        (lambda voc: (voc / "ImageSets/Main/cow_test.txt").unlink(), "has no cow_test.txt, but aeroplane_test.txt"),
        (lambda voc: (voc / "JPEGImages/000013.jpg").unlink(), "1 of the 4 images that .* lists for test are not in"),
        (_cow("000010 2"), "cow_test.txt, line 1: '000010 2' is not"),
        (_cow(""), "cow_test.txt is empty"),
        (_cow("000010 1"), "lists other images than aeroplane_test.txt"),
        (lambda voc: voc.rename(voc.with_name("VOC2012")), "has no VOC2007/ImageSets/Main; data.root is the folder"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_voc_is_said(
    tmp_path: Path, voc: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    spoil(voc)
    with pytest.raises(ConfigError, match=sentence):
        opened(tmp_path, "voc2007", tmp_path / "voc")


def test_an_image_in_both_lists_is_refused(tmp_path: Path, voc: Path) -> None:
    for name in VOC_CLASSES:
        file = voc / "ImageSets" / "Main" / f"{name}_test.txt"
        file.write_text(file.read_text() + "000003 -1\n")
    with pytest.raises(ConfigError, match="1 images are in the lists of trainval and of test, such as 000003"):
        opened(tmp_path, "voc2007", voc)


def test_nets_are_not_trained_on_voc(voc: Path) -> None:
    with pytest.raises(ConfigError, match="`vgg-sweep transfer RUN data=voc2007"):
        check_source(Data(name="voc2007", source="voc2007", root=str(voc)))


@pytest.mark.skipif(not REAL.exists(), reason="VOC's label files are not here")
def test_the_real_lists_have_the_published_counts(tmp_path: Path) -> None:
    with tarfile.open(REAL) as tar:
        tar.extractall(tmp_path, filter="data")
    lists = tmp_path / "VOC2007" / "ImageSets" / "Main"
    ones_zeros = {
        "trainval": {"aeroplane": (238, 2), "chair": (445, 127), "diningtable": (200, 63), "person": (2008, 87)},
        "test": {"aeroplane": (204, 1), "chair": (417, 128), "diningtable": (190, 57), "person": (2007, 90),
                 "pottedplant": (224, 30), "sofa": (223, 132)},
    }  # fmt: skip
    for part, num_images, positives, difficult in (("trainval", 5011, 7306, 607), ("test", 4952, 7013, 619)):
        columns = {name: read_list(lists / f"{name}_{part}.txt") for name in VOC_CLASSES}
        assert {len(ids) for ids, _ in columns.values()} == {num_images}
        labels_NK = np.stack([labels for _, labels in columns.values()], axis=1)
        assert ((labels_NK == 1).sum(), (labels_NK == 0).sum()) == (positives, difficult)
        for name, counts in ones_zeros[part].items():
            assert ((columns[name][1] == 1).sum(), (columns[name][1] == 0).sum()) == counts


@pytest.fixture
def action(tmp_path: Path) -> Path:
    return actions_tree(tmp_path / "voc")


def test_actions_are_rows_of_persons_with_their_boxes(tmp_path: Path, action: Path) -> None:
    probed = opened(tmp_path, "voc2012-action", tmp_path / "voc")
    assert (probed.classes, probed.metric, probed.regions) == (list(ACTIONS), "AP", ("image", "box"))
    assert list(probed.images.ids[:3]) == ["2010_000001 1", "2010_000001 2", "2010_000002 1"]
    assert probed.labels[:2, :3].tolist() == [[1, -1, 1], [-1, 1, -1]]
    assert probed.is_test_N is not None and probed.is_test_N.tolist() == 4 * [False] + 4 * [True]
    assert probed.boxes_N4 is not None
    assert probed.boxes_N4[:2].tolist() == [[0, 2, 10, 12], [20, 2, 30, 12]]  # VOC's first pixel is 1


def _edit(name: str, old: str, new: str) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        file = folder / name
        file.write_text(file.read_text().replace(old, new))

    return edit


def _test_alone(folder: Path) -> None:
    for file in (folder / "ImageSets" / "Action").iterdir():
        file.rename(file.with_name(file.name.replace("_train", "_test").replace("_val", "_test")))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_test_alone, "no lists such as ImageSets/Action/jumping_train.txt; the labels of test images are not public"),
        (_edit("ImageSets/Action/reading_val.txt", "1 -1", "-1"), "line 1: .* is not an image's id, a person's number"),
        (_edit("Annotations/2010_000003.xml", "object>", "thing>"), "2010_000003.xml has 0 objects, .* its object 1"),
        (_edit("Annotations/2010_000003.xml", "<xmax>10</xmax>", ""), "object 1 has no number as its xmax; unpack"),
        (_edit("Annotations/2010_000003.xml", "<xmin>1<", "<xmin>11<"), "object 1 without a pixel of the image in it"),
        (lambda voc: (voc / "Annotations/2010_000003.xml").unlink(), "2010_000003.xml is not there; unpack"),
        (lambda voc: (voc / "ImageSets/Action/walking_val.txt").unlink(), "has no walking_val.txt, but jumping_val"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_actions_is_said(
    tmp_path: Path, action: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    spoil(action)
    with pytest.raises(ConfigError, match=sentence):
        opened(tmp_path, "voc2012-action", tmp_path / "voc")


@pytest.fixture
def caltech(tmp_path: Path) -> Path:
    """101_ObjectCategories with three classes of 4 images, the clutter among them, and strays."""
    tree = tmp_path / "caltech" / "101_ObjectCategories"
    for k, name in enumerate(("BACKGROUND_Google", "Faces", "brain")):
        (tree / name).mkdir(parents=True)
        for n in range(4):
            Image.new("RGB", (8, 6), (k, n, 0)).save(tree / name / f"image_{n + 1:04d}.jpg")
    (tree / "BACKGROUND_Google" / "tmp").touch()
    (tree / "brain" / "greg").mkdir()
    Image.new("RGB", (8, 6)).save(tree / "brain" / "greg" / "image_0001.jpg")
    (tree / "Faces" / "RENAME2").touch()
    (tree / "Faces" / ".DS_Store").touch()
    return tree


def test_caltech_counts_its_clutter_and_leaves_out_strays(tmp_path: Path, caltech: Path) -> None:
    for root in (caltech, caltech.parent):
        probed = opened(tmp_path, "caltech101", root)
        assert probed.classes == ["BACKGROUND_Google", "Faces", "brain"]
        assert probed.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
        assert list(probed.images.ids[:2]) == ["BACKGROUND_Google/image_0001.jpg", "BACKGROUND_Google/image_0002.jpg"]
        assert probed.is_test_N is None and probed.metric == "recall"
    said = {note.partition(" ")[0] for note in probed.notes}
    assert said == {"BACKGROUND_Google/tmp", "Faces/RENAME2", "brain/greg"}


def test_caltech_packed_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "101_ObjectCategories.tar.gz").touch()
    with pytest.raises(ConfigError, match=r"holds 101_ObjectCategories.tar.gz packed"):
        opened(tmp_path, "caltech101", tmp_path / "packed")
    with pytest.raises(ConfigError, match="has no 256_ObjectCategories/"):
        opened(tmp_path, "caltech256", tmp_path / "packed")


def test_other_sets_are_probed_on_both_their_splits(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    probed = open_probe_set(config)
    assert len(probed.images) == len(probed.labels) == 3 * (8 + 4) and probed.is_test_N is None
    own = open_probe_set(replace(config, transfer=Transfer(split="own")))
    assert own.is_test_N is not None and own.is_test_N.sum() == 12
    images = probed.images
    assert np.asarray(images.image(24)).shape == (64, 64, 3)
