"""Published sets, from small files of the layouts that their archives have; the real ones are not at hand."""

import hashlib
import io
import json
import pickle
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Outcome
from tests.plan.test_plan import config
from vgg_sweep.config.schema import Config, Data
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.images.sets.sources import open_images

NUM = 6  # images of a split


def of(source: str, root: Path, **settings: object) -> Config:
    data = Data(name=source, source=source, root=str(root), **settings)  # type: ignore[arg-type]
    return replace(config("A", cache=str(root.parent / "cache")), data=data)


def pixels(seed: int, side_px: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (NUM, side_px, side_px, 3), np.uint8)


def planes(images_NHWC: np.ndarray) -> np.ndarray:
    """As CIFAR stores them: all red rows, then green, then blue."""
    return np.stack([np.concatenate([image[:, :, colour].ravel() for colour in range(3)]) for image in images_NHWC])


LABELS = [1, 0, 1, 1, 0, 0]
BATCHES = {f"data_batch_{number}": number for number in range(1, 6)} | {"test_batch": 6}
"""Each file of CIFAR-10 with the seed of its pixels."""


def cifar10_python(root: Path) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, seed in BATCHES.items():
        batch = {"data": planes(pixels(seed)), "labels": LABELS, "batch_label": "made"}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["airplane", "automobile"]}, protocol=2))


def cifar10_binary(root: Path) -> None:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name, seed in BATCHES.items():
        rows = np.column_stack([np.array(LABELS, np.uint8), planes(pixels(seed))])
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    (folder / "batches.meta.txt").write_text("airplane\nautomobile\n")


def packed(make: Callable[[Path], None], archive: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        root.mkdir(parents=True)
        make(root / "unpacked")
        with tarfile.open(root / archive, "w:gz") as tar:
            for path in (root / "unpacked").iterdir():
                tar.add(path, path.name)
        (root / "unpacked").rename(root.parent / f"{root.name}-away")

    return write


@pytest.mark.parametrize(
    "make",
    [
        cifar10_python,
        cifar10_binary,
        packed(cifar10_python, "cifar-10-python.tar.gz"),
        packed(cifar10_binary, "cifar-10-binary.tar.gz"),
    ],
)
def test_cifar10_in_each_of_its_layouts(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "set")
    images = open_images(of("cifar10", tmp_path / "set"))
    assert images.classes == ["airplane", "automobile"]
    assert images.train.labels_N.tolist() == LABELS * 5 and images.val.labels_N.tolist() == LABELS
    assert np.array_equal(np.asarray(images.train.image(NUM + 2)), pixels(2)[2])
    assert np.array_equal(np.asarray(images.val.image(5)), pixels(6)[5])
    again = open_images(of("cifar10", tmp_path / "set"))
    assert again.fingerprint == images.fingerprint


def test_cifar10_with_a_part_held_out(tmp_path: Path) -> None:
    cifar10_python(tmp_path / "set")
    whole = open_images(of("cifar10", tmp_path / "set"))
    images = open_images(of("cifar10", tmp_path / "set", val_share=0.5))
    assert sorted([*images.train.ids, *images.val.ids]) == sorted(whole.train.ids)
    assert np.bincount(images.val.labels_N).tolist() == [8, 8]
    row = list(whole.train.ids).index(images.val.ids[1])
    assert np.array_equal(np.asarray(images.val.image(1)), np.asarray(whole.train.image(row)))
    assert images.val.labels_N[1] == whole.train.labels_N[row]
    other = open_images(of("cifar10", tmp_path / "set", val_share=0.5, split_seed=1))
    assert len({whole.fingerprint, images.fingerprint, other.fingerprint}) == 3


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    cifar10_binary(tmp_path / "set")
    before = open_images(of("cifar10", tmp_path / "set")).fingerprint
    file = tmp_path / "set" / "cifar-10-batches-bin" / "test_batch.bin"
    file.write_bytes(bytes(3073))
    images = open_images(of("cifar10", tmp_path / "set"))
    assert images.fingerprint != before and len(images.val) == 1


@pytest.mark.parametrize(("name", "make"), [("data_batch_4", cifar10_python), ("data_batch_4.bin", cifar10_binary)])
def test_a_batch_that_is_missing_is_named_once(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    make(tmp_path / "set")
    next((tmp_path / "set").glob(f"*/{name}")).unlink()
    with pytest.raises(ConfigError, match=f"has no whole {name} .*; copy the set again") as refused:
        open_images(of("cifar10", tmp_path / "set"))
    assert str(refused.value).count("copy the set again") == 1


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("run",)

    cifar10_python(tmp_path / "set")
    (tmp_path / "set" / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps({"data": Evil()}))
    with pytest.raises(ConfigError, match="test_batch is not the published file .*builtins.print is not an array"):
        open_images(of("cifar10", tmp_path / "set"))


@pytest.mark.parametrize("is_binary", [False, True])
def test_cifar100_takes_the_fine_labels(tmp_path: Path, is_binary: bool) -> None:
    folder = tmp_path / "set" / ("cifar-100-binary" if is_binary else "cifar-100-python")
    folder.mkdir(parents=True)
    for name, seed in (("train", 1), ("test", 2)):
        if is_binary:
            rows = np.column_stack([np.full(NUM, 9, np.uint8), np.array(LABELS, np.uint8), planes(pixels(seed))])
            (folder / f"{name}.bin").write_bytes(rows.tobytes())
        else:
            batch = {"data": planes(pixels(seed)), "fine_labels": LABELS, "coarse_labels": [9] * NUM}
            (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "fine_label_names.txt").write_text("apple\naquarium_fish\n")
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": ["apple", "aquarium_fish"]}))
    images = open_images(of("cifar100", tmp_path / "set"))
    assert images.classes == ["apple", "aquarium_fish"] and images.val.labels_N.tolist() == LABELS
    assert np.array_equal(np.asarray(images.train.image(3)), pixels(1)[3])


def test_stl10_columns_come_first(tmp_path: Path) -> None:
    folder = tmp_path / "set" / "stl10_binary"
    folder.mkdir(parents=True)
    for name, seed in (("train", 1), ("test", 2)):
        (folder / f"{name}_X.bin").write_bytes(b"".join(image.T.tobytes() for image in pixels(seed, 96)))
        (folder / f"{name}_y.bin").write_bytes(bytes(label + 1 for label in LABELS))
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    images = open_images(of("stl10", tmp_path / "set"))
    assert images.train.labels_N.tolist() == LABELS and images.classes == ["airplane", "bird"]
    assert np.array_equal(np.asarray(images.val.image(4)), pixels(2, 96)[4])


def picture(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (20, 30), grey).save(path)


def labelled(images: object) -> dict[str, dict[str, int]]:
    """Split to the grey and the class of each image."""
    return {
        name: {images.classes[label]: split.image(row).getpixel((0, 0))[0] for row, label in enumerate(split.labels_N)}  # type: ignore[attr-defined]
        for name, split in (("train", images.train), ("val", images.val))  # type: ignore[attr-defined]
    }


def tiny_imagenet(root: Path) -> None:
    folder = root / "tiny-imagenet-200"
    for grey, wnid in enumerate(("n01443537", "n01629819")):
        picture(folder / "train" / wnid / "images" / f"{wnid}_0.png", grey)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
        picture(folder / "val" / "images" / f"val_{1 - grey}.png", 10 + grey)
    (folder / "val" / "val_annotations.txt").write_text(
        "val_0.png\tn01629819\t0\t0\t62\t62\nval_1.png\tn01443537\t0\t0\t62\t62\n"
    )
    (folder / "wnids.txt").write_text("n01629819\nn01443537\n")


def food101(root: Path) -> None:
    folder = root / "food-101"
    for grey, name in enumerate(("apple_pie", "baby_back_ribs")):
        picture(folder / "images" / name / "1.jpg", grey)
        picture(folder / "images" / name / "2.jpg", 10 + grey)
    (folder / "meta").mkdir()
    (folder / "meta" / "train.txt").write_text("apple_pie/1\nbaby_back_ribs/1\n")
    (folder / "meta" / "test.txt").write_text("apple_pie/2\nbaby_back_ribs/2\n")


def imagenette(root: Path) -> None:
    for split, first in (("train", 0), ("val", 10)):
        for grey, wnid in enumerate(("n01440764", "n02102040"), start=first):
            picture(root / "imagenette2" / split / wnid / "1.JPEG", grey)


@pytest.mark.parametrize("make", [tiny_imagenet, food101, imagenette])
def test_files_go_to_their_split_and_class(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "set")
    images = open_images(of(make.__name__.replace("_", "-"), tmp_path / "set"))
    first, second = images.classes
    assert labelled(images) == {"train": {first: 0, second: 1}, "val": {first: 10, second: 11}}
    [inner] = (tmp_path / "set").iterdir()  # its own folder may be named too
    assert open_images(of(make.__name__.replace("_", "-"), inner)).fingerprint == images.fingerprint


def test_flowers102_is_read_from_its_matlab_files(tmp_path: Path) -> None:
    matlab = pytest.importorskip("scipy.io")
    folder = tmp_path / "set" / "flowers-102"
    for number in range(1, 7):
        picture(folder / "jpg" / f"image_{number:05d}.jpg", 20 * number)
    matlab.savemat(folder / "imagelabels.mat", {"labels": np.array([[2, 1, 2, 1, 2, 1]])})
    matlab.savemat(
        folder / "setid.mat",
        {"trnid": np.array([[1]]), "valid": np.array([[2]]), "tstid": np.array([[3, 4, 5, 6]])},
    )
    images = open_images(of("flowers102", tmp_path / "set"))
    assert images.classes == ["pink primrose", "hard-leaved pocket orchid"]
    assert labelled(images)["train"] == {"pink primrose": 40, "hard-leaved pocket orchid": 20}
    assert images.val.labels_N.tolist() == [0, 0, 1, 1]


def test_caltech101_is_split_by_us_without_its_clutter(tmp_path: Path) -> None:
    for name in ("BACKGROUND_Google", "Faces", "yin_yang"):
        for number in range(5):
            picture(tmp_path / "set" / "caltech101" / "101_ObjectCategories" / name / f"image_{number}.jpg", number)
    images = open_images(of("caltech101", tmp_path / "set", val_share=0.2))
    assert images.classes == ["Faces", "yin_yang"]
    assert np.bincount(images.train.labels_N).tolist() == [4, 4] and len(images.val) == 2


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for source in ("cifar10", "food101"):
        with pytest.raises(ConfigError, match="data.download=true"):
            open_images(of(source, tmp_path / "set"))
    with pytest.raises(ConfigError, match="tiny-imagenet-200.zip, unpack it"):
        open_images(of("tiny-imagenet", tmp_path / "set", download=True))
    with pytest.raises(ConfigError, match="needs an account at image-net.org"):
        open_images(of("imagenet", tmp_path / "set", download=True))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serves `tmp_path` on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def test_torchvision_fetches_and_compares_checksums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    """From a server of our own; an archive that is not the published one is refused by its checksum."""
    from torchvision.datasets import CIFAR10

    cifar10_python(tmp_path / "made")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(tmp_path / "made" / "cifar-10-batches-py", "cifar-10-batches-py")
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(archive.getvalue())
    monkeypatch.setattr(CIFAR10, "url", f"{server}/cifar-10-python.tar.gz")
    with pytest.raises(RunError, match="cifar10 could not be downloaded into .* get it by hand"):
        open_images(of("cifar10", tmp_path / "refused", download=True))

    def md5(name: str) -> str:
        return hashlib.md5((tmp_path / "made" / "cifar-10-batches-py" / name).read_bytes()).hexdigest()

    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.getvalue()).hexdigest())
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5(name)] for name in list(BATCHES)[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5("test_batch")]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5("batches.meta")})
    images = open_images(of("cifar10", tmp_path / "fetched", download=True))
    assert len(images.train) == 5 * NUM


TINY = (
    "width=0.03125", "crop=32", "model=A", "recipe.epochs=1", "recipe.batch_size=4", "workers=0", "device=cpu",
    "threads=1", "out=runs",
)  # fmt: skip


def test_cifar10_trains_through_the_normal_command(tmp_path: Path, call: Callable[..., Outcome]) -> None:
    cifar10_python(tmp_path / "set")
    assert call("train", "data=cifar10", "data.root=set", *TINY).exit_code == 0
    [manifest] = (tmp_path / "runs").glob("*/posteriors/manifest.json")
    there = json.loads(manifest.read_text())
    assert there["classes"] == ["airplane", "automobile"] and there["labels"] == LABELS


def test_a_tree_of_class_folders_trains_through_the_normal_command(
    tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    for name in ("ant", "bee"):
        for number in range(5):
            picture(tmp_path / "set" / name / f"{number}.jpg", 40 * number)
    done = call("train", "data=folder", "data.root=set", "data.val_share=0.2", *TINY)
    assert done.exit_code == 0, done.err
    [manifest] = (tmp_path / "runs").glob("*/posteriors/manifest.json")
    assert json.loads(manifest.read_text())["labels"] == [0, 1]
