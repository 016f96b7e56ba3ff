"""`predict --boxes`: what a net sees in images and where, as lines, JSON, CSV and pictures."""

import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vgg_sweep.cli.predictions import Wishes, tell
from vgg_sweep.config.localise import BOX_METHODS
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.sets.wnids import shown
from vgg_sweep.predict.boxes import BoxPrediction, drawn, predict_boxes
from vgg_sweep.runs.files import atomic_path
from vgg_sweep.score.localiser import Localiser

CORNERS = ("x0", "y0", "x1", "y1")
COLUMNS = ("image", "method", "test_scales_px", "rank", "class", "name", "posterior", *CORNERS, "error")


def show_boxes(localiser: Localiser, classes: Sequence[str], paths: Sequence[Path], wishes: Wishes) -> int:
    """Print the guesses as they come, draw the best into `wishes.maps`, and return how many images could not be read.

    When stopped, the CSV has what was done. Raises `ConfigError` for a protocol of several crops.
    """
    protocol = wishes.protocols[0]
    if any(each.method not in BOX_METHODS for each in wishes.protocols):
        raise ConfigError("boxes are predicted dense or from the centre crop; give --protocol single, multi or centre.")
    root = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    asked = {"method": protocol.method, "test_scales_px": list(protocol.test_scales)}

    def records_of(prediction: BoxPrediction) -> list[dict[str, Any]]:
        record = _record(prediction, classes)
        if prediction.image is None:
            return [record]
        file = wishes.maps / prediction.path.absolute().relative_to(root)
        return [record | asked | {"picture": str(_draw(prediction, classes, file))}]

    found = (records_of(each) for each in predict_boxes(localiser, paths, protocol, wishes.num_top))
    return tell(found, len(paths), wishes, _print, _csv)


def _record(prediction: BoxPrediction, classes: Sequence[str]) -> dict[str, Any]:
    """An object for an image, or one that says what is wrong."""
    if prediction.error is not None:
        return {"image": str(prediction.path), "error": prediction.error}
    top = [
        {
            "class": classes[guess.label],
            "name": shown(classes[guess.label]),
            "posterior": guess.posterior,
            "box": [round(float(edge), 1) for edge in guess.box_4],
        }
        for guess in prediction.guesses
    ]
    return {"image": str(prediction.path), "top": top}


def _draw(prediction: BoxPrediction, classes: Sequence[str], file: Path) -> Path:
    """Draw the best guess's box into `file`.CLASS.boxes.png."""
    best = prediction.guesses[0]
    assert prediction.image is not None
    name = re.sub(r"[^\w.-]+", "_", classes[best.label])
    file = file.with_name(f"{file.name}.{name}.boxes.png")
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(file) as temporary:
        drawn(prediction.image, [best], [shown(classes[best.label])]).save(temporary, format="PNG")
    return file


def _print(records: Sequence[dict[str, Any]]) -> None:
    [record] = records
    if "error" in record:
        print(record["error"])
        return
    scales = ", ".join(map(str, record["test_scales_px"]))
    print(f"{record['image']}  ({record['method']}, Q {scales} px)")
    for best in record["top"]:
        x0, y0, x1, y1 = best["box"]
        print(f"  {100 * best['posterior']:5.1f} %  {best['name']}  x {x0:.0f} to {x1:.0f}, y {y0:.0f} to {y1:.0f}")
    print(f"  picture: {record['picture']}")


def _csv(records: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for record in records:
        scales = " ".join(map(str, record.get("test_scales_px", [])))
        for rank, best in enumerate(record.get("top", [{}]), start=1):
            own = {"rank": rank, **dict(zip(CORNERS, best["box"], strict=True))} if best else {}
            writer.writerow({**record, **best, **own, "test_scales_px": scales})
    return text.getvalue()
