"""What probes found, as the report reads it: a row for each way to describe a set's images and each net or stack of
nets.

Values are in percent. With several seeds a value is their mean; `std` is its deviation over splits.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vgg_sweep.config.transfer import IMAGE
from vgg_sweep.features.store import COLOUR, RANDOM
from vgg_sweep.protocols import paper
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.naming import slug
from vgg_sweep.transfer.records import read_records

COLUMNS = ("sweep", "data", "nets", "layer", "weights", "regions", "method", "test_scales", "pool", "normalise",
           "shots", "metric", "value", "std", "neighbours", "C", "num_train", "num_test", "num_splits", "seeds",
           "classes", "paper", "paper_pm", "overrides", "run_ids", "splits")  # fmt: skip
CONTROL = "–"
"""In place of a net, where the images' mean colour describes them."""


def probe_frame(sweep: str, runs: Iterable[RunFolder]) -> pd.DataFrame:
    """The probes whose records lie in the folders of `runs`, those of one kind in several seeds as one row."""
    alike: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        for record in read_records(run):
            if record["splits"]:
                is_colour = record["how"]["layer"] == COLOUR
                apart = ("nets", "weights", "splits", "overrides", *(("precisions",) if is_colour else ()))
                common = {name: value for name, value in record.items() if name not in apart}
                kind = json.dumps([CONTROL if is_colour else _nets(record), common], sort_keys=True)
                alike.setdefault(kind, []).append(record)
    rows = [_row(sweep, records) for records in alike.values()]
    rows.sort(key=lambda row: row["nets"].count("+"))  # each net, then those stacked
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"shots": "Int64"})


def _nets(record: Mapping[str, Any]) -> str:
    return " + ".join(slug(id) for id in record["nets"])


def _row(sweep: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first, how = records[0], records[0]["how"]
    if how["layer"] == COLOUR:
        records = records[:1]  # every net says the same
    fewest = min(len(record["splits"]) for record in records)  # a probe may have been stopped between two
    values_RS = np.array([[split["value"] for split in record["splits"][:fewest]] for record in records])
    by_split_S = values_RS.mean(axis=0)
    splits = [split for record in records for split in record["splits"]]
    nets = CONTROL if how["layer"] == COLOUR else _nets(first)
    papers, pm = _of_paper(nets, first) if how["weights"] != RANDOM else (None, None)
    return {
        "sweep": sweep,
        "data": first["data"],
        "nets": nets,
        "layer": how["layer"],
        "weights": how["weights"],
        "regions": _regions(how),
        "method": how["method"],
        "test_scales": tuple(how["scales"]),
        "pool": how["pool"] if len(how["scales"]) > 1 else "",
        "normalise": how["normalise"],
        "shots": first["shots"],
        "metric": first["metric"],
        "value": float(by_split_S.mean()),
        "std": float(by_split_S.std(ddof=1)) if len(by_split_S) > 1 else None,
        "neighbours": float(np.mean([split["neighbours"] for split in splits])),
        "C": tuple(sorted({split["C"] for split in splits})),
        "num_train": splits[0]["num_train"],
        "num_test": splits[0]["num_test"],
        "num_splits": len(by_split_S),
        "seeds": len(records),
        "classes": len(first["classes"]),
        "paper": papers,
        "paper_pm": pm,
        "overrides": tuple(first.get("overrides", ())),
        "run_ids": tuple(tuple(record["nets"]) for record in records),
        "splits": tuple(tuple(record["splits"]) for record in records),
    }


def _of_paper(nets: str, record: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """The paper's value, if it has these nets on this set, by fc7 and dense evaluation."""
    configs = tuple(sorted(net.partition("-")[0] for net in nets.split(" + ")))
    if record["how"]["layer"] != "fc7" or record["how"]["method"] != "dense" or record["shots"]:
        return None, None
    return paper.transfer(configs, record["data"], _regions(record["how"]))


def _regions(how: Mapping[str, Any]) -> str:
    return " + ".join(how.get("regions", (IMAGE,)))
