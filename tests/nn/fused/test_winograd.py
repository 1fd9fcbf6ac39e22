"""Fast convolutions are PyTorch's, with both gradients and theirs again."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.strategies import networks, noise_for, random_tensor, seeds
from voxflate.losses import r1_penalty
from voxflate.nn.functional import channels_last
from voxflate.nn.fused import build, winograd

pytestmark = pytest.mark.skipif(bool(build.kernels().problem), reason="no C++ compiler here")


@given(
    seed=seeds,
    n=st.integers(1, 3),
    sides=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 21)),
    channels=st.tuples(st.sampled_from([8, 16, 24, 40]), st.sampled_from([8, 16, 24, 40])),
)
def test_values_and_gradients_of_both_orders_are_pytorch_s(seed, n, sides, channels):
    inputs, outputs = channels
    x = channels_last(random_tensor(n, inputs, *sides, seed=seed, dtype=torch.float32))
    kernel = random_tensor(outputs, inputs, 3, 3, 3, seed=seed + 1, dtype=torch.float32)
    weights = [random_tensor(n, outputs, *sides, seed=seed + 2, dtype=torch.float32)]
    weights += [random_tensor(*x.shape, seed=seed + 3, dtype=torch.float32)]
    weights += [random_tensor(*kernel.shape, seed=seed + 4, dtype=torch.float32)]

    def everything(convolve, dtype):
        a, b = (value.to(dtype).requires_grad_() for value in (x, kernel))
        first, second, third = (value.to(dtype) for value in weights)
        y = convolve(a, b)
        grads = torch.autograd.grad((y.square() * first).sum(), (a, b), create_graph=True)
        again = torch.autograd.grad((grads[0] * second).sum() + (grads[1] * third).sum(), (a, b))
        return [y, *grads, *again]

    exact = everything(lambda a, b: F.conv3d(a, b, padding=1), torch.float64)
    for expected, got in zip(exact, everything(winograd.convolve, torch.float32), strict=True):
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
        ((1, 8, 4, 4, 16), (8, 8, 3, 3, 3), torch.bfloat16),
        ((1, 8, 4, 4, 16), (8, 8, 3, 3, 3), torch.float64),
        ((1, 8, 4, 4, 16), (8, 8, 1, 1, 1), torch.float32),
        ((1, 8, 4, 4, 16), (8, 2, 3, 3, 3), torch.float32),
        ((1, 12, 4, 4, 16), (8, 12, 3, 3, 3), torch.float32),
        ((1, 8, 4, 4, 16), (4, 8, 3, 3, 3), torch.float32),
        ((1, 8, 4, 4, 15), (8, 8, 3, 3, 3), torch.float32),
        ((0, 8, 4, 4, 16), (8, 8, 3, 3, 3), torch.float32),
        ((1, 8, 4, 16), (8, 8, 3, 3), torch.float32),
    ],
)
def test_it_says_what_it_cannot_do(shape, kernel, dtype, monkeypatch):
    monkeypatch.setattr(winograd, "_processor_is_slow", lambda: True)
    fine = torch.zeros(1, 8, 4, 4, 16), torch.zeros(8, 8, 3, 3, 3)
    assert winograd.pays(*fine)
    with torch.autocast("cpu", torch.bfloat16):
        assert not winograd.pays(*fine)
    assert not winograd.pays(torch.zeros(shape, dtype=dtype), torch.zeros(kernel, dtype=dtype))
    monkeypatch.setattr(winograd, "_processor_is_slow", lambda: False)
    assert not winograd.pays(*fine)


@pytest.mark.parametrize("architecture", ["baseline", "split-shuffle"])
def test_networks_use_it_and_agree_with_pytorch(architecture, monkeypatch):
    networks_used = []
    for fast in (False, True):
        monkeypatch.setattr(winograd, "_processor_is_slow", lambda fast=fast: fast)
        generator, discriminator = networks(3, architecture, base=(1, 2, 4), stages=3, channels=16)
        z = random_tensor(2, 6, dtype=torch.float32)
        noise = noise_for(generator, 2)
        image = generator(z, noise=noise)
        loss = discriminator(image).square().sum() + r1_penalty(discriminator, image)
        networks_used.append(
            torch.autograd.grad(
                loss, [*generator.parameters(), *discriminator.parameters()], allow_unused=True
            )
        )
    for slow, quick in zip(*networks_used, strict=True):
        if slow is not None:
            assert (quick - slow).abs().max() <= 1e-4 * slow.abs().max().clamp(min=1e-3)
    assert any(not torch.equal(a, b) for a, b in zip(*networks_used, strict=True) if a is not None)
