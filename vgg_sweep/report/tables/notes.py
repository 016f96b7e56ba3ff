"""What is said under a table: of how many images its errors are, what its marks mean, what to make of it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from vgg_sweep.protocols.methods import PAPER_CROP_PX, scaled_px
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
        "pairs: how many of those compared go the paper's way."
    ]
    if ((frame["pairs"] > 0) & (frame["pairs"] < frame["num_pairs"])).any():
        notes.append("* Some of the pairs that the paper compares are not in this sweep.")
    if (frame["seeds"] == 1).any():
        notes.append(
            "With one seed a verdict is about these trained nets; it cannot say what training again would give."
        )
    return notes


def _comparison_notes(frame: pd.DataFrame) -> list[str]:
    notes = [
        "Points: top-1 error in the second sweep named minus that in the first, with its 95 % interval; "
        "McNemar's test, or where there are several seeds a normal approximation, on the same images."
    ]
    if len(unpaired := frame[frame["test"] == "unpaired"]):
        sweeps = ", ".join(dict.fromkeys(unpaired["other_sweep"]))
        notes.append(
            f"Unpaired: {sweeps} was scored on other images or classes than {frame['sweep'].iloc[0]}, so the "
            f"difference is that of two samples, and may come from the images alone."
        )
    return notes
