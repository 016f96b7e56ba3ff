import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.sweeps import EVERYTHING, Spec, make_run, make_sweep, write_posteriors
from vgg_sweep.protocols.metrics import mcnemar
from vgg_sweep.report.results.results import load_results
from vgg_sweep.report.tables.claims import claims, paper_claims, summary, verdict


def net(sweep: Path, model: str, train_scale: str, wrong_N: np.ndarray, seed: int = 0) -> None:
    """A net that is wrong on exactly these images, dense at a single scale."""
    run = make_run(sweep, model, train_scale, seed, Spec(passes=["dense@single"], num_images=3))
    Q = {"256": 73, "384": 110, "jitter": 110}[train_scale]
    posteriors_NK = np.stack([np.where(wrong_N, 0.1, 0.9), np.where(wrong_N, 0.9, 0.1)], axis=1)
    write_posteriors(run, {("dense", Q, flip): posteriors_NK for flip in (False, True)}, [0] * len(wrong_N))


def first(num_wrong: int, num_images: int = 200, start: int = 0) -> np.ndarray:
    return (np.arange(num_images) >= start) & (np.arange(num_images) < start + num_wrong)


def row(sweep: Path, sentence: str) -> pd.Series:
    frame = claims(load_results(sweep)).set_index("claim")
    return frame.loc[next(claim for claim in frame.index if claim.startswith(sentence))]


def test_one_pair_is_mcnemar_s_test(tmp_path: Path) -> None:
    """A wrong on images 0 to 59, E on 40 to 69: 40 images only A gets wrong, 10 only E."""
    net(tmp_path, "A", "256", first(60))
    net(tmp_path, "E", "256", first(30, start=40))
    depth = row(tmp_path, "Error falls with depth")
    assert depth["points"] == 100 * (60 - 30) / 200
    assert depth["p"] == mcnemar(40, 10)
    assert (depth["test"], depth["verdict"], depth["n_images"]) == ("McNemar", "supported", 200)


@pytest.mark.parametrize(
    ("wrong_A", "wrong_E", "expected"), [(20, 60, "contradicted"), (33, 30, "undecided"), (60, 20, "supported")]
)
def test_verdicts_follow_the_data(tmp_path: Path, wrong_A: int, wrong_E: int, expected: str) -> None:
    net(tmp_path, "A", "256", first(wrong_A))
    net(tmp_path, "E", "256", first(wrong_E))
    assert row(tmp_path, "Error falls with depth")["verdict"] == expected


def test_what_lacks_a_row_is_missing(tmp_path: Path) -> None:
    net(tmp_path, "A", "256", first(60))
    depth = row(tmp_path, "Error falls with depth")
    assert (depth["verdict"], depth["seeds"]) == ("missing", 0) and math.isnan(depth["points"])


@pytest.mark.parametrize(
    ("wrong_LRN", "num_images", "expected"),
    [
        (
            300,
            10_000,
            "undecided",
        ),  # equal, but 1,000 discordant images leave a gain of more than half a point possible
        (1300, 10_000, "supported"),  # significantly worse
        (100, 10_000, "contradicted"),  # significantly better
    ],
)
def test_lrn_does_not_help_needs_evidence(tmp_path: Path, wrong_LRN: int, num_images: int, expected: str) -> None:
    net(tmp_path, "A", "256", first(500, num_images) | first(300, num_images, 5000))
    net(tmp_path, "A-LRN", "256", first(500, num_images, 2000) | first(wrong_LRN, num_images, 5000))
    assert row(tmp_path, "LRN does not help")["verdict"] == expected


def test_lrn_does_not_help_is_supported_where_all_gains_are_excluded(tmp_path: Path) -> None:
    net(tmp_path, "A", "256", first(500, 10_000))
    net(tmp_path, "A-LRN", "256", first(500, 10_000, 10))
    assert row(tmp_path, "LRN does not help")["verdict"] == "supported"


def test_pairs_are_pooled_on_the_images_and_counted(tmp_path: Path) -> None:
    """C against D at S = 256 (30 against 20 of 200) and at 384 (10 against 20), no jitter: 0 points, one of two."""
    for scale, wrong_C, wrong_D in (("256", 30, 20), ("384", 10, 20)):
        net(tmp_path, "C", scale, first(wrong_C))
        net(tmp_path, "D", scale, first(wrong_D))
    context = row(tmp_path, "C does worse than D")
    assert (context["pairs"], context["num_pairs"], context["pairs_as_claimed"]) == (2, 3, 1)
    assert (context["points"], context["verdict"], context["test"]) == (0, "undecided", "normal")


def test_a_pair_without_a_difference_does_not_go_the_paper_s_way(tmp_path: Path) -> None:
    net(tmp_path, "A", "256", first(30))
    net(tmp_path, "E", "256", first(30))
    assert row(tmp_path, "Error falls with depth")["pairs_as_claimed"] == 0


def test_seeds_that_disagree_widen_the_interval(tmp_path: Path) -> None:
    """The same 20 images of difference in the mean: from two seeds that agree, and from two of 40 and 0."""
    for name, differences in (("agree", (20, 20)), ("disagree", (40, 0))):
        for seed, more in enumerate(differences):
            net(tmp_path / name, "A", "256", first(30 + more), seed)
            net(tmp_path / name, "E", "256", first(30), seed)
    agree, disagree = (row(tmp_path / name, "Error falls with depth") for name in ("agree", "disagree"))
    assert agree["points"] == disagree["points"] == 10 and agree["seeds"] == disagree["seeds"] == 2
    assert disagree["points_high"] - disagree["points_low"] > 2 * 1.96 * np.std([20, 0], ddof=1) / np.sqrt(2)
    assert agree["verdict"] == "supported" and disagree["verdict"] == "undecided"


def test_only_seeds_that_all_rows_share_are_compared(tmp_path: Path) -> None:
    net(tmp_path, "A", "256", first(60), seed=0)
    net(tmp_path, "A", "256", first(0), seed=1)
    net(tmp_path, "E", "256", first(30), seed=0)
    depth = row(tmp_path, "Error falls with depth")
    assert (depth["seeds"], depth["points"]) == (1, 15)


def test_a_whole_sweep_has_every_claim(tmp_path: Path) -> None:
    frame = claims(load_results(make_sweep(tmp_path, EVERYTHING, spec=Spec(num_images=20))))
    assert len(frame) == len(paper_claims()) == 12
    assert "missing" not in set(frame["verdict"])
    assert (frame["pairs"] == frame["num_pairs"]).all()
    assert frame.set_index("claim")["num_pairs"].to_dict()["Scale jitter at test time helps"] == 10


@pytest.mark.parametrize(
    ("points", "low", "p", "no_gain", "expected"),
    [
        (1.0, 0.2, 0.01, False, "supported"),
        (-1.0, -1.8, 0.01, False, "contradicted"),
        (1.0, -0.1, 0.06, False, "undecided"),
        (-1.0, -1.8, 0.01, True, "contradicted"),
        (0.0, -0.4, 1.0, True, "supported"),
        (0.0, -0.6, 1.0, True, "undecided"),
    ],
)
def test_verdict(points: float, low: float, p: float, no_gain: bool, expected: str) -> None:
    assert verdict(points, low, p, no_gain) == expected


def test_summary() -> None:
    assert summary(["missing", "supported", "supported"]) == "2 supported, 0 contradicted, 0 undecided, 1 missing"
