"""Local response normalisation across channels, the LRN of net A-LRN.

Sect. 2.3 takes it from Krizhevsky et al. 2012, Sect. 3.3, with their constants:

    b_i = a_i / (K + ALPHA * sum of a_j^2 over the N channels j around i) ^ BETA

ALPHA is not divided by N; `torch.nn.LocalResponseNorm` divides, so its alpha for the same result is 5e-4.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

K = 2.0
N = 5
ALPHA = 1e-4
BETA = 0.75

CHUNK_CPU = 2**18
CHUNK_GPU = 2**26
"""Elements worked on at a time: few enough to stay in a core's cache, many enough to fill a GPU. Temporary memory is a
few times this, whatever the batch."""


class LRN(nn.Module):
    """Maps activations_NCHW to the same shape, layout and type; computes in float32 also for half-precision input."""

    def forward(self, activations_NCHW: Tensor) -> Tensor:
        output: Tensor = _LRN.apply(activations_NCHW)
        return output


def factor(a_NCHW: Tensor) -> Tensor:
    """What each activation is multiplied by: (K + ALPHA * sum of a_j^2) ^ -BETA, in float64, as it may hardly vary."""
    return _scales(a_NCHW.double())[0]


class _LRN(torch.autograd.Function):
    """Keeps only its input, as the ReLU before it does anyway, and computes the sums again in the backward pass.

    With s_i = K + ALPHA * sum of a_j^2 and g the gradient of b, the gradient of a is

        g_i s_i^-BETA - 2 ALPHA BETA a_i * sum of g_j a_j s_j^(-BETA - 1) over the channels j around i.
    """

    @staticmethod
    def forward(ctx: Any, input_NCHW: Tensor) -> Tensor:
        ctx.save_for_backward(input_NCHW)
        output_NCHW = torch.empty_like(input_NCHW)
        for input_, output in _chunks(input_NCHW, output_NCHW):
            a = _exact(input_)
            output.copy_(_scales(a)[0].mul_(a))
        return output_NCHW

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output_NCHW: Tensor) -> Tensor:
        (input_NCHW,) = ctx.saved_tensors
        grad_input_NCHW = torch.empty_like(input_NCHW)
        for input_, grad_output, grad_input in _chunks(input_NCHW, grad_output_NCHW, grad_input_NCHW):
            a, g = _exact(input_), _exact(grad_output)
            scale, s = _scales(a)
            through_sums = _window_sums((g * a).mul_(scale).div_(s)).mul_(a).mul_(-2 * ALPHA * BETA)
            grad_input.copy_(through_sums.addcmul_(g, scale))
        return grad_input_NCHW


def _chunks(*tensors_NCHW: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Parts of the tensors that belong together, cut along images and rows, never along channels."""
    _, channels, height, width = tensors_NCHW[0].shape
    size = CHUNK_CPU if tensors_NCHW[0].device.type == "cpu" else CHUNK_GPU
    num_images = max(1, size // (channels * height * width))
    num_rows = max(1, size // (channels * width))
    for images in zip(*(torch.split(tensor, num_images) for tensor in tensors_NCHW), strict=True):
        yield from zip(*(torch.split(image, num_rows, dim=2) for image in images), strict=True)


def _exact(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _scales(a_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """s^-BETA and s; the power is taken by square roots, which are several times cheaper."""
    s = _window_sums(a_NCHW * a_NCHW).mul_(ALPHA).add_(K)
    return s.sqrt().mul_(s).rsqrt_(), s


def _window_sums(values_NCHW: Tensor) -> Tensor:
    """At each channel the sum over the N channels around it, as far as they exist."""
    sums = values_NCHW.clone()
    for distance in range(1, N // 2 + 1):
        sums[:, distance:].add_(values_NCHW[:, :-distance])
        sums[:, :-distance].add_(values_NCHW[:, distance:])
    return sums
