"""The commands features and transfer as they are typed."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Outcome
from tests.tiny import random_run
from tests.voc import actions_tree
from vgg_sweep.cli.features import sorted_words

Call = Callable[..., Outcome]
SET = ("data=fractals", "data.fractals.num_classes=3", "data.fractals.train_per_class=6",
       "data.fractals.val_per_class=4", "data.fractals.side_px=80", "device=cpu", "threads=1")  # fmt: skip
FEW = (*SET, "train_per_class=4")


def test_words_are_runs_and_settings() -> None:
    runs, overrides = sorted_words(["D-jitter", "data=folder", "layers=fc7,pool5", "scales=256", "pool=max", "seed=1"])
    assert runs == ["D-jitter"]
    assert overrides == [
        "data=folder",
        "transfer.layers=[fc7,pool5]",
        "transfer.scales=[256]",
        "transfer.pool=max",
        "seed=1",
    ]
    assert sorted_words(["D", "layer=fc6", "transfer.shots=1,2", "C=[1,10]"])[1] == [
        "transfer.layers=[fc6]", "transfer.shots=[1,2]", "transfer.C=[1,10]",
    ]  # fmt: skip


def test_from_nets_to_tables_and_again(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (random_run(tmp_path, net) for net in ("D", "E"))
    words = ("transfer", str(first.path), str(second.path), "--stack", f"{first.path} + {second.path}", *SET,
             "train_per_class=4", "num_splits=2", "C=1,10", "shots=1")  # fmt: skip
    outcome = call(*words)
    assert outcome.exit_code == 0, outcome.err
    rows = re.findall(r"\d ± \d", outcome.out)
    assert len(rows) == 3 + 1 + 2 + 2 * 2 + 3, outcome.out
    assert "mean colour" in outcome.out and "random" in outcome.out
    records = list(tmp_path.glob("sweep/*/transfer/*/*-????????.json"))
    before = {file: file.read_bytes() for file in records}
    again = call(*words)
    assert {file: file.read_bytes() for file in records} == before
    assert again.out.split("Table 11")[1] == outcome.out.split("Table 11")[1]
    assert {json.loads(body)["metric"] for body in before.values()} == {"recall"}


def test_actions_of_persons(call: Call, tmp_path: Path) -> None:
    run, root = random_run(tmp_path, "D"), actions_tree(tmp_path / "voc").parents[1]
    words = (
        "data=voc2012-action",
        f"data.root={root}",
        "scales=64",
        "controls=false",
        "C=1",
        "device=cpu",
        "threads=1",
    )
    outcome = call("transfer", str(run.path), *words)
    assert outcome.exit_code == 0, outcome.err
    assert "Table 12" in outcome.out and "Table 11" not in outcome.out
    assert "4 training and 4 test persons of 10 actions" in " ".join(outcome.out.split())
    assert len(list(run.path.glob("features/voc2012-action-*/*fc7-dense-Q64-flip*.npy"))) == 4


def test_features_alone(call: Call, tmp_path: Path) -> None:
    run = random_run(tmp_path, "D")
    outcome = call("features", str(run.path), *SET, "layers=pool5,fc6", "scales=single")
    assert outcome.exit_code == 0, outcome.err
    assert len(list(run.path.glob("features/fractals-*/*.npy"))) == 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("data=fractals",), "no run is given; name its folder or id"),
        (("RUN", *FEW, "layers=fc9"), "the net has no layer fc9"),
        (("RUN", *FEW, "scales=huge"), "scales=huge is neither single, multi, five nor a list of pixels"),
        (("RUN", *FEW, "scales=40"), "Q=40 px is smaller than the crop of 64 px, which the FC layers need"),
        (("RUN", *FEW, "pool=sum"), "transfer.pool=sum is not known; choose one of auto, mean, max, stack"),
        (("RUN", *SET, "train_per_class=10"), "has 10 distinct images, but needs 10 to train on"),
        (("RUN", "data=voc2007", "data.root=nowhere"), "data.root=nowhere is not a folder"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    call: Call, tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    run = random_run(tmp_path, "D")
    outcome = call("transfer", *(str(run.path) if word == "RUN" else word for word in words))
    assert outcome.exit_code == 2 and sentence in outcome.err
    assert not list(run.path.glob("transfer/*/*.json"))
