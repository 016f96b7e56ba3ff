"""The rule of ILSVRC's development kit, against its real boxes to the digit and by hand."""

import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from tests.localise.boxes import merged, random_pass, truth_of
from tests.paths import SHARED
from vgg_sweep.localise.boxes import Boxes
from vgg_sweep.localise.evaluate import answers, centre_boxes, counted, held_out, wrong
from vgg_sweep.localise.stored import Truth

REAL = SHARED / "data/ilsvrc-val-boxes.tar.xz"


@pytest.fixture(scope="module")
def ilsvrc() -> tuple[Truth, np.ndarray]:
    """All boxes of the 50,000 validation images, with the blacklist; labels."""
    if not REAL.exists():
        pytest.skip("ILSVRC's boxes are not here")
    with tarfile.open(REAL) as tar:
        text = {
            name: io.TextIOWrapper(tar.extractfile(f"boxes/{name}.txt")).read()  # type: ignore[arg-type]
            for name in ("localization", "image_sizes", "class_labels", "blacklist")
        }
    labels_N = np.array([int(line.split(",")[1]) for line in text["class_labels"].splitlines()])
    sizes_N2 = np.array([line.split(",")[1:] for line in text["image_sizes"].splitlines()], np.int32)
    rows = [line.split(",") for line in text["localization"].splitlines()]
    images_B = np.array([int(row[0][-13:-5]) - 1 for row in rows])
    assert (np.diff(images_B) >= 0).all()
    ends_N = np.cumsum(np.bincount(images_B, minlength=len(labels_N)))
    boxes_B4 = np.array([row[1:] for row in rows], np.float32)
    blacklisted_N = np.zeros(len(labels_N), bool)
    blacklisted_N[np.array(text["blacklist"].split(), int) - 1] = True
    boxes = Boxes(boxes_B4, labels_N[images_B].astype(np.int32), ends_N, sizes_N2)
    return Truth(boxes, blacklisted_N), labels_N


def error(share: float, truth: Truth, labels_N: np.ndarray, among_N: np.ndarray | None = None) -> float:
    wrong_N = wrong(labels_N[:, None], centre_boxes(truth.boxes.sizes_N2, share)[:, None], truth.boxes, labels_N)
    return round(100 * float(wrong_N[slice(None) if among_N is None else among_N].mean()), 2)


@pytest.mark.parametrize(
    "share, of_all, without_blacklist, of_first",
    [(1.0, 59.30, 58.53, 60.40), (0.75, 46.55, 45.49, 48.06), (0.8, 47.93, 46.93, 49.40), (0.9, 52.56, 51.65, 53.88)],
)
def test_boxes_that_need_no_net(
    ilsvrc: tuple[Truth, np.ndarray], share: float, of_all: float, without_blacklist: float, of_first: float
) -> None:
    """The whole image and centre boxes on ILSVRC; last with the bug of keeping the first box of an image alone."""
    truth, labels_N = ilsvrc
    assert len(truth.boxes.boxes_B4) == 80_477 and truth.blacklisted_N.sum() == 1762
    assert error(share, truth, labels_N) == of_all
    assert error(share, truth, labels_N, counted(truth, labels_N)) == without_blacklist
    first_N = truth.boxes.ends_N - truth.boxes.counts_N
    first = replace(truth.boxes, boxes_B4=truth.boxes.boxes_B4[first_N], labels_B=truth.boxes.labels_B[first_N],
                    ends_N=np.arange(1, len(labels_N) + 1))  # fmt: skip
    assert error(share, replace(truth, boxes=first), labels_N) == of_first


# --- by hand ---

TRUTH = truth_of([[[0, 0, 9, 9], [20, 20, 29, 29]]])
LABELS = np.array([0])


def is_wrong(*guesses: tuple[int, list[float]], truth: Boxes = TRUTH) -> bool:
    labels_1g = np.array([[label for label, _ in guesses]])
    boxes_1g4 = np.array([[box for _, box in guesses]], float)
    return bool(wrong(labels_1g, boxes_1g4, truth, LABELS)[0])


def test_half_is_right_and_less_is_not() -> None:
    assert not is_wrong((0, [0, 0, 9, 4]))  # 50 of 100 pixels
    assert is_wrong((0, [0, 0, 9, 3]))


def test_any_box_of_the_class_counts_and_no_other() -> None:
    assert not is_wrong((0, [20, 20, 29, 29]))
    assert is_wrong((0, [0, 0, 29, 29]))
    other = Boxes.of_lists([[(1, [0, 0, 9, 9]), (0, [20, 20, 29, 29])]], [(100, 100)])
    assert is_wrong((0, [0, 0, 9, 9]), truth=other) and is_wrong((1, [0, 0, 9, 9]), truth=other)


def test_one_of_five_guesses_suffices_and_the_sixth_is_not_looked_at() -> None:
    nothing, right = (3, [0, 0, 9, 9]), (0, [0, 0, 9, 9])
    assert not is_wrong(*[nothing] * 4, right)
    assert is_wrong(*[nothing] * 5, right)
    assert is_wrong((0, [50, 50, 59, 59]), nothing)


def test_an_image_without_a_box_of_its_class_is_not_counted() -> None:
    boxes = Boxes.of_lists([[(0, [0, 0, 9, 9])], [], [(1, [0, 0, 9, 9])], [(0, [0, 0, 9, 9])]], [(9, 9)] * 4)
    truth = Truth(boxes, np.array([False, False, False, True]))
    assert counted(truth, np.zeros(4, int)).tolist() == [True, False, False, False]


def test_the_held_out_part_is_a_fifth_and_the_same_every_time() -> None:
    assert held_out(500).sum() == 100 and (held_out(500) == held_out(500)).all()


# --- from passes to answers ---


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("rule", ["overfeat", "nms", "mean", "best"])
def test_answers_are_merged_image_by_image(is_shared: bool, rule: str) -> None:
    """Two passes, of images of different numbers of positions, against one class of one image at a time."""
    rng = np.random.default_rng(3)
    passes = [random_pass(rng, (2, 3, 2, 1), 4, is_shared=is_shared), random_pass(rng, (4, 1, 4, 1), 4)]
    guesses_Ng = np.stack([rng.permutation(4)[:3] for _ in range(4)])
    sizes_N2 = np.full((4, 2), 1000)
    found_TNg4 = answers(passes, guesses_Ng, sizes_N2, rule, [0.6])
    for n, guesses in enumerate(guesses_Ng):
        for g, label in enumerate(guesses):
            boxes, scores = [], []
            for each in passes:
                rows = slice(each.starts_N[n], each.starts_N[n] + each.positions_N[n])
                column = each.classes_Nk[n].tolist().index(label)
                boxes.append(each.boxes_Rk4[rows, 0 if each.boxes_Rk4.shape[1] == 1 else column])
                scores.append(each.scores_Rk[rows, column])
            box = merged(np.concatenate(boxes), np.concatenate(scores), rule, 0.6)
            np.testing.assert_allclose(found_TNg4[0, n, g], box, atol=1e-5)


def test_a_class_that_was_not_kept_has_no_box_and_boxes_end_at_the_image() -> None:
    each = random_pass(np.random.default_rng(4), (1, 1), 2)
    each = replace(each, boxes_Rk4=np.full((2, 2, 4), [-5, -5, 50, 50], np.float32))
    found_TNg4 = answers([each], np.array([[0, 7], [7, 1]]), np.array([[30, 20], [40, 60]]), "best", [0.0])
    assert found_TNg4[0].tolist() == [[[0, 0, 29, 19], [0, 0, -1, -1]], [[0, 0, -1, -1], [0, 0, 39, 50]]]
