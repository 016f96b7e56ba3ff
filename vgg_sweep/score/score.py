"""Scoring (Sect. 3.2): weights x views of the validation images -> class posteriors on disk. Each view goes through the
net once, ever.

A pass is one (method, Q, flip). Every file of posteriors holds one pass for all images; while it is being made it lies
in parts of `CHUNK` images, so that a killed scoring goes on where it was. All passes of a chunk share the decoded
images.

Axes: N images, K classes, P crops of an image, C colours, H W pixels, h w positions of the dense score map.
"""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from vgg_sweep.config.imported import Preprocessing
from vgg_sweep.config.schema import Config
from vgg_sweep.images.check.order import order_hint
from vgg_sweep.images.sets.splits import ImageSet
from vgg_sweep.images.views.crops import usable_or_none
from vgg_sweep.images.views.preprocessing import net_input
from vgg_sweep.machine.device import Device
from vgg_sweep.machine.ranks import ALONE, Ranks
from vgg_sweep.nets.vgg import VGG, posteriors
from vgg_sweep.plan.passes import missing
from vgg_sweep.protocols.methods import test_scales
from vgg_sweep.protocols.passes import Pass
from vgg_sweep.runs.files import read_json, write_json
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.progress import Reporter
from vgg_sweep.score.batches import at_each_Q, on_device, over_views
from vgg_sweep.score.cost import macs
from vgg_sweep.score.manifest import begun, check_same_arithmetic, enter, leave_out
from vgg_sweep.score.parts import Parts, origin, save

FORWARD_PX = {"cpu": 64 * 64 * 128, "cuda": 224 * 224 * 512}
"""Pixels that go through the net at once, in views of one shape; fewer where memory does not suffice.

On two cores of a CPU smaller and larger batches were slower.
"""
CLOCK = "seconds.json"
"""What the parts have taken that are there."""
LEFT_OUT = -1.0
"""Stands in the parts for the posteriors of an image that cannot be decoded and is left out."""


def score(
    net: VGG,
    config: Config,
    folder: RunFolder,
    images: ImageSet,
    preprocessing: Preprocessing,
    device: Device,
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
    manifest = _manifest(folder, images)
    check_same_arithmetic(folder.posteriors, manifest, device, reporter.note)
    parts = Parts(folder.posteriors / "parts" / _origin(manifest, device), wanted, len(images.val))
    device.expect_shapes(alike=False)
    net.to(device.place, memory_format=device.memory_format)  # type: ignore[call-overload]
    net.eval()
    seconds = _Scorer(net, config, images, preprocessing, device, reporter, ranks).fill(parts)
    if not ranks.is_first:
        return
    scored = {each: np.concatenate([np.load(file) for file in parts.files(each)]) for each in wanted}
    is_there_N = next(iter(scored.values()))[:, 0] != LEFT_OUT
    leave_out(manifest, folder.posteriors, images.val, is_there_N, folder)
    if seconds is not None:
        _record_speed(folder, config, images, wanted, is_there_N, seconds)
    for each, posteriors_NK in scored.items():
        _add(manifest, folder, each, posteriors_NK[is_there_N], device)
    _hint(folder, manifest, next(iter(scored.values()))[is_there_N], reporter)
    write_json(folder.posteriors / "manifest.json", manifest)
    shutil.rmtree(folder.posteriors / "parts")


@dataclass(frozen=True)
class _Scorer:
    """What a net is scored with."""

    net: VGG
    config: Config
    images: ImageSet
    preprocessing: Preprocessing
    device: Device
    reporter: Reporter
    ranks: Ranks

    def fill(self, parts: Parts[Pass]) -> float | None:
        """Make the parts that are not there. Returns the seconds that all took; None if some lie there untimed."""
        began, earlier = time.monotonic(), read_json(parts.folder / CLOCK).get("seconds")
        with ThreadPoolExecutor(max(1, self.config.workers)) as pool:
            make = partial(self._fill_chunk, pool, parts, began - (earlier or 0.0))
            num_made = parts.fill(make, self.reporter, "score", passes=len(parts.wanted))
        is_timed = earlier is not None or num_made == len(parts.chunks)
        return time.monotonic() - began + (earlier or 0.0) if is_timed else None

    def _fill_chunk(
        self, pool: ThreadPoolExecutor, parts: Parts[Pass], began: float, chunk: range, todo: list[Pass]
    ) -> None:
        """All passes of a chunk, whose images are decoded once. Interruptions left out, scoring `began` then."""
        usable = partial(usable_or_none, self.images.val, Q_px=largest_Q(self.config, parts.wanted))
        found = list(pool.map(usable, self.ranks.share(chunk)))
        decoded, is_there_N = [image for image in found if image is not None], [image is not None for image in found]
        crop, done = self.config.crop, 0
        pixels = {each: each.views * (each.Q if each.method == "dense" else crop) ** 2 for each in todo}
        for each, images_HWC in at_each_Q(pool, decoded, todo, self.preprocessing.interpolation):
            there_NK = pass_posteriors(self.net, images_HWC, each, crop, self.preprocessing, self.device)
            own_NK = np.full((len(found), len(self.images.classes)), LEFT_OUT, np.float32)
            own_NK[is_there_N] = there_NK.reshape(-1, len(self.images.classes))  # which may be none
            if (posteriors_NK := self.ranks.gather(own_NK)) is not None:
                save(parts.file(each, chunk), posteriors_NK)
                write_json(parts.folder / CLOCK, {"seconds": time.monotonic() - began})
            done += pixels[each]
            scored = chunk.start + len(chunk) * done // sum(pixels.values())
            self.reporter.step("score", scored, parts.num_images, passes=len(parts.wanted))
            self.ranks.share_stop(self.reporter)
            self.reporter.check_stop()


def largest_Q(config: Config, passes: list[Pass]) -> int:
    """The largest Q that images must fit at: any of the paper's protocols, so that all leave out the same images."""
    return max(*test_scales(config.train_scale.S, "multi", config.crop), *(each.Q for each in passes))


def _record_speed(
    folder: RunFolder, config: Config, images: ImageSet, wanted: list[Pass], is_there_N: np.ndarray, seconds: float
) -> None:
    sizes_px = map(images.val.size_px, np.flatnonzero(is_there_N).tolist())
    total_macs = sum(macs(wanted, config, len(images.classes), sizes_px).values())
    folder.update_record(score_seconds=round(seconds, 2), score_macs_per_second=round(total_macs / seconds))


def _add(manifest: dict[str, Any], folder: RunFolder, each: Pass, posteriors_NK: np.ndarray, device: Device) -> None:
    """Write the file of a pass and enter it in the manifest, in the place of an older one."""
    file = folder.posteriors / f"{each.name}.npy"
    save(file, posteriors_NK)
    num_images, num_classes = posteriors_NK.shape
    enter(manifest, each, file, device, N=num_images, K=num_classes)


def _hint(folder: RunFolder, manifest: dict[str, Any], posteriors_NK: np.ndarray, reporter: Reporter) -> None:
    """Record, and say, whether val's labels seem to be in another order."""
    hint = order_hint(posteriors_NK.argmax(axis=1), np.array(manifest["labels"]), manifest["classes"])
    folder.update_record(order_hint=hint)
    if hint:
        reporter.note(hint)


def _manifest(folder: RunFolder, images: ImageSet) -> dict[str, Any]:
    """The manifest on disk, which must be of these images and weights, or a new one."""
    new: dict[str, Any] = {
        "format": 1,
        "classes": images.classes,
        "images": list(images.val.ids),
        "labels": images.val.labels_N.tolist(),
        "data_fingerprint": images.fingerprint,
        "weights_fingerprint": folder.weights_fingerprint(),
        "files": [],
    }
    return begun(folder.posteriors, new, ("data_fingerprint", "weights_fingerprint"))


def _origin(manifest: dict[str, Any], device: Device) -> str:
    return origin(manifest["weights_fingerprint"], manifest["data_fingerprint"], device.precision, device.tf32)


def pass_posteriors(
    net: VGG, images_HWC: list[np.ndarray], each: Pass, crop: int, preprocessing: Preprocessing, device: Device
) -> np.ndarray:
    """Posteriors [N, K] of one pass: the mean over an image's views where it has several (Sect. 3.2: of
    posteriors, not of scores).
    """

    def of_views(views_NHWC: np.ndarray) -> np.ndarray:
        pixels_NCHW = on_device(views_NHWC, each, device)
        with torch.inference_mode(), device.autocast():
            scores_NKhw = net(device.laid_out(net_input(pixels_NCHW, preprocessing)))
        views_NK: np.ndarray = posteriors(scores_NKhw.float()).cpu().numpy()
        return views_NK

    return over_views(of_views, images_HWC, each.method, crop, FORWARD_PX[device.place.type])
