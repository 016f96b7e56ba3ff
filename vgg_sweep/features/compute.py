"""Features (Appendix B): images x views x layers -> [N, C] on disk. Each view goes through the net once, ever.

While they are computed, each is kept in `parts/` chunk by chunk, so that a killed command can continue. A chunk is
what is in memory.

Axes: N images, C channels of a layer, H W pixels.
"""

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vgg_sweep.config.transfer import BOX, IMAGE
from vgg_sweep.errors import RunError
from vgg_sweep.features.store import COLOUR, OWN, RANDOM, Feature, FeatureFolder
from vgg_sweep.images.sets.probe_set import ProbeSet
from vgg_sweep.images.views.crops import rescaled, usable_or_none
from vgg_sweep.images.views.preprocessing import net_input
from vgg_sweep.machine.hardware import Hardware
from vgg_sweep.machine.ranks import ALONE, Ranks
from vgg_sweep.nets.activations import check_layer, mean_activations
from vgg_sweep.nets.initial import draw_weights
from vgg_sweep.nets.vgg import VGG, build_net
from vgg_sweep.predict.trained import TrainedNet
from vgg_sweep.protocols.passes import Pass
from vgg_sweep.runs.files import write_json
from vgg_sweep.runs.progress import Reporter
from vgg_sweep.score.batches import ahead, on_device, over_views
from vgg_sweep.score.manifest import begun, enter
from vgg_sweep.score.parts import Parts, origin
from vgg_sweep.score.score import FORWARD_PX

CHUNK = 50
"""Images in memory at a time, rescaled to every Q, and between two points at which a killed command can go on."""
RANDOM_INIT = "he"
"""How the weights of the control are drawn: the activations keep their size from layer to layer."""


@dataclass(frozen=True)
class Hashes:
    """A hash of each image's pixels, as uint64; 0 for one that is left out."""

    name: str = "contents"


def compute(
    loaded: TrainedNet,
    weights_fingerprint: str,
    folder: FeatureFolder,
    probed: ProbeSet,
    wanted: Sequence[Feature],
    hardware: Hardware,
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
    test = None if probed.is_test_N is None else probed.is_test_N.tolist()
    manifest = ranks.agree(
        lambda: begun(
            folder.path, probed.images.ids, probed.labels, probed.classes, hardware, reporter.note,
            metric=probed.metric, test=test,
            data_fingerprint=probed.fingerprint, weights_fingerprint=weights_fingerprint,
        )
    )  # fmt: skip
    missing = ranks.agree(lambda: folder.missing(list(wanted)))
    if not missing:
        return
    hardware.expect_shapes(alike=False)
    to_make: list[Feature | Hashes] = [*missing, *([] if "contents" in manifest else [Hashes()])]
    parts = Parts(folder.parts / origin(manifest, hardware, CHUNK), to_make, len(probed.images), chunk=CHUNK)
    computer = _Computer(loaded, probed, missing, hardware, reporter, ranks)
    computer.fill(parts)
    if ranks.is_first:
        computer.finish(folder, manifest, parts)


@dataclass(frozen=True)
class _Usable:
    """The described part of an image of a chunk, rescaled to each Q, and the hash of its pixels."""

    at_Q: dict[tuple[str, int], NDArray[np.uint8]]
    content: int


@dataclass(frozen=True)
class _Computer:
    """Computes features with one net."""

    loaded: TrainedNet
    probed: ProbeSet
    missing: list[Feature]
    hardware: Hardware
    reporter: Reporter
    ranks: Ranks

    def fill(self, parts: Parts[Feature | Hashes]) -> None:
        """Compute the parts that are not there; the next chunk is decoded while one is in the net."""
        nets = {OWN: self.loaded.net}
        if any(each.weights == RANDOM for each in self.missing):
            nets[RANDOM] = random_net(self.loaded)
        for net in nets.values():
            self.hardware.hold(net.eval())
        to_decode = (self.ranks.share(chunk) for chunk in parts.chunks if parts.missing(chunk))

        def rows_of(own: range, todo: list[Feature | Hashes]) -> Iterator[dict[Feature | Hashes, NDArray[Any]]]:
            yield from self._rows(nets, next(decoded), todo)

        with (
            ThreadPoolExecutor(max(1, self.loaded.config.workers)) as pool,
            closing(ahead(pool, self._usable, to_decode)) as decoded,
        ):
            parts.fill(rows_of, self.reporter, self.ranks, "features")

    def _usable(self, index: int) -> _Usable | None:
        seen = {(each.region, each.view.Q) for each in self.missing}
        image = usable_or_none(self.probed.images, index, max(Q for _, Q in seen))
        if image is None:
            return None
        regions = {IMAGE: image}
        if self.probed.boxes_N4 is not None:
            x0, y0, x1, y1 = self.probed.boxes_N4[index].tolist()
            regions[BOX] = image.crop((x0, y0, min(x1, image.width), min(y1, image.height)))
        interpolation = self.loaded.preprocessing.interpolation
        with self.probed.images.named(index):
            at_Q = {(region, Q): rescaled(regions[region], Q, interpolation) for region, Q in seen}
        return _Usable(at_Q, content_of(np.asarray(image)))

    def _rows(
        self, nets: Mapping[str, VGG], images: list[_Usable | None], todo: list[Feature | Hashes]
    ) -> Iterator[dict[Feature | Hashes, NDArray[Any]]]:
        """The rows of a chunk for each of `todo`, together those of the layers of one view, which goes through the net
        once.
        """
        there = [image for image in images if image is not None]
        is_there_N = np.array([image is not None for image in images], bool)
        by_view: dict[Feature, list[str]] = {}
        for each in todo:
            if isinstance(each, Hashes):
                yield {each: np.array([image.content if image else 0 for image in images], np.uint64)}
            else:
                by_view.setdefault(replace(each, layer=""), []).append(each.layer)
        for each, layers in by_view.items():
            images_HWC = [image.at_Q[each.region, each.view.Q] for image in there]
            rows: dict[Feature | Hashes, NDArray[Any]] = {}
            for layer, there_NC in self.means(nets[each.weights], images_HWC, each.view, layers).items():
                own_NC = np.full((len(images), there_NC.shape[1]), np.nan, np.float32)
                own_NC[is_there_N] = there_NC
                rows[replace(each, layer=layer)] = own_NC
            yield rows

    def means(
        self, net: VGG, images_HWC: list[NDArray[np.uint8]], view: Pass, layers: Sequence[str]
    ) -> dict[str, NDArray[np.float32]]:
        """The mean activations [N, C] of each layer for one view of the images."""
        channels = {each.name: each.out_channels for each in net.layers} | {COLOUR: 3}
        of_net = [each.name for each in net.layers if each.name in layers]
        in_order = [*of_net, *([COLOUR] if COLOUR in layers else [])]

        def of_views(views_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
            pixels_NCHW = on_device(views_NHWC, view, self.hardware)
            found = []
            with torch.inference_mode(), self.hardware.autocast():
                if of_net:
                    inputs_NCHW = self.hardware.laid_out(net_input(pixels_NCHW, self.loaded.preprocessing))
                    found += [means_NC for _, means_NC in mean_activations(net, inputs_NCHW, of_net)]
                if COLOUR in layers:
                    found.append(pixels_NCHW.float().mean((2, 3)) / 255)
            together_NC: NDArray[np.float32] = torch.cat(found, dim=1).cpu().numpy()
            return together_NC

        ends = np.cumsum([channels[layer] for layer in in_order])
        if not images_HWC:
            return {layer: np.empty((0, channels[layer]), np.float32) for layer in in_order}
        forward_px = FORWARD_PX[self.hardware.device.type]
        all_NC = over_views(of_views, images_HWC, view.method, self.loaded.config.crop, forward_px)
        return dict(zip(in_order, np.split(all_NC, ends[:-1], axis=1), strict=True))

    def finish(self, folder: FeatureFolder, manifest: dict[str, Any], parts: Parts[Feature | Hashes]) -> None:
        """Join the chunks of each feature and enter it in the manifest, one by one: a kill in between costs nothing."""
        if "contents" not in manifest:
            contents_N = np.concatenate([np.load(file) for file in parts.files(Hashes())])
            manifest["contents"] = [f"{content:016x}" for content in contents_N.tolist()]
            left_out = [self.probed.images.ids[row] for row in np.flatnonzero(contents_N == 0).tolist()]
            if len(left_out) == len(contents_N):
                raise RunError("no image of the set can be decoded; `vgg-sweep data check` lists what is wrong.")
            if left_out:
                manifest["left_out"] = left_out
                self.reporter.note(f"{len(left_out)} images cannot be decoded and are left out, such as {left_out[0]}")
        for each in self.missing:
            file = folder.file(each)
            parts.join(each, file)
            num_images, num_channels = np.load(file, mmap_mode="r").shape
            about = {"layer": each.layer, "weights": each.weights, "region": each.region}
            about |= {"N": num_images, "C": num_channels}
            enter(manifest, each.view, file, self.hardware, **about)
            write_json(folder.path / "manifest.json", manifest)
            shutil.rmtree(parts.folder / each.name)
        shutil.rmtree(parts.folder / Hashes.name, ignore_errors=True)
        if not any(folder.parts.rglob("*.npy")):  # of features that an earlier command was to make
            shutil.rmtree(folder.parts)


def random_net(loaded: TrainedNet) -> VGG:
    """The same net with random weights, always the same ones."""
    net = build_net(loaded.config, len(loaded.classes))
    draw_weights(net, RANDOM_INIT, torch.Generator().manual_seed(0))
    return net


def content_of(image_HWC: NDArray[np.uint8]) -> int:
    """A hash of an image's size and pixels, which identifies copies; never 0."""
    digest = hashlib.blake2b(repr(image_HWC.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(image_HWC).data)
    return int.from_bytes(digest.digest(), "big") or 1
