"""Pictures of validation images for the page, where the data is available. Needs no torch."""

import base64
import io
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from vgg_sweep.config.schema import Config, Fractals
from vgg_sweep.errors import RunError
from vgg_sweep.images.sets.fractals import IFS, class_system, render_image
from vgg_sweep.images.sets.sources import open_images
from vgg_sweep.images.sets.splits import Split
from vgg_sweep.report.results.errors import ReportedRun

THUMBNAIL_PX = 112
"""Longer side on the page; a picture has twice the pixels, for fine screens."""


Draw = Callable[[Image.Image], Image.Image]
"""What draws on an image at its own size."""


def thumbnail(run: ReportedRun, manifest: Mapping[str, Any], n: int, draw: Draw | None = None) -> str | None:
    """Image `n` of a manifest as a small WebP in a data URI, or None if it is not where it was at scoring."""
    try:
        picture = _picture(run, n, manifest["images"][n], manifest["labels"][n])
        picture = draw(picture) if draw else picture
        picture.thumbnail((2 * THUMBNAIL_PX, 2 * THUMBNAIL_PX))
        out = io.BytesIO()
        picture.convert("RGB").save(out, "webp", quality=70)
    except (OSError, ValueError, SyntaxError, RunError, OmegaConfBaseException, Image.DecompressionBombError):
        return None
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()


def _picture(run: ReportedRun, n: int, image: str, label: int) -> Image.Image:
    """A fractal is drawn again, a file opened, and an image of an archive found by the index in the run's cache."""
    data = run.config["data"]
    if data["source"] == "fractals":
        return _fractal(data["fractals"], image, label)
    path = Path(data["root"]).expanduser() / image
    if path.is_file():
        return Image.open(path)
    val = _val(json.dumps(run.config))
    if n >= len(val) or val.ids[n] != image:
        raise ValueError(f"{image} is no longer image {n} of {data['name']}.")
    return val.image(n)


@cache
def _val(config_json: str) -> Split:
    config = json.loads(config_json)
    if not Path(config["cache"]).is_dir():  # to index a set anew may take minutes, which a report has not
        raise FileNotFoundError(config["cache"])
    known: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), config))
    known.data.download = False
    return open_images(known).val


def _fractal(settings: Mapping[str, Any], image: str, label: int) -> Image.Image:
    spec = Fractals(**settings)
    index = int(image.removeprefix("val/")) - label * spec.val_per_class
    if not 0 <= index < spec.val_per_class:
        raise ValueError(f"{image} is no image of class {label}.")
    return Image.fromarray(render_image(_system(spec.seed, label), spec, "val", label, index))


@cache
def _system(seed: int, label: int) -> IFS:
    return class_system(seed, label)
