"""A run knows the images that it was made from: others under the same settings are told apart, a moved set is not."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Outcome
from tests.images.sets.test_published import cifar10_binary
from tests.images.sets.test_sources import folder_config
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.sets.sources import open_images
from vgg_sweep.images.sets.statistics import statistics
from vgg_sweep.plan.folders import prepare
from vgg_sweep.plan.runs import Run, plan
from vgg_sweep.runs.files import read_json, write_json
from vgg_sweep.runs.folder import find_runs
from vgg_sweep.sweep.origin import begin_with, check_origins, own_statistics

COLOURS = {"cat": (200, 40, 40), "dog": (40, 200, 40), "emu": (40, 40, 200), "fox": (200, 200, 40)}
SMALL = ["model=A", "data=folder", "crop=32", "width=0.0625", "recipe.epochs=1", "recipe.batch_size=8", "device=cpu",
         "threads=1", "workers=1", "precision=fp32", "protocol=single"]  # fmt: skip


def make_set(root: Path, *classes: str, num_train: int = 4, seed: int = 0) -> Path:
    """`num_train` training and two validation JPEGs of one noisy colour a class."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", num_train), ("val", 2)):
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                noisy = rng.normal(COLOURS[name], 20, (36, 40, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(noisy).save(root / split / name / f"{index}.jpg")
    return root


@pytest.fixture
def begun(tmp_path: Path) -> Callable[[Path], Run]:
    """`begun(root)`: a run that has begun on the set in `root`, and is asked for with another by `at`."""

    def begin(root: Path) -> Run:
        run = at(root, tmp_path)
        prepare(run)
        begin_with(run, open_images(run.config), print)
        return run

    return begin


def at(root: Path, tmp_path: Path) -> Run:
    return plan([folder_config(root, out=str(tmp_path / "sweep"), cache=str(tmp_path / "cache"))])[-1]


def test_the_same_images_are_the_same_run_wherever_they_lie(tmp_path: Path, begun: Callable[[Path], Run]) -> None:
    run = begun(make_set(tmp_path / "one", "cat", "dog"))
    check_origins([run])
    moved = at(Path(shutil.move(tmp_path / "one", tmp_path / "elsewhere")), tmp_path)
    assert moved.id == run.id
    check_origins([moved])


@pytest.mark.parametrize(
    ("classes", "num_train", "seed", "difference"),
    [
        (("cat", "dog", "fox"), 4, 0, "class fox is new"),
        (("cat",), 4, 0, "class dog is gone"),
        (("emu", "fox"), 4, 0, "classes emu, fox are new and classes cat, dog are gone"),
        (("cat", "dog"), 5, 0, "10 training images instead of 8"),
        (("cat", "dog"), 4, 1, "names or sizes of files differ"),
    ],
)
def test_other_images_are_refused_with_what_differs_and_both_ways_on(
    tmp_path: Path, begun: Callable[[Path], Run], classes: tuple[str, ...], num_train: int, seed: int, difference: str
) -> None:
    one = make_set(tmp_path / "one", "cat", "dog")
    begun(one)
    two = make_set(tmp_path / "two", *classes, num_train=num_train, seed=seed)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError) as refused:
        check_origins([at(two, tmp_path)])
    assert difference in str(refused.value)
    assert str(one) in str(refused.value) and str(two) in str(refused.value)
    assert "data.name=NAME or out=DIR" in str(refused.value)
    assert sorted(tmp_path.rglob("*")) == before


def as_bitmaps(root: Path, seed: int) -> Path:
    """The set of `make_set` as bitmaps, whose sizes in bytes do not depend on what they show."""
    for file in make_set(root, "cat", "dog", seed=seed).rglob("*.jpg"):
        Image.open(file).save(file.with_suffix(".bmp"))
        file.unlink()
    return root


def test_files_of_the_same_names_and_sizes_that_hold_other_images_are_told_apart(
    tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    one, two = as_bitmaps(tmp_path / "one", 0), as_bitmaps(tmp_path / "two", 1)
    assert call("train", *SMALL, f"data.root={one}", "out=runs").exit_code == 0
    refused = call("train", *SMALL, f"data.root={two}", "out=runs")
    assert refused.exit_code == 2 and "files of the same names and sizes hold something else" in refused.err
    other = next((one / "val" / "dog").iterdir())
    shutil.copyfile(two / other.relative_to(one), other)  # in place: no folder changes
    assert call("score", *SMALL, f"data.root={one}", "out=runs").exit_code == 2
    shutil.rmtree(next(tmp_path.glob("runs/*/posteriors")))
    assert call("score", *SMALL, f"data.root={one}", "out=runs").exit_code == 0  # val alone was mended
    assert call("train", *SMALL, f"data.root={two}", "out=other").exit_code == 0
    figures = [read_json(next(tmp_path.glob(f"{out}/*/origin.json")))["statistics"] for out in ("runs", "other")]
    for root, found in zip((one, two), figures, strict=True):
        pixels = np.concatenate(
            [np.asarray(Image.open(file)).reshape(-1, 3) for file in (root / "train").rglob("*.bmp")]
        )
        assert found["mean_rgb"] == pytest.approx(pixels.mean(axis=0) / 255, abs=1e-6)
        vectors = np.array(found["eigenvectors"])
        assert vectors @ np.diag(found["eigenvalues"]) @ vectors.T == pytest.approx(
            np.cov(pixels.T / 255, bias=True), abs=1e-6
        )


@pytest.mark.parametrize(
    ("name", "value", "difference"),
    [
        ("mean_rgb", [0.5, 0.25, 0.75], "instead of 0.5000, 0.2500, 0.7500"),
        ("eigenvalues", [1, 1, 1], "the RGB PCA differs"),
    ],
)
def test_a_run_does_not_go_on_with_another_mean(
    begun: Callable[[Path], Run], tmp_path: Path, name: str, value: list[float], difference: str
) -> None:
    run = begun(make_set(tmp_path / "one", "cat", "dog"))
    figures = statistics(open_images(run.config), tmp_path / "cache", 1)
    assert own_statistics(run, figures, write=True) == figures
    rounded = replace(figures, mean_rgb=[mean + 1e-7 for mean in figures.mean_rgb])
    assert own_statistics(run, rounded, write=True) == figures
    origin = read_json(run.folder.origin)
    write_json(run.folder.origin, origin | {"statistics": origin["statistics"] | {name: value}})
    with pytest.raises(ConfigError, match=difference):
        own_statistics(run, figures, write=True)


def test_a_run_that_has_not_begun_lists_no_images(tmp_path: Path) -> None:
    run = at(make_set(tmp_path / "one", "cat"), tmp_path)
    check_origins([run])
    assert not (tmp_path / "cache").exists()


def test_a_run_of_an_earlier_version_is_known_by_its_posteriors(tmp_path: Path, begun: Callable[[Path], Run]) -> None:
    run = begun(make_set(tmp_path / "one", "cat", "dog"))
    origin = read_json(run.folder.origin)
    run.folder.origin.unlink()
    run.folder.posteriors.mkdir()
    write_json(
        run.folder.posteriors / "manifest.json",
        {"data_fingerprint": origin["data_fingerprint"], "classes": origin["classes"], "files": []},
    )
    check_origins([run])
    with pytest.raises(ConfigError, match="class fox is new"):
        check_origins([at(make_set(tmp_path / "two", "cat", "dog", "fox"), tmp_path)])


def test_train_multirun_and_score_do_not_take_one_set_for_another(tmp_path: Path, call: Callable[..., Outcome]) -> None:
    one, two = make_set(tmp_path / "one", "cat", "dog"), make_set(tmp_path / "two", "emu", "fox")
    assert call("train", *SMALL, f"data.root={one}", "out=runs").exit_code == 0
    [weights] = tmp_path.glob("runs/*/weights.safetensors")
    made = weights.read_bytes(), (weights.parent / "config.yaml").read_bytes()
    for verb in ("train", "multirun", "score"):
        refused = call(verb, *SMALL, f"data.root={two}", "out=runs")
        assert refused.exit_code == 2
        assert "was made from other images" in refused.err
    assert call("train", *SMALL, f"data.root={one}", "out=runs").exit_code == 0
    assert (weights.read_bytes(), (weights.parent / "config.yaml").read_bytes()) == made
    assert call("train", *SMALL, f"data.root={two}", "data.name=two", "out=runs").exit_code == 0
    assert len(list(tmp_path.glob("runs/*/weights.safetensors"))) == 2


@pytest.mark.parametrize(
    ("words", "exit_code", "sentence"),
    [
        (["data=folder", "classes=7"], 2, "classes=7, but folder has 2"),
        (["data=cifar10", "classes=7"], 2, "classes=7, but cifar10 has 2"),
        (["data=caltech101"], 2, "data.val_share=0.2 needs two images of every class"),
        (["data=fractals", "data.root=null", "classes=7"], 2, "classes=7, but fractals has 20"),
        (["data=fractals"], 2, "is not for data=fractals, which is drawn; give data=folder"),
        (["data=tiny-imagenet", "data.download=true"], 2, "torchvision does not know Tiny ImageNet"),
        (["data=cifar10", "data.root=null", "data.download=true"], 2, "needs data.root=DIR, the folder to put"),
    ],
)
def test_a_refused_request_writes_nothing(
    tmp_path: Path, call: Callable[..., Outcome], words: list[str], exit_code: int, sentence: str
) -> None:
    root = make_set(tmp_path / "set", "cat", "dog", num_train=1)
    shutil.copytree(root / "train", root / "caltech101" / "101_ObjectCategories")
    cifar10_binary(root)
    before = sorted(tmp_path.rglob("*"))
    for verb in (["train"], ["multirun"], ["data", "check"]):
        if verb != ["data", "check"] or words[0] != "data=fractals":
            refused = call(*verb, *SMALL, f"data.root={root}", *words)
            assert refused.exit_code == exit_code and sentence in refused.err
            assert sorted(tmp_path.rglob("*")) == before


def test_a_failed_download_leaves_no_empty_folder(
    tmp_path: Path, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", fail)
    failed = call("data", "prepare", "data=cifar10", "data.root=a/b", "data.download=true")
    assert failed.exit_code == 1 and "cifar10 could not be downloaded into a/b" in failed.err
    assert list(tmp_path.iterdir()) == []


def test_two_places_in_one_sweep_are_not_one_run(tmp_path: Path, call: Callable[..., Outcome]) -> None:
    one, two = make_set(tmp_path / "one", "cat", "dog"), make_set(tmp_path / "two", "emu", "fox")
    refused = call("multirun", *SMALL, f"data.root={one},{two}", "out=runs")
    assert refused.exit_code == 2
    assert "would be one run" in refused.err and "data.name=NAME" in refused.err
    assert not (tmp_path / "runs").exists()


def test_what_is_left_out_of_a_set_is_said_once_a_run(tmp_path: Path, call: Callable[..., Outcome]) -> None:
    root = make_set(tmp_path / "one", "cat", "dog")
    for index in range(3):
        (root / "train" / "cat" / f"{index}.jfif2").write_bytes(b"")
    said = "3 files without an image's extension are left out, such as "
    first = call("train", *SMALL, f"data.root={root}", "out=runs")
    assert first.exit_code == 0 and first.out.count(said) == 1
    call("train", *SMALL, f"data.root={root}", "out=runs", "protocol=multi")
    [log] = tmp_path.glob("runs/*/log.txt")
    assert log.read_text().count(said) == 1
    swept = call("multirun", *SMALL, f"data.root={root}", "out=runs", "seed=1")
    assert swept.exit_code == 0 and swept.out.count(said) == 1


def test_a_bad_image_whose_name_is_not_utf8_fails_its_run_and_not_the_sweep(
    tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    root = make_set(tmp_path / "one", "cat", "dog")
    for split in ("train", "val"):
        (root / split / "cat").rename(root / split / os.fsdecode(b"caf\xe9"))
    (root / "train" / "dog" / os.fsdecode(b"b\xe4d.jpg")).write_bytes(b"not an image")
    outcome = call("multirun", *SMALL, f"data.root={root}", "out=runs")
    assert outcome.exit_code == 1 and "1 of 1 runs are not done" in outcome.err
    assert r"train/dog/b\xe4d.jpg cannot be read as an image" in outcome.out
    [run] = find_runs(tmp_path / "runs")
    for file in (run.log, run.error):
        assert r"train/dog/b\xe4d.jpg cannot be read" in file.read_text(encoding="utf-8")
    assert run.status()["state"] == "failed"
