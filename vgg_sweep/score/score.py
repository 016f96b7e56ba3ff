"""Scoring (Sect. 3.2): weights x views of the validation images -> class posteriors on disk. Each view goes through the
net once, ever.

A pass is one (method, Q, flip). Every file of posteriors holds one pass for all images; while it is computed it is
kept in parts of `CHUNK` images, so that a killed scoring continues. All passes of a chunk share the decoded
images.

Axes: N images, K classes, P crops of an image, C colours, H W pixels, h w positions of the dense score map.
"""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from vgg_sweep.config.imported import Preprocessing
from vgg_sweep.config.schema import Config
from vgg_sweep.images.check.label_order import order_hint
from vgg_sweep.images.sets.splits import ImageSet
from vgg_sweep.machine.hardware import Hardware
from vgg_sweep.machine.ranks import ALONE, Ranks
from vgg_sweep.nets.vgg import VGG, posteriors
from vgg_sweep.plan.passes import missing
from vgg_sweep.protocols.methods import test_scales
from vgg_sweep.protocols.passes import Pass
from vgg_sweep.runs.files import write_json
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.progress import Reporter
from vgg_sweep.score.batches import in_passes, outputs, over_views
from vgg_sweep.score.cost import macs
from vgg_sweep.score.manifest import begun, enter, leave_out
from vgg_sweep.score.parts import Parts, origin, save

FORWARD_PX = {"cpu": 64 * 64 * 128, "cuda": 224 * 224 * 512}
"""Pixels that go through the net at once, in views of one shape; fewer where memory does not suffice.

On two cores of a CPU smaller and larger batches were slower.
"""
LEFT_OUT = -1.0
"""Stands in the parts for the posteriors of an image that cannot be decoded and is left out."""


def score(
    net: VGG,
    config: Config,
    folder: RunFolder,
    images: ImageSet,
    preprocessing: Preprocessing,
    hardware: Hardware,
    reporter: Reporter,
    ranks: Ranks = ALONE,
) -> None:
    """Compute the missing passes of `net` over the validation images into `folder.posteriors` and enter them in its
    manifest.

    Several ranks share the images, each being scored once; rank 0 gathers and writes.

    Raises `RunError` if the posteriors there are of other images or weights, or in another precision, `Interrupted`
    when asked to stop.
    """
    if not (wanted := missing(folder, config)):
        return
    scored, val = folder.posteriors, images.val
    manifest = begun(
        scored, val.ids, val.labels_N, images.classes, hardware, reporter.note,
        data_fingerprint=images.fingerprint, weights_fingerprint=folder.weights_fingerprint(),
    )  # fmt: skip
    parts = Parts(scored / "parts" / origin(manifest, hardware), wanted, len(val))
    hardware.expect_shapes(alike=False)
    hardware.hold(net.eval())
    Q_px, num_classes = largest_Q(config, wanted), len(images.classes)

    def rows_of(own: range, todo: list[Pass]) -> Iterator[dict[Pass, np.ndarray]]:
        found, in_turn = in_passes(pool, val, own, todo, Q_px, preprocessing.interpolation)
        is_there_N = np.array([image is not None for image in found], bool)
        for each, images_HWC in in_turn:
            there_NK = pass_posteriors(net, images_HWC, each, config.crop, preprocessing, hardware)
            own_NK = np.full((len(own), num_classes), LEFT_OUT, np.float32)
            own_NK[is_there_N] = there_NK.reshape(-1, num_classes)  # which may be none
            yield {each: own_NK}

    with ThreadPoolExecutor(max(1, config.workers)) as pool:
        cost = partial(num_pixels, crop=config.crop)
        seconds = parts.fill(rows_of, reporter, ranks, "score", cost, passes=len(wanted))
    if not ranks.is_first:
        return
    is_there_N = _joined(parts, wanted[0])[:, 0] != LEFT_OUT
    leave_out(manifest, scored, val, is_there_N, folder)
    if seconds is not None:
        _record_speed(folder, config, images, wanted, is_there_N, seconds)
    for each in wanted:
        file, posteriors_NK = scored / f"{each.name}.npy", _joined(parts, each)[is_there_N]
        save(file, posteriors_NK)
        enter(manifest, each, file, hardware, N=len(posteriors_NK), K=num_classes)
    _hint(folder, manifest, np.load(scored / f"{wanted[0].name}.npy"), reporter)
    write_json(scored / "manifest.json", manifest)
    shutil.rmtree(scored / "parts")


def _joined(parts: Parts[Pass], each: Pass) -> np.ndarray:
    return np.concatenate([np.load(file) for file in parts.files(each)])


def num_pixels(each: Pass, crop: int) -> int:
    """About how many pixels of an image go through the net in a pass, by which passes share the time."""
    return each.views * (each.Q if each.method == "dense" else crop) ** 2


def largest_Q(config: Config, passes: list[Pass]) -> int:
    """The largest Q that images must fit at: any of the paper's protocols, so that all leave out the same images."""
    return max(*test_scales(config.train_scale.S, "multi", config.crop), *(each.Q for each in passes))


def _record_speed(
    folder: RunFolder, config: Config, images: ImageSet, wanted: list[Pass], is_there_N: np.ndarray, seconds: float
) -> None:
    sizes_px = map(images.val.size_px, np.flatnonzero(is_there_N).tolist())
    total_macs = sum(macs(wanted, config, len(images.classes), sizes_px).values())
    folder.update_record(score_seconds=round(seconds, 2), score_macs_per_second=round(total_macs / seconds))


def _hint(folder: RunFolder, manifest: dict[str, Any], posteriors_NK: np.ndarray, reporter: Reporter) -> None:
    """Record, and say, whether val's labels seem to be in another order."""
    hint = order_hint(posteriors_NK.argmax(axis=1), np.array(manifest["labels"]), manifest["classes"])
    folder.update_record(order_hint=hint)
    if hint:
        reporter.note(hint)


def pass_posteriors(
    net: VGG, images_HWC: list[np.ndarray], each: Pass, crop: int, preprocessing: Preprocessing, hardware: Hardware
) -> np.ndarray:
    """Posteriors [N, K] of one pass: the mean over an image's views where it has several (Sect. 3.2: of
    posteriors, not of scores).
    """

    def of_views(views_NHWC: np.ndarray) -> np.ndarray:
        views_NK: np.ndarray = posteriors(outputs(net, views_NHWC, each, preprocessing, hardware)).cpu().numpy()
        return views_NK

    return over_views(of_views, images_HWC, each.method, crop, FORWARD_PX[hardware.device.type])
