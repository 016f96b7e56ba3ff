"""The images that a run was made from: written down when it begins, compared before it counts as done, continues or is
scored.

A run's id does not depend on where its images are, so that a set may move. Other images under the same settings have
the same id; what is written here tells the two apart.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vgg_sweep.config.schema import Config, Data
from vgg_sweep.errors import ConfigError, some
from vgg_sweep.images.sets.boxes import SetBoxes, open_boxes
from vgg_sweep.images.sets.index import Ids, ProgressCallback, forget, silent
from vgg_sweep.images.sets.sources import index_folder, is_indexed, open_images
from vgg_sweep.images.sets.splits import ImageSet, contents
from vgg_sweep.images.sets.statistics import Statistics
from vgg_sweep.plan.folders import read_run
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.files import read_json, update_json
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.progress import Reporter

MEAN_TOLERANCE = 1e-5
"""Between means and components of one set from two machines, in [0, 1] units: their sums are rounded otherwise."""


def check_origins(runs: Iterable[Run], progress: ProgressCallback = silent) -> None:
    """Compare the images of each run that has begun with those that its configuration names now.

    A set is listed only if a run of it has begun; its index, once made, takes a moment to look at. Formulas are part of
    the id, and imported nets have no training images: neither is compared. Raises `ConfigError` naming the first run
    that was made from others; an index that was made to see this is then removed again.
    """
    known: dict[str, dict[str, Any]] = {}
    made: list[Path] = []
    try:
        for run in runs:
            if _is_comparable(run.config) and (before := _origin(run.folder)):
                key = repr((run.config.data, run.config.cache))
                if key not in known:
                    if is_indexed(run.config.data) and not (folder := index_folder(run.config)).exists():
                        made.append(folder)
                    known[key] = _of(open_images(run.config, progress))
                _check(run, before, known[key])
    except ConfigError:
        for folder in made:
            forget(folder)
        raise


def has_same_images(run: Run, there: RunFolder) -> bool:
    """Whether the finished run in `there`, of the same id, was made from the images that `run` would be made from."""
    if run.config.data.source == "fractals":
        return True
    before = _origin(there)
    return bool(before) and before.get("data_fingerprint") == open_images(run.config).fingerprint


def begin_with(run: Run, images: ImageSet, say: Callable[[str], None]) -> None:
    """Record that `run` is made from `images`; `say`, once a run, what was noticed when these were listed.

    Raises `ConfigError` if it began with others.
    """
    if not _is_comparable(run.config):
        return
    before, now = _origin(run.folder), _of(images)
    if before:
        _check(run, before, now)
    if before.get("data_fingerprint") != images.fingerprint:
        for note in images.notes:
            say(note)
    if not now.items() <= read_json(run.folder.origin).items():
        update_json(run.folder.origin, now)


def image_notes(runs: Iterable[Run]) -> list[str]:
    """What was noticed when the images of `runs` were listed, each once."""
    return list(dict.fromkeys(note for run in runs for note in read_json(run.folder.origin).get("notes", [])))


def own_statistics(run: Run, figures: Statistics, *, write: bool) -> Statistics:
    """The mean and components that `run` began with, which `figures`, those of its images now, must be up to rounding.

    If it begins now they are `figures`, written down if `write`. Raises `ConfigError` if they differ.
    """
    if not _is_comparable(run.config):
        return figures
    origin = read_json(run.folder.origin)
    if "statistics" not in origin:
        if write:
            update_json(run.folder.origin, {"statistics": asdict(figures)})
        return figures
    began_with = Statistics(**origin["statistics"])
    if not np.allclose(began_with.mean_rgb, figures.mean_rgb, rtol=0, atol=MEAN_TOLERANCE):
        means = (", ".join(f"{colour:.4f}" for colour in each.mean_rgb) for each in (figures, began_with))
        raise _other_images(run, "the mean RGB is {} instead of {}".format(*means))
    if not np.allclose(began_with.covariance(), figures.covariance(), rtol=0, atol=MEAN_TOLERANCE):
        raise _other_images(run, "the RGB PCA differs")
    return began_with


def boxes_of(run: Run, images: ImageSet, reporter: Reporter, *, write: bool) -> SetBoxes | None:
    """The boxes of `images`, written down if `write` where the run begins, with what was noticed; None if it
    classifies.

    Raises `ConfigError` as `open_boxes`, or if the run began with other boxes.
    """
    if run.config.task == "classify":
        return None
    boxes = open_boxes(run.config, images, lambda done, total: reporter.step("boxes", done, total))
    origin = read_json(run.folder.origin)
    if origin.get("boxes_fingerprint", boxes.fingerprint) != boxes.fingerprint:
        raise ConfigError(
            f"{run.id} was made from other boxes; give out=DIR for a run with these, or put the others back."
        )
    if write and "boxes_fingerprint" not in origin:
        for note in boxes.notes:
            reporter.note(note)
        update_json(run.folder.origin, {"boxes_fingerprint": boxes.fingerprint})
    return boxes


def _is_comparable(config: Config) -> bool:
    return config.imported.sha256 is None and config.data.source != "fractals"


def _of(images: ImageSet) -> dict[str, Any]:
    return {
        "data_fingerprint": images.fingerprint,
        "classes": images.classes,
        "num_train": len(images.train),
        "num_val": len(images.val),
        "train_names": _train_names(images),
        "train_contents": contents(images.train),
        "val_contents": contents(images.val),
        "notes": list(images.notes),
    }


def _origin(folder: RunFolder) -> dict[str, Any]:
    """Empty if the run has not begun. Runs of earlier versions say it with their posteriors."""
    return read_json(folder.origin) or read_json(folder.posteriors / "manifest.json")


def _check(run: Run, before: dict[str, Any], now: dict[str, Any]) -> None:
    """What an earlier version did not write down is not compared."""
    compared = ("data_fingerprint", "train_contents", "val_contents")
    if any(before.get(key, now[key]) != now[key] for key in compared) and not _is_val_mended(run.folder, before, now):
        raise _other_images(run, _difference(before, now))


def _other_images(run: Run, difference: str) -> ConfigError:
    began_with, now = (_where(config.data) for config in (read_run(run.folder).config, run.config))
    return ConfigError(
        f"{run.id} was made from other images than those of {now}: {difference}. For runs of these images give "
        f"data.name=NAME or out=DIR; to continue that run, give it the images of {began_with} as they were."
    )


def _is_val_mended(folder: RunFolder, before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a trained run, whose scores were taken away, has its training images and another val: it is scored on
    that, as after a wrong order of labels.
    """
    is_unscored = folder.is_trained and not (folder.posteriors / "manifest.json").exists()
    return is_unscored and all(before.get(key) == now[key] for key in ("train_names", "train_contents"))


def _train_names(images: ImageSet) -> str:
    """A digest of the classes, and of the names and labels of the training images."""
    ids = images.train.ids if isinstance(images.train.ids, Ids) else Ids.of(images.train.ids)
    digest = hashlib.sha256("\n".join(images.classes).encode("utf-8", "surrogateescape"))
    for block in (ids.text, ids.ends_N.astype("<i8"), images.train.labels_N.astype("<i8")):
        digest.update(block.tobytes())
    return digest.hexdigest()


def _where(data: Data) -> str:
    return data.name if data.root is None else f"data.root={data.root}"


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    there, here = before["classes"], now["classes"]
    new, gone = sorted(set(here) - set(there)), sorted(set(there) - set(here))
    if new or gone:
        return " and ".join(f"{_named(names)} {what}" for what, names in (("new", new), ("gone", gone)) if names)
    if there != here:
        return "the classes are in another order"
    counts = [
        f"{now[key]:,} {what} images instead of {before[key]:,}"
        for key, what in (("num_train", "training"), ("num_val", "validation"))
        if before.get(key, now[key]) != now[key]
    ]
    if not counts and before["data_fingerprint"] == now["data_fingerprint"]:
        return "files of the same names and sizes hold something else"
    return " and ".join(counts) or "names or sizes of files differ"


def _named(names: list[str]) -> str:
    """class fox is; classes bee, cat, dog and 4 more are."""
    return f"class {names[0]} is" if len(names) == 1 else f"classes {some(names)} are"
