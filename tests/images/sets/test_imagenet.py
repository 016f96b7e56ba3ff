"""ILSVRC as people have it: in every layout the same classes, order, labels and images; wrong orders are refused."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests import ilsvrc
from tests.ilsvrc import Ilsvrc
from tests.plan.test_plan import config
from vgg_sweep.config.schema import Config, Data
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.decode import encoded
from vgg_sweep.images.sets.sources import check_source, open_images, open_index
from vgg_sweep.images.sets.splits import ImageSet
from vgg_sweep.images.sets.wnids import devkit_order, shown, sorted_order

WITH_SHARED = pytest.mark.skipif(not ilsvrc.SHARED.is_dir(), reason="the shared ILSVRC images and lists are absent")


def imagenet(root: Path, **settings: object) -> Config:
    data = Data(name="imagenet", source="imagenet", root=str(root), **settings)  # type: ignore[arg-type]
    return replace(config("A", cache=str(root.parent / "cache")), data=data)


def content(images: ImageSet) -> list[object]:
    """Everything that must not depend on the layout."""
    splits = [
        (list(split.ids), split.labels_N.tolist(), [encoded(split.stored(i)) for i in range(len(split))])  # type: ignore[arg-type]
        for split in (images.train, images.val)
    ]
    return [images.classes, images.fingerprint, *splits]


@pytest.fixture(params=["made", pytest.param("real", marks=WITH_SHARED)], scope="module")
def source(request: pytest.FixtureRequest) -> Ilsvrc:
    return ilsvrc.made() if request.param == "made" else ilsvrc.real()


def test_every_layout_gives_the_same_set(tmp_path: Path, source: Ilsvrc) -> None:
    classes = sorted(source.train)
    train = [(f"train/{wnid}/{name}", classes.index(wnid)) for wnid in classes for name in sorted(source.train[wnid])]
    val = [(f"val/{wnid}/{ilsvrc.name(n)}", classes.index(wnid)) for n, (wnid, _) in sorted(source.val.items())]
    contents = []
    pairs = [(make, *ilsvrc.VALS[0]) for make in ilsvrc.TRAINS] + [(ilsvrc.TRAINS[0], *pair) for pair in ilsvrc.VALS]
    for number, (make_train, make_val, make_labels) in enumerate(pairs):
        root = tmp_path / str(number)
        for make in (make_train, make_val, make_labels):
            make(root, source)
        images = open_images(imagenet(root))
        assert [*zip(images.train.ids, images.train.labels_N, strict=True)] == train
        assert sorted(zip(images.val.ids, images.val.labels_N, strict=True)) == sorted(val)
        contents.append(content(images))
    assert images.classes == classes
    assert all(each == contents[0] for each in contents)
    for number, (wnid, data) in source.val.items():
        row = list(images.val.ids).index(f"val/{wnid}/{ilsvrc.name(number)}")
        assert encoded(images.val.stored(row)) == data  # type: ignore[arg-type]


def test_what_it_is_is_said(tmp_path: Path) -> None:
    few = ilsvrc.made()
    odd = {"n02105855": {"n02105855_2933.JPEG": b"png", "n02105855_1.JPEG": b"jpeg"}}
    of = replace(few, train=few.train | odd, val=few.val | {99: ("n02105855", b"jpeg"), 98: ("n13037406", b"of none")})
    for make in (ilsvrc.train_tar, ilsvrc.val_flat, ilsvrc.list_of_wnids):
        make(tmp_path, of)
    facts = open_index(imagenet(tmp_path)).facts
    assert (
        "ILSVRC2012_img_train.tar (tar of class tars)" in facts["layout"] and "labels from val.txt" in facts["layout"]
    )
    notes = "; ".join(facts["notes"])
    assert "7 of its 1000 classes" in notes
    assert "1 val images are left out, as their 1 classes are not in train" in notes
    assert "0 of ILSVRC's 22 CMYK images and 1 PNG named .JPEG" in notes


def test_the_devkit_numbers_read_as_sorted_places_are_refused(tmp_path: Path) -> None:
    of = ilsvrc.made()
    ilsvrc.train_tree(tmp_path, of)
    ilsvrc.val_flat(tmp_path, of)
    lines = [f"{ilsvrc.name(number)} {of.devkit_ids[wnid]}\n" for number, (wnid, _) in of.val.items()]
    (tmp_path / "val.txt").write_text("".join(lines))
    with pytest.raises(ConfigError, match="they are the development kit's numbers .* data.labels_order=devkit"):
        open_images(imagenet(tmp_path))
    images = open_images(imagenet(tmp_path, labels_order="devkit"))
    assert [images.classes[label] for label in images.val.labels_N] == [id.split("/")[1] for id in images.val.ids]
    assert {id.split("/")[2]: id.split("/")[1] for id in images.val.ids} == {
        ilsvrc.name(number): wnid for number, (wnid, _) in of.val.items()
    }


def test_sorted_places_in_a_file_like_the_devkits_are_refused(tmp_path: Path) -> None:
    of = ilsvrc.made()
    ilsvrc.train_tree(tmp_path, of)
    ilsvrc.val_flat(tmp_path, of)
    places = {wnid: place for place, wnid in enumerate(_sorted_wnids())}
    wrong = replace(of, devkit_ids={wnid: places[wnid] for wnid in of.devkit_ids})
    ilsvrc.devkit(tmp_path, wrong)
    with pytest.raises(ConfigError, match="do not give every class of train/"):
        open_images(imagenet(tmp_path))


def test_folders_that_a_wrong_order_filled_are_refused(tmp_path: Path) -> None:
    """Validation images 1 to 20 lie where those go who take the devkit's number for a place in the sorted wnids."""
    wnids = _sorted_wnids()
    ids = (490, 361, 171, 822, 297)  # of images 1 to 5, in the devkit's ILSVRC2012_validation_ground_truth.txt
    wrong = {number: (wnids[id - 1], b"image") for number, id in enumerate(ids, start=1)}
    of = Ilsvrc({wnid: {f"{wnid}_1.JPEG": b"image"} for wnid, _ in wrong.values()}, wrong, {})
    ilsvrc.train_tree(tmp_path, of)
    ilsvrc.val_tree(tmp_path, of)
    with pytest.raises(ConfigError, match="the development kit's numbers were taken for places in the sorted wnids"):
        open_images(imagenet(tmp_path))


def test_images_in_a_wrong_folder_are_listed_and_many_of_them_refused(tmp_path: Path) -> None:
    of = ilsvrc.made()
    for make in (ilsvrc.train_tree, ilsvrc.val_tree, ilsvrc.list_of_wnids):
        make(tmp_path / "a", of)
    first = min(of.val)
    others = [wnid for wnid in of.train if wnid != of.val[first][0]]
    moved = tmp_path / "a" / "val" / others[0] / ilsvrc.name(first)
    (tmp_path / "a" / "val" / of.val[first][0] / ilsvrc.name(first)).rename(moved)
    facts = open_index(imagenet(tmp_path / "a")).facts
    assert facts["mislabelled"] == [[f"val/{others[0]}/{ilsvrc.name(first)}", of.val[first][0]]]
    turned = dict(zip(sorted(of.train), [*sorted(of.train)[1:], sorted(of.train)[0]], strict=True))
    of_wrong = replace(of, val={number: (turned[wnid], data) for number, (wnid, data) in of.val.items()})
    for make, what in ((ilsvrc.train_tree, of), (ilsvrc.val_tree, of_wrong), (ilsvrc.list_of_wnids, of)):
        make(tmp_path / "b", what)
    with pytest.raises(ConfigError, match="12 of 12 images are of another class by their labels"):
        open_images(imagenet(tmp_path / "b"))


def _two_lists(root: Path) -> None:
    of = ilsvrc.made()
    ilsvrc.val_flat(root, of)
    ilsvrc.list_of_wnids(root, of)
    turned = dict(zip(of.train, [*list(of.train)[1:], next(iter(of.train))], strict=True))
    ilsvrc.kaggle_csv(root, replace(of, val={n: (turned[wnid], data) for n, (wnid, data) in of.val.items()}))


def _unlabelled(root: Path) -> None:
    ilsvrc.val_flat(root, ilsvrc.made())


def _numbered(root: Path) -> None:
    of = ilsvrc.made()
    ilsvrc.val_tree(root, replace(of, val={n: (str(n), data) for n, (_, data) in of.val.items()}))


def _incomplete(root: Path) -> None:
    of = ilsvrc.made()
    ilsvrc.val_flat(root, of)
    ilsvrc.list_of_wnids(root, replace(of, val=dict(list(of.val.items())[:8])))


def _class_missing(root: Path) -> None:
    of = ilsvrc.made()
    ilsvrc.val_tree(root, replace(of, val=dict(list(of.val.items())[:4])))


def _cut_short(root: Path) -> None:
    ilsvrc.val_tree(root, ilsvrc.made())
    ilsvrc.train_tar(root, ilsvrc.made())
    tar = root / "ILSVRC2012_img_train.tar"
    tar.write_bytes(tar.read_bytes()[:9000])
    (root / "train").rename(root / "elsewhere")


@pytest.mark.parametrize(
    ("make_val", "sentence"),
    [
        (lambda root: None, "has no val/ and no ILSVRC2012_img_val.tar"),
        (_unlabelled, "without their labels; put ILSVRC2012_devkit_t12.tar.gz beside it"),
        (_two_lists, "label validation image .* differently"),
        (_numbered, "wnids such as n01440764, but there is .*name the folders by wnid"),
        (_incomplete, "has no label in"),
        (_class_missing, "only in train/"),
        (_cut_short, "is not a whole, uncompressed tar"),
    ],
)
def test_what_cannot_be_right_is_refused(tmp_path: Path, make_val: Callable[[Path], None], sentence: str) -> None:
    ilsvrc.train_tree(tmp_path, ilsvrc.made())
    make_val(tmp_path)
    with pytest.raises(ConfigError, match=sentence):
        check_source(imagenet(tmp_path).data)
        open_images(imagenet(tmp_path))


def _sorted_wnids() -> list[str]:
    """From the file that we ship, whose first column alone is read."""
    import vgg_sweep.images

    lines = Path(vgg_sweep.images.sets.__path__[0], "ilsvrc2012.csv").read_text().splitlines()[1:]
    return sorted(line.split(",")[0] for line in lines)


@pytest.mark.parametrize(
    ("order", "first", "last", "digest"),
    [
        (sorted_order, "n01440764", "n15075141", "791ce0333040dd249d13133f90d28ef0263ffc01e5de0afd85b3e32048d7d456"),
        (devkit_order, "n02119789", "n03255030", "4ea5082abdf28e98acbc2f290b0b980f400bca68d70ff346d5426f6a96b669e2"),
    ],
)
def test_our_list_of_classes_is_the_challenges(
    order: Callable[[], list[str]], first: str, last: str, digest: str
) -> None:
    """The digests are of the challenge's own lists (synsets.txt sorted, map_clsloc.txt by ID), with spaces between."""
    wnids = order()
    assert (len(wnids), wnids[0], wnids[-1]) == (1000, first, last)
    assert hashlib.sha256(" ".join(wnids).encode()).hexdigest() == digest


def test_two_classes_of_one_name_are_shown_apart() -> None:
    assert (shown("n02012849"), shown("n03126707")) == ("crane (n02012849)", "crane (n03126707)")
    assert shown("daisy") == "daisy"
