"""Several sweeps beside the first one: what differs in how they were made, and what that does to each net's error.

Where both were scored on the same images the difference is paired, else it is that of two samples. `p_images` is about
these trained nets. `p` and `p_holm`, which are about training, need three seeds on each side.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vgg_sweep.plan import commands
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
from vgg_sweep.report.tables.tables import by_settings

_ROW = ["members", "rule", "method", "fusion"]
"""What a row of the comparison is about, in both sweeps."""


def comparison(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each net, fusion and protocol of the paper that the first sweep shares with another. Errors in percent;
    points are the other's top-1 error minus the first's. Empty for one sweep.
    """
    first, *others = results["sweep"].unique()
    groups = [(where["sweep"], where["settings"], group.rows) for where, group in by_settings(results)]
    rows = []
    for other in others:
        matched = _matched([g for g in groups if g[0] == first], [g for g in groups if g[0] == other])
        found = [row for ours, theirs in matched for row in _compared(ours, theirs)]
        adjusted = holm([row["p"] for row in found])
        rows += [row | {"p_holm": p_holm} for row, p_holm in zip(found, adjusted, strict=True)]
    frame = pd.DataFrame(rows)
    return (
        frame.astype({name: "Int64" for name in ("seeds", "n_images", "other_seeds", "other_n_images")})
        if rows
        else frame
    )


_Group = tuple[str, str, pd.DataFrame]
"""Sweep, settings, results."""


def _matched(ours: Sequence[_Group], theirs: Sequence[_Group]) -> list[tuple[_Group, _Group]]:
    """Groups whose settings are called the same; all with all if there are none, as of two recipes."""
    pairs = [(a, b) for a in ours for b in theirs]
    return [pair for pair in pairs if pair[0][1] == pair[1][1]] or pairs


def _compared(ours: _Group, theirs: _Group) -> Iterator[dict[str, Any]]:
    (sweep, settings, here), (other, other_settings, there) = ours, theirs
    found_there = dict(iter(there[there["rule"] != "other"].reset_index(drop=True).groupby(_ROW, sort=False)))
    for key, a in here[here["rule"] != "other"].reset_index(drop=True).groupby(_ROW, sort=False):
        if (b := found_there.get(key)) is None:
            continue
        where = {"sweep": sweep, "settings": settings, "other_sweep": other, "other_settings": other_settings}
        is_fusion = a["members"].str.contains(" + ", regex=False).iloc[0]
        names = {
            "config": a["members" if is_fusion else "config"].iloc[0],
            "train_scale": None if is_fusion else a["train_scale"].iloc[0],
            "test_scales": a["test_scales"].iloc[0],
            "other_test_scales": b["test_scales"].iloc[0],
        }
        protocol = {name: a[name].iloc[0] for name in ("rule", "method", "fusion")}
        counts = {"seeds": len(a), "n_images": a["n_images"].iloc[0], "other_seeds": len(b)}
        errors = {
            f"{prefix}{name}_error": float(found[f"{name}_error"].mean())
            for prefix, found in (("", a), ("other_", b))
            for name in ("top1", "top5")
        }
        counts |= {"other_n_images": b["n_images"].iloc[0]}
        yield {"table": "comparison"} | where | names | protocol | counts | errors | _difference(a, b)


def _difference(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, Any]:
    """Top-1 error of b minus that of a in points, and its 95 % interval: over seeds and images where both have several
    seeds, else over images alone, as `test` is of which `p_images` comes.
    """
    wrong_a_RN, wrong_b_RN = (_misses(each) for each in (a, b))
    num_seeds = min(len(a), len(b))
    if a["scored_on"].iloc[0] != b["scored_on"].iloc[0]:
        error_b, error_a = (float(each["top1_error"].mean()) for each in (b, a))
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


def _misses(rows: pd.DataFrame) -> NDArray[np.floating]:
    """Whether each of R seeds is wrong on each of N images, [R, N]: 1 or 0."""
    return np.array([misses.unpack() for misses in rows["top1_misses"]], dtype=float)


# --- how they were made ---


def differences(sweeps: Sequence[tuple[str, Sequence[ReportedRun]]]) -> pd.DataFrame:
    """What other sweeps do not have in common with the first, a row for each of settings, data, versions and machine.

    `value` lists what occurs in the first, `other_value` what in the other. Empty for one sweep.
    """
    changed = dict.fromkeys(name for _, runs in sweeps for run in runs for name in run.settings)
    (first, here), *others = ((sweep, _made_with(runs, changed)) for sweep, runs in sweeps)
    rows = [
        {"table": "differences", "setting": name, "sweep": first, "other_sweep": other}
        | {"value": _listed(here, name), "other_value": _listed(there, name)}
        for other, there in others
        for name in here | there
        if here.get(name, set()) != there.get(name, set())
    ]
    return pd.DataFrame(rows)


def _listed(values: Mapping[str, set[str]], name: str) -> str:
    return ", ".join(sorted(values.get(name, ())))


def _made_with(runs: Sequence[ReportedRun], settings: Iterable[str]) -> dict[str, set[str]]:
    """By name, the values that occur among `runs`."""
    defaults = commands.schema_defaults()
    values = {"data": {str(run.config["data"]["name"]) for run in runs}}
    values |= {name: {str(run.settings.get(name, defaults.get(name))) for run in runs} for name in settings}
    records = [run.record for run in runs]
    for name in ("commit", "device_name", "precision"):
        values[name] = {str(record[name]) for record in records if record.get(name)}
    for record in records:
        for package, version in record.get("versions", {}).items():
            values.setdefault(f"version of {package}", set()).add(str(version))
    return values
