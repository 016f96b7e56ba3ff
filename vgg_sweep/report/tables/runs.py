"""All runs: every net under every protocol that it is scored under, best first, whether the paper has it or not."""

from collections.abc import Iterator
from statistics import fmean
from typing import Any

import pandas as pd

from vgg_sweep.plan.commands import schema_defaults
from vgg_sweep.plan.swept import FEW, come_with_recipe
from vgg_sweep.report.results.groups import Group, always_fused
from vgg_sweep.report.tables.errors import ERRORS, frame_of, mean_of, notes, of_paper
from vgg_sweep.report.tables.table import Column, Table, differs, if_differs, interval, number, text

MOST_ROWS = 30
"""Of more rows a terminal shows the best one of each net, unless the table is asked for."""


SAME_POINTS = 1e-6
"""What classes of one size leave between the mean recall of the classes and that of the images."""


def all_runs(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each net or requested fusion, group of settings and protocol, lowest top-1 error first; what was scored
    on other images, as that of another sweep, comes after.

    Settings that are not the default in some run have columns of their own. `is_best` marks the best row of each net.
    """

    def rows_of(group: Group) -> Iterator[dict[str, Any]]:
        for found in group.each():
            first, fusion = found[0], found[0]["fusion"]
            if fusion not in always_fused():
                names = {
                    name: first[name] for name in ("config", "train_scale", "S", "crop", "recipe", *changed(results))
                }
                names |= {"fusion": fusion} | ({"config": fusion, "train_scale": None} if fusion else {})
                protocol = {name: first[name] for name in ("rule", "method", "test_scales", "scored_on")}
                recall = fmean(row["mean_class_recall"] for row in found)
                also = {"mean_class_recall": recall, "run_id": " ".join(row["run_id"] for row in found)}
                yield names | protocol | mean_of(found) | of_paper(None, None) | also

    frame = frame_of("runs", rows_of, results[~results["fusion"].isin(always_fused())])
    apart = {name: pd.factorize(frame[name])[0] for name in _APART}
    order = frame.assign(**apart).sort_values([*_APART, "top1_error"], kind="stable").index
    frame = pd.DataFrame(frame.loc[order]).drop(columns="scored_on").reset_index(drop=True)
    frame["is_best"] = ~frame.duplicated(["sweep", "settings", "config", "train_scale"])
    return frame


_APART = ("sweep", "scored_on", "n_images")
"""Errors that differ in these are not to be compared, so not sorted into one another."""


def changed(frame: pd.DataFrame) -> list[str]:
    """The columns of `frame` that are settings."""
    return [str(name) for name in frame if name in schema_defaults() and name != "seed"]


def with_recipe(frame: pd.DataFrame) -> set[str]:
    """The settings that the recipe's name says, where there are several."""
    return come_with_recipe(frame[changed(frame)].to_dict("records"), list(frame["recipe"]))  # type: ignore[arg-type]


def settings_columns(frame: pd.DataFrame) -> list[Column]:
    """A column for each setting in which rows differ, and for the recipe, which says those that come with it."""
    said = with_recipe(frame)
    differing = ["recipe"] * bool(said)
    differing += [name for name in changed(frame) if name not in said and frame[name].map(str).nunique() > 1]
    return [text(name, wrap=16, drop=0 if len(differing) <= FEW else 5) for name in differing]


_NETS = (
    *(text("config", "net", wrap=16), text("train_scale", "S", wrap=12), settings_columns),
    *(if_differs(text("method", wrap=12)), text("test_scales", "Q", wrap=12)),
)


def _recall(frame: pd.DataFrame) -> list[Column]:
    classes_differ = (frame["mean_class_recall"] + frame["top1_error"] - 100).abs().max() > SAME_POINTS
    return [number("mean_class_recall", "class recall", drop=2)] if classes_differ else []


def _notes(frame: pd.DataFrame) -> list[str]:
    lines = notes(frame)
    if _recall(frame):
        lines.append("Class recall: share of right images in percent, each class counted the same.")
    if not differs(frame, "method"):
        lines.insert(1, f"All by {frame['method'].iloc[0]} evaluation.")
    return lines


def _brief(frame: pd.DataFrame) -> list[int]:
    return [row for row, is_best in enumerate(frame["is_best"]) if is_best] if len(frame) > MOST_ROWS else []


RUNS = Table("runs", "All runs, best first", all_runs, (*_NETS, *ERRORS, _recall), (_notes,), where=("sweep",),
             brief=_brief, of_nets=True)  # fmt: skip

_KEPT = ("sweep", "settings", "config", "train_scale", "recipe", "method", "test_scales", "fusion", "seed")
_ERRORS = tuple(f"{name}_{part}" for name in ("top1", "top5") for part in ("error", "low", "high"))


def by_seed(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each net or fusion, protocol of the paper and seed. Errors and intervals are in percent."""
    found = results.loc[results["rule"] != "other", [*_KEPT, *changed(results), *_ERRORS, "run_id"]]
    return found.sort_values(list(_KEPT), ignore_index=True).assign(table="seeds")


BY_SEED = Table(
    "seeds",
    "Errors seed by seed",
    by_seed,
    (
        *(*_NETS, if_differs(text("fusion", wrap=12, drop=3)), number("seed", "seed", 0)),
        *(number("top1_error", "top-1"), interval("top1", drop=1)),
        *(number("top5_error", "top-5"), interval("top5", drop=2)),
    ),
    ("95 %: over images.",),
    where=("sweep",),
    if_asked=True,
)
