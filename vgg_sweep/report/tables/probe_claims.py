"""The claims of Appendix B: paired on the test images of the same splits.

An image counts by what it is worth for the mean recall of the classes: its share of its class, in each split that it is
tested in. So the mean over images is the difference of the two recalls.

Axes: P pairs of rows, R seeds, N images tested in some split.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vgg_sweep.features.store import OWN
from vgg_sweep.protocols import paper
from vgg_sweep.report.tables.claims import Claim, Side
from vgg_sweep.report.tables.table import Row, records

D, E = paper.Net("D", "jitter"), paper.Net("E", "jitter")
BOTH = f"{D.slug} + {E.slug}"


def probe_claims(probes: pd.DataFrame, run_ids: set[str]) -> Iterator[tuple[Claim, NDArray[np.floating]]]:
    """Each claim that some probes of `run_ids`, the runs of one group of settings, are about, with its differences
    [P, R, N]: how much more the first of a pair errs.
    """
    full = probes[probes["shots"].isna() & (probes["weights"] == OWN) & (probes["metric"] == "recall")]
    for (data, layer), own in full.groupby(["data", "layer"], sort=False):
        rows = [row for row in records(own) if {id for ids in row["run_ids"] for id in ids} <= run_ids]
        about = f"{layer} on {data}, mean class recall"
        stacked = [_sides(rows, net.slug, net.slug, "mean", "stack") for net in (D, E)]
        if (differences := _together(stacked)) is not None:
            pairs = tuple((Side((net,)), Side((net,))) for net, found in zip((D, E), stacked, strict=True) if found)
            yield Claim("Stacking scales beats averaging them", "App. B", about, pairs), differences
        for net in (D, E):
            if (differences := _together([_sides(rows, net.slug, BOTH, None, None)])) is not None:
                pair = (Side((net,)), Side((D, E)))
                yield Claim(f"Features of D and E beat those of {net.config}", "App. B", about, (pair,)), differences


def _sides(rows: Sequence[Row], worse: str, better: str, worse_pool: str | None, better_pool: str | None) -> list[Any]:
    """The seeds of two rows that differ in nets or pooling alone, stacked over scales if they can be, at the most
    scales that both are there for; empty if they are not there.
    """
    best: tuple[tuple[bool, int], list[Any]] = ((False, 0), [])
    for first in rows:
        for second in rows:
            same = all(first[name] == second[name] for name in ("test_scales", "method", "normalise"))
            same &= worse_pool is not None or first["pool"] == second["pool"]
            wanted = (first["nets"], second["nets"]) == (worse, better)
            wanted &= worse_pool is None or (first["pool"], second["pool"]) == (worse_pool, better_pool)
            rank = (second["pool"] == "stack", len(first["test_scales"]))
            if same and wanted and rank > best[0]:
                best = (rank, _by_seed(first, second))
    return best[1]


def _by_seed(first: Row, second: Row) -> list[Any]:
    """Splits of both rows for each seed that both have."""
    return [
        (splits, others)
        for ids, splits in zip(first["run_ids"], first["splits"], strict=True)
        for other_ids, others in zip(second["run_ids"], second["splits"], strict=True)
        if set(ids) <= set(other_ids)
    ]


def _together(pairs: Sequence[list[Any]]) -> NDArray[np.floating] | None:
    there = [[_difference(*seed) for seed in seeds] for seeds in pairs if seeds]
    if not there:
        return None
    num_seeds = min(map(len, there))
    return np.array([seeds[:num_seeds] for seeds in there])


def _difference(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> NDArray[np.floating]:
    """How much more the first errs, by image."""
    images = sorted({row for split in first for row in split["tested"]})
    place = {row: index for index, row in enumerate(images)}
    sum_N = np.zeros(len(images))
    for sign, splits in ((1, first), (-1, second)):
        for split in splits:
            labels = np.array(split["labels"])
            totals_K = np.bincount(labels)
            num_classes = int((totals_K > 0).sum())
            share = dict(zip(split["tested"], 1 / (num_classes * totals_K[labels]), strict=True))
            for row in split["wrong"]:
                sum_N[place[row]] += sign * share[row] / len(splits)
    return sum_N * len(images)
