"""Tables 3 to 5 and the 5x5 comparison, and what the other tables of errors share: ours beside the paper's.

Errors are in percent. Every table has the paper's rows, in its order, once for each sweep and each group of settings in
it. A row that the sweep lacks has `seeds` 0, NaN errors and the `command` that would fill it. With several seeds the
error is their mean, `*_std` their standard deviation, and the 95 % interval is that of the mean error on these images:
it covers the choice of images, not that of seeds.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from vgg_sweep.errors import counted
from vgg_sweep.plan import commands
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.methods import PAPER_CROP_PX, scaled_px, test_scales
from vgg_sweep.report.results.groups import Group, SeedRows, by_settings, mean_errors, over_seeds
from vgg_sweep.report.tables.gaps import all_or_none, with_crops, with_gaps
from vgg_sweep.report.tables.table import (
    NOTED,
    Column,
    Row,
    Table,
    as_frame,
    differs,
    error,
    if_any,
    if_differs,
    interval,
    number,
    records,
    scale_px,
    seeds,
    text,
    train_scale,
    unfinished,
)

AT_CHANCE = "no better than chance"
"""In the `note` of a row whose 95 % interval of top-1 error reaches the error of guessing."""


# --- rows ---


Rows = Iterable[dict[str, Any]]


def frame_of(table: str, rows_of: Callable[[Group], Rows], frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that each group of a frame gives rise to; of those that say what they are `made_with`, what of their
    arithmetic, versions or data is not that of most of the group.
    """
    rows = []
    for group in by_settings(frame):
        usual = Counter(row.get("made_with", ()) for row in group.rows).most_common(1)[0][0]
        for row in rows_of(group):
            if "made_with" in row:
                row["made_otherwise"] = ", ".join(word for word in row.pop("made_with") if word not in usual)
            rows.append({**group.where, **row})
    return as_frame(table, rows)


def of_groups(table: str) -> Callable[[Callable[[Group], Rows]], Callable[[pd.DataFrame], pd.DataFrame]]:
    """Makes a table of what a function finds in each group."""
    return lambda rows_of: partial(frame_of, table, rows_of)


def _single_nets(table: str, group: Group) -> Rows:
    for row in paper.rows(table):
        ours = measured(group, (row.net,), row.rule, row.method)
        names = net_names(group, row.net, row.rule) | {"method": row.method}
        yield names | ours | of_paper(row.top1_error, row.top5_error)


table3, table4, table5 = (partial(frame_of, table, partial(_single_nets, table)) for table in "345")
"""Single test scale (Sect. 4.1): 12 rows. Multiple test scales (4.2): 10 rows. Dense, multi-crop and their mean (4.3):
6 rows.
"""


@of_groups("5x5")
def table_5x5(group: Group) -> Rows:
    """B against B with one 5x5 for each pair of 3x3 (Sect. 4.1): 2 rows, and by how many points 5x5 is worse."""
    nets = [paper.Net("B", "256"), paper.Net("B-5x5", "256")]
    ours = [measured(group, (net,), "single", "centre-crop") for net in nets]
    points = ((None, None), (ours[1]["top1_error"] - ours[0]["top1_error"], paper.shallow_net_points()))
    for net, found, (more, more_in_paper) in zip(nets, ours, points, strict=True):
        names = net_names(group, net, "single") | {"method": "centre-crop"}
        over_B = {"points_over_B": more, "paper_points_over_B": more_in_paper}
        yield names | found | of_paper(None, None) | over_B


# --- what rows are made of ---


def net_names(group: Group, net: paper.Net, rule: str) -> dict[str, Any]:
    """What identifies a row: S and Q in pixels at this crop, and the paper's."""
    S, crop = paper.TRAIN_SCALES[net.train_scale], int(group.rows[0]["crop"])
    return {
        "config": net.config,
        "train_scale": net.train_scale,
        "crop": crop,
        "S": tuple(scaled_px(px, crop) for px in S),
        "test_scales": tuple(test_scales(list(S), rule, crop)),
        "paper_S": S,
        "paper_test_scales": tuple(test_scales(list(S), rule, PAPER_CROP_PX)),
    }


def measured(group: Group, members: Sequence[paper.Net], rule: str, method: str, fusion: str = "") -> dict[str, Any]:
    if found := group.of_nets(members, rule, method, fusion):
        return mean_of(found)
    lacking = [net for net in members if not group.of_nets((net,), rule, method)]
    protocol = {"dense": rule, "centre-crop": "centre"}.get(method, "crops")
    errors = over_seeds("top1") | over_seeds("top5")
    about = {"note": "", "command": missing_command(group, lacking or members, protocol), "made_with": ()}
    return {"seeds": 0, "n_images": None, "n_classes": None} | errors | about


def mean_of(found: SeedRows) -> dict[str, Any]:
    values = mean_errors(found)
    made_with = tuple(dict.fromkeys(word for row in found for word in row["made_with"]))
    return values | {"note": _note(found, values), "command": "", "made_with": made_with}


def _note(found: SeedRows, values: Mapping[str, Any]) -> str:
    """What to know of a net whose error is that of guessing, or that did without some of the images."""
    words, chance = [], 100 * (1 - 1 / values["n_classes"])
    if stuck := sum(row["stuck_at_chance"] for row in found):
        words.append("stuck at chance" + f" in {stuck} of {len(found)} seeds" * (len(found) > 1))
    elif values["top1_high"] >= chance:
        words.append(f"{AT_CHANCE} ({chance:.4g} %)")
    if bad := max(row["bad_images"] for row in found):
        words.append(f"trained or scored without {counted(bad, 'image')} that could not be decoded")
    return ", ".join(words)


def of_paper(top1_error: float | None, top5_error: float | None) -> dict[str, float | None]:
    return {"paper_top1_error": top1_error, "paper_top5_error": top5_error}


def missing_command(group: Group, nets: Sequence[paper.Net], protocol: str) -> str:
    """What makes these nets, in the seeds and settings of the others."""
    words, seeds = (f"protocol={protocol}", *group.rows[0]["overrides"]), {row["seed"] for row in group.rows} - {pd.NA}
    lines = [commands.multirun(net.config, net.train_scale, *words, seeds=seeds) for net in nets]
    return " && ".join(commands.merged(lines))


# --- columns ---


ERRORS = (
    *(error("top1", "top-1"), interval("top1", drop=3), if_any(number("paper_top1_error", "paper"))),
    *(error("top5", "top-5"), interval("top5", drop=4), if_any(number("paper_top5_error", "paper"))),
    *(seeds("seeds", drop=1), if_differs(number("n_images", "images", 0, drop=1))),
)
"""Ours and the paper's errors, with intervals where there is room."""


def _papers_scales(frame: pd.DataFrame) -> list[Column]:
    columns = [train_scale("paper_S", "paper's S", drop=5), text("paper_test_scales", "paper's Q", drop=5)]
    return columns if _is_scaled(frame) else []


def _is_scaled(frame: pd.DataFrame) -> bool:
    """Whether the crop is not the paper's, and S and Q with it."""
    return "paper_S" in frame and not frame["S"].equals(frame["paper_S"])


_OF_NETS = (text("config"), train_scale("S", "S"), text("test_scales", "Q", wrap=12), _papers_scales,
            if_differs(text("method", wrap=12)), *ERRORS)  # fmt: skip


# --- notes ---


def notes(frame: pd.DataFrame) -> list[str]:
    """Of how many images the errors are, what to make of them, and what their marks mean."""
    lines = []
    if len(measured := frame[frame["seeds"] > 0]):
        counts = " or ".join(f"{count:,}" for count in sorted(set(measured["n_images"])))
        num_seeds = " or ".join(map(str, sorted(set(measured["seeds"]))))
        of = f"{counts} images by nets of {num_seeds} seed{'' if num_seeds == '1' else 's'}"
        lines.append(f"Errors in percent of {of}; 95 %: their interval over images.")
        if (frame["seeds"] > 1).any():
            lines[0] += " Mean ± standard deviation over seeds."
        if measured["top5_error"].isna().all():
            lines.append("Top-5 error is undefined with fewer than five classes.")
        elif (measured["n_classes"] == 5).all():
            lines.append("With five classes the top-5 error is 0 by definition.")
        lines += _notes_on_rows(measured)
        if odd := [f"{_name(row)} ({row['made_otherwise']})" for row in records(measured) if row["made_otherwise"]]:
            lines.append(f"{NOTED} Unlike most runs here: {'; '.join(dict.fromkeys(odd))}.")
    if _is_scaled(frame):
        crop, papers = int(frame["crop"].iloc[0]), dict.fromkeys(paper.TRAIN_SCALES.values())
        ours = (scale_px((scaled_px(low, crop), scaled_px(high, crop))) for low, high in papers)
        lines.append(
            f"S and Q scale with the crop, {crop} px here and {PAPER_CROP_PX} px in the paper: "
            f"its S = {', '.join(map(scale_px, papers))} are {', '.join(ours)} px."
        )
    return lines + unfinished(frame)


def _name(row: Row) -> str:
    return f"{row['config']}{', S = ' + row['train_scale'] if 'S' in row else ''}"


def _notes_on_rows(measured: pd.DataFrame) -> list[str]:
    noted = measured[measured["note"] != ""]
    lines = []
    for note, rows in noted.groupby("note", sort=False):
        nets = []
        for settings, group in rows.groupby("settings", sort=False):
            under = f" ({settings})" if differs(measured, "settings") else ""
            nets.append("; ".join(dict.fromkeys(map(_name, records(group)))) + under)
        lines.append(f"{str(note)[0].upper()}{str(note)[1:]}: {'; '.join(nets)}.")
    if noted["note"].str.startswith(AT_CHANCE).any():
        lines.append(
            "A net at chance has learned nothing that these images show, or its outputs are in another order than "
            "the classes in its posteriors/manifest.json; its log.txt says so if that can be detected."
        )
    return lines


# --- the tables ---

NETS = (
    Table("3", "Table 3. A single test scale: dense, image and flip", table3, _OF_NETS, (notes,),
          visible=with_gaps, of_nets=True),
    Table("4", "Table 4. Three test scales: dense, image and flip", table4, _OF_NETS, (notes,),
          visible=with_gaps, of_nets=True),
    Table("5", "Table 5. Dense, multi-crop (50 crops a scale) and both, at three test scales", table5, _OF_NETS,
          (notes,), visible=with_crops, of_nets=True),
)  # fmt: skip

KERNELS = Table(
    "5x5",
    "Sect. 4.1. One 5x5 convolution in place of two 3x3: a centre crop, no flip",
    table_5x5,
    (*_OF_NETS, number("points_over_B", "points over B", sign="+"), number("paper_points_over_B", "paper", sign="+")),
    (notes,),
    visible=all_or_none,
    of_nets=True,
)
