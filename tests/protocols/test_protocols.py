import json
from pathlib import Path

import numpy as np
import pytest

from tests.sweeps import softmax, write_posteriors
from vgg_sweep.errors import RunError
from vgg_sweep.protocols.means import (
    Posteriors,
    Protocol,
    check_same_images,
    fused_posteriors,
    mean,
    protocol_posteriors,
)
from vgg_sweep.protocols.methods import BOTH

REDO = "vgg-sweep score model=D"
ALL = slice(None)


def posteriors_of(folder: Path, arrays: dict, labels: list[int] | None = None, **names: list[str]) -> Posteriors:
    num_images = len(next(iter(arrays.values())))
    write_posteriors(folder, arrays, labels or [0] * num_images, **names)
    return Posteriors(folder / "posteriors", REDO)


def random_run(
    folder: Path, seed: int, methods: tuple[str, ...] = ("dense",), scales: tuple[int, ...] = (64, 73, 82)
) -> Posteriors:
    rng = np.random.default_rng(seed)
    arrays = {
        (m, Q, flip): softmax(rng.normal(0, 3, (30, 6))) for m in methods for Q in scales for flip in (False, True)
    }
    return posteriors_of(folder, arrays)


def test_posteriors_are_averaged_not_logits(tmp_path: Path) -> None:
    """One scale is very sure of class 0 (0.98), two prefer class 1 (0.8). By hand: posteriors average to 0.46 for class
    0, but log odds sum to 3.89 - 2 x 1.39 > 0, so a mean of logits would choose class 0."""
    sure, unsure = np.array([[0.98, 0.02]]), np.array([[0.2, 0.8]])
    arrays = {("dense", Q, flip): sure if Q == 64 else unsure for Q in (64, 73, 82) for flip in (False, True)}
    posteriors = posteriors_of(tmp_path, arrays)
    found_NK = protocol_posteriors(posteriors, Protocol("dense", (64, 73, 82)), ALL)
    assert found_NK[0] == pytest.approx([(0.98 + 0.2 + 0.2) / 3, (0.02 + 0.8 + 0.8) / 3], abs=1e-6)
    log_odds = np.log(sure[0, 0] / sure[0, 1]) + 2 * np.log(unsure[0, 0] / unsure[0, 1])
    assert log_odds > 0 and found_NK[0].argmax() == 1


def test_every_scale_and_each_method_weighs_the_same(tmp_path: Path) -> None:
    run = random_run(tmp_path, 0, ("dense", "multi-crop"))
    load = {path.stem: np.load(path).astype(np.float64) for path in (tmp_path / "posteriors").glob("*.npy")}

    def method_mean(method: str) -> np.ndarray:
        return sum(load[f"{method}-Q{Q}-flip{flip}"] for Q in (64, 73, 82) for flip in (0, 1)) / 6

    dense = protocol_posteriors(run, Protocol("dense", (64, 73, 82)), ALL)
    both = protocol_posteriors(run, Protocol(BOTH, (64, 73, 82)), ALL)
    assert np.allclose(dense, method_mean("dense"), atol=1e-15)
    assert np.allclose(both, (method_mean("dense") + method_mean("multi-crop")) / 2, atol=1e-15)


def test_a_centre_crop_is_one_view_without_its_flip(tmp_path: Path) -> None:
    run = random_run(tmp_path, 0, ("centre-crop",), (73,))
    found_NK = protocol_posteriors(run, Protocol("centre-crop", (73,)), ALL)
    assert (found_NK == np.load(tmp_path / "posteriors" / "centre-crop-Q73-flip0.npy")).all()


def test_order_of_nets_does_not_matter(tmp_path: Path) -> None:
    protocol = Protocol("dense", (64, 73, 82))
    members = [(random_run(tmp_path / f"run{seed}", seed), protocol) for seed in range(3)]
    assert (fused_posteriors(members, ALL) == fused_posteriors(members[::-1], ALL)).all()


@pytest.mark.parametrize("times", [2, 3, 7])
def test_fusing_a_net_with_itself_changes_nothing(tmp_path: Path, times: int) -> None:
    member = (random_run(tmp_path, 0), Protocol("dense", (73,)))
    assert np.allclose(fused_posteriors([member] * times, ALL), protocol_posteriors(*member, ALL), rtol=1e-15, atol=0)


def test_mean_does_not_write_into_its_parts() -> None:
    parts = [np.zeros((1, 2)), np.ones((1, 2))]
    assert (mean(parts) == 0.5).all() and (parts[0] == 0).all()


def test_chunks_cover_every_row_once() -> None:
    for num_images, num_classes in ((1, 5), (50_000, 1000), (2**20 + 1, 1), (3, 2**21)):
        posteriors = Posteriors(Path("posteriors"), "")
        vars(posteriors).update(labels_N=np.zeros(num_images, int), manifest={"classes": range(num_classes)})
        parts = list(posteriors.chunks())
        assert [row for part in parts for row in range(part.start, part.stop)] == list(range(num_images))
        assert all((part.stop - part.start) * num_classes <= max(2**20, num_classes) for part in parts)


def test_only_whole_protocols_are_offered(tmp_path: Path) -> None:
    run = random_run(tmp_path, 0, ("dense",), (64, 73))
    assert run.test_scales("dense") == [64, 73]
    assert run.test_scales(BOTH) == run.test_scales("multi-crop") == []
    manifest_path = tmp_path / "posteriors" / "manifest.json"
    manifest = json.loads(manifest_path.read_text())
    manifest["files"] = [entry for entry in manifest["files"] if (entry["Q"], entry["flip"]) != (73, True)]
    manifest_path.write_text(json.dumps(manifest))
    assert Posteriors(tmp_path / "posteriors", REDO).test_scales("dense") == [64]


def test_a_missing_a_truncated_and_a_misshapen_file_are_named_with_the_cure(tmp_path: Path) -> None:
    protocol = Protocol("dense", (73,))
    for damage in ("missing", "damaged", "(30, 5), not (30, 6)"):
        run = random_run(tmp_path / damage[:3], 0, scales=(73,))
        file = run.folder / "dense-Q73-flip1.npy"
        if damage == "missing":
            file.unlink()
        elif damage == "damaged":
            file.write_bytes(file.read_bytes()[:-100])
        else:
            np.save(file, np.zeros((30, 5), np.float32))
        with pytest.raises(RunError) as caught:
            protocol_posteriors(run, protocol, slice(0, 3))
        assert all(part in str(caught.value) for part in (str(file), damage, REDO))


@pytest.mark.parametrize(
    ("labels", "message"), [([], "0 images"), ([0, 6], "labels 0 to 6 for 6 classes"), ([-1, 0], "-1")]
)
def test_labels_that_cannot_be_are_refused(tmp_path: Path, labels: list[int], message: str) -> None:
    write_posteriors(tmp_path, {("dense", 73, False): np.zeros((len(labels), 6))}, labels)
    with pytest.raises(
        RunError, match=f"{message}.*remove {tmp_path / 'posteriors' / 'manifest.json'} and make it again: {REDO}"
    ):
        _ = Posteriors(tmp_path / "posteriors", REDO).labels_N


@pytest.mark.parametrize("text", ["", '{"classes": ["a"', "[1]", "{}"])
def test_a_manifest_that_is_not_whole_is_named_with_the_cure(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(
        RunError, match=f"manifest.json is not a whole manifest.*remove {tmp_path / 'manifest.json'} and .*: {REDO}"
    ):
        _ = Posteriors(tmp_path, REDO).manifest


def test_different_images_labels_or_classes_are_refused_saying_what_differs(tmp_path: Path) -> None:
    arrays = {("dense", 73, False): np.zeros((3, 3))}
    first = posteriors_of(tmp_path / "a", arrays, [0, 1, 2])
    same = posteriors_of(tmp_path / "b", arrays, [0, 1, 2])
    check_same_images([first, same])
    others = {
        "images (number 1 is 'val/1.png' in one and 'y' in the other)": (
            [0, 1, 2],
            {"images": ["val/0.png", "y", "z"]},
        ),
        "labels (number 2 is 2 in one and 1 in the other)": ([0, 1, 1], {}),
        "classes (number 0 is 'class 0' in one and 'cat' in the other)": ([0, 1, 2], {"classes": ["cat", "b", "c"]}),
    }
    for number, (message, (labels, names)) in enumerate(others.items()):
        other = posteriors_of(tmp_path / f"other{number}", arrays, labels, **names)
        with pytest.raises(RunError) as caught:
            check_same_images([first, same, other])
        assert f"a and other{number} were scored on different {message}" in str(caught.value)
    fewer = posteriors_of(tmp_path / "fewer", {("dense", 73, False): np.zeros((2, 3))}, [0, 1])
    with pytest.raises(RunError, match=r"different images \(3 and 2\)"):
        check_same_images([first, fewer])
