"""A net's predictions, and with `--boxes` its boxes, as they are printed and saved: lines, JSON, CSV and pictures."""

import csv
import difflib
import io
import json
import os
import re
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from vgg_sweep.cli.screen import PATIENCE_SECONDS, shown_progress
from vgg_sweep.config.localise import BOX_METHODS
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.sets.wnids import shown, synsets
from vgg_sweep.images.views.crops import rescaled
from vgg_sweep.machine.hardware import Hardware
from vgg_sweep.predict.boxes import drawn, predict_boxes
from vgg_sweep.predict.maps import class_posteriors, overlay, stretched
from vgg_sweep.predict.predict import Prediction, predict
from vgg_sweep.predict.trained import TrainedNet
from vgg_sweep.protocols.means import Protocol
from vgg_sweep.protocols.methods import test_scales
from vgg_sweep.runs.files import atomic_path, write_text
from vgg_sweep.score.localiser import Localiser

COLUMNS = ("image", "method", "test_scales_px", "rank", "class", "name", "posterior", "error")
CORNERS = ("x0", "y0", "x1", "y1")
TOP = "top"

Record = dict[str, Any]


@dataclass(frozen=True)
class OutputOptions:
    """What to show of the predictions."""

    protocols: Sequence[Protocol]
    num_top: int = 5
    as_json: bool = False
    csv: Path | None = None
    map_class: str | None = None
    """A class to draw, or `top`, the best of each image."""
    map_Q_px: int | None = None
    maps: Path = Path("maps")


def show_classes(loaded: TrainedNet, paths: Sequence[Path], hardware: Hardware, options: OutputOptions) -> int:
    """Print the predictions as they come, write what else is requested, and return how many images could not be read.

    When stopped, the CSV has what was done. Raises `ConfigError` for a class that the net does not have.
    """
    root, classes, map_Q_px = _root(paths), loaded.classes, 0
    map_index = class_index(loaded, options.map_class) if options.map_class not in (None, TOP) else None
    if options.map_class is not None:
        config = loaded.config
        map_Q_px = options.map_Q_px or test_scales(config.train_scale.S, "multi", config.crop)[-1]

    def records_of(prediction: Prediction) -> list[Record]:
        if prediction.error is not None:
            return [_failed(prediction)]
        best = {
            protocol: np.argsort(-posteriors_K, kind="stable")[: options.num_top]
            for protocol, posteriors_K in prediction.posteriors_K.items()
        }
        own = [
            _record(prediction, protocol, [_guess(classes, k, prediction.posteriors_K[protocol][k]) for k in labels])
            for protocol, labels in best.items()
        ]
        if options.map_class is None or prediction.image is None:
            return own
        index = map_index if map_index is not None else int(next(iter(best.values()))[0])
        picture = _map(loaded, prediction.image, index, hardware, map_Q_px)
        file = _keep(picture, options.maps / prediction.path.absolute().relative_to(root), classes[index], ".png")
        return [record | {"map": str(file)} for record in own]

    found = (records_of(each) for each in predict(loaded, paths, options.protocols, hardware, map_Q_px))
    return _output(found, len(paths), options, COLUMNS)


def show_boxes(localiser: Localiser, classes: Sequence[str], paths: Sequence[Path], options: OutputOptions) -> int:
    """The same of the boxes that are predicted, of which the best is drawn into `options.maps`.

    Raises `ConfigError` for a protocol of several crops.
    """
    root, protocol = _root(paths), options.protocols[0]
    if any(each.method not in BOX_METHODS for each in options.protocols):
        raise ConfigError("boxes are predicted dense or from the centre crop; give --protocol single, multi or centre.")

    def records_of(prediction: Prediction) -> list[Record]:
        if prediction.error is not None or prediction.image is None:
            return [_failed(prediction)]
        top = [
            _guess(classes, guess.label, guess.posterior) | {"box": [round(float(edge), 1) for edge in guess.box_4]}
            for guess in prediction.guesses
        ]
        best = prediction.guesses[0]
        picture = drawn(prediction.image, best, shown(classes[best.label]))
        file = options.maps / prediction.path.absolute().relative_to(root)
        file = _keep(picture, file, classes[best.label], ".boxes.png")
        return [_record(prediction, protocol, top) | {"picture": str(file)}]

    found = (records_of(each) for each in predict_boxes(localiser, paths, protocol, options.num_top))
    return _output(found, len(paths), options, (*COLUMNS[:-1], *CORNERS, COLUMNS[-1]))


def _root(paths: Sequence[Path]) -> Path:
    """The folder that all images lie in."""
    return Path(os.path.commonpath([path.absolute().parent for path in paths]))


def _failed(prediction: Prediction) -> Record:
    return {"image": str(prediction.path), "error": prediction.error}


def _record(prediction: Prediction, protocol: Protocol, top: list[Record]) -> Record:
    asked = {"method": protocol.method, "test_scales_px": list(protocol.test_scales)}
    return {"image": str(prediction.path), **asked, "top": top}


def _guess(classes: Sequence[str], label: int, posterior: float) -> Record:
    return {"class": classes[label], "name": shown(classes[label]), "posterior": float(posterior)}


def _output(found: Iterable[list[Record]], num_images: int, options: OutputOptions, columns: Sequence[str]) -> int:
    """Print the records of each image as they come, as JSON or lines, and keep them as CSV if that is asked, also when
    stopped. Returns how many images could not be read.
    """
    kept: list[Record] = []
    num_records = num_unreadable = 0
    screen = Console(stderr=not sys.stdout.isatty())  # on a terminal the bar stays below what is printed
    try:
        with warnings.catch_warnings(), shown_progress("predict", screen, after_seconds=PATIENCE_SECONDS) as progress:
            warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd files that it reads all the same
            for num_done, own in enumerate(found, start=1):
                if options.as_json:
                    for number, record in enumerate(own, start=num_records):
                        print("," if number else "[", json.dumps(record), sep="", flush=True)
                else:
                    _print(own)
                    sys.stdout.flush()
                if options.csv is not None:
                    kept += own
                num_records += len(own)
                num_unreadable += "error" in own[0]
                progress(num_done, num_images)
    finally:
        if options.as_json:
            print("]" if num_records else "[]")
        if options.csv is not None:
            write_text(options.csv, _csv(kept, columns))
    return num_unreadable


def _print(records: Sequence[Mapping[str, Any]]) -> None:
    for record in records:
        if "error" in record:
            print(record["error"])
            continue
        scales = ", ".join(map(str, record["test_scales_px"]))
        print(f"{record['image']}  ({record['method']}, Q {scales} px)")
        for best in record["top"]:
            x0, y0, x1, y1 = best.get("box", [0] * 4)
            where = f"  x {x0:.0f} to {x1:.0f}, y {y0:.0f} to {y1:.0f}" if "box" in best else ""
            print(f"  {100 * best['posterior']:5.1f} %  {best['name']}{where}")
    for kind in ("map", "picture"):
        if kind in records[-1]:
            print(f"  {kind}: {records[-1][kind]}")


def _csv(records: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A row for each class of each record."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for record in records:
        scales = " ".join(map(str, record.get("test_scales_px", [])))
        for rank, best in enumerate(record.get("top", [{}]), start=1):
            own = {"rank": rank, **dict(zip(CORNERS, best.get("box", []), strict=False))} if best else {}
            writer.writerow({**record, **best, **own, "test_scales_px": scales})
    return text.getvalue()


def class_index(loaded: TrainedNet, name: str) -> int:
    """The index of a class in the net's scores: given as the data name it, or by one of ILSVRC's names for it.

    Raises `ConfigError` if there is none, or several ("crane", "maillot").
    """
    known = synsets()
    names = {own: (own, *(known[own].names.split(", ") if own in known else ())) for own in loaded.classes}
    fitting = [index for index, own in enumerate(loaded.classes) if name in names[own]]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ConfigError(
            f"{name} is the name of {' and of '.join(loaded.classes[index] for index in fitting)}; give one of these."
        )
    words = [word for each in names.values() for word in each]
    near = difflib.get_close_matches(name, words, n=3, cutoff=0.4) or loaded.classes[:3]
    raise ConfigError(f"{name} is not a class of this net; its classes include {', '.join(near)}.")


def _map(loaded: TrainedNet, image: Image.Image, index: int, hardware: Hardware, Q_px: int) -> Image.Image:
    """Where the net sees class `index` in the image."""
    image_HWC = rescaled(image, Q_px, loaded.preprocessing.interpolation)
    map_hw = class_posteriors(loaded.net, image_HWC, loaded.preprocessing, hardware)[index]
    return overlay(image, stretched(map_hw, (image_HWC.shape[1], image_HWC.shape[0]), image.size, loaded.config.crop))


def _keep(picture: Image.Image, file: Path, class_name: str, ending: str) -> Path:
    """Write a picture of a class into `file`.CLASS and the ending."""
    name = re.sub(r"[^\w.-]+", "_", class_name)
    file = file.with_name(f"{file.name}.{name}{ending}")
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(file) as temporary:
        picture.save(temporary, format="PNG")
    return file
