from pathlib import Path

import numpy as np
import pytest

from tests.sweeps import Spec, make_run, make_sweep, softmax, write_posteriors
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.report.results.results import Source, read_results, read_sweeps

JITTERED = [("D", "jitter"), ("D", "jitter-fc"), ("E", "jitter")]


def fused(sweep: Path, spec: str, rule: str = "multi", method: str = "dense") -> np.ndarray:
    """Which images the fusion gets wrong."""
    results = read_results(sweep, [spec])
    rows = results[(results["fusion"] == spec) & (results["rule"] == rule) & (results["method"] == method)]
    assert len(rows) == 1
    return rows["top1_misses"].iloc[0].unpack()


def test_a_named_fusion_is_the_mean_of_the_files(tmp_path: Path) -> None:
    make_sweep(tmp_path, JITTERED)
    runs = [next(tmp_path.glob(f"{name}-s0-*")) for name in ("D-jitter", "E-jitter")]
    names = [f"dense-Q110-flip{flip}.npy" for flip in (0, 1)]
    total_NK = sum(np.load(run / "posteriors" / name).astype(float) for run in runs for name in names)
    assert (fused(tmp_path, "D-jitter + E-jitter", "single") == (total_NK.argmax(axis=1) != np.arange(40) % 7)).all()


def test_order_does_not_matter_and_a_net_with_itself_is_itself(tmp_path: Path) -> None:
    make_sweep(tmp_path, JITTERED)
    assert (fused(tmp_path, "D-jitter + E-jitter") == fused(tmp_path, "E-jitter+D-jitter")).all()
    results = read_results(tmp_path)
    alone = results[(results["members"] == "D-jitter") & (results["rule"] == "multi") & (results["method"] == "dense")]
    assert (fused(tmp_path, "D-jitter + D-jitter + D-jitter") == alone["top1_misses"].iloc[0].unpack()).all()


def test_runs_go_by_slug_seed_and_beginning_of_their_id(tmp_path: Path) -> None:
    make_sweep(tmp_path, JITTERED)
    E = next(tmp_path.glob("E-jitter-s0-*")).name
    by_slug = fused(tmp_path, "D-jitter + E-jitter")
    assert (fused(tmp_path, f"D-jitter-s0 + {E}") == by_slug).all()
    assert (fused(tmp_path, f"D-jitter-s0 + {E[:-3]}") == by_slug).all()


def test_an_unknown_name_gets_near_ones(tmp_path: Path) -> None:
    make_sweep(tmp_path, JITTERED)
    with pytest.raises(ConfigError, match="'D-jiter'.*did you mean D-jitter"):
        read_results(tmp_path, ["D-jiter + E-jitter"])
    with pytest.raises(ConfigError, match="''.*scored are D-jitter, D-jitter-fc, E-jitter"):
        read_results(tmp_path, ["D-jitter +"])


def test_a_name_that_fits_several_seeds_is_not_guessed(tmp_path: Path) -> None:
    make_sweep(tmp_path, JITTERED, seeds=[0, 1])
    with pytest.raises(
        ConfigError, match=r"'D-jitter' in --fuse fits 2 runs; name one of D-jitter-s0-\w+, D-jitter-s1"
    ):
        read_results(tmp_path, ["D-jitter + E-jitter"])
    assert len(fused(tmp_path, "D-jitter-s0 + D-jitter-s1")) == 40


def test_nets_without_a_common_protocol_or_images_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path, "D", "jitter", spec=Spec(passes=["dense@single"]))
    make_run(tmp_path, "E", "jitter", spec=Spec(passes=["centre-crop@single"]))
    with pytest.raises(ConfigError, match="share no protocol"):
        read_results(tmp_path, ["D-jitter + E-jitter"])
    make_run(tmp_path, "C", "jitter", spec=Spec(num_images=30, settings={"width": 0.5}))
    with pytest.raises(RunError, match=r"different images \(40 and 30\)|different images \(30 and 40\)"):
        read_results(tmp_path, ["D-jitter + C-jitter"])


def test_a_fusion_is_computed_once(tmp_path: Path) -> None:
    make_sweep(tmp_path, JITTERED)
    first = read_results(tmp_path, ["D-jitter + E-jitter"])
    for file in tmp_path.glob("*/posteriors/*.npy"):
        file.unlink()
    assert read_results(tmp_path, ["D-jitter + E-jitter"]).equals(first)


def expert(folder: Path, good_N: np.ndarray, confidence: float) -> None:
    """A net that is right, with this confidence, on some images and unsure of three others on the rest."""
    labels_N = np.arange(len(good_N)) % 5
    logits_NK = np.zeros((len(good_N), 5))
    logits_NK[np.arange(len(good_N)), np.where(good_N, labels_N, (labels_N + 1) % 5)] = np.where(
        good_N, confidence, 0.5
    )
    write_posteriors(folder, {("dense", 110, flip): softmax(logits_NK) for flip in (False, True)}, labels_N)


def test_best_finds_the_nets_that_complement_each_other(tmp_path: Path) -> None:
    """C is right on 60 % of the images, D on most of those, E on the other 40 %: alone C is best, with it E, not D."""
    image_N = np.arange(1000)
    shares = {"C": image_N % 10 < 6, "D": image_N % 10 < 5, "E": image_N % 10 >= 6}
    for net, good_N in shares.items():
        expert(make_run(tmp_path, net, "jitter", spec=Spec(passes=["dense@single"])), good_N, confidence=5)
    results = read_results(tmp_path, ["best:2"])
    best = results[results["fusion"].str.startswith("best")]
    assert best["members"].tolist() == ["C-jitter", "C-jitter + E-jitter"]
    assert best["n_images"].tolist() == [500, 500]
    assert best["top1_error"].iloc[1] == 0 < best["top1_error"].iloc[0]
    assert read_results(tmp_path, ["best:3"])["members"].iloc[-1] == "C-jitter + D-jitter + E-jitter"  # each net once
    assert best["fusion"].iloc[1] == "best 2 of 3, chosen on 500 images, measured on the other 500"


def test_best_is_measured_on_images_that_had_no_say(tmp_path: Path) -> None:
    """Many nets of chance: the best on one half is no better than chance on the other."""
    nets = [(net, scale) for net in "ABCDE" for scale in ("256", "384")]
    for net, scale in nets:
        run = make_run(tmp_path, net, scale, spec=Spec(passes=["dense@single"], settings={"seed": 0}))
        rng = np.random.default_rng(len(run.name) + ord(net) + int(scale))
        Q = 73 if scale == "256" else 110
        arrays = {("dense", Q, flip): softmax(rng.normal(size=(60, 2))) for flip in (False, True)}
        write_posteriors(run, arrays, [0, 1] * 30)
    results = read_results(tmp_path, ["best:1"])
    chosen = results[results["fusion"].str.startswith("best")].iloc[0]
    alone = results[(results["members"] == chosen["members"]) & (results["fusion"] == "")].iloc[0]
    on_the_half_that_chose = 2 * alone["top1_misses"].count - 2 * chosen["top1_misses"].count
    assert on_the_half_that_chose / 60 * 100 < chosen["top1_error"]


@pytest.mark.parametrize(
    ("spec", "message"), [("best:x", "write best:N"), ("best:0", "best:N"), ("best:9", "there are 3")]
)
def test_impossible_searches_are_refused(tmp_path: Path, spec: str, message: str) -> None:
    make_sweep(tmp_path, JITTERED)
    with pytest.raises(ConfigError, match=message):
        read_results(tmp_path, [spec])


def test_nets_of_several_sweeps_are_fused_where_the_first_one_is(tmp_path: Path) -> None:
    """As if they were of one sweep; a bare name is the sweep's own run where it has one, and else the others'."""
    spec = Spec(passes=["dense@single"])
    sources = []
    for name, nets in (("a", ["D", "E"]), ("b", ["B", "E"]), ("one", ["B", "D", "E"])):
        make_sweep(tmp_path / name, [(net, "jitter") for net in nets], spec=spec)
        sources.append(Source(tmp_path / name, f"outputs/{name}"))
    expected = fused(tmp_path / "one", "D-jitter + B-jitter", "single")
    for words in ("D-jitter + B-jitter", "a/D-jitter + outputs/b/B-jitter"):
        first, second = read_sweeps(sources[:2], [words])
        (row,) = first.results[first.results["fusion"] == words].to_dict("records")
        assert (row["top1_misses"].unpack() == expected).all() and row["settings"] == ""
        assert not (second.results["fusion"] == words).any()
    both = read_sweeps(sources[:2], ["E-jitter + D-jitter"])
    assert [int((each.results["fusion"] != "").sum()) for each in both] == [1, 1]  # E of each with the D there is
    with pytest.raises(ConfigError, match=r"'c/D-jitter'.*did you mean D-jitter"):
        read_sweeps(sources[:2], ["c/D-jitter + E-jitter"])
    with pytest.raises(ConfigError, match=r"'E-jitter' in --fuse fits 2 runs; name one of outputs/a/E\S+, outputs/b/E"):
        read_sweeps([Source(make_sweep(tmp_path / "c", [("C", "256")], spec=spec), "c"), *sources[:2]],
                    ["C-256 + E-jitter"])  # fmt: skip
