import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.sweeps import EVERYTHING, Spec, make_run, make_sweep, write_posteriors
from vgg_sweep.protocols.statistics import holm, mcnemar
from vgg_sweep.report.results.results import read_results
from vgg_sweep.report.tables.claims import (
    FOR_THESE_NETS,
    Claim,
    summary,
    verdict,
    weighed,
)
from vgg_sweep.report.tables.paper_claims import CLAIMS, claims, grid_side, paper_claims


def net(sweep: Path, model: str, train_scale: str, wrong_N: np.ndarray, seed: int = 0) -> None:
    """A net that is wrong on exactly these images, dense at a single scale."""
    run = make_run(sweep, model, train_scale, seed, Spec(passes=["dense@single"], num_images=3))
    Q = {"256": 73, "384": 110, "jitter": 110}[train_scale]
    posteriors_NK = np.stack([np.where(wrong_N, 0.1, 0.9), np.where(wrong_N, 0.9, 0.1)], axis=1)
    write_posteriors(run, {("dense", Q, flip): posteriors_NK for flip in (False, True)}, [0] * len(wrong_N))


def first(num_wrong: int, num_images: int = 200, start: int = 0) -> np.ndarray:
    return (np.arange(num_images) >= start) & (np.arange(num_images) < start + num_wrong)


def row(sweep: Path, sentence: str) -> pd.Series:
    frame = claims(read_results(sweep)).set_index("claim")
    return frame.loc[next(claim for claim in frame.index if claim.startswith(sentence))]


def at_three_scales(sweep: Path, wrong_single_N: np.ndarray, wrong_multi_N: np.ndarray, seed: int = 0) -> None:
    """C with S = 256, dense: at Q = 73 it is wrong on the first images, in the mean of three Q on the second."""
    run = make_run(sweep, "C", "256", seed, Spec(passes=["dense@single", "dense@multi"], num_images=3))
    single_N, multi_N = (np.where(wrong_N, 0.1, 0.9) for wrong_N in (wrong_single_N, wrong_multi_N))
    others_N = (3 * multi_N - single_N) / 2
    right = {64: others_N, 73: single_N, 82: others_N}
    posteriors = {
        ("dense", Q, flip): np.stack([right_N, 1 - right_N], axis=1) for Q, right_N in right.items() for flip in (0, 1)
    }
    write_posteriors(run, posteriors, [0] * len(wrong_single_N))


def test_one_seed_decides_nothing_about_training(tmp_path: Path) -> None:
    """A wrong on images 0 to 59, E on 40 to 69: 40 images only A gets wrong, 10 only E."""
    net(tmp_path, "A", "256", first(60))
    net(tmp_path, "E", "256", first(30, start=40))
    depth = row(tmp_path, "Error falls with depth")
    assert depth["points"] == 100 * (60 - 30) / 200
    assert depth["p_images"] == mcnemar(40, 10) < 0.001
    assert (depth["test"], depth["n_images"]) == ("McNemar", 200)
    assert (depth["verdict"], depth["direction"], depth["pairs_as_claimed"]) == ("one seed", "as claimed", 1)
    assert math.isnan(depth["p"]) and math.isnan(depth["p_holm"]) and math.isnan(depth["points_std"])


@pytest.mark.parametrize(
    ("wrong_A", "wrong_E", "expected"), [(20, 60, "against"), (30, 30, "equal"), (60, 20, "as claimed")]
)
def test_one_seed_says_which_way_its_nets_go(tmp_path: Path, wrong_A: int, wrong_E: int, expected: str) -> None:
    net(tmp_path, "A", "256", first(wrong_A))
    net(tmp_path, "E", "256", first(wrong_E))
    depth = row(tmp_path, "Error falls with depth")
    assert (depth["direction"], depth["verdict"]) == (expected, "one seed")


@pytest.mark.parametrize(
    ("single", "multi", "expected"),
    [(20, 60, "contradicted for these nets"), (33, 30, "undecided"), (60, 20, "supported for these nets")],
)
def test_ways_to_test_one_net_are_told_apart_for_this_net(
    tmp_path: Path, single: int, multi: int, expected: str
) -> None:
    at_three_scales(tmp_path, first(single), first(multi))
    claim = row(tmp_path, "Scale jitter at test time")
    assert claim["verdict"] == expected
    assert claim["p"] == claim["p_holm"] == claim["p_images"] == mcnemar(max(single - multi, 0), max(multi - single, 0))


def test_two_seeds_decide_about_these_nets_and_not_about_training(tmp_path: Path) -> None:
    for seed in (0, 1):
        at_three_scales(tmp_path, first(60), first(20), seed)
        for model, wrong in (("A", 60), ("E", 20)):
            net(tmp_path, model, "256", first(wrong), seed)
    depth, jitter = (row(tmp_path, sentence) for sentence in ("Error falls with depth", "Scale jitter at test"))
    assert (depth["verdict"], jitter["verdict"]) == ("two seeds", "supported for these nets")
    assert math.isnan(depth["p"]) and depth["p_images"] == pytest.approx(jitter["p_images"])


@pytest.mark.parametrize(
    ("wrong_A", "wrong_E", "expected"), [(20, 60, "contradicted"), (33, 30, "undecided"), (60, 20, "supported")]
)
def test_verdicts_follow_the_data(tmp_path: Path, wrong_A: int, wrong_E: int, expected: str) -> None:
    for seed in range(3):
        net(tmp_path, "A", "256", first(wrong_A + seed), seed)
        net(tmp_path, "E", "256", first(wrong_E), seed)
        at_three_scales(tmp_path, first(wrong_A + seed), first(wrong_E), seed)
    for sentence in ("Error falls with depth", "Scale jitter at test time"):
        assert row(tmp_path, sentence)["verdict"] == expected


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
    for seed in range(3):
        net(tmp_path, "A", "256", first(500, num_images) | first(300, num_images, 5000), seed)
        net(tmp_path, "A-LRN", "256", first(500, num_images, 2000) | first(wrong_LRN, num_images, 5000), seed)
    assert row(tmp_path, "LRN does not help")["verdict"] == expected


def test_lrn_does_not_help_is_supported_where_all_gains_are_excluded(tmp_path: Path) -> None:
    for seed in range(3):
        net(tmp_path, "A", "256", first(500, 10_000), seed)
        net(tmp_path, "A-LRN", "256", first(500, 10_000, 10), seed)
    assert row(tmp_path, "LRN does not help")["verdict"] == "supported"


def no_help() -> Claim:
    return paper_claims()[0]


@pytest.mark.parametrize(
    ("gain", "discordant", "expected"),
    [
        (30, 60, "supported"),  # a gain of 0.3 points, surely above 0 and surely below 0.5
        (30, 300, "undecided"),
        (50, 60, "undecided"),
        (70, 80, "contradicted"),  # a gain of 0.7 points, surely above 0.5
        (70, 300, "undecided"),
    ],
)
def test_a_gain_within_the_margin_is_no_help(gain: int, discordant: int, expected: str) -> None:
    """Of 10,000 images LRN gets `gain` more right, and `discordant` tell it from A: supported where the lower end of
    the interval is above -0.5 points, contradicted where the upper end is below.
    """
    difference_N = np.repeat([1, -1, 0], [(discordant - gain) // 2, (discordant + gain) // 2, 10_000 - discordant])
    found = weighed(no_help(), np.broadcast_to(difference_N, (1, 3, 10_000)))
    assert found["points"] == pytest.approx(-gain / 100)
    bounds = {"supported": found["points_low"] > -0.5, "contradicted": found["points_high"] < -0.5}
    assert next((name for name, holds in bounds.items() if holds), "undecided") == expected
    assert verdict(no_help(), 3, found["points"], found["p"]) == expected
    assert found["pairs_as_claimed"] == (gain < 50)


def test_pairs_are_pooled_on_the_images_and_counted(tmp_path: Path) -> None:
    """C against D at S = 256 (30 against 20 of 200) and at 384 (10 against 20), no jitter: 0 points, one of two."""
    for scale, wrong_C, wrong_D in (("256", 30, 20), ("384", 10, 20)):
        net(tmp_path, "C", scale, first(wrong_C))
        net(tmp_path, "D", scale, first(wrong_D))
    context = row(tmp_path, "C does worse than D")
    assert (context["pairs"], context["num_pairs"], context["pairs_as_claimed"]) == (2, 3, 1)
    assert (context["points"], context["verdict"], context["test"]) == (0, "one seed", "normal")


def test_a_pair_without_a_difference_does_not_go_the_paper_s_way(tmp_path: Path) -> None:
    net(tmp_path, "A", "256", first(30))
    net(tmp_path, "E", "256", first(30))
    assert row(tmp_path, "Error falls with depth")["pairs_as_claimed"] == 0


def test_seeds_that_disagree_widen_the_interval(tmp_path: Path) -> None:
    """The same 20 images of difference in the mean: from three seeds that agree, and from three of 40, 20 and 0."""
    for name, differences in (("agree", (20, 20, 20)), ("disagree", (40, 20, 0))):
        for seed, more in enumerate(differences):
            net(tmp_path / name, "A", "256", first(30 + more), seed)
            net(tmp_path / name, "E", "256", first(30), seed)
    agree, disagree = (row(tmp_path / name, "Error falls with depth") for name in ("agree", "disagree"))
    assert agree["points"] == disagree["points"] == 10 and agree["seeds"] == disagree["seeds"] == 3
    assert disagree["points_high"] - disagree["points_low"] > 2 * 1.96 * np.std([20, 10, 0], ddof=1) / np.sqrt(3)
    assert (agree["points_std"], disagree["points_std"]) == pytest.approx((0, 10))
    assert agree["seeds_for_1_point"] is pd.NA or agree["seeds_for_1_point"] > 3
    assert agree["verdict"] == "supported" and disagree["verdict"] == "undecided"


def test_only_seeds_that_all_rows_share_are_compared(tmp_path: Path) -> None:
    net(tmp_path, "A", "256", first(60), seed=0)
    net(tmp_path, "A", "256", first(0), seed=1)
    net(tmp_path, "E", "256", first(30), seed=0)
    depth = row(tmp_path, "Error falls with depth")
    assert (depth["seeds"], depth["points"]) == (1, 15)


def test_a_whole_sweep_has_every_claim(tmp_path: Path) -> None:
    frame = claims(read_results(make_sweep(tmp_path, EVERYTHING, spec=Spec(num_images=20))))
    assert len(frame) == len(paper_claims()) == 12
    assert "missing" not in set(frame["verdict"])
    assert (frame["pairs"] == frame["num_pairs"]).all()
    assert frame.set_index("claim")["num_pairs"].to_dict()["Scale jitter at test time helps"] == 10


@pytest.mark.parametrize(
    ("claim", "seeds", "points", "p", "expected"),
    [
        (1, 3, 1.0, 0.01, "supported"),
        (1, 3, -1.0, 0.01, "contradicted"),
        (1, 3, 1.0, 0.06, "undecided"),
        (1, 0, math.nan, math.nan, "missing"),
        (0, 3, -1.0, 0.01, "contradicted"),
        (0, 3, -0.3, 0.01, "supported"),
        (0, 3, -0.3, 0.06, "undecided"),
        (0, 1, -0.3, 1e-4, "one seed"),
        (7, 1, 1.0, 0.01, "supported for these nets"),
        (7, 2, -1.0, 0.01, "contradicted for these nets"),
        (7, 2, 1.0, 0.06, "undecided"),
        (7, 3, 1.0, 0.01, "supported"),
    ],
)
def test_verdict(claim: int, seeds: int, points: float, p: float, expected: str) -> None:
    """0 is that LRN does not help, 1 depth, 7 jitter at test time."""
    assert verdict(paper_claims()[claim], seeds, points, p) == expected


def test_which_claims_are_about_training() -> None:
    """Sect. 4.1 compares trainings; Sect. 4.2 to 4.4 test the same nets in several ways, alone and fused."""
    for claim in paper_claims():
        assert claim.about_training == (claim.section == "4.1")


def test_a_seed_is_one_observation_however_many_pairs_share_its_nets() -> None:
    """Three pairs that differ alike in each seed say what one of them says."""
    rng = np.random.default_rng(0)
    one_RN = rng.choice([1, 0, -1], p=[0.15, 0.75, 0.1], size=(1, 4, 500))
    jitter = next(claim for claim in paper_claims() if claim.sentence.startswith("Scale jitter in training"))
    one, three = weighed(jitter, one_RN), weighed(jitter, np.repeat(one_RN, 3, axis=0))
    assert [three[name] for name in ("points", "points_low", "p")] == pytest.approx(
        [one[name] for name in ("points", "points_low", "p")]
    )


def test_the_verdict_follows_holm_over_the_claims_that_can_be_decided(tmp_path: Path) -> None:
    frame = claims(read_results(make_sweep(tmp_path, EVERYTHING, seeds=range(3), spec=Spec(num_images=60))))
    assert frame["p_holm"].tolist() == pytest.approx(holm(frame["p"].tolist()))
    assert ((frame["p_holm"] < 0.05) == frame["verdict"].isin(["supported", "contradicted"])).all()
    assert (frame["p_holm"] >= frame["p"]).all() and (frame["p_holm"] > frame["p"]).any()


def test_summary() -> None:
    assert summary(["missing", "supported", "supported"]) == "2 supported, 0 contradicted, 0 undecided, 1 missing"
    assert summary(["supported" + FOR_THESE_NETS, "one seed"]) == (
        "0 supported, 1 supported for these nets, 0 contradicted, 0 undecided, 1 one seed"
    )


@pytest.mark.parametrize(("spreads", "said"), [((0.0004, 0.2), "varies by 0.04 % only"), ((0.02,), ""), ((), "")])
def test_a_net_whose_lrn_is_a_constant_does_not_test_the_claim(
    tmp_path: Path, spreads: tuple[float, ...], said: str
) -> None:
    """The paper's scale has a factor that varies; pixels up to 1 leave it within 0.04 % of a constant."""
    passes = ["dense@single"]
    for seed in range(2):
        record = {"lrn_factor_spread": spreads[seed]} if seed < len(spreads) else {}
        make_run(tmp_path, "A", "256", seed, Spec(passes=passes))
        make_run(tmp_path, "A-LRN", "256", seed, Spec(passes=passes, record=record))
    frame = claims(read_results(tmp_path))
    note, *others = frame["note"]
    assert said in note.replace("%", " %") and bool(note) == bool(said) and set(others) == {""}
    shown = CLAIMS.rendered(frame)
    cells = next(column.cells for column in shown.columns if column.key == "claim")
    assert [cell for cell in cells if "‡" in cell] == (["LRN does not help‡"] if said else [])
    assert any(line == f"‡ {note}" for line in shown.notes) == bool(said)


@pytest.mark.parametrize(
    ("Q", "crop", "ceil", "side"),
    [(73, 64, False, 1), (110, 64, False, 2), (256, 224, False, 2), (384, 224, False, 6), (73, 64, True, 2)],
)
def test_the_side_of_the_score_map(Q: int, crop: int, ceil: bool, side: int) -> None:
    """256 px are 8 x 8 after five poolings, of which fc6 covers 7 x 7; 73 px are 2 x 2 (3 x 3 if rounded up) and fc6's
    kernel is 2 x 2 at crop 64."""
    assert grid_side(Q, crop, ceil) == side


def test_a_grid_of_one_position_is_noted_at_the_claims_about_testing(tmp_path: Path) -> None:
    make_sweep(tmp_path, [("D", "256"), ("A", "256"), ("E", "256"), ("E", "jitter")], spec=Spec(20))
    frame = claims(read_results(tmp_path)).set_index("claim")
    assert "one position here" in frame.loc["Scale jitter at test time helps", "note"]
    assert "the paper's has 2 x 2 at 256 px" in frame.loc["Multi-crop and dense together beat dense", "note"]
    assert frame.loc["Error falls with depth, from A to E", "note"] == ""


def test_commands_for_more_seeds_are_lines_of_their_own(tmp_path: Path) -> None:
    spec = Spec(num_images=20, passes=["dense@single"])
    make_sweep(tmp_path, [("A", "256"), ("B", "256")], seeds=(0, 1), spec=spec)
    make_run(tmp_path, "C", "256", spec=spec)
    more = CLAIMS.rendered(claims(read_results(tmp_path))).more
    assert [line.split()[:2] for line in more] == [["vgg-sweep", "multirun"]] * 2
    assert {line.rpartition("seed=")[2] for line in more} == {"2", "1,2"} and not any("&&" in line for line in more)
