"""A small ILSVRC, written in any of the layouts that people have."""

import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests import paths

SHARED = paths.SHARED / "data"
# Some classes with their ILSVRC2012_ID, as in the development kit's meta.mat; the sorted order is another.
DEVKIT_IDS = {"n01440764": 449, "n01443537": 450, "n02085620": 173, "n02119789": 1, "n02100735": 2, "n07747607": 319}


@dataclass(frozen=True)
class Ilsvrc:
    """What is written: the files of each class of train, and of val by number."""

    train: Mapping[str, Mapping[str, bytes]]
    val: Mapping[int, tuple[str, bytes]]
    devkit_ids: Mapping[str, int]
    sorted_wnids: list[str] | None = None
    """All 1000, where their list is at hand."""


def made(seed: int = 0) -> Ilsvrc:
    """Six classes of noise; numbers of val beyond the first twenty, whose labels are known."""
    rng = np.random.default_rng(seed)

    def jpeg() -> bytes:
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(out, "JPEG")
        return out.getvalue()

    train = {wnid: {f"{wnid}_{number}.JPEG": jpeg() for number in (7, 12, 101)} for wnid in DEVKIT_IDS}
    val = {23 + 5 * place: (wnid, jpeg()) for place, wnid in enumerate([*DEVKIT_IDS, *reversed(DEVKIT_IDS)])}
    return Ilsvrc(train, val, DEVKIT_IDS)


def real() -> Ilsvrc:
    """Every sixth of the sample's classes, an image each in train and, under a number that it has in ILSVRC, in val."""
    with tarfile.open(SHARED / "ilsvrc-sample-120.tar") as tar:
        images = {Path(member.name).name[:9]: tar.extractfile(member) for member in tar if member.isfile()}
        content = {wnid: file.read() for wnid, file in list(images.items())[::6] if file is not None}
    lists = SHARED / "ilsvrc"
    wnids = (lists / "synsets_sorted.txt").read_text().split()
    devkit_ids = {line.split()[0]: int(line.split()[1]) for line in (lists / "map_clsloc.txt").read_text().splitlines()}
    places = [int(line.split()[1]) for line in (lists / "val_labels_sorted_wnid_0based.txt").read_text().splitlines()]
    numbers = {wnids[place]: number for number, place in reversed(list(enumerate(places, start=1)))}
    train = {wnid: {f"{wnid}_1.JPEG": data} for wnid, data in content.items()}
    val = {numbers[wnid]: (wnid, data) for wnid, data in content.items()}
    return Ilsvrc(train, val, devkit_ids, wnids)


def name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def write(files: Iterable[tuple[Path, bytes]]) -> None:
    for path, content in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def tar_of(files: Iterable[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, content in files:
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def train_tree(root: Path, of: Ilsvrc) -> None:
    write((root / "train" / wnid / name, data) for wnid, files in of.train.items() for name, data in files.items())


def train_class_tars(root: Path, of: Ilsvrc) -> None:
    write((root / "train" / f"{wnid}.tar", tar_of(files.items())) for wnid, files in of.train.items())


def train_half_extracted(root: Path, of: Ilsvrc) -> None:
    train_class_tars(root, of)
    for wnid in list(of.train)[::2]:
        write((root / "train" / wnid / name, data) for name, data in of.train[wnid].items())


def train_tar(root: Path, of: Ilsvrc) -> None:
    inner = [(f"{wnid}.tar", tar_of(reversed(files.items()))) for wnid, files in reversed(of.train.items())]  # type: ignore[call-overload]
    write([(root / "ILSVRC2012_img_train.tar", tar_of(inner))])


def kaggle_train(root: Path, of: Ilsvrc) -> None:
    train_tree(root / "ILSVRC" / "Data" / "CLS-LOC", of)


def val_tree(root: Path, of: Ilsvrc) -> None:
    write((root / "val" / wnid / name(number), data) for number, (wnid, data) in of.val.items())


def val_flat(root: Path, of: Ilsvrc) -> None:
    write((root / "val" / name(number), data) for number, (_, data) in of.val.items())


def val_tar(root: Path, of: Ilsvrc) -> None:
    tar = tar_of((name(number), data) for number, (_, data) in reversed(of.val.items()))  # type: ignore[call-overload]
    write([(root / "ILSVRC2012_img_val.tar", tar)])


def kaggle_val(root: Path, of: Ilsvrc) -> None:
    val_flat(root / "ILSVRC" / "Data" / "CLS-LOC", of)


def ground_truth(of: Ilsvrc) -> bytes:
    """A number a line for every image up to the last; images that are not there are of class 1."""
    ids = {number: of.devkit_ids[wnid] for number, (wnid, _) in of.val.items()}
    return "".join(f"{ids.get(number, 1)}\n" for number in range(1, max(ids) + 1)).encode()


def devkit(root: Path, of: Ilsvrc) -> None:
    write([(root / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt", ground_truth(of))])


def devkit_tar(root: Path, of: Ilsvrc) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for path, content in (
            ("ILSVRC2012_devkit_t12/readme.txt", b"..."),
            ("ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", ground_truth(of)),
        ):
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    write([(root / "ILSVRC2012_devkit_t12.tar.gz", out.getvalue())])


def list_of_wnids(root: Path, of: Ilsvrc) -> None:
    lines = [f"{name(number)} {wnid}\n" for number, (wnid, _) in of.val.items()]
    write([(root / "val.txt", "".join(lines).encode())])


def kaggle_csv(root: Path, of: Ilsvrc) -> None:
    rows = [f"{name(number)[:-5]},{wnid} 85 1 499 272 \n" for number, (wnid, _) in of.val.items()]
    write([(root / "LOC_val_solution.csv", ("ImageId,PredictionString\n" + "".join(rows)).encode())])


def list_of_places(root: Path, of: Ilsvrc) -> None:
    """As Caffe has it: places in the sorted wnids, or in those of train where the whole list is not at hand."""
    order = of.sorted_wnids or sorted(of.train)
    lines = [f"{name(number)} {order.index(wnid)}\n" for number, (wnid, _) in of.val.items()]
    write([(root / "val_labels.txt", "".join(lines).encode())])


def no_labels(root: Path, of: Ilsvrc) -> None:
    pass


TRAINS = (train_tree, train_class_tars, train_half_extracted, train_tar, kaggle_train)
VALS = (
    (val_tree, no_labels),
    (val_tree, devkit),
    (val_flat, devkit),
    (val_flat, devkit_tar),
    (val_flat, list_of_wnids),
    (val_flat, list_of_places),
    (val_tar, devkit_tar),
    (kaggle_val, kaggle_csv),
)
