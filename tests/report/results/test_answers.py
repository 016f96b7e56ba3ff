import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from tests.sweeps import Spec, make_run, make_sweep, write_posteriors
from vgg_sweep.errors import ConfigError
from vgg_sweep.protocols.metrics import Misses, mean_class_recall
from vgg_sweep.report.results.answers import image_table
from vgg_sweep.report.results.results import Source, Sweep, read_results, read_sweep
from vgg_sweep.report.tables.confusions import matrix, pairs


def read(folder: Path, fuse: list[str] | None = None) -> Sweep:
    return read_sweep(Source(folder, folder.name), fuse or [])


def posteriors_of(run: Path) -> NDArray[np.float64]:
    """The mean of a run's image and flip at S's Q, for crop 64 and S = 256."""
    return np.mean([np.load(run / "posteriors" / f"dense-Q73-flip{flip}.npy") for flip in (0, 1)], axis=0)


def test_each_net_s_answer_to_each_image(tmp_path: Path) -> None:
    spec = Spec(num_images=30, num_classes=4, passes=["dense@single"])
    runs = {f"{net}-256": make_run(tmp_path, net, "256", spec=spec) for net in ("A", "B")}
    frame, under = image_table([read(tmp_path, ["A-256 + B-256"])])
    assert under == "dense evaluation at one test scale"
    assert frame["image"].tolist() == [f"val/{n}.png" for n in range(30)]
    assert frame["truth"].tolist() == [f"class {n % 4}" for n in range(30)]
    arrays = {name: posteriors_of(run) for name, run in runs.items()}
    arrays["A-256 + B-256"] = (arrays["A-256"] + arrays["B-256"]) / 2
    for name, posteriors_NK in arrays.items():
        assert frame[f"{name} answer"].tolist() == [f"class {k}" for k in posteriors_NK.argmax(axis=1)]
        assert frame[f"{name} posterior"].to_numpy() == pytest.approx(posteriors_NK.max(axis=1))
    errors = read_results(tmp_path).set_index("config")["top1_error"]
    assert 100 * (frame["A-256 answer"] != frame["truth"]).mean() == pytest.approx(errors["A"])


def test_nets_of_several_seeds_or_settings_are_told_apart(tmp_path: Path) -> None:
    spec = Spec(num_images=5, passes=["dense@single"])
    make_sweep(tmp_path / "seeds", [("A", "256")], (0, 3), spec)
    frame, _ = image_table([read(tmp_path / "seeds")])
    assert [name for name in frame if name.endswith("answer")] == ["A-256-s0 answer", "A-256-s3 answer"]
    for lr in (0.01, 0.02):
        make_run(tmp_path / "lr", "A", "256", spec=Spec(5, passes=["dense@single"], settings={"recipe.lr": lr}))
    frame, _ = image_table([read(tmp_path / "lr")])
    ids = {path.name for path in (tmp_path / "lr").glob("A-*")}
    assert {name.removesuffix(" answer") for name in frame if name.endswith("answer")} == ids


def test_confusions_of_the_best_net(tmp_path: Path) -> None:
    """Of ten images of each of three classes, 7 cats are right, 2 are dogs and 1 is a cow; 9 dogs; 10 cows."""
    answers = [0] * 7 + [1] * 2 + [2] + [1] * 9 + [0] + [2] * 10
    labels = np.repeat([0, 1, 2], 10)
    run = make_run(tmp_path, "A", "256", spec=Spec(passes=["dense@single"]))
    posteriors_NK = np.eye(3)[answers] * 0.7 + 0.1
    write_posteriors(
        run, {("dense", 73, flip): posteriors_NK for flip in (False, True)}, labels, classes=["cat", "dog", "images"]
    )
    worse = make_run(tmp_path, "B", "256", spec=Spec(passes=["dense@single"]))
    blind_NK = np.full((30, 3), 1 / 3)
    write_posteriors(
        worse, {("dense", 73, flip): blind_NK for flip in (False, True)}, labels, classes=["cat", "dog", "images"]
    )
    sweep = read(tmp_path)
    found = pairs([sweep])
    assert found[["truth", "answer", "images", "of", "share", "reverse"]].to_dict("split")["data"] == [
        ["cat", "dog", 2, 10, 20.0, 1],
        ["cat", "images", 1, 10, 10.0, 0],
        ["dog", "cat", 1, 10, 10.0, 2],
    ]
    whole = matrix([sweep]).set_index("truth")
    assert whole.loc["cat", ["cat", "dog", "images 2"]].tolist() == [7, 2, 1]
    assert whole.loc["images", ["cat", "dog", "images 2"]].tolist() == [0, 0, 10]
    assert whole["run_id"].unique().tolist() == [run.name]


def test_answers_need_posteriors(tmp_path: Path) -> None:
    make_sweep(tmp_path, [("A", "256")], spec=Spec(5, passes=["dense@single"]))
    bundle = SimpleNamespace(has_posteriors=False)
    sweep = read_sweep(Source(tmp_path, "errors", bundle=bundle), [])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="without posteriors"):
        image_table([sweep])


def test_every_class_counts_the_same() -> None:
    """Of six images of class 0 three are right, of two of class 2 one, of one of class 3 none; class 1 has none."""
    labels_N = np.array([0, 0, 0, 0, 0, 0, 2, 2, 3])
    wrong_N = np.array([1, 1, 1, 0, 0, 0, 1, 0, 1], dtype=bool)
    assert mean_class_recall(Misses.pack(wrong_N), labels_N) == pytest.approx(100 * (1 / 2 + 1 / 2 + 0) / 3)


def test_all_runs_shows_the_recall_of_classes_where_they_are_unequal(tmp_path: Path) -> None:
    from vgg_sweep.report.tables.runs import RUNS, all_runs

    make_sweep(tmp_path / "equal", [("A", "256")], spec=Spec(14, 7, passes=["dense@single"]))
    make_sweep(tmp_path / "unequal", [("A", "256")], (0, 1), Spec(17, 7, passes=["dense@single"]))
    heads = {
        name: [column.head for column in RUNS.rendered(all_runs(read_results(tmp_path / name))).columns]
        for name in ("equal", "unequal")
    }
    assert "class recall" not in heads["equal"] and "class recall" in heads["unequal"]
    results = read_results(tmp_path / "unequal")
    recalls = []
    for run, misses in zip(results["run_id"], results["top1_misses"], strict=True):
        labels = json.loads((tmp_path / "unequal" / run / "posteriors" / "manifest.json").read_text())["labels"]
        right = pd.Series(~misses.unpack()).groupby(labels).mean()
        recalls.append(100 * right.mean())
    assert all_runs(results)["mean_class_recall"].item() == pytest.approx(sum(recalls) / 2)
