import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.strategies import random_tensor, seeds, sizes
from voxflate.nn.functional import (
    LEAKY_GAIN,
    bias_leaky_relu,
    channel_shuffle,
    conv,
    demodulation,
    minibatch_std,
    modulated_conv,
    pixel_norm,
)

CONV = {2: F.conv2d, 3: F.conv3d}


def written_out(x, kernel, style, eps=1e-8):
    """Eqs. 1-2 as they stand: one kernel a sample, convolved with that sample."""
    results = []
    for image, s in zip(x, style, strict=True):
        modulated = torch.stack([kernel[:, i] * s[i] for i in range(len(s))], dim=1)
        norm = torch.stack([(filter_**2).sum().add(eps).sqrt() for filter_ in modulated])
        demodulated = torch.stack([filter_ / n for filter_, n in zip(modulated, norm, strict=True)])
        results.append(
            CONV[x.ndim - 2](image[None], demodulated, padding=tuple(k // 2 for k in kernel.shape[2:]))
        )
    return torch.cat(results)


@given(sizes(), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.sampled_from([1, 3]), seeds)
def test_the_modulated_convolution_is_equations_1_and_2(size, n, channels_in, channels_out, k, seed):
    x = random_tensor(n, channels_in, *size, seed=seed)
    kernel = random_tensor(channels_out, channels_in, *(k,) * len(size), seed=seed + 1)
    style = random_tensor(n, channels_in, seed=seed + 2)
    ours = modulated_conv(x, kernel, style)
    assert (ours - written_out(x, kernel, style)).abs().max() < 1e-10


@given(st.integers(1, 4), st.integers(1, 4), seeds)
def test_demodulated_kernels_have_unit_norm(channels_in, channels_out, seed):
    kernel = random_tensor(channels_out, channels_in, 3, 3, 3, seed=seed)
    style = random_tensor(2, channels_in, seed=seed + 1)
    per_sample = kernel * style.view(2, 1, channels_in, 1, 1, 1)
    norms = (
        (per_sample * demodulation(kernel, style).view(2, channels_out, 1, 1, 1, 1)).flatten(2).norm(dim=2)
    )
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=1e-5, atol=0)


def test_a_zero_kernel_is_answered_by_zero_and_not_by_nan():
    x, kernel, style = random_tensor(1, 2, 3, 3), torch.zeros(2, 2, 3, 3).double(), random_tensor(1, 2)
    assert (modulated_conv(x, kernel, style) == 0).all()


@given(
    sizes(2), st.integers(1, 2), st.sampled_from([1, 3]), st.sampled_from([1, 2]), st.integers(0, 1), seeds
)
def test_convolutions_take_their_axes_from_the_kernel(size, groups, k, stride, pad, seed):
    x = random_tensor(2, 2 * groups, *size, seed=seed)
    kernel = random_tensor(4, 2, *(k,) * len(size), seed=seed + 1)
    padding = k // 2 + pad
    ours = conv(x, kernel, stride=stride, padding=padding, groups=groups)
    straight = CONV[len(size)](x, kernel, stride=stride, padding=padding, groups=groups)
    torch.testing.assert_close(ours, straight, rtol=0, atol=1e-12)


@given(sizes(), st.integers(2, 4), st.integers(1, 3), seeds)
def test_the_shuffle_is_a_permutation_that_its_transpose_undoes(size, groups, each, seed):
    branches = random_tensor(2, groups * each, *size, seed=seed).chunk(groups, dim=1)
    shuffled = channel_shuffle(branches)
    for group, branch in enumerate(branches):
        assert torch.equal(shuffled[:, group::groups], branch)
    undone = shuffled.reshape(2, each, groups, *size).transpose(1, 2).reshape(2, groups * each, *size)
    assert torch.equal(undone, torch.cat(branches, dim=1))


@given(sizes(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), seeds)
def test_the_minibatch_deviation_is_its_definition(size, groups, group, channels, seed):
    x = random_tensor(groups * group, channels, *size, seed=seed)
    result = minibatch_std(x, group)
    assert torch.equal(result[:, :-1], x)
    for g in range(groups):
        members = x[g * group : (g + 1) * group]
        mean = sum(members) / group
        deviation = (sum((member - mean) ** 2 for member in members) / group + 1e-8).sqrt().mean()
        appended = result[g * group : (g + 1) * group, -1]
        # Taken in float32.
        torch.testing.assert_close(appended, deviation.expand_as(appended), rtol=1e-5, atol=1e-6)


def test_fakes_and_reals_do_not_mix_in_the_minibatch_deviation():
    fakes, reals = random_tensor(4, 3, 2, 2, seed=1), 5 * random_tensor(4, 3, 2, 2, seed=2)
    together = minibatch_std(torch.cat([fakes, reals]), 4)
    assert torch.equal(together[:4], minibatch_std(fakes, 4))
    assert torch.equal(together[4:], minibatch_std(reals, 4))
    assert not torch.equal(together[:4], minibatch_std(reals, 4))


def test_a_batch_below_the_group_is_one_group_and_a_broken_group_is_refused():
    x = random_tensor(3, 2, 2, 2)
    assert torch.equal(minibatch_std(x, 4), minibatch_std(x, 3))
    with pytest.raises(ValueError, match="5 samples do not make groups of 4"):
        minibatch_std(random_tensor(5, 2, 2, 2), 4)


@given(sizes(), st.booleans(), seeds)
def test_the_activation_is_bias_then_leaky_relu_then_gain(size, with_bias, seed):
    x = random_tensor(2, 3, *size, seed=seed)
    bias = random_tensor(3, seed=seed + 1) if with_bias else None
    shifted = x if bias is None else x + bias.view(1, 3, *(1,) * len(size))
    expected = torch.where(shifted > 0, shifted, 0.2 * shifted) * LEAKY_GAIN
    before = x.clone()
    torch.testing.assert_close(bias_leaky_relu(x, bias), expected, rtol=0, atol=1e-12)
    assert torch.equal(x, before)


def test_latent_codes_come_to_unit_root_mean_square():
    z = 7 * random_tensor(5, 8)
    normed = pixel_norm(z)
    torch.testing.assert_close(normed.square().mean(dim=1), torch.ones(5).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(normed * z.norm(dim=1, keepdim=True), z * normed.norm(dim=1, keepdim=True))
