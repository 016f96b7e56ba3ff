"""What is said under a table: of how many images its errors are, what its marks mean, what to make of it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from vgg_sweep.protocols.methods import PAPER_CROP_PX, scaled_px
from vgg_sweep.protocols.statistics import MIN_SEEDS, MOST_SEEDS, POWER
from vgg_sweep.report.tables.claims import FOR_THESE_NETS, MARGIN_POINTS, TOO_FEW_SEEDS
from vgg_sweep.report.tables.tables import AT_CHANCE

DASH, UNFINISHED = "–", "†"


def scale_px(S: Any) -> str:
    """S as the paper writes it: 256, or [256;512]."""
    return DASH if not isinstance(S, tuple) else str(S[0]) if S[0] == S[1] else f"[{S[0]};{S[1]}]"


def spans_columns(row: Mapping[Any, Any]) -> bool:
    """Whether the paper prints one value for the validation and the test set (Table 7)."""
    return "across the val and test columns" in row["paper_note"]


def notes(name: str, frame: pd.DataFrame) -> list[str]:
    """The notes of the table called `name`."""
    lines = []
    if "note" in frame and len(measured := frame[frame["seeds"] > 0]):
        counts = " or ".join(f"{count:,}" for count in sorted(set(measured["n_images"])))
        lines.append(f"Errors in percent of {counts} images; 95 %: their interval over images.")
        if (frame["seeds"] > 1).any():
            lines[0] += " Mean ± standard deviation over seeds."
        if measured["top5_error"].isna().all():
            lines.append("Top-5 error means nothing with fewer than five classes.")
        elif (measured["n_classes"] == 5).all():
            lines.append("With five classes the top-5 error is 0 by definition.")
        marked = (
            f"{row['config']}, S = {row['train_scale']}" if "S" in frame else row["config"]
            for row in measured.to_dict("records")
        )
        lines += dict.fromkeys(
            f"{name} is {note}." for name, note in zip(marked, measured["note"], strict=True) if note
        )
        if measured["note"].str.startswith(AT_CHANCE).any():
            lines.append(
                "A net at chance has learned nothing that these images show, or its outputs are in another order than "
                "the classes in its posteriors/manifest.json; its log.txt says so where it can be told."
            )
    if "paper_S" in frame and not frame["S"].equals(frame["paper_S"]):
        crop = int(frame["crop"].iloc[0])
        ours = (scale_px(tuple(scaled_px(px, crop) for px in S)) for S in ((256, 256), (384, 384), (256, 512)))
        lines.append(
            f"S and Q scale with the crop, {crop} px here and {PAPER_CROP_PX} px in the paper: "
            f"its S = 256, 384, [256;512] are {', '.join(ours)} px."
        )
    if "unfinished" in frame and (frame["unfinished"] != "").any():
        lines.append(f"{UNFINISHED} Some runs of this row are not scored yet, so its errors may change.")
    if name == "6":
        lines.append("The submission's D-jitter-fc has only its FC layers fine-tuned with scale jitter (Sect. 4.4).")
    if name == "7" and any(map(spans_columns, frame.to_dict("records"))):
        lines.append("* One value is printed across the validation and test columns.")
    if name == "comparison":
        lines += _comparison_notes(frame)
    if name == "claims":
        lines += _claims_notes(frame)
    return lines


def _claims_notes(frame: pd.DataFrame) -> list[str]:
    notes = [
        "Points: top-1 error of what the paper finds worse, minus that of the better, on the same images; "
        "pairs: how many of those compared go the paper's way.",
        "These nets: which way they go, and p over images alone. Holm: p among all claims that can be decided here, "
        "which the verdict follows.",
        f'"LRN does not help" is tested one-sided: against a gain of {MARGIN_POINTS} points.',
    ]
    if ((frame["pairs"] > 0) & (frame["pairs"] < frame["num_pairs"])).any():
        notes.append("* Some of the pairs that the paper compares are not in this sweep.")
    if frame["verdict"].isin(TOO_FEW_SEEDS.values()).any():
        notes.append(
            f"Fewer than {MIN_SEEDS} seeds decide nothing about training: nets trained again may go the other way. "
            "seed=0,1,2 trains them again."
        )
    if frame["verdict"].str.endswith(FOR_THESE_NETS).any():
        notes.append("For these nets: on other images; nets trained again have no say in it.")
    if (frame["seeds"] == 1).any():
        notes.append("With one seed the 95 % interval is over images alone.")
    if (several := frame["seeds"] > 1).any():
        notes.append(_seeds_note(frame.loc[several, "seeds_for_1_point"]))
    return notes


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


def _comparison_notes(frame: pd.DataFrame) -> list[str]:
    notes = [
        "Points: top-1 error in the second sweep named minus that in the first. p, these nets: over images alone. "
        f"p: over seeds and images, from {MIN_SEEDS} seeds on each side on; Holm: the same for all rows."
    ]
    if (frame[["seeds", "other_seeds"]].min(axis=1) < MIN_SEEDS).any():
        notes.append(
            f"Fewer than {MIN_SEEDS} seeds on a side say nothing about training: the same settings, trained again, may "
            "differ as much. With one, the 95 % interval is over images alone."
        )
    if len(unpaired := frame[frame["test"] == "unpaired"]):
        sweeps = ", ".join(dict.fromkeys(unpaired["other_sweep"]))
        notes.append(
            f"Unpaired: {sweeps} was scored on other images or classes than {frame['sweep'].iloc[0]}, so the "
            f"difference is that of two samples, and may come from the images alone."
        )
    return notes
