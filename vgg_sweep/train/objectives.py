"""What a step minimises, and what counts as wrong: classes (Sect. 3.1) or boxes (Appendix A).

Axes: N images, K outputs of the net.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from vgg_sweep.config.localise import NUM_COORDINATES, Localise
from vgg_sweep.images.views.loader import Batch
from vgg_sweep.localise.geometry import CORRECT_IOU

Objective = Callable[[Tensor, Batch, slice], tuple[Tensor, Tensor]]
"""From the net's outputs_NK for some images of a batch to their loss and their wrong answers, each summed."""


def classification(
    outputs_NK: Tensor, batch: Batch, own: slice, *, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression; wrong is every class but the label."""
    labels_N = batch.labels_N[own].to(outputs_NK.device, non_blocking=True)
    loss = F.cross_entropy(outputs_NK, labels_N, reduction="sum", label_smoothing=label_smoothing)
    return loss, (outputs_NK.detach().argmax(1) != labels_N).sum().float()


def localisation(settings: Localise) -> Objective:
    """Half the squared distance of the box for the label from the target, times `settings.loss_weight`; wrong is an
    overlap of less than a half. Images without a target add nothing to either.
    """

    def objective(outputs_NK: Tensor, batch: Batch, own: slice) -> tuple[Tensor, Tensor]:
        assert batch.targets_N4 is not None, "batches for boxes have targets"
        targets_N4 = batch.targets_N4[own].to(outputs_NK.device)
        predicted_N4 = of_class(outputs_NK, batch.labels_N[own].to(outputs_NK.device))
        has_target_N = ~targets_N4.isnan().any(1)
        predicted_M4, targets_M4 = predicted_N4[has_target_N], targets_N4[has_target_N]
        loss = settings.loss_weight / 2 * (predicted_M4 - targets_M4).square().sum()
        return loss, (overlaps(predicted_M4.detach(), targets_M4) < CORRECT_IOU).sum().float()

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
