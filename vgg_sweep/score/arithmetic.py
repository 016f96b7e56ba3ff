"""In which arithmetic a net is scored: all posteriors of a run in the same."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vgg_sweep.config.schema import Config
from vgg_sweep.errors import RunError
from vgg_sweep.machine.choices import Choice
from vgg_sweep.machine.device import Device
from vgg_sweep.nets.fastest import fastest_choice
from vgg_sweep.runs.files import read_json
from vgg_sweep.runs.folder import RunFolder


def scoring_choice(config: Config, folder: RunFolder, num_classes: int, note: Callable[[str], None]) -> Choice:
    """How to score here: in the precision asked for, or that of the posteriors that are there, or fp32."""
    entries = read_json(folder.posteriors / "manifest.json").get("files", [])
    there = [(entry["precision"], entry["tf32"]) for entry in entries if "precision" in entry]
    arithmetic = there[0] if there and config.precision == "auto" and not config.tf32 else None
    return fastest_choice(config, num_classes, note, training=False, arithmetic=arithmetic)


def check_same_arithmetic(
    folder: RunFolder, entries: Sequence[Mapping[str, Any]], device: Device, note: Callable[[str], None]
) -> None:
    """Raise `RunError` if the posteriors of `entries`, a manifest's files, are of another precision; say it if they
    differ in TF32 alone. Entries of older versions do not tell.
    """
    for entry in entries:
        if entry.get("precision", device.precision) != device.precision:
            raise RunError(
                f"{folder.posteriors} holds posteriors computed in {entry['precision']}, and these would be in "
                f"{device.precision}; give precision={entry['precision']}, or move that folder elsewhere to "
                "score the run anew."
            )
    others = {entry["tf32"] for entry in entries if "tf32" in entry} - {device.tf32}
    if others:
        note(
            f"posteriors that are there were computed with TF32 for {', '.join(others)} of the products, these with "
            f"TF32 for {device.tf32}: they agree to about three digits."
        )
