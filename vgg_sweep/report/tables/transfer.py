"""Tables 11 and 12 and what belongs to them: features of trained nets probed on other sets (Appendix B)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from vgg_sweep.config.transfer import BOX, IMAGE
from vgg_sweep.features.store import COLOUR, RANDOM
from vgg_sweep.plan.commands import command
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.paper import ACTIONS_SET
from vgg_sweep.report.results.probes import CONTROL, joined, probe_frame
from vgg_sweep.report.results.results import Sweep
from vgg_sweep.report.tables.table import DASH, Column, Row, Table, differs, number, records, text

METRICS = {"AP11": "mAP over 11 points (VOC-2007)", "AP": "mAP (VOC-2010)", "recall": "mean class recall"}
BOTH = "D-jitter + E-jitter"
PAPERS = {nets: (IMAGE,) for nets in ("D-jitter", "E-jitter", BOTH)}
"""The rows of the paper, which trained D and E by scale jitter, and what of an image each describes."""
PAPERS_ACTIONS = {BOTH: (IMAGE, f"{IMAGE} + {BOX}")}
NOTHING: dict[str, Any] = {"value": None, "std": None, "neighbours": None, "C": (), "seeds": 0}
"""Of a row that is not there."""


def probe_frames(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """The probes of all runs of some sweeps."""
    return joined([probe_frame(sweep.name, [run.folder for run in sweep.runs]) for sweep in sweeps])


def table11(probes: pd.DataFrame) -> pd.DataFrame:
    """For each set: the nets, each by its most scales under the paper's pooling, and the paper's that are not there;
    other systems beside them; then the controls.
    """
    return _generalisation("11", probes[probes["data"] != ACTIONS_SET], PAPERS)


def table12(probes: pd.DataFrame) -> pd.DataFrame:
    """The same for VOC-2012's actions: by the whole image, and with the person's box."""
    return _generalisation("12", probes[probes["data"] == ACTIONS_SET], PAPERS_ACTIONS)


def _generalisation(table: str, probes: pd.DataFrame, papers: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    full = probes[probes["shots"].isna()]
    for (sweep, data), own in full.groupby(["sweep", "data"], sort=False):
        main = records(_main(own[(own["weights"] != RANDOM) & (own["layer"] != COLOUR)]))
        controls = records(_main(own[(own["weights"] == RANDOM) | (own["layer"] == COLOUR)]))
        lacking = list(_lacking(str(sweep), str(data), main, papers))
        rows += [*({**row, "command": ""} for row in main), *lacking]
        if any(row["paper"] is not None for row in (*main, *lacking)):
            others = [
                {"nets": name, "paper": value, "paper_pm": pm} for name, value, pm in paper.transfer_systems(str(data))
            ]
            rows += [main[0] | NOTHING | {"test_scales": (), "pool": "", "command": ""} | other for other in others]
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
    for nets, seen in papers.items():
        for regions in seen:
            if (nets, regions) in there:
                continue
            members = nets.split(" + ")
            names = [f"{sweep}/{member}" for member in members]
            stack = ["--stack", " + ".join(names)] if len(names) > 1 else []
            published, pm = paper.transfer(tuple(member.partition("-")[0] for member in members), data, regions)
            yield like | NOTHING | {
                "nets": nets, "regions": regions, "paper": published, "paper_pm": pm,
                "command": command("transfer", *names, *like["overrides"], *stack),
            }  # fmt: skip


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


def _value(row: Row) -> str:
    if row["value"] is None:
        return DASH
    return f"{row['value']:.1f}" + (f" ± {row['std']:.1f}" if row["std"] is not None else "")


def _paper(row: Row) -> str:
    if row["paper"] is None:
        return DASH
    return f"{row['paper']:.1f}" + (f" ± {row['paper_pm']:.1f}" if row["paper_pm"] is not None else "")


def _net(row: Row) -> str:
    if row["nets"] == CONTROL:
        return "mean colour"
    return f"{row['nets']}, random weights" if row["weights"] == RANDOM else str(row["nets"])


def _Cs(row: Row) -> str:
    return ", ".join(f"{C:g}" for C in row["C"]) or DASH


def _columns(frame: pd.DataFrame) -> list[Column]:
    layers = Column("layer", "layer", lambda row: DASH if row["layer"] == COLOUR else str(row["layer"]), drop=1)
    return [
        *([text("data", wrap=14)] if differs(frame, "data") else []),
        Column("nets", "net", _net, wrap=20),
        *([layers] if len(_layers(frame)) > 1 else []),
        *([text("regions", "seen", wrap=11)] if differs(frame, "regions") else []),
        *([text("method", "view", wrap=11)] if differs(frame, "method") else []),
        Column("test_scales", "Q", _scales, wrap=13),
        *([text("pool")] if (frame["pool"] != "").any() else []),
        *([text("normalise", "L2", drop=3)] if differs(frame, "normalise") else []),
        *([number("shots", "images a class", 0)] if frame["shots"].notna().any() else []),
        Column("value", "ours", _value, is_number=True),
        *([Column("paper", "paper", _paper, is_number=True)] if frame["paper"].notna().any() else []),
        number("neighbours", "kNN", drop=2),
        Column("C", "C", _Cs, drop=4, wrap=10),
        *([number("seeds", "seeds", 0, drop=3)] if differs(frame, "seeds") else []),
    ]


def _layers(frame: pd.DataFrame) -> list[str]:
    return sorted(set(frame.loc[frame["layer"] != COLOUR, "layer"]))


def _scales(row: Row) -> str:
    return DASH if row["layer"] == COLOUR else ", ".join(map(str, row["test_scales"])) or DASH


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
        "mirror image; C by a held-out fifth. kNN: the 20 nearest."
    )
    if ((there["weights"] == RANDOM) | (there["layer"] == COLOUR)).any():
        lines.append("Random weights, and the mean colour of an image: what a set gives away without a trained net.")
    return lines


OF_PROBES = (
    Table("11", "Table 11. Features on other sets (Appendix B)", table11, _columns, _notes, where=("sweep",),
          of="probes"),
    Table("12", "Table 12. Actions of persons (Appendix B)", table12, _columns, _notes, where=("sweep",), of="probes"),
    Table("aggregation", "Appendix B. Ways to come to a descriptor", aggregations, _columns, _notes, where=("sweep",),
          of="probes"),
    Table("shots", "Appendix B. Features from few images of a class", few_shot, _columns, _notes, where=("sweep",),
          of="probes"),
)  # fmt: skip
TRANSFER, ACTIONS, AGGREGATION, SHOTS = OF_PROBES
