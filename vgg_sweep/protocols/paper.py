"""What the paper printed (arXiv 1409.1556v6). Errors in percent; None where the paper prints a dash or has no such row.

The values live in `paper.json` alone and are looked up by (config, train scale, rule of Q, method): a rule and a train
scale decide S and Q, at any crop.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PAPER_JSON = Path(__file__).with_name("paper.json")

TRAIN_SCALES = {"256": (256, 256), "384": (384, 384), "jitter": (256, 512), "jitter-fc": (256, 512)}
"""The paper's S, [smallest, largest] in pixels."""
ACTIONS_SET = "voc2012-action"
"""The set of Table 12."""


@dataclass(frozen=True)
class Net:
    """A column of Table 1 at one of the training scales."""

    config: str
    train_scale: str

    @property
    def slug(self) -> str:
        return f"{self.config}-{self.train_scale}"


@dataclass(frozen=True)
class SingleNet:
    """A row of Tables 3, 4 or 5."""

    net: Net
    rule: str
    """`single` or `multi`: how many test scales (Sect. 4.1, 4.2)."""
    test_scales: tuple[int, ...]
    method: str
    top1_error: float | None
    top5_error: float | None


@dataclass(frozen=True)
class Fusion:
    """A row of Table 6."""

    group: str
    members: tuple[Net, ...]
    method: str
    top1_error: float | None
    top5_error: float | None
    top5_test_error: float | None
    note: str = ""


@dataclass(frozen=True)
class System:
    """A row of Table 7."""

    name: str
    top1_error: float | None
    top5_error: float | None
    top5_test_error: float | None
    note: str = ""


@dataclass(frozen=True)
class BoxRow:
    """A row of Table 8 (net D at S = 384, a centre crop, the box of the true class), of Table 9 (net D, dense, boxes
    merged, five guesses) or of Table 10 (systems).
    """

    error: float | None
    test_error: float | None = None
    name: str = ""
    """Of the system."""
    members: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """Train scale and test scales of each net of Table 9."""
    boxes: str = "pcr"
    """`scr`, one box for all classes, or `pcr`, a box for each."""
    trainable: str = "all"
    """`all` layers were fine-tuned, or the FC layers alone: the first two, and the last, which is new."""


@cache
def _paper() -> dict[str, Any]:
    return dict(json.loads(PAPER_JSON.read_text(encoding="utf-8")))


def rows(table: str) -> list[SingleNet]:
    """The rows of Table 3, 4 or 5, in the paper's order."""
    found = []
    for row in _paper()["single_nets"]:
        if row["table"] == table:
            protocol = ("multi" if len(row["Q"]) > 1 else "single", tuple(row["Q"]), row["method"])
            found.append(SingleNet(_net(row), *protocol, row["top1_error"], row["top5_error"]))
    return found


def _net(row: Mapping[str, str]) -> Net:
    return Net(row["config"], row["train_scale"])


def printed(config: str, train_scale: str, rule: str, method: str) -> tuple[float | None, float | None]:
    """Top-1 and top-5 validation error of a single net, wherever in Tables 3 to 5 it is printed."""
    every = [row for table in "345" for row in rows(table)]
    errors = {(row.net, row.rule, row.method): (row.top1_error, row.top5_error) for row in every}
    return errors.get((Net(config, train_scale), rule, method), (None, None))


def fusions() -> list[Fusion]:
    """The rows of Table 6: the submission's seven nets, then D and E with scale jitter under three methods."""
    return [Fusion(**row | {"members": tuple(map(_net, row["members"]))}) for row in _paper()["fusions"]]


def systems() -> list[System]:
    """The rows of Table 7; the first three are the paper's own."""
    return [System(**row) for row in _paper()["systems"]]


def own_systems() -> list[tuple[tuple[Net, ...], str, str]]:
    """Nets, method and group in Table 6 of the first three rows of Table 7, all at three test scales."""
    submission, *_, both = fusions()
    best_net = Net("E", "jitter")  # Sect. 4.4: "our best-performing single model"
    return [
        (both.members, both.method, both.group),
        ((best_net,), both.method, ""),
        (submission.members, submission.method, submission.group),
    ]


def params_millions() -> dict[str, int]:
    """Table 2: parameters of each net, in millions."""
    return dict(_paper()["params_millions"])


def shallow_net_points() -> float:
    """Top-1 error of B-5x5 minus that of B on a centre crop (Sect. 4.1). Printed as "7% higher"; read as points."""
    return float(_paper()["shallow_net"]["value"])


def box_rows(table: str) -> list[BoxRow]:
    """The rows of Table 8, of 9, the last of which is of two nets, or of 10, the first of which is the paper's own."""
    found = []
    for row in _paper()[{"8": "box_nets", "9": "box_scales", "10": "box_systems"}[table]]:
        members = tuple((each["train_scale"], tuple(each["Q"])) for each in row.get("members", ()))
        found.append(BoxRow(**row | {"members": members}))
    return found


def transfer(configs: tuple[str, ...], data: str, regions: str = "image") -> tuple[float | None, float | None]:
    """Tables 11 and 12: the value in percent of D, E or both stacked on a set, and the printed deviation over splits.
    `regions` is what is described of an image, in Table 12 also `image + box`.
    """
    for row in _paper()["transfer"]:
        if (tuple(row.get("configs", ())), row["data"], row.get("regions", "image")) == (configs, data, regions):
            return row["value"], row["pm"]
    return None, None


def transfer_systems(data: str) -> list[tuple[str, float, float | None]]:
    """The systems of others in Tables 11 and 12 on a set, each with its value and deviation."""
    own = (row for row in _paper()["transfer"] if "system" in row and row["data"] == data)
    return [(row["system"], row["value"], row["pm"]) for row in own]
