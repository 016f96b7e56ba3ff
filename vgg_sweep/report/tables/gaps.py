"""Which of the paper's rows a report shows by default: those that are there, and the missing ones where these are few.

Each rule says which rows of a group of settings are shown.
"""

import pandas as pd

from vgg_sweep.report.tables.table import Table

ENOUGH = 0.5
"""Share of a table's rows that have to be there for those missing to be shown as well."""


def visible_rows(table: Table, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that are shown by default."""
    if table.visible is None or frame.empty:
        return frame
    groups = frame.groupby(["sweep", "settings"], sort=False)
    rows = [row for _, group in groups for row in group.index[table.visible(group)]]
    return pd.DataFrame(frame.loc[rows]).reset_index(drop=True)


def _there(group: pd.DataFrame) -> "pd.Series[bool]":
    """Those measured, and those whose runs are on their way."""
    measured = group["seeds"] > 0
    return measured | (group["unfinished"] != "") if "unfinished" in group else measured


def with_gaps(group: pd.DataFrame) -> "pd.Series[bool]":
    """The rows that are there, and the others too if enough are."""
    there = _there(group)
    return there | bool(there.mean() >= ENOUGH)


def with_crops(group: pd.DataFrame) -> "pd.Series[bool]":
    """The same, if it is about more than dense evaluation, of which Table 4 has the rows."""
    return with_gaps(group) & bool((_there(group) & (group["method"] != "dense")).any())


def all_or_none(group: pd.DataFrame) -> "pd.Series[bool]":
    """All rows or none: a single one compares nothing."""
    there = _there(group)
    return there & bool(there.all())


def of_ilsvrc(group: pd.DataFrame) -> "pd.Series[bool]":
    """All rows, if one of ours is there and its errors are on the set that the others' are on."""
    return (group["data"] == "imagenet") & bool(_there(group).any())


def boxes(group: pd.DataFrame) -> "pd.Series[bool]":
    """Those measured and the controls, and the others too if enough of the paper's rows are there."""
    measured, papers = _there(group) | (group["control"] != ""), group["is_papers"]
    return measured | (papers & bool(measured[papers].mean() >= ENOUGH))
