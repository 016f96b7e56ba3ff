"""The arithmetic that a run is trained in, from which step on: it continues in that in which it began."""

from collections.abc import Callable
from typing import Any

from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.machine.choices import Choice, ComputeMode
from vgg_sweep.machine.hardware import Hardware, choose_hardware, hardware_name
from vgg_sweep.nets.fastest import fastest_choice
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.train.checkpoints import checkpoint_files


def training_choice(run: Run, num_classes: int, note: Callable[[str], None]) -> Choice:
    """How to train `run` here: as it began, if there is a checkpoint to continue from, else as fast as possible.

    Raises `RunError` if this device cannot compute in the precision in which it began.
    """
    config, begun = run.config, _last_segment(run.folder)
    if begun is None or config.precision not in ("auto", begun["precision"]):
        choice = fastest_choice(config, num_classes, note, training=True)
        if choice.chosen_from:
            note(f"chosen by measurement: {choice.in_words()}")
        return choice
    way = ComputeMode(begun["precision"], begun["tf32"], begun["layout"])
    if begun["hardware"] == hardware_name(choose_hardware(config).device) and config.layout in ("auto", way.layout):
        return Choice(way, begun["micro_batch"], begun["chosen_from"])
    try:
        return fastest_choice(config, num_classes, note, training=True, arithmetic=way.arithmetic)
    except ConfigError as error:
        raise RunError(
            f"{run.id} began in {way.precision} on {begun['device_name']}, which this device cannot compute; continue "
            f"it where it began, or remove {run.folder.checkpoints} to start over."
        ) from error


def _last_segment(folder: RunFolder) -> dict[str, Any] | None:
    segments: list[dict[str, Any]] = folder.record().get("segments", [])
    return segments[-1] if segments and checkpoint_files(folder) else None


def note_segment(folder: RunFolder, step: int, hardware: Hardware) -> None:
    """Write into the record that from `step` on the run is trained as `hardware` says, if that is news."""
    segments = [each for each in folder.record().get("segments", []) if each["from_step"] < step]
    segment = {
        "device_name": hardware.name,
        "hardware": hardware_name(hardware.device),
        "precision": hardware.precision,
        "tf32": hardware.tf32,
        "layout": hardware.layout,
        "micro_batch": hardware.micro_batch,
        "chosen_from": dict(hardware.chosen_from),
    }
    if not segments or segments[-1] != {"from_step": segments[-1]["from_step"], **segment}:
        segments.append({"from_step": step, **segment})
    folder.update_record(segments=segments)


def trained_in(folder: RunFolder) -> str:
    """The precisions of the run in their order: bf16, or bf16 then fp32."""
    precisions = [each["precision"] for each in folder.record()["segments"]]
    return " then ".join(dict.fromkeys(precisions))
