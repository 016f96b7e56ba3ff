"""What a run trains for: to classify (Sect. 3.1), or to localise (Appendix A)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.sets.boxes import SetBoxes
from vgg_sweep.images.sets.splits import ImageSet, Split
from vgg_sweep.images.views.crops import origins, rescaled_size
from vgg_sweep.images.views.targets import Crop, Targets, box_of, targets_of
from vgg_sweep.localise.boxes import Boxes
from vgg_sweep.localise.geometry import CORRECT_IOU, iou
from vgg_sweep.train.objectives import Objective, classification, localisation, of_class
from vgg_sweep.train.step import Learner
from vgg_sweep.train.validate import error_of, single_Q_px, validate


@dataclass(frozen=True)
class Task:
    """What is minimised, the targets of views besides labels, and how it is validated."""

    objective: Objective
    validate: Callable[[Learner, Split], float]
    """The error in percent."""
    num_classes: int
    """Of which the answer is one; 1 where it is no class."""
    targets: Targets | None = None
    lr_setting: str = "recipe.lr"
    name: str = ""
    """What a run says of it where it begins."""


def task_of(config: Config, images: ImageSet, boxes: SetBoxes | None) -> Task:
    """What a run of `config` trains for; `boxes` are those of `images`, where it localises."""
    if boxes is None:
        objective = partial(classification, label_smoothing=config.recipe.label_smoothing)
        return Task(objective, validate, len(images.classes))
    return Task(
        localisation(config.localise),
        partial(validate_boxes, boxes=boxes.val),
        num_classes=1,
        targets=targets_of(config, boxes.train, images.train.labels_N),
        lr_setting="localise.lr",
        name=f" to predict boxes ({config.boxes.upper()})",
    )


def only_with_boxes(images: ImageSet, boxes: SetBoxes, note: Callable[[str], None]) -> tuple[ImageSet, SetBoxes]:
    """The set without training images that have no box of their class; `note` gets their number.

    Raises `ConfigError` if none is left, or no validation image has one.
    """
    train = images.train
    rows = np.flatnonzero(boxes.train.has(train.labels_N))
    for kind, has_any in (("training", len(rows) > 0), ("validation", boxes.val.has(images.val.labels_N).any())):
        if not has_any:
            raise ConfigError(f"no {kind} image has a box of its class; data.boxes=PATH says where the boxes are.")
    if len(rows) == len(train):
        return images, boxes
    note(f"{len(train) - len(rows):,} of {len(train):,} training images have no box of their class and are left out")
    return replace(images, train=train.chosen(rows)), replace(boxes, train=boxes.train.chosen(rows))


def validate_boxes(learner: Learner, split: Split, boxes: Boxes) -> float:
    """Error in percent of the box for the true class, from the centre crop, where an image has boxes of it (Table 8).

    Raises as `validate`.
    """
    config, Q_px = learner.config, single_Q_px(learner.config)

    def wrong(outputs_NK: torch.Tensor, indices: list[int]) -> list[bool]:
        labels_N = torch.from_numpy(split.labels_N[indices]).to(outputs_NK.device)
        boxes_N4 = box_of(of_class(outputs_NK, labels_N).cpu().numpy(), config.localise, config.crop)
        judged = []
        for index, box_4 in zip(indices, boxes_N4, strict=True):
            true_b4 = boxes.of(index, int(split.labels_N[index]))
            if len(true_b4):
                crop = centre_crop(split.size_px(index), Q_px, config.crop)
                judged.append(bool(iou(crop.box_in_image(box_4)[None], true_b4).max() < CORRECT_IOU))
        return judged

    return error_of(learner, split, wrong)


def centre_crop(size_px: tuple[int, int], Q_px: int, crop: int) -> Crop:
    """Where the centre crop of an image lies."""
    width, height = rescaled_size(*size_px, Q_px)
    top, left = origins("centre-crop", height, width, crop)[0]
    return Crop(width / size_px[0], height / size_px[1], left, top, crop)
