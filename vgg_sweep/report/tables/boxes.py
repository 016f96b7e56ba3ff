"""Tables 8 to 10 as people see them: columns, notes, titles."""

from collections.abc import Mapping

import pandas as pd

from vgg_sweep.localise.evaluate import HELD_OUT_SHARE
from vgg_sweep.localise.merging import RULES
from vgg_sweep.report.tables import gaps
from vgg_sweep.report.tables.box_rows import table8, table9, table10
from vgg_sweep.report.tables.table import (
    DASH,
    Column,
    Row,
    Table,
    differs,
    error,
    interval,
    number,
    records,
    seeds,
    text,
    unfinished,
)

TRAINED = {"all": "all", "fc": "the FC layers", "last": "the last FC layer"}
REGRESSIONS = {"scr": "SCR", "pcr": "PCR"}


def _control_or(key: str, head: str, words: Mapping[str, str], wrap: int | None = None) -> Column:
    """What a net is, in words; a control, which is none, has its own."""

    def cell(row: Row) -> str:
        return str(row["control"]) if row["control"] else words.get(str(row[key]), str(row[key]))

    return Column(key, head, cell, wrap=wrap)


def _scale(key: str, head: str) -> Column:
    """S or Q of each net of a row."""

    def cell(row: Row) -> str:
        if not row.get(key):
            return DASH
        return " + ".join(", ".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in row[key])

    return Column(key, head, cell)


def _table8_columns(frame: pd.DataFrame) -> list[Column]:
    return [
        _control_or("trainable", "fine-tuned", TRAINED, wrap=16),
        Column("boxes", "boxes", lambda row: REGRESSIONS.get(str(row["boxes"]), DASH)),
        *([text("config", "net")] if differs(frame, "config") else []),
        _scale("S", "S"),
        _scale("test_scales", "Q"),
        error("loc", "error"),
        interval("loc", drop=2),
        number("paper_loc_error", "paper"),
        seeds("seeds", drop=1),
    ]


def _table9_columns(frame: pd.DataFrame) -> list[Column]:
    def net(row: Row) -> str:
        if row["control"]:
            return str(row["control"])
        return f"{row['config']}, {REGRESSIONS[row['boxes']]}, {TRAINED[row['trainable']]}"

    def merging(row: Row) -> str:
        at = f" {'/'.join(f'{each:g}' for each in row['thresholds'])}" if row["thresholds"] else ""
        return f"{row['merge']}{at}" if row.get("merge") else DASH

    return [
        Column("config", "net", net, wrap=18),
        _scale("S", "S"),
        _scale("test_scales", "Q"),
        Column("merge", "merging", merging, wrap=13),
        error("loc", "top-5"),
        interval("loc", drop=3),
        number("paper_loc_error", "paper"),
        number("paper_loc_test_error", "test", drop=5),
        number("top1_error", "top-1", drop=2),
        number("true_class_error", "true class", drop=4),
        seeds("seeds", drop=1),
    ]


def _table10_columns(frame: pd.DataFrame) -> list[Column]:
    return [
        text("system", wrap=44),
        error("loc", "ours"),
        number("paper_loc_error", "paper"),
        number("paper_loc_test_error", "test"),
        seeds("seeds", drop=1),
    ]


def _images(frame: pd.DataFrame) -> str:
    counts = frame["n_images"].dropna().unique()
    return " or ".join(f"{count:,}" for count in sorted(counts)) or "no"


WRONG = "An image is wrong if its box overlaps none of those of its class by half (IoU, pixels inclusive)."


def _table8_notes(frame: pd.DataFrame) -> list[str]:
    return [
        f"Errors in percent of {_images(frame)} images, the class being given; 95 %: their interval over images. "
        + WRONG,
        "The last rows are boxes that need no net.",
        *unfinished(frame),
    ]


def _guesses(frame: pd.DataFrame) -> str:
    if labels_by := [each for each in dict.fromkeys(frame["labels_by"].dropna()) if each]:
        return f"Guesses by {' or '.join(labels_by)}."
    if frame["loc_error"].notna().any():
        return "There is one class, so it is all that can be guessed."
    return "No run here classifies these images, so nothing is guessed: the errors are those with the class given."


def _table9_notes(frame: pd.DataFrame) -> list[str]:
    lines = [
        f"Errors in percent of {_images(frame)} images: top-5, five guesses of five classes; top-1, the best alone; "
        "true class, the class being given.",
        _guesses(frame),
        f"Beside a rule of merging is its threshold, chosen on the other {HELD_OUT_SHARE:.0%} of the images of val.",
    ]
    merges = dict.fromkeys(row["merge"] for row in records(frame) if row.get("merge"))
    lines += [f"{merge}: {RULES[merge]}." for merge in merges]
    return lines + unfinished(frame)


TABLE8 = Table("8", "Table 8. Localisation, the true class given: one centre crop", table8, _table8_columns,
               _table8_notes, kept=gaps.boxes, of="boxes", of_nets=True)  # fmt: skip
TABLE9 = Table("9", "Table 9. Localisation: dense, image and flip, boxes merged", table9, _table9_columns,
               _table9_notes, kept=gaps.boxes, of="boxes", of_nets=True)  # fmt: skip
TABLE10 = Table("10", "Table 10. Comparison with the published systems of localisation, whose errors are on ILSVRC",
                table10, _table10_columns, unfinished, kept=gaps.of_ilsvrc, of="boxes", of_nets=True)  # fmt: skip
