"""bfloat16 autocast on the CPU. Emulated bfloat16 is slow: everything here is a few voxels large."""

import pytest
import torch
from torch.nn import functional as F

from tests.strategies import networks, noise_for, random_tensor, randomised
from voxflate.losses import r1_penalty
from voxflate.nn import Discriminator
from voxflate.nn.functional import conv, weighted_sums

TRIALS = 3


def weight_gradient(convolve, depth, trial, dtype):
    x = random_tensor(2, 16, depth, 4, 4, seed=trial, dtype=torch.float32)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    kernel = random_tensor(16, 16, 3, 3, 3, seed=trial + 100, dtype=torch.float32).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        y = convolve(x, kernel, padding=1)
    upstream = random_tensor(*y.shape, seed=trial + 200, dtype=torch.float32)
    (gradient,) = torch.autograd.grad((y.float() * upstream).sum(), kernel)
    return gradient


def is_right(gradient, exact):
    """Finite, and within what the eight bits of a bfloat16 allow."""
    return bool(torch.isfinite(gradient).all() and (gradient - exact).abs().max() < 0.02 * exact.abs().max())


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_weight_gradient_is_right_at_every_depth(depth):
    for trial in range(TRIALS):
        exact = weight_gradient(conv, depth, trial, torch.float32)
        assert is_right(weight_gradient(conv, depth, trial, torch.bfloat16), exact)


def test_depth_two_stays_out_of_bfloat16():
    x, kernel = torch.randn(1, 4, 2, 4, 4), torch.randn(4, 4, 3, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert conv(x, kernel, padding=1).dtype == torch.float32
        assert conv(x.bfloat16(), kernel, padding=1).dtype == torch.float32
        assert conv(torch.randn(1, 4, 3, 4, 4), kernel, padding=1).dtype == torch.bfloat16


def test_pytorch_still_needs_the_workaround():
    exact = [weight_gradient(F.conv3d, 2, trial, torch.float32) for trial in range(TRIALS)]
    gradients = [weight_gradient(F.conv3d, 2, trial, torch.bfloat16) for trial in range(TRIALS)]
    if all(is_right(*pair) for pair in zip(gradients, exact, strict=True)):
        pytest.skip(
            f"PyTorch {torch.__version__} on this processor has a right bfloat16 weight gradient at depth 2: "
            "where it has the bfloat16 instructions too, the float32 convolution of `functional.conv` can go"
        )


def test_the_sum_of_an_image_of_one_channel_is_not_rounded():
    image = weighted_sums(torch.ones(1, 257, 2, 2, dtype=torch.bfloat16), torch.ones(1, 1, 257))
    assert image.dtype == torch.float32
    assert (image == 257).all()  # the nearest bfloat16 is 256


@pytest.mark.parametrize("base", [(1, 4, 4), (2, 4, 4)])
def test_both_networks_in_bfloat16_are_near_float32(base):
    generator, discriminator = networks(3, base=base)
    z, noise = random_tensor(2, 6, dtype=torch.float32), noise_for(generator, 2)
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            image = generator(z, noise=noise)
            logits = discriminator(image)
        assert image.dtype == torch.float32
        gradients = torch.autograd.grad(logits.float().square().sum(), list(generator.parameters()))
        results.append((image, torch.cat([gradient.flatten() for gradient in gradients])))
    for exact, rounded in zip(*results, strict=True):
        assert torch.isfinite(rounded).all()
        assert torch.nn.functional.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0) > 0.98


@pytest.mark.parametrize("base", [(1, 4, 4), (2, 4, 4), (4, 4, 4)])
def test_r1_and_its_gradients_in_bfloat16_are_near_float32(base):
    discriminator = randomised(Discriminator(base, 3, 8), seed=1)
    reals = random_tensor(4, 1, *(4 * side for side in base), dtype=torch.float32)
    results = []
    for enabled in (False, True):

        def judge(images, enabled=enabled):
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                return discriminator(images).float()

        penalty = r1_penalty(judge, reals)
        gradients = torch.autograd.grad(penalty, list(discriminator.parameters()), allow_unused=True)
        results.append((penalty, torch.cat([g.flatten() for g in gradients if g is not None])))
    (exact, exact_gradients), (rounded, rounded_gradients) = results
    assert abs(rounded / exact - 1) < 0.05
    assert F.cosine_similarity(exact_gradients, rounded_gradients, dim=0) > 0.98
