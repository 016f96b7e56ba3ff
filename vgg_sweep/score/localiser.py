"""A net that predicts boxes, applied to crops and densely (Appendix A).

Axes: N images, K classes, k classes kept of an image, h w positions of the dense map, P positions of one image, C
outputs of a net, H W pixels.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray

from vgg_sweep.config.imported import Preprocessing
from vgg_sweep.config.localise import NUM_COORDINATES
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import RunError
from vgg_sweep.images.views.crops import origins
from vgg_sweep.images.views.targets import box_of
from vgg_sweep.localise import geometry
from vgg_sweep.machine.hardware import Hardware
from vgg_sweep.nets.vgg import VGG, build_net
from vgg_sweep.nets.weights import load_weights, read_metadata
from vgg_sweep.plan.runs import Run
from vgg_sweep.protocols.passes import Pass
from vgg_sweep.score.batches import halved_to_fit, outputs, same_shape
from vgg_sweep.score.score import FORWARD_PX

MOST_CLASSES = 20
"""A set of no more classes has the boxes of all of them stored."""
NUM_KEPT = 10
"""Classes of an image whose boxes are stored where the set has more, beside its true one."""


@dataclass(frozen=True)
class Localiser:
    """A net that predicts boxes, the classification net that rates them, and the preprocessing of both."""

    net: VGG
    classifier: VGG | None
    """None where there is no net that knows the classes: all boxes are then rated alike."""
    config: Config
    num_classes: int
    preprocessing: Preprocessing
    hardware: Hardware

    def to_device(self) -> None:
        for net in (self.net, self.classifier):
            if net is not None:
                self.hardware.hold(net.eval())

    def predicted(
        self, images_HWC: list[NDArray[np.uint8]], sizes_px: Sequence[tuple[int, int]], each: Pass
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Of each image, rescaled to the pass's Q from a size (width, height): boxes_PK4 in pixels of that size, not
        clipped, and scores_PK. A net with one box for all classes has K = 1 in the former.
        """
        maps = self._maps(self.net, images_HWC, each)
        rated = self._maps(self.classifier, images_HWC, each) if self.classifier is not None else None
        found = []
        for number, (map_Chw, image_HWC, size_px) in enumerate(zip(maps, images_HWC, sizes_px, strict=True)):
            boxes_PK4 = self._boxes(map_Chw, image_HWC.shape[:2], size_px, each)
            scores_PK = np.full((len(boxes_PK4), self.num_classes), 1 / self.num_classes, np.float32)
            if rated is not None:
                scores_PK = torch.from_numpy(rated[number]).softmax(0).flatten(1).T.numpy()
            found.append((boxes_PK4, scores_PK))
        return found

    def _boxes(
        self, map_Chw: NDArray[np.float32], rescaled_px: tuple[int, int], size_px: tuple[int, int], each: Pass
    ) -> NDArray[np.float32]:
        crop, (height, width) = self.config.crop, rescaled_px
        outputs_PK4 = map_Chw.reshape(len(map_Chw), -1).T.reshape(map_Chw[0].size, -1, NUM_COORDINATES)
        stride_px = prod(layer.stride for layer in self.net.layers)  # between the crops that two neighbours see
        corners_P2 = [(stride_px * y, stride_px * x) for y, x in np.ndindex(map_Chw.shape[1:])]
        if each.method != "dense":
            corners_P2 = origins(each.method, height, width, crop)
        shifts_P14 = np.array([(left, top, left, top) for top, left in corners_P2])[:, None]
        boxes_PK4 = box_of(outputs_PK4.astype(np.float64), self.config.localise, crop) + shifts_P14
        if each.flip:
            boxes_PK4 = geometry.mirrored(boxes_PK4, width)
        return geometry.rescaled(boxes_PK4, size_px[0] / width, size_px[1] / height).astype(np.float32)

    def _maps(self, net: VGG, images_HWC: list[NDArray[np.uint8]], each: Pass) -> list[NDArray[np.float32]]:
        """The outputs_Chw of a net for each image."""

        def of_views(views_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
            outputs_NChw = outputs(net, views_NHWC, each, self.preprocessing, self.hardware)
            maps_NChw: NDArray[np.float32] = outputs_NChw.cpu().numpy()
            return maps_NChw

        maps: dict[int, NDArray[np.float32]] = {}
        forward_px = FORWARD_PX[self.hardware.device.type]
        for indices, views_NHWC in same_shape(images_HWC, each.method, self.config.crop, forward_px):
            maps |= dict(zip(indices, halved_to_fit(of_views, views_NHWC), strict=True))
        return [maps[index] for index in range(len(images_HWC))]


def kept_classes(scores_PK: NDArray[np.float32], label: int) -> NDArray[np.int32]:
    """The classes whose boxes are stored, best first by their mean score: all of few, else the best, and the label."""
    best_K = np.argsort(-scores_PK.mean(axis=0), kind="stable").astype(np.int32)
    if len(best_K) <= MOST_CLASSES:
        return best_K
    kept = best_K[: NUM_KEPT + 1].copy()
    if label not in kept:
        kept[-1] = label
    return kept


def classifier_of(run: Run, classes: Sequence[str]) -> VGG | None:
    """The net that `run` was made from, which rates its boxes by class; None if there is none, or of other classes.

    Raises `RunError` if it is gone, or was trained again since.
    """
    if run.parent is None:
        return None
    weights = run.parent.folder.weights
    if run.folder.record()["parent_weights_sha256"] != run.parent.folder.weights_fingerprint():
        raise RunError(
            f"{run.id} was made from other weights than {run.parent.id} has now, and its boxes are rated by these; "
            "multirun --force trains it again."
        )
    known = json.loads(read_metadata(weights)["classes"])
    if known != list(classes):
        return None
    net = build_net(run.parent.config, len(known))
    load_weights(net, weights)
    return net
