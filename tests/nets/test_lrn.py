import numpy as np
import pytest
import torch
from torch import nn

from vgg_sweep.nets import lrn
from vgg_sweep.nets.lrn import LRN

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def activations(*shape, scale=100.0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype).relu() * scale


def written_out(a):
    """Krizhevsky et al. 2012, Sect. 3.3: the sum runs over n = 5 kernel maps, cut at the first and the last."""
    k, n, alpha, beta = 2, 5, 1e-4, 0.75
    N = a.shape[1]
    b = np.empty_like(a)
    for i in range(N):
        total = 0
        for j in range(max(0, i - n // 2), min(N - 1, i + n // 2) + 1):
            total += a[:, j] ** 2
        b[:, i] = a[:, i] / (k + alpha * total) ** beta
    return b


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 16])
def test_is_the_formula_of_krizhevsky(channels):
    a = activations(2, channels, 3, 4, dtype=torch.float64)
    np.testing.assert_allclose(LRN()(a).numpy(), written_out(a.numpy()), rtol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_forward_and_backward_equal_torch(layout):
    """torch divides alpha by n, so its alpha is 5e-4."""
    a = activations(3, 16, 7, 9).contiguous(memory_format=layout)
    ours, theirs = a.clone().requires_grad_(), a.clone().requires_grad_()
    gradient = torch.randn(a.shape, generator=torch.Generator().manual_seed(1))
    output = LRN()(ours)
    expected = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)(theirs)
    output.backward(gradient)
    expected.backward(gradient)
    assert output.is_contiguous(memory_format=layout)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_gradient_equals_finite_differences():
    a = activations(2, 7, 2, 3, scale=30.0, dtype=torch.float64).add_(0.1).requires_grad_()
    assert torch.autograd.gradcheck(LRN(), a)


@pytest.mark.parametrize("size", [1, 40, 100, 10_000])
def test_the_size_of_chunks_changes_nothing(size, monkeypatch):
    a = activations(5, 6, 7, 8, dtype=torch.float64)
    expected_gradient = torch.autograd.functional.vjp(LRN(), a, a)[1]
    monkeypatch.setattr(lrn, "CHUNK_CPU", size)
    output, gradient = torch.autograd.functional.vjp(LRN(), a, a)
    np.testing.assert_allclose(output.numpy(), written_out(a.numpy()), rtol=1e-12)
    assert torch.equal(gradient, expected_gradient)


def test_half_precision_is_computed_in_float32():
    """Under autocast the layer gets bfloat16; only its output is rounded to that type."""
    a = activations(2, 16, 5, 5).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        output = LRN()(a)
    output.backward(torch.ones_like(output))
    exact = a.detach().float().requires_grad_()
    LRN()(exact).backward(torch.ones_like(exact))
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, LRN()(exact).bfloat16())
    assert torch.equal(a.grad, exact.grad.bfloat16())


def test_keeps_only_its_input():
    kept = []
    a = activations(2, 8, 4, 4).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        LRN()(a)
    assert [tensor.data_ptr() for tensor in kept] == [a.data_ptr()]
