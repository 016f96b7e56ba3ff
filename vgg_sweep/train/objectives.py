"""What a step minimises, and what counts as wrong: classes (Sect. 3.1) or boxes (Appendix A).

Axes: N images, K outputs of the net, P positions of its map, M positions of all images.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from vgg_sweep.config.localise import NUM_COORDINATES, Localise
from vgg_sweep.images.views.loader import Batch
from vgg_sweep.localise.geometry import CORRECT_IOU

Objective = Callable[[Tensor, Batch, slice], tuple[Tensor, Tensor]]
"""From the net's outputs_NKhw for some images of a batch to their loss and their wrong answers, each summed."""


def classification(
    outputs_NK11: Tensor, batch: Batch, own: slice, *, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression; wrong is every class but the label."""
    outputs_NK, labels_N = outputs_NK11.flatten(1), batch.labels_N[own].to(outputs_NK11.device, non_blocking=True)
    loss = F.cross_entropy(outputs_NK, labels_N, reduction="sum", label_smoothing=label_smoothing)
    return loss, (outputs_NK.detach().argmax(1) != labels_N).sum().float()


def localisation(settings: Localise) -> Objective:
    """Half the squared distance of the box for the label from the target, times `settings.loss_weight`; wrong is an
    overlap of less than a half; of an image both are means over its positions. Those without a target add nothing.
    """

    def objective(outputs_NKhw: Tensor, batch: Batch, own: slice) -> tuple[Tensor, Tensor]:
        assert batch.targets_NP4 is not None, "batches for boxes have targets"
        targets_NP4 = batch.targets_NP4[own].to(outputs_NKhw.device)
        num_positions = targets_NP4.shape[1]
        labels_M = batch.labels_N[own].to(outputs_NKhw.device).repeat_interleave(num_positions)
        predicted_M4 = of_class(outputs_NKhw.flatten(2).transpose(1, 2).flatten(0, 1), labels_M)
        targets_M4 = targets_NP4.flatten(0, 1)
        has_target_M = ~targets_M4.isnan().any(1)
        predicted_M4, targets_M4 = predicted_M4[has_target_M], targets_M4[has_target_M]
        loss = settings.loss_weight / 2 * (predicted_M4 - targets_M4).square().sum()
        num_wrong = (overlaps(predicted_M4.detach(), targets_M4) < CORRECT_IOU).sum().float()
        return loss / num_positions, num_wrong / num_positions

    return objective


def of_class(outputs_NK: Tensor, labels_N: Tensor) -> Tensor:
    """The box that a net predicts for each image's label, [N, 4]: the only one (SCR), or that of the class (PCR)."""
    if outputs_NK.shape[1] == NUM_COORDINATES:
        return outputs_NK
    outputs_NK4 = outputs_NK.reshape(len(outputs_NK), -1, NUM_COORDINATES)
    return outputs_NK4[torch.arange(len(labels_N)), labels_N]


def overlaps(first_N4: Tensor, second_N4: Tensor) -> Tensor:
    """Intersection over union of each pair of boxes given as (centre x, centre y, width, height); 0 where a side is not
    positive.
    """
    low_N2 = torch.maximum(first_N4[:, :2] - first_N4[:, 2:] / 2, second_N4[:, :2] - second_N4[:, 2:] / 2)
    high_N2 = torch.minimum(first_N4[:, :2] + first_N4[:, 2:] / 2, second_N4[:, :2] + second_N4[:, 2:] / 2)
    shared_N = (high_N2 - low_N2).clamp(min=0).prod(1)
    first_N, second_N = (sides_N2.clamp(min=0).prod(1) for sides_N2 in (first_N4[:, 2:], second_N4[:, 2:]))
    return shared_N / (first_N + second_N - shared_N).clamp(min=torch.finfo(shared_N.dtype).tiny)
