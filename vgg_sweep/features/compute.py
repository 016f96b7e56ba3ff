"""Features (Appendix B): images x views x layers -> [N, C] on disk. Each view goes through the net once, ever.

While they are made, the files lie in `parts/` at their full length, and `done.json` says which chunks of images are in
them, so that a killed command goes on where it was. A chunk is what is in memory.

Axes: N images, C channels of a layer, H W pixels.
"""

import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vgg_sweep.errors import RunError
from vgg_sweep.features.store import COLOUR, OWN, RANDOM, Feature, FeatureFolder, file_sha256
from vgg_sweep.images.sets.probed import ProbedSet
from vgg_sweep.images.views.crops import rescaled, usable_or_none
from vgg_sweep.images.views.preprocessing import net_input
from vgg_sweep.machine.device import Device
from vgg_sweep.machine.ranks import ALONE, Ranks
from vgg_sweep.nets.activations import check_layer, mean_activations
from vgg_sweep.nets.initial import draw_weights
from vgg_sweep.nets.vgg import VGG, build_net
from vgg_sweep.predict.trained import TrainedNet
from vgg_sweep.protocols.passes import Pass
from vgg_sweep.runs.files import write_json
from vgg_sweep.runs.progress import Reporter
from vgg_sweep.score.batches import over_views
from vgg_sweep.score.score import FORWARD_PX

CHUNK = 50
"""Images in memory at a time, rescaled to every Q, and between two points at which a killed command can go on."""
CONTENTS = "contents"
"""The part that holds a hash of each image's pixels, as uint64; 0 for one that is left out."""
RANDOM_INIT = "he"
"""How the weights of the control are drawn: the activations keep their size from layer to layer."""


def compute(
    loaded: TrainedNet,
    weights_fingerprint: str,
    folder: FeatureFolder,
    probed: ProbedSet,
    wanted: Sequence[Feature],
    device: Device,
    reporter: Reporter,
    ranks: Ranks = ALONE,
) -> None:
    """Compute the features of `wanted` that are not there, and enter them in the manifest.

    An image that cannot be decoded, where data.on_bad_image allows it, has a row of NaN. Several ranks share the
    images; rank 0 writes.

    Raises `ConfigError` for a layer that the net has not, `RunError` if the features there are of other weights or in
    another precision, `Interrupted` when asked to stop.
    """
    for layer in {each.layer for each in wanted} - {COLOUR}:
        check_layer(loaded.net, layer)
    manifest = ranks.agree(lambda: _manifest(folder, weights_fingerprint, probed, device))
    missing = ranks.agree(lambda: folder.missing(list(wanted)))
    if not missing:
        return
    device.expect_shapes(alike=False)
    origin = [weights_fingerprint, probed.fingerprint, device.precision, device.tf32, CHUNK]
    name = hashlib.sha256(json.dumps(origin).encode()).hexdigest()[:16]
    parts = _Parts(folder.parts / name, len(probed.images))
    names = [each.name for each in missing] + ([] if "contents" in manifest else [CONTENTS])
    _Computer(loaded, probed, missing, device, reporter, ranks).fill(parts, names)
    if ranks.is_first:
        _finish(folder, manifest, parts, missing, probed, device, reporter)


def _manifest(folder: FeatureFolder, weights_fingerprint: str, probed: ProbedSet, device: Device) -> dict[str, Any]:
    """The manifest on disk, which must be of these weights and this precision, or a new one."""
    old = folder.manifest()
    if old and old["weights_fingerprint"] != weights_fingerprint:
        raise RunError(f"{folder.path} was made from other weights; move that folder elsewhere to make it anew.")
    for entry in old.get("files", []):
        if entry["precision"] != device.precision:
            raise RunError(
                f"{folder.path} holds features computed in {entry['precision']}, and these would be in "
                f"{device.precision}; give precision={entry['precision']}, or move that folder elsewhere."
            )
    return old or {
        "format": 1,
        "metric": probed.metric,
        "classes": probed.classes,
        "images": list(probed.images.ids),
        "labels": probed.labels.tolist(),
        "test": None if probed.is_test_N is None else probed.is_test_N.tolist(),
        "data_fingerprint": probed.fingerprint,
        "weights_fingerprint": weights_fingerprint,
        "files": [],
    }


@dataclass(frozen=True)
class _Parts:
    """Files of rows while they are being made, and which chunks are in them."""

    folder: Path
    num_images: int

    @property
    def chunks(self) -> list[range]:
        return [range(start, min(start + CHUNK, self.num_images)) for start in range(0, self.num_images, CHUNK)]

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def done(self) -> dict[str, list[int]]:
        """The first images of the chunks that are in each file."""
        try:
            return dict(json.loads((self.folder / "done.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}

    def write(self, chunk: range, rows: Mapping[str, NDArray[Any]], done: dict[str, list[int]]) -> None:
        """Write the rows of a chunk into their files; they count once `done.json` says so."""
        for name, own in rows.items():
            with open(self._opened(name, own), "r+b") as file:
                start = file.seek(0, io.SEEK_END) - self.num_images * own[0].nbytes
                file.seek(start + chunk.start * own[0].nbytes)
                file.write(np.ascontiguousarray(own).tobytes())
                file.flush()
                os.fsync(file.fileno())
            done.setdefault(name, []).append(chunk.start)
        write_json(self.folder / "done.json", done)

    def _opened(self, name: str, rows: NDArray[Any]) -> Path:
        """The file of `name`, made at its full length if it is not there."""
        path = self.file(name)
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            shape = (self.num_images, *rows.shape[1:])
            header = {"descr": np.lib.format.dtype_to_descr(rows.dtype), "fortran_order": False, "shape": shape}
            with open(path, "wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                file.truncate(file.tell() + self.num_images * rows[0].nbytes)
        return path


@dataclass(frozen=True)
class _Usable:
    """An image of a chunk, rescaled to each Q, and the hash of its pixels."""

    at_Q: dict[int, NDArray[np.uint8]]
    content: int


@dataclass(frozen=True)
class _Computer:
    """What features are computed with."""

    loaded: TrainedNet
    probed: ProbedSet
    missing: list[Feature]
    device: Device
    reporter: Reporter
    ranks: Ranks

    def fill(self, parts: _Parts, names: list[str]) -> None:
        """Compute the chunks of `names` that are not in the parts; the next is decoded while one is in the net."""
        done = self.ranks.agree(parts.done)
        todo = [
            (chunk, lacking)
            for chunk in parts.chunks
            if (lacking := [name for name in names if chunk.start not in done.get(name, [])])
        ]
        nets = {OWN: self.loaded.net}
        if any(each.weights == RANDOM for each in self.missing):
            nets[RANDOM] = random_net(self.loaded)
        for net in nets.values():
            net.to(self.device.place, memory_format=self.device.memory_format).eval()  # type: ignore[call-overload]
        num_before, began = parts.num_images - sum(len(chunk) for chunk, _ in todo), time.monotonic()
        num_done = num_before
        with ThreadPoolExecutor(max(1, self.loaded.config.workers)) as pool:
            ahead = self._decode(pool, todo[0][0]) if todo else []
            for number, (chunk, lacking) in enumerate(todo):
                images = [future.result() for future in ahead]
                ahead = self._decode(pool, todo[number + 1][0]) if number + 1 < len(todo) else []
                rows = self._rows(nets, images, lacking)
                gathered = {name: self.ranks.gather(own) for name, own in rows.items()}
                if self.ranks.is_first:
                    parts.write(chunk, {name: own for name, own in gathered.items() if own is not None}, done)
                num_done += len(chunk)
                each_seconds = (time.monotonic() - began) / (num_done - num_before)
                eta_seconds = round(each_seconds * (parts.num_images - num_done))
                self.reporter.step("features", num_done, parts.num_images, eta_seconds=eta_seconds)
                self.ranks.share_stop(self.reporter)
                try:
                    self.reporter.check_stop()
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise

    def _decode(self, pool: ThreadPoolExecutor, chunk: range) -> "list[Future[_Usable | None]]":
        return [pool.submit(self._usable, index) for index in self.ranks.share(chunk)]

    def _usable(self, index: int) -> _Usable | None:
        scales = sorted({each.view.Q for each in self.missing})
        image = usable_or_none(self.probed.images, index, scales[-1])
        if image is None:
            return None
        interpolation = self.loaded.preprocessing.interpolation
        return _Usable({Q: rescaled(image, Q, interpolation) for Q in scales}, content_of(np.asarray(image)))

    def _rows(self, nets: Mapping[str, VGG], images: list[_Usable | None], names: list[str]) -> dict[str, NDArray[Any]]:
        """The rows of a chunk for each of `names`; what several layers need goes through the net once."""
        there = [image for image in images if image is not None]
        is_there_N = np.array([image is not None for image in images], bool)
        rows: dict[str, NDArray[Any]] = {}
        if CONTENTS in names:
            rows[CONTENTS] = np.array([image.content if image else 0 for image in images], np.uint64)
        by_view: dict[tuple[str, Pass], list[str]] = {}
        for each in self.missing:
            if each.name in names:
                by_view.setdefault((each.weights, each.view), []).append(each.layer)
        for (weights, view), layers in by_view.items():
            found = self.means(nets[weights], [image.at_Q[view.Q] for image in there], view, layers)
            for layer, there_NC in found.items():
                own_NC = np.full((len(images), there_NC.shape[1]), np.nan, np.float32)
                own_NC[is_there_N] = there_NC
                rows[Feature(layer, view, weights).name] = own_NC
        return rows

    def means(
        self, net: VGG, images_HWC: list[NDArray[np.uint8]], view: Pass, layers: Sequence[str]
    ) -> dict[str, NDArray[np.float32]]:
        """The mean activations [N, C] of each layer for one view of the images."""
        channels = {each.name: each.out_channels for each in net.layers} | {COLOUR: 3}
        of_net = [each.name for each in net.layers if each.name in layers]
        in_order = [*of_net, *([COLOUR] if COLOUR in layers else [])]

        def of_views(views_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
            pixels_NCHW = torch.from_numpy(views_NHWC).permute(0, 3, 1, 2).to(self.device.place)
            if view.flip:
                pixels_NCHW = pixels_NCHW.flip(3)
            found = []
            with torch.inference_mode(), self.device.autocast():
                if of_net:
                    inputs_NCHW = self.device.laid_out(net_input(pixels_NCHW, self.loaded.preprocessing))
                    found += [means_NC for _, means_NC in mean_activations(net, inputs_NCHW, of_net)]
                if COLOUR in layers:
                    found.append(pixels_NCHW.float().mean((2, 3)) / 255)
            together_NC: NDArray[np.float32] = torch.cat(found, dim=1).cpu().numpy()
            return together_NC

        ends = np.cumsum([channels[layer] for layer in in_order])
        if not images_HWC:
            return {layer: np.empty((0, channels[layer]), np.float32) for layer in in_order}
        forward_px = FORWARD_PX[self.device.place.type]
        all_NC = over_views(of_views, images_HWC, view.method, self.loaded.config.crop, forward_px)
        return dict(zip(in_order, np.split(all_NC, ends[:-1], axis=1), strict=True))


def random_net(loaded: TrainedNet) -> VGG:
    """The same net with random weights, always the same ones."""
    net = build_net(loaded.config, len(loaded.classes))
    draw_weights(net, RANDOM_INIT, torch.Generator().manual_seed(0))
    return net


def content_of(image_HWC: NDArray[np.uint8]) -> int:
    """A hash of an image's size and pixels, by which copies are known; never 0."""
    digest = hashlib.blake2b(repr(image_HWC.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(image_HWC).data)
    return int.from_bytes(digest.digest(), "big") or 1


def _finish(
    folder: FeatureFolder,
    manifest: dict[str, Any],
    parts: _Parts,
    features: Sequence[Feature],
    probed: ProbedSet,
    device: Device,
    reporter: Reporter,
) -> None:
    """Enter the whole files in the manifest, then put them in their places: a kill in between costs nothing."""
    if "contents" not in manifest:
        contents_N = np.load(parts.file(CONTENTS))
        manifest["contents"] = [f"{content:016x}" for content in contents_N.tolist()]
        left_out = [probed.images.ids[row] for row in np.flatnonzero(contents_N == 0).tolist()]
        if len(left_out) == len(contents_N):
            raise RunError("no image of the set can be decoded; `vgg-sweep data check` lists what is wrong.")
        if left_out:
            manifest["left_out"] = left_out
            reporter.note(f"{len(left_out)} images cannot be decoded and are left out, such as {left_out[0]}")
    names = {folder.file(each).name for each in features}
    entries = [entry for entry in manifest["files"] if entry["file"] not in names]
    manifest["files"] = entries + [_entry(each, parts.file(each.name), device) for each in features]
    write_json(folder.path / "manifest.json", manifest)
    for each in features:
        os.replace(parts.file(each.name), folder.file(each))
    parts.file(CONTENTS).unlink(missing_ok=True)
    if not any(folder.parts.rglob("*.npy")):  # of features that an earlier command was to make
        shutil.rmtree(folder.parts)


def _entry(feature: Feature, file: Path, device: Device) -> dict[str, Any]:
    num_images, num_channels = np.load(file, mmap_mode="r").shape
    view = feature.view
    return {
        "file": f"{feature.name}.npy",
        "layer": feature.layer,
        "weights": feature.weights,
        "method": view.method,
        "Q": view.Q,
        "flip": view.flip,
        "N": num_images,
        "C": num_channels,
        "precision": device.precision,
        "tf32": device.tf32,
        "sha256": file_sha256(file),
    }
