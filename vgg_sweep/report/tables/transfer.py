"""Features of trained nets probed on other sets (Appendix B): Tables 11 and 12, what belongs to them, and its claims.

Claims are paired on the test images of the same splits. An image counts by what it is worth. For the mean recall of the
classes that is its share of its class, in each split that it is tested in; for the mean average precision what leaving
it out does. So the mean over images is the difference of the two values.

Axes: P pairs of rows, R seeds, N images tested in some split.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vgg_sweep.config.transfer import BOX, IMAGE
from vgg_sweep.features.store import COLOUR, OWN, RANDOM
from vgg_sweep.plan.commands import command
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.paper import ACTIONS_SET
from vgg_sweep.report.results.probes import CONTROL
from vgg_sweep.report.tables.claims import Claim, Tested
from vgg_sweep.report.tables.table import DASH, Column, Row, Table, as_text, if_any, if_differs, number, records, text

METRICS = {"AP11": "mAP over 11 points (VOC-2007)", "AP": "mAP (VOC-2010)", "recall": "mean class recall"}
BOTH = "D-jitter + E-jitter"
PAPERS = {nets: (IMAGE,) for nets in ("D-jitter", "E-jitter", BOTH)}
"""The rows of the paper, which trained D and E by scale jitter, and what of an image each describes."""
PAPERS_ACTIONS = {BOTH: (IMAGE, f"{IMAGE} + {BOX}")}
NOTHING: dict[str, Any] = {"value": None, "std": None, "neighbours": None, "C": (), "seeds": 0}
"""Of a row that is not there."""


def generalisation(probes: pd.DataFrame, table: str) -> pd.DataFrame:
    """Table 11, or 12 of VOC-2012's actions, which are described by the whole image and with the person's box.

    For each set: the nets, each by its most scales under the paper's pooling, and the paper's that are not there; other
    systems beside them; then the controls.
    """
    papers = PAPERS_ACTIONS if table == "12" else PAPERS
    full = probes[probes["shots"].isna() & ((probes["data"] == ACTIONS_SET) == (table == "12"))]
    rows: list[dict[str, Any]] = []
    for (sweep, data), own in full.groupby(["sweep", "data"], sort=False):
        main = records(_main(own[(own["weights"] != RANDOM) & (own["layer"] != COLOUR)]))
        controls = records(_main(own[(own["weights"] == RANDOM) | (own["layer"] == COLOUR)]))
        lacking = list(_lacking(str(sweep), str(data), main, papers))
        rows += [*({**row, "command": ""} for row in main), *lacking]
        if any(row["paper"] is not None for row in (*main, *lacking)):
            for name, value, pm in paper.transfer_systems(str(data)):
                other = {"nets": name, "paper": value, "paper_pm": pm, "test_scales": (), "pool": "", "command": ""}
                rows.append(main[0] | NOTHING | other)
        rows += [row | {"command": ""} for row in controls]
    frame = pd.DataFrame(rows)
    return frame.assign(table=table).drop(columns="splits", errors="ignore") if rows else frame


def _main(own: pd.DataFrame) -> pd.DataFrame:
    """Of each net and layer the dense row that is pooled as the paper does on such a set; of these the one of most
    scales.
    """
    dense = own[own["method"] == "dense"]
    dense = dense if len(dense) else own
    papers = ["mean" if metric.startswith("AP") else "stack" for metric in dense["metric"]]
    ranked = dense.assign(num=[len(each) for each in dense["test_scales"]], papers=dense["pool"] == papers)
    best = ranked.sort_values(["papers", "num"], ascending=False, kind="stable").drop_duplicates(
        ["nets", "layer", "weights", "normalise", "regions"]
    )
    return own.loc[sorted(best.index)]


def _lacking(
    sweep: str, data: str, main: list[dict[str, Any]], papers: Mapping[str, Sequence[str]]
) -> Iterator[dict[str, Any]]:
    """The paper's rows that are not there, if one of its nets is, with what makes them."""
    there = {(row["nets"], row["regions"]) for row in main}
    if not (known := [row for row in main if row["nets"] in PAPERS]):
        return
    like = known[0]
    for nets, regions in ((nets, regions) for nets, seen in papers.items() for regions in seen):
        if (nets, regions) not in there:
            members = nets.split(" + ")
            names = [f"{sweep}/{member}" for member in members]
            stack = ["--stack", " + ".join(names)] if len(names) > 1 else []
            value, pm = paper.transfer(tuple(member.partition("-")[0] for member in members), data, regions)
            words = command("transfer", *names, *like["overrides"], *stack)
            about = {"nets": nets, "regions": regions, "paper": value, "paper_pm": pm, "command": words}
            yield like | NOTHING | about


def aggregations(probes: pd.DataFrame) -> pd.DataFrame:
    """Each way to come to a descriptor, where a net was probed in several: views, scales and their pooling."""
    own = probes[probes["shots"].isna() & (probes["weights"] != RANDOM) & (probes["layer"] != COLOUR)]
    alike = own.groupby(["sweep", "data", "nets", "layer", "normalise", "regions"], sort=False)["value"]
    found = own[alike.transform("count") > 1]
    order = found.assign(
        dense=found["method"] == "dense", num=[len(each) for each in found["test_scales"]],
        pooled=found["pool"].map({"": 0, "mean": 1, "max": 2, "stack": 3}), num_nets=found["nets"].str.count("[+]"),
    )  # fmt: skip
    by = ["sweep", "data", "num_nets", "nets", "layer", "regions", "dense", "num", "test_scales", "pooled"]
    return found.loc[order.sort_values(by, kind="stable").index].drop(columns="splits").assign(table="aggregation")


def few_shot(probes: pd.DataFrame) -> pd.DataFrame:
    """By how many training images of a class."""
    found = probes[probes["shots"].notna()]
    order = found.sort_values(["sweep", "data", "nets", "layer", "shots"], kind="stable")
    return order.drop(columns="splits").assign(table="shots")


# --- columns ---


def _net(row: Row) -> str:
    if row["nets"] == CONTROL:
        return "mean colour"
    return f"{row['nets']}, random weights" if row["weights"] == RANDOM else str(row["nets"])


def _layers(frame: pd.DataFrame) -> list[str]:
    return sorted(set(frame.loc[frame["layer"] != COLOUR, "layer"]))


def _layer(frame: pd.DataFrame) -> list[Column]:
    return [_of_layer("layer", "layer", drop=1)] if len(_layers(frame)) > 1 else []


def _of_layer(key: str, head: str, **about: Any) -> Column:
    """What the mean colour, which comes from no layer, has none of."""
    return Column(key, head, lambda row: DASH if row["layer"] == COLOUR else as_text(row[key]), **about)


_COLUMNS = (
    if_differs(text("data", wrap=14)),
    Column("nets", "net", _net, wrap=20),
    _layer,
    if_differs(text("regions", "seen", wrap=11)),
    if_differs(text("method", "view", wrap=11)),
    _of_layer("test_scales", "Q", wrap=13),
    if_any(text("pool")),
    if_differs(text("normalise", "L2", drop=3)),
    if_any(number("shots", "images per class", 0)),
    number("value", "ours", spread="std"),
    if_any(number("paper", "paper", spread="paper_pm")),
    number("neighbours", "kNN", drop=2),
    text("C", drop=4, wrap=10),
    if_differs(number("seeds", "seeds", 0, drop=3)),
)


def _notes(frame: pd.DataFrame) -> list[str]:
    lines = []
    there = frame[frame["value"].notna()]
    for (data, metric), rows in there.groupby(["data", "metric"], sort=False):
        row, kinds = rows.iloc[0], ("persons", "actions") if data == ACTIONS_SET else ("images", "classes")
        splits = f", mean ± deviation of {row['num_splits']} splits" if row["num_splits"] > 1 else ""
        sizes = "" if rows["shots"].notna().any() else f" {row['num_train']:,} training and"
        lines.append(
            f"{data}: {METRICS[str(metric)]} in percent,{sizes} {row['num_test']:,} test {kinds[0]} of "
            f"{row['classes']} {kinds[1]}{splits}."
        )
    lines.append(
        f"Linear SVMs on L2-normalised activations of {', '.join(_layers(frame))}, averaged over positions and the "
        "mirror image; C chosen on a held-out fifth. kNN: 20 nearest neighbours."
    )
    if ((there["weights"] == RANDOM) | (there["layer"] == COLOUR)).any():
        lines.append("Random weights, and the mean colour of an image: what a set gives away without a trained net.")
    return lines


_table = partial(Table, columns=_COLUMNS, notes=(_notes,), where=("sweep",), of="probes")

OF_PROBES = (
    _table("11", "Table 11. Features on other sets (Appendix B)", partial(generalisation, table="11")),
    _table("12", "Table 12. Action classification (Appendix B)", partial(generalisation, table="12")),
    _table("aggregation", "Appendix B. Ways to build a descriptor", aggregations),
    _table("shots", "Appendix B. Features with few training images per class", few_shot),
)
TRANSFER, ACTIONS, AGGREGATION, SHOTS = OF_PROBES


# --- claims ---


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
        claim = partial(Claim, section="App. B", protocols=f"{layer} on {data}, {METRICS[str(metric)]}")
        by_recall = metric == "recall"
        worse, papers = ("mean", "stack") if by_recall else ("stack", "mean")
        found = {net: _seeds(rows, papers, nets=(str(net),) * 2, pool=(worse, papers)) for net in alone}
        if pooled := {net: seeds for net, seeds in found.items() if seeds}:
            stacking = f"Stacking scales {'beats averaging them' if by_recall else 'does not beat averaging'}"
            pairs = tuple((net, net) for net in pooled)
            yield claim(stacking, pairs=pairs, no_gain=not by_recall), _together([*pooled.values()])
        for net in alone:
            if seeds := _seeds(rows, papers, nets=(str(net), str(both))):
                beats = f"Features of D and E beat those of {net.nets[0].config}"
                yield claim(beats, pairs=((net, both),)), _together([seeds])
        if seeds := _seeds(rows, papers, nets=(str(both),) * 2, regions=PAPERS_ACTIONS[str(both)]):
            yield claim("The person's box beside the image helps", pairs=((both, both),)), _together([seeds])


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
