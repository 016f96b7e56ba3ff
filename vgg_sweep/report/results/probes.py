"""Results of probes, as the report reads them: a row for each way to describe a set's images and each net or stack of
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
                kind = json.dumps([_nets(record), common], sort_keys=True)
                alike.setdefault(kind, []).append(record)
    rows = [_row(sweep, records) for records in alike.values()]
    rows.sort(key=lambda row: row["nets"].count("+"))  # each net, then those stacked
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"shots": "Int64"})


def _nets(record: Mapping[str, Any]) -> str:
    return CONTROL if record["how"]["layer"] == COLOUR else " + ".join(slug(id) for id in record["nets"])


def _row(sweep: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first, how = records[0], records[0]["how"]
    if how["layer"] == COLOUR:
        records = records[:1]  # every net says the same
    fewest = min(len(record["splits"]) for record in records)  # a probe may have been stopped between two
    values_RS = np.array([[split["value"] for split in record["splits"][:fewest]] for record in records])
    by_split_S = values_RS.mean(axis=0)
    splits = [split for record in records for split in record["splits"]]
    papers, pm = _of_paper(first)
    as_recorded = {name: first[name] for name in ("data", "shots", "metric")}
    as_recorded |= {name: how[name] for name in ("layer", "weights", "method", "normalise")}
    as_recorded |= {name: splits[0][name] for name in ("num_train", "num_test")}
    return as_recorded | {
        "sweep": sweep,
        "nets": _nets(first),
        "regions": _regions(how),
        "test_scales": tuple(how["scales"]),
        "pool": how["pool"] if len(how["scales"]) > 1 else "",
        "value": float(by_split_S.mean()),
        "std": float(by_split_S.std(ddof=1)) if len(by_split_S) > 1 else None,
        "neighbours": float(np.mean([split["neighbours"] for split in splits])),
        "C": tuple(sorted({split["C"] for split in splits})),
        "num_splits": len(by_split_S),
        "seeds": len(records),
        "classes": len(first["classes"]),
        "paper": papers,
        "paper_pm": pm,
        "overrides": tuple(first.get("overrides", ())),
        "run_ids": tuple(tuple(record["nets"]) for record in records),
        "splits": tuple(tuple(record["splits"]) for record in records),
    }


def _of_paper(record: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """The paper's value, if it has these nets on this set, by fc7 and dense evaluation."""
    how, configs = record["how"], sorted(net.partition("-")[0] for net in _nets(record).split(" + "))
    if (how["layer"], how["method"]) != ("fc7", "dense") or how["weights"] == RANDOM or record["shots"]:
        return None, None
    return paper.transfer(tuple(configs), record["data"], _regions(how))


def _regions(how: Mapping[str, Any]) -> str:
    return " + ".join(how.get("regions", (IMAGE,)))
