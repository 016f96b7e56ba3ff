"""The claims of Appendix B: paired on the test images of the same splits.

An image counts by what it is worth. For the mean recall of the classes that is its share of its class, in each split
that it is tested in; for the mean average precision what leaving it out does. So the mean over images is the difference
of the two values.

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
from vgg_sweep.report.tables.transfer import METRICS, PAPERS_ACTIONS

D, E = paper.Net("D", "jitter"), paper.Net("E", "jitter")


def probe_claims(probes: pd.DataFrame, run_ids: set[str]) -> Iterator[tuple[Claim, NDArray[np.floating]]]:
    """Each claim that some probes of `run_ids`, the runs of one group of settings, are about, with its differences
    [P, R, N]: how much more the first of a pair errs.
    """
    alone, both = [Tested((net,)) for net in (D, E)], Tested((D, E))
    full = probes[probes["shots"].isna() & (probes["weights"] == OWN)]
    for (data, layer, metric), own in full.groupby(["data", "layer", "metric"], sort=False):
        rows = [row for row in records(own) if {id for ids in row["run_ids"] for id in ids} <= run_ids]
        rows = [row for row in rows if "tested" in row["splits"][0][0]]  # which first records of mAP have not
        about, by_recall = f"{layer} on {data}, {METRICS[str(metric)]}", metric == "recall"
        worse, papers = ("mean", "stack") if by_recall else ("stack", "mean")
        found = {net: _seeds(rows, papers, nets=(str(net),) * 2, pool=(worse, papers)) for net in alone}
        if pooled := {net: seeds for net, seeds in found.items() if seeds}:
            sentence = (
                "Stacking scales beats averaging them" if by_recall else "Stacking scales does not beat averaging"
            )
            pairs = tuple((net, net) for net in pooled)
            yield Claim(sentence, "App. B", about, pairs, no_gain=not by_recall), _together([*pooled.values()])
        for net in alone:
            if seeds := _seeds(rows, papers, nets=(str(net), str(both))):
                sentence = f"Features of D and E beat those of {net.nets[0].config}"
                yield Claim(sentence, "App. B", about, ((net, both),)), _together([seeds])
        if seeds := _seeds(rows, papers, nets=(str(both),) * 2, regions=PAPERS_ACTIONS[str(both)]):
            yield Claim("The person's box beside the image helps", "App. B", about, ((both, both),)), _together([seeds])


def _seeds(rows: Sequence[Row], papers: str, **apart: tuple[str, ...]) -> list[Any]:
    """The splits of two rows, for each seed that both have, which differ in what is named `apart` alone: pooled as the
    paper does if they can be, at the most scales that both are there for. Empty if they are not there.
    """
    same = {"test_scales", "method", "normalise", "pool", "regions"} - apart.keys()
    pairs = [
        (first, second)
        for first, second in product(rows, rows)
        if all((first[name], second[name]) == values for name, values in apart.items())
        if all(first[name] == second[name] for name in same)
    ]
    if not pairs:
        return []
    first, second = max(pairs, key=lambda pair: (pair[1]["pool"] == papers, len(pair[1]["test_scales"])))
    each, other = (list(zip(row["run_ids"], row["splits"], strict=True)) for row in (first, second))
    return [(a, b) for (ids, a), (other_ids, b) in product(each, other) if set(ids) <= set(other_ids)]


def _together(pairs: Sequence[list[Any]]) -> NDArray[np.floating]:
    num_seeds = min(map(len, pairs))
    return np.array([[_difference(*splits) for splits in seeds[:num_seeds]] for seeds in pairs])


def _difference(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> NDArray[np.floating]:
    """How much more the first errs, by image."""
    images = sorted({row for split in first for row in split["tested"]})
    sum_N = np.zeros(len(images))
    for sign, splits in ((-1, first), (1, second)):
        for split in splits:
            sum_N[np.searchsorted(images, split["tested"])] += sign * _worth(split) / len(splits)
    return sum_N * len(images)


def _worth(split: Mapping[str, Any]) -> NDArray[np.floating]:
    """What each tested image adds to the value, which is the sum."""
    if "influences" in split:
        return np.array(split["influences"]) / 100 / len(split["tested"])
    labels = np.array(split["labels"])
    totals_K = np.bincount(labels)
    is_right_N = ~np.isin(split["tested"], split["wrong"])
    return np.asarray(is_right_N / ((totals_K > 0).sum() * totals_K[labels]))
