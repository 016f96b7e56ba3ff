"""Predictions as they are shown and kept: lines, JSON, CSV, and pictures of where the net sees a class."""

import csv
import difflib
import io
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from vgg_sweep.errors import ConfigError
from vgg_sweep.images.sets.wnids import shown, synsets
from vgg_sweep.images.views.crops import rescaled
from vgg_sweep.machine.device import Device
from vgg_sweep.predict.maps import class_posteriors, overlay, stretched
from vgg_sweep.predict.predict import Prediction, predict
from vgg_sweep.predict.trained import TrainedNet
from vgg_sweep.protocols.means import Protocol
from vgg_sweep.protocols.methods import test_scales
from vgg_sweep.runs.files import atomic_path, write_text

COLUMNS = ("image", "method", "test_scales_px", "rank", "class", "name", "posterior", "error")
TOP = "top"


@dataclass(frozen=True)
class Wishes:
    """What to show of the predictions."""

    protocols: Sequence[Protocol]
    num_top: int = 5
    as_json: bool = False
    csv: Path | None = None
    map_class: str | None = None
    """A class to draw, or `top`, the best of each image."""
    map_Q_px: int | None = None
    maps: Path = Path("maps")


def show(loaded: TrainedNet, paths: Sequence[Path], device: Device, wishes: Wishes) -> int:
    """Print the predictions as they come, write what else is wished, and return how many images could not be read.

    When stopped, the CSV has what was done. Raises `ConfigError` for a class that the net has not.
    """
    root = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    map_index = class_index(loaded, wishes.map_class) if wishes.map_class not in (None, TOP) else None
    map_Q_px = 0
    if wishes.map_class is not None:
        config = loaded.config
        map_Q_px = wishes.map_Q_px or test_scales(config.train_scale.S, "multi", config.crop)[-1]

    def records_of(prediction: Prediction) -> list[dict[str, Any]]:
        own = _records(prediction, loaded.classes, wishes.num_top)
        if wishes.map_class is None or prediction.image is None:
            return own
        file = wishes.maps / prediction.path.absolute().relative_to(root)
        file = _draw(loaded, prediction, map_index, device, map_Q_px, file)
        return [record | {"map": str(file)} for record in own]

    found = (records_of(each) for each in predict(loaded, paths, wishes.protocols, device, map_Q_px))
    return tell(found, len(paths), wishes, _print, _csv)


def tell(
    found: Iterable[list[dict[str, Any]]],
    num_images: int,
    wishes: Wishes,
    print_lines: Callable[[list[dict[str, Any]]], None],
    to_csv: Callable[[list[dict[str, Any]]], str],
) -> int:
    """Print records of each image as they come, as JSON or by `print_lines`, and keep them as CSV if that is asked,
    also when stopped. Returns how many images could not be read.
    """
    kept: list[dict[str, Any]] = []
    num_records = num_unreadable = 0
    try:
        with warnings.catch_warnings(), bar(num_images) as advance:
            warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd files that it reads all the same
            for own in found:
                if wishes.as_json:
                    for number, record in enumerate(own, start=num_records):
                        print("," if number else "[", json.dumps(record), sep="", flush=True)
                else:
                    print_lines(own)
                    sys.stdout.flush()
                if wishes.csv is not None:
                    kept += own
                num_records += len(own)
                num_unreadable += "error" in own[0]
                advance()
    finally:
        if wishes.as_json:
            print("]" if num_records else "[]")
        if wishes.csv is not None:
            write_text(wishes.csv, to_csv(kept))
    return num_unreadable


def _records(prediction: Prediction, classes: Sequence[str], num_top: int) -> list[dict[str, Any]]:
    """An object for each protocol, or one that says what is wrong."""
    image = str(prediction.path)
    if prediction.error is not None:
        return [{"image": image, "error": prediction.error}]
    return [
        {
            "image": image,
            "method": protocol.method,
            "test_scales_px": list(protocol.test_scales),
            "top": [
                {"class": classes[index], "name": shown(classes[index]), "posterior": float(posteriors_K[index])}
                for index in np.argsort(-posteriors_K, kind="stable")[:num_top]
            ],
        }
        for protocol, posteriors_K in prediction.posteriors_K.items()
    ]


def _print(records: Sequence[Mapping[str, Any]]) -> None:
    for record in records:
        if "error" in record:
            print(record["error"])
            continue
        scales = ", ".join(map(str, record["test_scales_px"]))
        print(f"{record['image']}  ({record['method']}, Q {scales} px)")
        for best in record["top"]:
            print(f"  {100 * best['posterior']:5.1f} %  {best['name']}")
    if "map" in records[-1]:
        print(f"  map: {records[-1]['map']}")


@contextmanager
def bar(num_images: int) -> Iterator[Callable[[], object]]:
    """A bar on the terminal, below what is printed; none for a single image, or where there is no terminal."""
    is_tty = sys.stdout.isatty()
    console = Console(stderr=not is_tty)
    columns = (BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn())
    is_shown = num_images > 1 and console.is_terminal
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=is_tty, redirect_stderr=is_tty, disable=not is_shown
    ) as progress:
        task = progress.add_task("", total=num_images)
        yield lambda: progress.advance(task)


def _csv(records: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for record in records:
        scales = " ".join(map(str, record.get("test_scales_px", [])))
        for rank, best in enumerate(record.get("top", [{}]), start=1):
            own = {"rank": rank} if best else {}
            writer.writerow({**record, **best, **own, "test_scales_px": scales})
    return text.getvalue()


def class_index(loaded: TrainedNet, name: str) -> int:
    """The place of a class in the net's scores: given as the data name it, or by one of ILSVRC's names for it.

    Raises `ConfigError` if there is none, or several ("crane", "maillot").
    """
    known = synsets()
    fitting = [
        index
        for index, own in enumerate(loaded.classes)
        if name == own or (own in known and name in known[own].names.split(", "))
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ConfigError(
            f"{name} is the name of {' and of '.join(loaded.classes[index] for index in fitting)}; give one."
        )
    words = {
        word: own for own in loaded.classes for word in (own, *(known[own].names.split(", ") if own in known else ()))
    }
    near = difflib.get_close_matches(name, words, n=3, cutoff=0.4) or loaded.classes[:3]
    raise ConfigError(f"{name} is not a class of this net, whose classes are such as {', '.join(near)}.")


def _draw(loaded: TrainedNet, prediction: Prediction, index: int | None, device: Device, Q_px: int, file: Path) -> Path:
    """Draw where the net sees class `index` in the image, or the image's best class, into `file`.CLASS.png."""
    config, image = loaded.config, prediction.image
    assert image is not None
    if index is None:
        index = int(np.argmax(next(iter(prediction.posteriors_K.values()))))
    image_HWC = rescaled(image, Q_px, loaded.preprocessing.interpolation)
    map_hw = class_posteriors(loaded.net, image_HWC, loaded.preprocessing, device)[index]
    heat_HW = stretched(map_hw, (image_HWC.shape[1], image_HWC.shape[0]), image.size, config.crop)
    name = re.sub(r"[^\w.-]+", "_", loaded.classes[index])
    file = file.with_name(f"{file.name}.{name}.png")
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(file) as temporary:
        overlay(image, heat_HW).save(temporary, format="PNG")
    return file
