"""Table 11 and the claims of Appendix B, from records made by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from vgg_sweep.protocols import paper
from vgg_sweep.report.results.probes import probe_frame
from vgg_sweep.report.tables.claims import weighed
from vgg_sweep.report.tables.transfer import ACTIONS, AGGREGATION, SHOTS, TRANSFER, probe_claims
from vgg_sweep.runs.folder import RunFolder

D0, D1, E0 = "D-jitter-s0-aaaaaaaa", "D-jitter-s1-bbbbbbbb", "E-jitter-s0-cccccccc"
LABELS = [0, 0, 0, 1]
"""Of the test images of each split, rows 10 to 13 and 20 to 23: so an image of class 1 counts for three of class 0."""


def write(sweep: Path, nets: list[str], wrong: list[list[int]], **how: object) -> RunFolder:
    """A record with the wrong rows of two splits."""
    full = {"layer": "fc7", "scales": [256, 384, 512], "method": "dense", "pool": "stack", "weights": "own",
            "normalise": "once"} | how  # fmt: skip
    splits = []
    for number, rows in enumerate(wrong):
        tested = [10 * (number + 1) + index for index in range(4)]
        recall = [
            1 - np.mean([row in rows for row, label in zip(tested, LABELS, strict=True) if label == k]) for k in (0, 1)
        ]
        splits.append({"C": 1.0, "C_scores": {}, "value": 100 * float(np.mean(recall)), "per_class": recall,
                       "neighbours": 50.0, "num_train": 8, "num_test": 4, "tested": tested, "labels": LABELS,
                       "wrong": rows})  # fmt: skip
    shots = full.pop("shots", None)
    record = {
        "format": 1,
        "nets": nets,
        "weights": nets,
        "precisions": ["fp32"],
        "data": "caltech101",
        "source": "caltech101",
        "data_fingerprint": "f",
        "drawn": True,
        "metric": "recall",
        "how": full,
        "shots": shots,
        "asked": {},
        "classes": ["a", "b"],
        "overrides": ["data=caltech101", "layers=fc7"],
        "splits": splits,
    }
    folder = RunFolder(sweep / nets[0])
    place = folder.path / "transfer" / "caltech101-ffffffff"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"x{len(list(place.iterdir()))}-{len(list(place.iterdir())):08d}.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[RunFolder]:
    sweep = tmp_path / "outputs" / "some"
    write(sweep, [D0], [[10, 13], [23]])  # recalls 1/3 and 1/2: (2/3 + 0) / 2, (1 + 0) / 2
    write(sweep, [D1], [[13], [23]])
    write(sweep, [D0], [[10, 11, 13], [23]], pool="mean")
    write(sweep, [D1], [[10, 11, 13], [23]], pool="mean")
    write(sweep, [D0], [[10, 11, 12, 13], [23]], weights="random", scales=[256], pool="mean")
    write(sweep, [D0], [[13], [23]], layer="colour", scales=[256], pool="mean")
    write(sweep, [D0], [[13], []], shots=2)
    return [RunFolder(sweep / id) for id in (D0, D1)]


def test_rows_are_means_over_seeds_and_splits(runs: list[RunFolder]) -> None:
    frame = probe_frame("some", runs)
    row = frame[(frame["pool"] == "stack") & frame["shots"].isna()].iloc[0]
    by_split = [100 * (1 / 3 + 1 / 2) / 2, 50]
    assert row["value"] == pytest.approx(np.mean(by_split))
    assert row["std"] == pytest.approx(np.std(by_split, ddof=1))
    assert (row["nets"], row["seeds"], row["num_splits"]) == ("D-jitter", 2, 2)
    assert (row["paper"], row["paper_pm"]) == (91.8, 1.0)


def test_table_11_has_the_papers_rows_and_the_controls(runs: list[RunFolder]) -> None:
    frame = TRANSFER.make(probe_frame("outputs/some", runs))
    shown = TRANSFER.rendered(frame)
    nets = [cells[0] for cells in shown.lines]
    others = ["Zeiler & Fergus, 2013", "Chatfield et al., 2014", "He et al., 2014"]
    assert nets == ["D-jitter", "E-jitter", "D-jitter + E-jitter", *others, "D-jitter, random weights", "mean colour"]
    assert shown.commands[0] == "" and shown.commands[1] == (
        "vgg-sweep transfer outputs/some/E-jitter data=caltech101 layers=fc7"
    )
    assert shown.commands[2].endswith("--stack 'outputs/some/D-jitter + outputs/some/E-jitter'")
    heads = [column.head for column in shown.columns]
    ours, papers = heads.index("ours"), heads.index("paper")
    assert [cells[papers] for cells in shown.lines] == [
        *("91.8 ± 1.0", "92.3 ± 0.5", "92.7 ± 0.5"), *("86.5 ± 0.5", "88.4 ± 0.6", "93.4 ± 0.5"), "–", "–"
    ]  # fmt: skip
    assert [cells[ours] for cells in shown.lines][1:6] == ["–"] * 5


@pytest.fixture
def actions(tmp_path: Path) -> list[RunFolder]:
    """D, E and both on VOC's actions: how much each of four persons does to a mean average precision."""
    sweep = tmp_path / "outputs" / "some"
    found = {
        ((D0,), "image"): [40.0, 60, 20, 80],
        ((D0, E0), "image"): [50.0, 60, 20, 90],
        ((D0, E0), "image + box"): [50.0, 80, 40, 90],
    }
    for (nets, regions), worth in found.items():
        how = {"pool": "mean"} | ({"regions": regions.split(" + ")} if "box" in regions else {})
        folder = write(sweep, list(nets), [[]], **how)
        file = sorted(folder.path.glob("transfer/*/*.json"))[-1]
        record = json.loads(file.read_text()) | {"data": "voc2012-action", "source": "voc2012-action", "metric": "AP"}
        record["splits"][0] |= {"influences": worth, "value": float(np.mean(worth))}
        file.write_text(json.dumps(record))
    return [RunFolder(sweep / D0), RunFolder(sweep / E0)]


def test_table_12_has_image_alone_and_image_and_box(actions: list[RunFolder]) -> None:
    probes = probe_frame("outputs/some", actions)
    assert TRANSFER.make(probes).empty
    shown = ACTIONS.rendered(ACTIONS.make(probes))
    heads = [column.head for column in shown.columns]
    lines = [[cells[heads.index(head)] for head in ("net", "seen", "ours", "paper")] for cells in shown.lines]
    assert lines[:3] == [
        ["D-jitter", "image", "50.0", "–"],
        ["D-jitter + E-jitter", "image", "55.0", "79.2"],
        ["D-jitter + E-jitter", "image + box", "65.0", "84.0"],
    ]
    assert [line[3] for line in lines[3:]] == ["70.2", "73.6", "76.3"]


def test_claims_of_average_precision_are_differences_of_it(actions: list[RunFolder]) -> None:
    found = list(probe_claims(probe_frame("some", actions), {D0, E0}))
    assert [(claim.sentence, 100 * each.mean()) for claim, each in found] == [
        ("Features of D and E beat those of D", pytest.approx(5)),
        ("The person's box beside the image helps", pytest.approx(10)),
    ]
    np.testing.assert_allclose(100 * found[0][1], [[[10, 0, 0, 10]]])


def test_the_other_tables(runs: list[RunFolder]) -> None:
    probes = probe_frame("some", runs)
    assert list(AGGREGATION.make(probes)["pool"]) == ["mean", "stack"]
    assert list(SHOTS.make(probes)["shots"]) == [2]


def test_claims_are_differences_of_mean_class_recall(runs: list[RunFolder]) -> None:
    """Stacking against averaging: D0 is wrong on image 11 more, D1 on 10 and 11, of three images of the class."""
    probes = probe_frame("some", runs)
    ((claim, difference_PRN),) = probe_claims(probes, {D0, D1})
    assert claim.sentence == "Stacking scales beats averaging them"
    assert not claim.about_training
    assert difference_PRN.shape == (1, 2, 8)
    recall = {
        pool: probes[(probes["pool"] == pool) & probes["shots"].isna()].iloc[0]["value"] for pool in ("mean", "stack")
    }
    assert 100 * difference_PRN.mean() == pytest.approx(recall["stack"] - recall["mean"])
    np.testing.assert_allclose(difference_PRN[0, :, 1], 8 / (2 * 2 * 3))
    values = weighed(claim, difference_PRN)
    assert values["points"] == pytest.approx(recall["stack"] - recall["mean"]) and values["test"] == "normal"
    assert list(probe_claims(probes, {D0})) == []


def test_nets_stacked_are_compared_with_each(runs: list[RunFolder]) -> None:
    sweep = runs[0].path.parent
    write(sweep, [E0], [[10, 11, 12, 13], [20, 23]])
    write(sweep, [D0, E0], [[10], []])
    frame = probe_frame("some", [*runs, RunFolder(sweep / E0)])
    found = {claim.sentence: difference for claim, difference in probe_claims(frame, {D0, D1, E0})}
    value = {
        row["nets"]: row["splits"] for _, row in frame[(frame["pool"] == "stack") & frame["shots"].isna()].iterrows()
    }
    for net in ("D", "E"):
        own = np.mean([split["value"] for split in value[f"{net}-jitter"][0]])
        both = np.mean([split["value"] for split in value["D-jitter + E-jitter"][0]])
        assert 100 * found[f"Features of D and E beat those of {net}"].mean() == pytest.approx(both - own)


def test_the_papers_values_are_the_printed_ones() -> None:
    """Table 11: D, E, both; VOC-2007, VOC-2012, Caltech-101, Caltech-256."""
    sets = ("voc2007", "voc2012", "caltech101", "caltech256")
    printed = {
        ("D",): [(89.3, None), (89.0, None), (91.8, 1.0), (85.0, 0.2)],
        ("E",): [(89.3, None), (89.0, None), (92.3, 0.5), (85.1, 0.3)],
        ("D", "E"): [(89.7, None), (89.3, None), (92.7, 0.5), (86.2, 0.3)],
    }
    assert {configs: [paper.transfer(configs, data) for data in sets] for configs in printed} == printed
    seen = [paper.transfer(("D", "E"), paper.ACTIONS_SET, regions)[0] for regions in ("image", "image + box")]
    assert seen == [79.2, 84.0]
    assert {data: len(paper.transfer_systems(data)) for data in (*sets, paper.ACTIONS_SET, "folder")} == {
        "voc2007": 4, "voc2012": 4, "caltech101": 3, "caltech256": 2, paper.ACTIONS_SET: 3, "folder": 0,
    }  # fmt: skip
    assert paper.transfer(("A",), "voc2007") == (None, None)
