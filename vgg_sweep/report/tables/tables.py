"""The paper's tables as plain functions of the DataFrame of `load_results`: ours beside the paper's. Errors in percent.

Every table has the paper's rows, in its order, once for each sweep and each group of settings in it. A row that the
sweep lacks has `seeds` 0, NaN errors and the `command` that would fill it. With several seeds the error is their mean,
`*_std` their standard deviation, and the 95 % interval is that of the mean error on these images: it covers the choice
of images, not that of seeds.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from vgg_sweep.plan import commands
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.methods import PAPER_CROP_PX, scaled_px, test_scales
from vgg_sweep.protocols.metrics import wilson

AT_CHANCE = "no better than chance"
"""In the `note` of a row whose 95 % interval of top-1 error reaches the error of guessing."""


def table3(results: pd.DataFrame) -> pd.DataFrame:
    """Single test scale (Sect. 4.1): 12 rows."""
    return _single_nets("3", results)


def table4(results: pd.DataFrame) -> pd.DataFrame:
    """Multiple test scales (Sect. 4.2): 10 rows."""
    return _single_nets("4", results)


def table5(results: pd.DataFrame) -> pd.DataFrame:
    """Dense, multi-crop and their mean (Sect. 4.3): 6 rows."""
    return _single_nets("5", results)


def table6(results: pd.DataFrame) -> pd.DataFrame:
    """Fusion of several nets (Sect. 4.4): 4 rows."""
    rows = []
    for where, group in by_settings(results):
        for row in paper.fusions():
            ours = _measured(group, row.members, "multi", row.method, row.group)
            published = _published(row.top1_error, row.top5_error) | {"paper_top5_test_error": row.top5_test_error}
            names = {"group": row.group} | _nets(group, row.members) | {"method": row.method}
            rows.append({"table": "6"} | where | names | ours | published | {"paper_note": row.note})
    return _frame(rows)


def table7(results: pd.DataFrame) -> pd.DataFrame:
    """Ours among the published systems (Sect. 4.5): 15 rows. The others' errors are on ILSVRC, whatever ours are on."""
    ours_are = paper.own_systems()
    rows = []
    for where, group in by_settings(results):
        for index, system in enumerate(paper.systems()):
            members, method, fusion = ours_are[index] if index < len(ours_are) else ((), "", "")
            ours = _measured(group, members, "multi", method, fusion) if members else _dash("")
            published = _published(system.top1_error, system.top5_error) | {
                "paper_top5_test_error": system.top5_test_error
            }
            names = {"system": system.name} | _nets(group, members) | {"method": method or None}
            rows.append({"table": "7"} | where | names | ours | published | {"paper_note": system.note})
    return _frame(rows)


def table_5x5(results: pd.DataFrame) -> pd.DataFrame:
    """B against B with one 5x5 for each pair of 3x3 (Sect. 4.1): 2 rows, and by how many points 5x5 is worse."""
    rows = []
    for where, group in by_settings(results):
        nets = [paper.Net("B", "256"), paper.Net("B-5x5", "256")]
        ours = [_measured(group, (net,), "single", "centre-crop") for net in nets]
        points = [None, ours[1]["top1_error"] - ours[0]["top1_error"]]
        for net, measured, more, more_in_paper in zip(
            nets, ours, points, [None, paper.shallow_net_points()], strict=True
        ):
            row = (
                {"table": "5x5"}
                | where
                | _net(group, net, "single")
                | {"method": "centre-crop"}
                | measured
                | _published(None, None)
            )
            rows.append(row | {"points_over_B": more, "paper_points_over_B": more_in_paper})
    return _frame(rows)


def lrn_cost(results: pd.DataFrame) -> pd.DataFrame:
    """Time of a training step and peak memory of A and A-LRN (Sect. 4.1: "increased memory consumption and computation
    time"): 2 rows.

    Medians over seeds, and the ratio to A where both ran on the same device at the same precision.
    """
    measures = ["step_seconds", "peak_memory_bytes"]
    rows = []
    for where, group in by_settings(results):
        runs = {config: _runs(group, paper.Net(config, "256")) for config in ("A", "A-LRN")}
        costs = {
            config: {name: float(pd.to_numeric(found[name]).median()) for name in measures}
            for config, found in runs.items()
        }
        machines = {config: _machines(found) for config, found in runs.items()}
        for config, found in runs.items():
            alike = machines[config] == machines["A"]
            ratios = {
                f"{name}_ratio": costs[config][name] / costs["A"][name] if alike else math.nan for name in measures
            }
            command = "" if len(found) else _command(group, [paper.Net(config, "256")], "single")
            names = {"config": config, "train_scale": "256", "seeds": len(found), "device": machines[config]}
            rows.append({"table": "lrn"} | where | names | costs[config] | ratios | {"command": command})
    return _frame(rows)


def fusion_table(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each fusion that was asked for, under each protocol that its members share."""
    standing = {"", *(row.group for row in paper.fusions())}
    rows = []
    for where, group in by_settings(results):
        for (members, rule, method, fusion), found in group.by_protocol.items():
            if fusion not in standing:
                names = {
                    "fusion": fusion,
                    "config": members,
                    "train_scale": None,
                    "test_scales": found[0]["test_scales"],
                    "rule": rule,
                }
                rows.append(
                    {"table": "fusion"} | where | names | {"method": method} | _mean_of(found) | _published(None, None)
                )
    return _frame(rows)


def deviations(configs: Iterable[Mapping[str, Any]], num_classes: Iterable[int] = ()) -> pd.DataFrame:
    """The settings that differ from the paper's (the schema's defaults), with every value that occurs in `configs`."""
    defaults = commands.schema_defaults() | {"data": "imagenet", "classes": 1000}
    here: dict[str, list[Any]] = {}
    for config in configs:
        changed = {name: value for name, value in commands.settings(config).items() if not name.startswith("data.")}
        if (scale := paper.TRAIN_SCALES.get(config["train_scale"]["name"])) != tuple(config["train_scale"]["S"]):
            changed[f"S of {config['train_scale']['name']}"] = config["train_scale"]["S"]
            defaults[f"S of {config['train_scale']['name']}"] = scale
        for name, value in {"data": config["data"]["name"], **changed}.items():
            here.setdefault(name, []).append(value)
    here["classes"] = list(num_classes)
    rows = []
    for name, values in here.items():
        if distinct := [value for value in {str(value): value for value in values} if value != str(defaults[name])]:
            rows.append(
                {"table": "deviations", "setting": name, "paper": str(defaults[name]), "here": ", ".join(distinct)}
            )
    return pd.DataFrame(rows, columns=["table", "setting", "paper", "here"])


Found = Sequence[Mapping[str, Any]]
"""The rows, one a seed, of a net or of a fusion under a protocol."""


@dataclass(frozen=True)
class Group:
    """The results of one sweep and one group of settings in it: only these are compared with one another."""

    rows: pd.DataFrame
    by_protocol: Mapping[tuple[str, ...], Found]
    """Members, rule, method and name of the fusion -> the rows, of which it has what tables and claims look at."""

    def find(self, members: Sequence[paper.Net], rule: str, method: str, fusion: str = "") -> Found:
        return self.by_protocol.get((" + ".join(sorted(net.slug for net in members)), rule, method, fusion), [])


def by_settings(results: pd.DataFrame) -> Iterator[tuple[dict[str, str], Group]]:
    """The groups of some results, each with its sweep and settings."""
    for (sweep, settings), rows in results.groupby(["sweep", "settings"], sort=False):
        by_protocol: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
        for values in zip(*(rows[name].to_list() for name in (*_KEY, *_MEASURED)), strict=True):
            row = dict(zip(_MEASURED, values[len(_KEY) :], strict=True))
            by_protocol.setdefault(values[: len(_KEY)], []).append(row)
        yield {"sweep": str(sweep), "settings": str(settings)}, Group(rows, by_protocol)


_KEY = ("members", "rule", "method", "fusion")
_MEASURED = ("seed", "test_scales", "n_images", "n_classes", "top1_error", "top5_error", "top1_misses", "bad_images",
             "stuck_at_chance")  # fmt: skip


def _single_nets(table: str, results: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for where, group in by_settings(results):
        for row in paper.rows(table):
            ours = _measured(group, (row.net,), row.rule, row.method)
            published = _published(row.top1_error, row.top5_error)
            rows.append(
                {"table": table} | where | _net(group, row.net, row.rule) | {"method": row.method} | ours | published
            )
    return _frame(rows)


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Counts stay whole numbers where some are missing."""
    frame = pd.DataFrame(rows)
    return frame.astype({name: "Int64" for name in ("seeds", "n_images", "n_classes") if name in frame})


def _runs(group: Group, net: paper.Net) -> pd.DataFrame:
    """A net's runs, one row a seed, whatever their protocols."""
    return group.rows[(group.rows["members"] == net.slug) & (group.rows["fusion"] == "")].drop_duplicates("run_id")


def _machines(runs: pd.DataFrame) -> str:
    names = runs[["device_name", "precision"]].dropna().drop_duplicates()
    return ", ".join(f"{device} {precision}" for device, precision in names.itertuples(index=False))


def _net(group: Group, net: paper.Net, rule: str) -> dict[str, Any]:
    """What identifies a row: S and Q in pixels at this crop, and the paper's."""
    S, crop = paper.TRAIN_SCALES[net.train_scale], int(group.rows["crop"].iloc[0])
    return {
        "config": net.config,
        "train_scale": net.train_scale,
        "crop": crop,
        "S": tuple(scaled_px(px, crop) for px in S),
        "test_scales": tuple(test_scales(list(S), rule, crop)),
        "paper_S": S,
        "paper_test_scales": tuple(test_scales(list(S), rule, PAPER_CROP_PX)),
    }


def _nets(group: Group, members: Sequence[paper.Net]) -> dict[str, Any]:
    """What identifies a fusion at three test scales: its nets, and every Q that one of them looks at."""
    each = [_net(group, net, "multi") for net in members]
    scales = {
        name: tuple(sorted({Q for row in each for Q in row[name]})) or None
        for name in ("test_scales", "paper_test_scales")
    }
    train_scales = " + ".join(dict.fromkeys(net.train_scale for net in members))
    return {"config": " + ".join(net.slug for net in members) or None, "train_scale": train_scales or None, **scales}


def _measured(group: Group, members: Sequence[paper.Net], rule: str, method: str, fusion: str = "") -> dict[str, Any]:
    found = group.find(members, rule, method, fusion)
    if found:
        return _mean_of(found)
    lacking = [net for net in members if not group.find((net,), rule, method)]
    protocol = {"dense": rule, "centre-crop": "centre"}.get(method, "crops")
    return _dash(_command(group, lacking or members, protocol))


def _mean_of(found: Found) -> dict[str, Any]:
    """Mean over seeds of the errors in `found`, with the spread over seeds and the interval over images."""
    num_images = found[0]["n_images"]
    values: dict[str, Any] = {"seeds": len(found), "n_images": num_images, "n_classes": found[0]["n_classes"]}
    for name in ("top1", "top5"):
        errors = [row[f"{name}_error"] for row in found]
        error = fmean(errors)
        low, high = wilson(error, num_images) if not math.isnan(error) else (math.nan, math.nan)
        spread = stdev(errors) if len(errors) > 1 else math.nan
        values |= {f"{name}_error": error, f"{name}_low": low, f"{name}_high": high, f"{name}_std": spread}
    return values | {"note": _note(found, values), "command": ""}


def _note(found: Found, values: Mapping[str, Any]) -> str:
    """What to know of a net whose error is that of guessing, or that did without some of the images."""
    words, chance = [], 100 * (1 - 1 / values["n_classes"])
    if stuck := sum(row["stuck_at_chance"] for row in found):
        words.append(f"stuck at chance in {stuck} of {len(found)} seeds")
    elif values["top1_high"] >= chance:
        words.append(f"{AT_CHANCE} ({chance:.4g} %)")
    if bad := max(row["bad_images"] for row in found):
        words.append(f"trained or scored without {bad} image(s) that could not be decoded")
    return ", ".join(words)


def _dash(command: str) -> dict[str, Any]:
    nothing = {f"{name}_{part}": math.nan for name in ("top1", "top5") for part in ("error", "low", "high", "std")}
    return {"seeds": 0, "n_images": None, "n_classes": None} | nothing | {"note": "", "command": command}


def _published(top1_error: float | None, top5_error: float | None) -> dict[str, float | None]:
    return {"paper_top1_error": top1_error, "paper_top5_error": top5_error}


def _command(group: Group, nets: Sequence[paper.Net], protocol: str) -> str:
    """What makes these nets, in the seeds and settings of the others."""
    seeds = sorted(set(group.rows["seed"].dropna()))
    chosen = [*group.rows["overrides"].iloc[0], *([f"seed={','.join(map(str, seeds))}"] if seeds != [0] else [])]
    lines = [
        commands.command(
            "multirun", f"model={net.config}", f"train_scale={net.train_scale}", f"protocol={protocol}", *chosen
        )
        for net in nets
    ]
    return " && ".join(commands.merged(lines))
