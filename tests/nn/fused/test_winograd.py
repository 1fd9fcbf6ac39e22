"""Fast convolutions are PyTorch's, with both gradients and theirs again."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.strategies import random_tensor, seeds
from voxflate.nn.functional import channels_last
from voxflate.nn.fused import build, winograd

pytestmark = pytest.mark.skipif(bool(build.kernels().problem), reason="no C++ compiler here")
CONV = {2: F.conv2d, 3: F.conv3d}


@given(
    seed=seeds,
    dims=st.sampled_from([2, 3]),
    flat=st.booleans(),
    n=st.integers(1, 3),
    sides=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 21)),
    channels=st.tuples(st.sampled_from([8, 16, 24, 40]), st.sampled_from([8, 16, 24, 40])),
)
def test_values_and_gradients_of_both_orders_are_pytorch_s(seed, dims, flat, n, sides, channels):
    inputs, outputs = channels
    taps = (1 if flat else 3, 3, 3)[-dims:]
    x = channels_last(random_tensor(n, inputs, *sides[-dims:], seed=seed, dtype=torch.float32))
    kernel = random_tensor(outputs, inputs, *taps, seed=seed + 1, dtype=torch.float32)
    weights = [random_tensor(n, outputs, *sides[-dims:], seed=seed + 2, dtype=torch.float32)]
    weights += [random_tensor(*x.shape, seed=seed + 3, dtype=torch.float32)]
    weights += [random_tensor(*kernel.shape, seed=seed + 4, dtype=torch.float32)]

    def everything(convolve, dtype):
        a, b = (value.to(dtype).requires_grad_() for value in (x, kernel))
        first, second, third = (value.to(dtype) for value in weights)
        y = convolve(a, b)
        grads = torch.autograd.grad((y.square() * first).sum(), (a, b), create_graph=True)
        again = torch.autograd.grad((grads[0] * second).sum() + (grads[1] * third).sum(), (a, b))
        return [y, *grads, *again]

    def exact(a, b):
        return CONV[dims](a, b, padding=tuple(k // 2 for k in taps))

    for expected, got in zip(
        everything(exact, torch.float64), everything(winograd.convolve, torch.float32), strict=True
    ):
        assert (got - expected).abs().max() < 3e-5 * expected.abs().max()


def test_a_result_does_not_depend_on_the_number_of_threads():
    x = channels_last(random_tensor(3, 16, 6, 7, 9, dtype=torch.float32)).requires_grad_()
    kernel = random_tensor(8, 16, 3, 3, 3, seed=1, dtype=torch.float32).requires_grad_()
    threads = torch.get_num_threads()
    results = []
    for number in (1, 3):
        torch.set_num_threads(number)
        y = winograd.convolve(x, kernel)
        results.append([y, *torch.autograd.grad(y.square().sum(), (x, kernel))])
    torch.set_num_threads(threads)
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("shape", "kernel", "dtype"),
    [
        ((1, 8, 4, 4), (8, 8, 3, 3), torch.bfloat16),
        ((1, 8, 4, 4), (8, 8, 3, 3), torch.float64),
        ((1, 8, 4, 4), (8, 8, 1, 1), torch.float32),
        ((1, 8, 4, 4), (8, 2, 3, 3), torch.float32),
        ((1, 12, 4, 4), (8, 12, 3, 3), torch.float32),
        ((1, 8, 4, 4), (4, 8, 3, 3), torch.float32),
        ((0, 8, 4, 4), (8, 8, 3, 3), torch.float32),
    ],
)
def test_it_says_what_it_cannot_do(shape, kernel, dtype, monkeypatch):
    monkeypatch.setattr(winograd, "_processor_is_slow", lambda: True)
    fine = torch.zeros(1, 8, 4, 4), torch.zeros(8, 8, 3, 3)
    assert winograd.pays(*fine)
    with torch.autocast("cpu", torch.bfloat16):
        assert not winograd.pays(*fine)
    assert not winograd.pays(torch.zeros(shape, dtype=dtype), torch.zeros(kernel, dtype=dtype))
    monkeypatch.setattr(winograd, "_processor_is_slow", lambda: False)
    assert not winograd.pays(*fine)
