"""The claims of Appendix B: paired on the test images of the same splits.

An image counts by what it is worth for the mean recall of the classes: its share of its class, in each split that it is
tested in. So the mean over images is the difference of the two recalls.

Axes: P pairs of rows, R seeds, N images tested in some split.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vgg_sweep.features.store import OWN
from vgg_sweep.protocols import paper
from vgg_sweep.report.tables.claims import Claim, Tested
from vgg_sweep.report.tables.table import Row, records

D, E = paper.Net("D", "jitter"), paper.Net("E", "jitter")


def probe_claims(probes: pd.DataFrame, run_ids: set[str]) -> Iterator[tuple[Claim, NDArray[np.floating]]]:
    """Each claim that some probes of `run_ids`, the runs of one group of settings, are about, with its differences
    [P, R, N]: how much more the first of a pair errs.
    """
    alone, both = [Tested((net,)) for net in (D, E)], Tested((D, E))
    full = probes[probes["shots"].isna() & (probes["weights"] == OWN) & (probes["metric"] == "recall")]
    for (data, layer), own in full.groupby(["data", "layer"], sort=False):
        rows = [row for row in records(own) if {id for ids in row["run_ids"] for id in ids} <= run_ids]
        about = f"{layer} on {data}, mean class recall"
        stacked = {net: seeds for net in alone if (seeds := _seeds(rows, str(net), str(net), ("mean", "stack")))}
        if stacked:
            pairs = tuple((net, net) for net in stacked)
            yield Claim("Stacking scales beats averaging them", "App. B", about, pairs), _together([*stacked.values()])
        for net in alone:
            if seeds := _seeds(rows, str(net), str(both)):
                sentence = f"Features of D and E beat those of {net.nets[0].config}"
                yield Claim(sentence, "App. B", about, ((net, both),)), _together([seeds])


def _seeds(rows: Sequence[Row], worse: str, better: str, pools: tuple[str, str] | None = None) -> list[Any]:
    """The splits of two rows, for each seed that both have, which differ in nets or pooling alone: stacked over scales
    if they can be, at the most scales that both are there for. Empty if they are not there.
    """
    same = ("test_scales", "method", "normalise", *(() if pools else ("pool",)))
    pairs = [
        (first, second)
        for first, second in product(rows, rows)
        if (first["nets"], second["nets"]) == (worse, better)
        if all(first[name] == second[name] for name in same)
        if pools is None or (first["pool"], second["pool"]) == pools
    ]
    if not pairs:
        return []
    first, second = max(pairs, key=lambda pair: (pair[1]["pool"] == "stack", len(pair[1]["test_scales"])))
    each, other = (list(zip(row["run_ids"], row["splits"], strict=True)) for row in (first, second))
    return [(a, b) for (ids, a), (other_ids, b) in product(each, other) if set(ids) <= set(other_ids)]


def _together(pairs: Sequence[list[Any]]) -> NDArray[np.floating]:
    num_seeds = min(map(len, pairs))
    return np.array([[_difference(*splits) for splits in seeds[:num_seeds]] for seeds in pairs])


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
