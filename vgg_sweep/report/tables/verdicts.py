"""How the claims of the paper are shown: each with its difference, interval, p and verdict."""

import pandas as pd

from vgg_sweep.protocols.statistics import MIN_SEEDS, MOST_SEEDS, POWER
from vgg_sweep.report.tables.claims import FOR_THESE_NETS, MARGIN_POINTS, claims, summary
from vgg_sweep.report.tables.table import DASH, NOTED, Column, Row, Table, interval, number, p_value, text


def _pairs(row: Row) -> str:
    some = "*" if row["pairs"] != row["num_pairs"] else ""
    return f"{row['pairs_as_claimed']} of {row['pairs']}{some}" if row["pairs"] else DASH


def _these_nets(row: Row) -> str:
    return f"{row['direction']}, {p_value('p_images', 'p').cell(row)}" if row["seeds"] else DASH


def claim_columns(frame: pd.DataFrame) -> list[Column]:
    return [
        Column("claim", "claim", lambda row: row["claim"] + (NOTED if row["note"] else ""), wrap=30),
        text("section", "Sect.", drop=6),
        text("compared", wrap=24, drop=5),
        Column("pairs", "pairs", _pairs, drop=1),
        number("points", "points", sign="+"),
        interval("points", sign="+"),
        *([number("points_std", "± seeds", drop=4)] if (frame["seeds"] > 1).any() else []),
        Column("p_images", "these nets, p", _these_nets, drop=2),
        p_value("p", "p", drop=3),
        p_value("p_holm", "Holm", drop=3),
        text("verdict", wrap=14),
    ]


def _notes(frame: pd.DataFrame) -> list[str]:
    notes = [
        "Points: top-1 error of what the paper finds worse, minus that of the better, on the same images; "
        "pairs: how many of those compared go the paper's way.",
        "These nets: which way they go, and p over images alone. Holm: p among all claims that can be decided here, "
        "which the verdict follows.",
        f'"LRN does not help" is tested one-sided: against a gain of {MARGIN_POINTS} points.',
    ]
    if (frame["section"] == "App. B").any():
        notes.append("Appendix B: points of mean class recall, on the test images of all splits.")
    notes += [f"{NOTED} {note}" for note in dict.fromkeys(filter(None, frame["note"]))]
    if ((frame["pairs"] > 0) & (frame["pairs"] < frame["num_pairs"])).any():
        notes.append("* Some of the pairs that the paper compares are not in this sweep.")
    if frame["verdict"].str.endswith(FOR_THESE_NETS).any():
        notes.append("For these nets: on other images; nets trained again have no say in it.")
    if (frame["seeds"] == 1).any():
        notes.append("With one seed the 95 % interval is over images alone.")
    if (several := frame["seeds"] > 1).any():
        notes.append(_seeds_note(frame.loc[several, "seeds_for_1_point"]))
    return notes


def _above(frame: pd.DataFrame) -> list[str]:
    """What few seeds mean for the claims."""
    if not (frame["more_seeds"] != "").any():
        return []
    nets = "The nets here have one seed" if frame["seeds"].max() == 1 else "Some nets here have fewer seeds"
    return [
        f"Fewer than {MIN_SEEDS} seeds decide nothing about training: nets trained again, with another seed, may go "
        f"the other way. {nets}; this trains the others:"
    ]


def _seeds_note(needed: "pd.Series[int]") -> str:
    """How many seeds a difference of 1 point takes, over some claims; NA where it is more than are looked for."""
    found = sorted(needed.dropna().unique())
    words = [f"{found[0]} to {found[-1]} seeds" if len(found) > 1 else f"{found[0]} seeds"] if found else []
    if needed.isna().any():
        words.append(f"more than {MOST_SEEDS} seeds, or more images")
    return (
        "± seeds: standard deviation of the points over seeds. As far as it is known from these seeds, to find a "
        f"difference of 1 point {100 * POWER:.0f} times in 100 takes, before Holm, {', for some claims '.join(words)}."
    )


CLAIMS = Table(
    "claims",
    "Claims of the paper, in this sweep",
    claims,
    claim_columns,
    _notes,
    _above,
    total=lambda frame: summary(frame["verdict"]),
    ends=("against the claim", "as claimed"),
)
