"""Batch normalisation in training: over which images it takes its statistics.

Those of a batch are the same on one process and on several. Axes: N images, C channels, h w positions.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F


def normalisations(net: nn.Module) -> list[nn.BatchNorm2d]:
    """The batch normalisations of `net`, those of shortcuts too."""
    return [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]


def normalises_over_batch(net: nn.Module) -> bool:
    """Whether what `net` makes of an image in training depends on the others of the batch."""
    return any(
        module.weight.requires_grad and not isinstance(module, FrozenBatchNorm) for module in normalisations(net)
    )


def parameter_groups(
    net: nn.Module, weight_decay: float, *, bn_decay: bool, shares: Mapping[str, float]
) -> list[dict[str, Any]]:
    """The trainable parameters for an optimizer; scale and shift of batch normalisations without `weight_decay` unless
    `bn_decay`; each group with its `share`, the multiple of the run's rate that it has: 1 but for those in `shares`.
    """
    of_norms = {id(parameter) for module in normalisations(net) for parameter in module.parameters()}
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            is_spared = not bn_decay and id(parameter) in of_norms
            groups.setdefault((is_spared, shares.get(name, 1.0)), []).append(parameter)
    return [
        {"params": own, "weight_decay": 0.0 if is_spared else weight_decay, "share": share}
        for (is_spared, share), own in sorted(groups.items(), key=lambda group: group[0])
    ]


def freeze(part: nn.Module) -> None:
    """Let training leave `part` as it is: its parameters, and the running statistics of its batch normalisations, which
    then normalise by these as at test time.
    """
    part.requires_grad_(False)
    for module in normalisations(part):
        module.__class__ = FrozenBatchNorm


class FrozenBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` as in evaluation, in training too."""

    def forward(self, input: Tensor) -> Tensor:
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def share_statistics(net: nn.Module) -> None:
    """Let every batch normalisation of `net` take its statistics over the images of all processes, in place.

    torch's SyncBatchNorm does so on GPUs only.
    """
    for module in normalisations(net):
        module.__class__ = SharedBatchNorm


class SharedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` over the images of all processes: the same function of the whole batch, and the same running
    statistics in each process.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        exact_NChw = input.float()
        count = _summed(torch.tensor(input[:, 0].numel(), dtype=torch.float64, device=input.device))
        mean_C = _summed(exact_NChw.sum((0, 2, 3))) / count
        centred_NChw = exact_NChw - mean_C[:, None, None]
        variance_C = _summed(centred_NChw.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean_C, self.momentum)
            self.running_var.lerp_(variance_C * count / (count - 1), self.momentum)
        scale_C = self.weight * (variance_C + self.eps).rsqrt()
        return (centred_NChw * scale_C[:, None, None] + self.bias[:, None, None]).to(input.dtype)


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes; the gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor) -> Tensor:
        total = grad_total.clone()
        dist.all_reduce(total)
        return total


def _summed(own: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(own)
    return total
