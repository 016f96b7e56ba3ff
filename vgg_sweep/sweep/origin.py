"""The images that a run was made from: written down when it begins, compared before it counts as done, goes on or is
scored.

A run's id does not depend on where its images lie, so that a set may move. Other images under the same settings have
the same id; what is written here tells the two apart.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from vgg_sweep.config.schema import Config, Data
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.sets.sources import open_images
from vgg_sweep.images.sets.splits import ImageSet
from vgg_sweep.plan.folders import read_run
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.files import read_json, write_json
from vgg_sweep.runs.folder import RunFolder

NUM_NAMED_CLASSES = 3


def check_origins(runs: Iterable[Run], progress: Callable[[int, int], None] | None = None) -> None:
    """Compare the images of each run that has begun with those that its configuration names now.

    A set is listed only if a run of it has begun; its index, once made, takes a moment to look at. Formulas are part of
    the id, and imported nets have no training images: neither is compared. Raises `ConfigError` naming the first run
    that was made from others.
    """
    opened: dict[str, ImageSet] = {}
    for run in runs:
        if _is_comparable(run.config) and (before := _origin(run.folder)):
            key = repr((run.config.data, run.config.cache))
            if key not in opened:
                opened[key] = open_images(run.config, progress)
            _check(run, before, opened[key])


def begin_with(run: Run, images: ImageSet, say: Callable[[str], None]) -> None:
    """Write down that `run` is made from `images`; `say`, once a run, what was noticed when these were listed.

    Raises `ConfigError` if it began with others.
    """
    if not _is_comparable(run.config):
        return
    before = _origin(run.folder)
    if before:
        _check(run, before, images)
    if before.get("data_fingerprint") != images.fingerprint:
        for note in images.notes:
            say(note)
        write_json(run.folder.origin, _of(images))


def _is_comparable(config: Config) -> bool:
    return config.imported.sha256 is None and config.data.source != "fractals"


def _of(images: ImageSet) -> dict[str, Any]:
    return {
        "data_fingerprint": images.fingerprint,
        "classes": images.classes,
        "num_train": len(images.train),
        "num_val": len(images.val),
        "train_images": _train_images(images),
    }


def _origin(folder: RunFolder) -> dict[str, Any]:
    """Empty if the run has not begun. Runs of earlier versions say it with their posteriors."""
    return read_json(folder.origin) or read_json(folder.posteriors / "manifest.json")


def _check(run: Run, before: dict[str, Any], images: ImageSet) -> None:
    if before["data_fingerprint"] == images.fingerprint or _is_val_mended(run.folder, before, images):
        return
    began_with, now = (_place(config.data) for config in (read_run(run.folder).config, run.config))
    raise ConfigError(
        f"{run.id} was made from other images than those of {now}: {_difference(before, _of(images))}. For runs of "
        f"these images give data.name=NAME or out=DIR; to go on with that run, give it the images of {began_with} as "
        "they were."
    )


def _is_val_mended(folder: RunFolder, before: dict[str, Any], images: ImageSet) -> bool:
    """Whether a trained run, whose scores were taken away, has its training images and another val: it is scored on
    that, as after a wrong order of labels.
    """
    is_unscored = folder.is_trained and not (folder.posteriors / "manifest.json").exists()
    return is_unscored and before.get("train_images") == _train_images(images)


def _train_images(images: ImageSet) -> str:
    """A digest of the classes, and of the names and labels of the training images."""
    digest = hashlib.sha256("\n".join([*images.classes, *images.train.ids]).encode("utf-8", "surrogateescape"))
    digest.update(images.train.labels_N.astype("<i8").tobytes())
    return digest.hexdigest()


def _place(data: Data) -> str:
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
    return " and ".join(counts) or "names or sizes of files differ"


def _named(names: list[str]) -> str:
    """class fox is; classes bee, cat, dog and 4 more are."""
    more = f" and {len(names) - NUM_NAMED_CLASSES} more" if len(names) > NUM_NAMED_CLASSES else ""
    return f"{'class' if len(names) == 1 else 'classes'} {', '.join(names[:NUM_NAMED_CLASSES])}{more} " + (
        "is" if len(names) == 1 else "are"
    )
