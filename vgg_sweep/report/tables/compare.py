"""Several sweeps compared with the first: how settings change each net's error, and how they differ from the paper.

Where both were scored on the same images the difference is paired, else it is that of two samples. `p_images` is about
these trained nets. `p` and `p_holm`, which are about training, need three seeds on each side.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import PurePath
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from vgg_sweep.plan import commands
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.metrics import Z95
from vgg_sweep.protocols.statistics import (
    MIN_SEEDS,
    discordant,
    holm,
    mcnemar,
    normal_p,
    over_images,
    over_seeds_and_images,
    over_seeds_on_other_images,
    unpaired_difference,
)
from vgg_sweep.report.results.errors import ReportedRun
from vgg_sweep.report.results.groups import Group, SeedRows, by_settings, mean_errors
from vgg_sweep.report.tables.table import Column, Row, Table, as_frame, differs, interval, number, p_value, seeds, text

MAX_NAME = 16
"""Characters of a sweep's name above a column."""


def comparison(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each net, fusion and protocol of the paper that the first sweep shares with another. Errors in percent;
    points are the other's top-1 error minus the first's. Empty for one sweep.
    """
    groups = list(by_settings(results))
    first, *others = results["sweep"].unique()
    rows = []
    for other in others:
        of_first, of_other = ([each for each in groups if each.where["sweep"] == name] for name in (first, other))
        pairs = list(product(of_first, of_other))
        alike = [(here, there) for here, there in pairs if here.where["settings"] == there.where["settings"]]
        found = [row for pair in alike or pairs for row in _compared(*pair)]  # all with all, as of two recipes
        adjusted = holm([row["p"] for row in found])
        rows += [row | {"p_holm": p_holm} for row, p_holm in zip(found, adjusted, strict=True)]
    return as_frame("comparison", rows)


_PROTOCOL = ("rule", "method", "fusion")


def _compared(here: Group, there: Group) -> Iterator[dict[str, Any]]:
    where = {**here.where, "other_sweep": there.where["sweep"], "other_settings": there.where["settings"]}
    for a in here.each():
        same = {name: a[0][name] for name in ("members", *_PROTOCOL)}
        if a[0]["rule"] == "other" or not (b := there.find(**same)):
            continue
        is_fusion = " + " in a[0]["members"]
        names = {
            "config": a[0]["members"] if is_fusion else a[0]["config"],
            "train_scale": None if is_fusion else a[0]["train_scale"],
            "test_scales": a[0]["test_scales"],
            "other_test_scales": b[0]["test_scales"],
        }
        protocol = {name: a[0][name] for name in _PROTOCOL}
        means = {"": mean_errors(a), "other_": mean_errors(b)}
        numbers = {
            f"{prefix}{name}": mean[name]
            for some in (("seeds", "n_images"), ("top1_error", "top5_error"))
            for prefix, mean in means.items()
            for name in some
        }
        yield where | names | protocol | numbers | _difference(a, b)


def _difference(a: SeedRows, b: SeedRows) -> dict[str, Any]:
    """Top-1 error of b minus that of a in points, and its 95 % interval: over seeds and images where both have several
    seeds, else over images alone, as `test` is of which `p_images` comes.

    What is wrong of R seeds on N images is 1, the rest 0.
    """
    wrong_a_RN, wrong_b_RN = (np.array([row["top1_misses"].unpack() for row in of], dtype=float) for of in (a, b))
    num_seeds = min(len(a), len(b))
    if a[0]["scored_on"] != b[0]["scored_on"]:
        error_b, error_a = (fmean(row["top1_error"] for row in found) for found in (b, a))
        points, low, high = unpaired_difference(error_b, wrong_b_RN.shape[1], error_a, wrong_a_RN.shape[1])
        test, p_images = "unpaired", normal_p((low + high) / (high - low) * Z95)
        anew = over_seeds_on_other_images(wrong_b_RN, wrong_a_RN) if num_seeds > 1 else None
    else:
        these_nets = over_images(wrong_b_RN, -wrong_a_RN)
        points, low, high = these_nets.points, these_nets.low, these_nets.high
        test, p_images = "paired", these_nets.p()
        if len(a) == len(b) == 1:
            test, p_images = "McNemar", mcnemar(*discordant(wrong_b_RN[0] > 0, wrong_a_RN[0] > 0))
        anew = over_seeds_and_images(wrong_b_RN, -wrong_a_RN) if num_seeds > 1 else None
    if anew:
        low, high = anew.low, anew.high
    p = anew.p() if anew and num_seeds >= MIN_SEEDS else math.nan
    return {"points": points, "points_low": low, "points_high": high, "test": test, "p_images": p_images, "p": p}


# --- how it is shown ---


def two_names(frame: pd.DataFrame) -> list[str]:
    """What two sweeps are called above their columns: as much of the ends of their paths as tells them apart."""
    if differs(frame, "other_sweep"):
        return ["the first", "the other"]
    paths = [PurePath(str(frame[key].iloc[0])).parts for key in ("sweep", "other_sweep")]
    num_parts = next((num for num in range(1, 1 + max(map(len, paths))) if paths[0][-num:] != paths[1][-num:]), 1)
    names = [str(PurePath(*parts[-num_parts:])) for parts in paths]
    ends = [name if len(name) <= MAX_NAME else f"…{name[1 - MAX_NAME :]}" for name in names]
    return ends if len(set(ends)) == 2 else names


def _columns(frame: pd.DataFrame) -> list[Column]:
    names = dict(zip(("", "other_"), two_names(frame), strict=True))

    def net(row: Row) -> str:
        return str(row["config"]) if row["train_scale"] is None else f"{row['config']}-{row['train_scale']}"

    return [
        Column("config", "net", net, wrap=14),
        Column("rule", "Q", lambda row: "multiple" if row["rule"] == "multi" else "single"),
        text("method", wrap=12),
        *(number(f"{prefix}top1_error", f"{name}\ntop-1") for prefix, name in names.items()),
        *(number(f"{prefix}top5_error", f"{name}\ntop-5", drop=4) for prefix, name in names.items()),
        seeds("seeds", "other_seeds", drop=1),
        number("points", "points", sign="+"),
        interval("points", sign="+"),
        p_value("p_images", "p, these nets", drop=3),
        text("test", drop=3),
        p_value("p", "p", drop=2),
        p_value("p_holm", "Holm", drop=2),
    ]


def _notes(frame: pd.DataFrame) -> list[str]:
    lines = [
        "Points: top-1 error in the second sweep named minus that in the first. p, these nets: over images alone. "
        f"p: over seeds and images, from {MIN_SEEDS} seeds on each side on; Holm: the same for all rows."
    ]
    if (frame[["seeds", "other_seeds"]].min(axis=1) < MIN_SEEDS).any():
        lines.append(
            f"Fewer than {MIN_SEEDS} seeds on a side say nothing about training: the same settings, trained again, may "
            "differ as much. With one, the 95 % interval is over images alone."
        )
    if len(unpaired := frame[frame["test"] == "unpaired"]):
        sweeps = ", ".join(dict.fromkeys(unpaired["other_sweep"]))
        lines.append(
            f"Unpaired: {sweeps} was scored on other images or classes than {frame['sweep'].iloc[0]}, so the "
            f"difference is that of two samples, and may come from the images alone."
        )
    return lines


COMPARISON = Table(
    "comparison", "The sweeps side by side", comparison, (_columns,), (_notes,), ends=("errs less", "errs more")
)


# --- how they were made ---


def deviations(configs: Iterable[Mapping[str, Any]], num_classes: Iterable[int] = ()) -> pd.DataFrame:
    """The settings that differ from the paper's (the schema's defaults), with every value that occurs in `configs`."""
    defaults = commands.schema_defaults() | {"data": "imagenet", "classes": 1000}
    here: dict[str, list[Any]] = {}
    configs = list(configs)
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
        is_of_all = name in commands.schema_defaults() and not name.startswith(("classes", commands.OF_BOXES))
        if is_of_all and len(values) < len(configs):
            values.insert(0, defaults[name])  # which some runs have
        distinct = list(dict.fromkeys(map(str, values)))
        if distinct and distinct != [str(defaults[name])]:
            rows.append(
                {"table": "deviations", "setting": name, "paper": str(defaults[name]), "here": ", ".join(distinct)}
            )
    return pd.DataFrame(rows, columns=["table", "setting", "paper", "here"])


def differences(sweeps: Sequence[tuple[str, Sequence[ReportedRun]]]) -> pd.DataFrame:
    """What other sweeps do not have in common with the first, a row for each of settings, data, versions and machine.

    `value` lists what occurs in the first, `other_value` what in the other. Empty for one sweep.
    """
    changed = dict.fromkeys(name for _, runs in sweeps for run in runs for name in run.settings)
    (first, here), *others = ((sweep, _made_with(runs, changed)) for sweep, runs in sweeps)
    rows = []
    for other, there in others:
        for name in here | there:
            ours, theirs = (", ".join(sorted(values.get(name, ()))) for values in (here, there))
            if ours != theirs:
                about = {"table": "differences", "setting": name, "sweep": first, "other_sweep": other}
                rows.append(about | {"value": ours, "other_value": theirs})
    return pd.DataFrame(rows)


def _made_with(runs: Sequence[ReportedRun], settings: Iterable[str]) -> dict[str, set[str]]:
    """By name, the values that occur among `runs`."""
    defaults = commands.schema_defaults()
    values = {"data": {str(run.config["data"]["name"]) for run in runs}}
    values |= {name: {str(run.settings.get(name, defaults.get(name))) for run in runs} for name in settings}
    records = [run.record for run in runs]
    for name in ("commit", "device_name", "precision"):
        values[name] = {str(record[name]) for record in records if record.get(name)}
    values["data fingerprint"] = {run.data_fingerprint for run in runs if run.is_scored}
    for record in records:
        for package, version in record.get("versions", {}).items():
            values.setdefault(f"version of {package}", set()).add(str(version))
    return values


def _two_values(frame: pd.DataFrame) -> list[Column]:
    first, other = two_names(frame)
    return [text("value", first, wrap=30), text("other_value", other, wrap=30)]


DEVIATIONS = Table("deviations", "Settings that differ from the paper's",
                   lambda sweeps: deviations(
                       [run.config for sweep in sweeps for run in sweep.runs],
                       dict.fromkeys(count for sweep in sweeps for count in sweep.results.get("n_classes", ()))),
                   [text(key, wrap=40) for key in ("setting", "paper", "here")], of="runs")  # fmt: skip
DIFFERENCES = Table("differences", "What differs between the sweeps",
                    lambda sweeps: differences([(sweep.name, sweep.runs) for sweep in sweeps]),
                    (text("setting", wrap=30), _two_values), of="runs")  # fmt: skip
