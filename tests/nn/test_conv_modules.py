from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.strategies import VARIANTS, random_tensor, randomised, seeds, sizes
from voxflate.nn.conv_modules import ARCHITECTURES, CONVS, STYLED_CONVS
from voxflate.nn.functional import channels_last
from voxflate.nn.generator_blocks import StyledConv
from voxflate.nn.layers import EqualConv, Halving

CONV = {2: F.conv2d, 3: F.conv3d}
SQRT2 = 2**0.5


def axes(values, dims):
    return values.view(*values.shape, *(1,) * dims)


def modulated(x, kernel, style, *, up):
    """Eqs. 1-2 sample by sample; `up` inserts zeros before and smooths after the convolution.

    The equalised learning rate's gain is not in it: demodulation divides it out again.
    """
    dims = x.ndim - 2
    results = []
    for image, s in zip(x, style, strict=True):
        own = kernel * axes(s[None], dims)
        own = own / axes((own.flatten(1).square().sum(1) + 1e-8).sqrt()[:, None], dims)
        if up:
            own = own.flip(tuple(range(2, 2 + dims)))
            wide = image.new_zeros(1, len(image), *(2 * n - 1 for n in image.shape[1:]))
            wide[(..., *(slice(None, None, 2),) * dims)] = image
            results.append(smooth(CONV[dims](wide, own, padding=2)))
        else:
            results.append(CONV[dims](image[None], own, padding=1))
    return torch.cat(results)


def smooth(x):
    """The dense [1, 3, 3, 1] filter, with twice its weight along every axis for the inserted zeros."""
    dims = x.ndim - 2
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]).double() / 4
    kernel = torch.ones(()).double()
    for _ in range(dims):
        kernel = kernel[..., None] * taps
    return CONV[dims](F.pad(x, (1, 1) * dims), kernel.expand(x.shape[1], 1, *kernel.shape), groups=x.shape[1])


def halves_of(conv, x, style, *, up):
    """A split convolution: each half of the channels with its own kernel and its own demodulation."""
    parts = zip(x.chunk(2, 1), style.chunk(2, 1), conv.branches, strict=True)
    return [modulated(half, branch.weight, s, up=up) for half, s, branch in parts]


def interleaved(a, b):
    return torch.stack([tensor[:, i] for i in range(a.shape[1]) for tensor in (a, b)], dim=1)


def definition(layer, name, x, style, *, up):
    if name == "plain":
        return modulated(x, layer.conv.weight, style, up=up)
    halves = halves_of(layer.conv, x, style, up=up)
    return torch.cat(halves, 1) if name == "split" else interleaved(*halves)


@given(sizes(1, 4), st.sampled_from(list(STYLED_CONVS)), st.booleans(), st.integers(1, 3), seeds)
def test_a_styled_convolution_is_its_definition(size, name, up, n, seed):
    dims = len(size)
    layer = randomised(StyledConv(4, 4, 5, (3,) * dims, name, up=up), seed).double()
    x, w = random_tensor(n, 4, *size, seed=seed), random_tensor(n, 5, seed=seed + 1)
    noise = random_tensor(n, 1, *(m * 2 if up else m for m in size), seed=seed + 2)
    style = w @ layer.affine.weight.t() / 5**0.5 + layer.affine.bias
    y = definition(layer, name, x, style, up=up)
    y = y + layer.noise_strength * noise + axes(layer.bias[None], dims)
    expected = torch.where(y > 0, y, 0.2 * y) * SQRT2
    assert (layer(channels_last(x), w, noise) - expected).abs().max() < 1e-10


@given(sizes(1, 3).filter(lambda size: len(size) == 3), st.sampled_from(list(STYLED_CONVS)), seeds)
def test_a_kernel_without_depth_is_one_with_zeros_around_it(size, name, seed):
    planar = randomised(StyledConv(4, 4, 5, (1, 3, 3), name, up=True), seed).double()
    full = StyledConv(4, 4, 5, (3, 3, 3), name, up=True).double()
    # Demodulation forgets the gain of the larger fan-in.
    full.load_state_dict(
        {
            key: F.pad(value, (0, 0, 0, 0, 1, 1)) if value.ndim == 5 else value
            for key, value in planar.state_dict().items()
        }
    )
    x, w = random_tensor(2, 4, *size, seed=seed), random_tensor(2, 5, seed=seed + 1)
    noise = random_tensor(2, 1, *(2 * m for m in size), seed=seed + 2)
    torch.testing.assert_close(planar(x, w, noise), full(x, w, noise), rtol=0, atol=1e-10)


def gained(conv):
    return conv.weight / conv.weight[0].numel() ** 0.5


def convolved(x, kernel, *, down="none", groups=1):
    """A convolution; "low-pass": the dense [1, 3, 3, 1] filter first, then every other sample of it."""
    dims = x.ndim - 2
    if kernel.shape[-1] == 1 and down == "stride":
        down = "low-pass"  # one tap would never see the other samples
    if kernel.shape[-1] == 1 and down == "low-pass":
        kernel = F.pad(kernel, (1, 1) * dims)  # as three taps, two of them zero
    if down == "stride":
        full = CONV[dims](x, kernel, padding=kernel.shape[-1] // 2, groups=groups)
        return full[(..., *(slice(None, None, 2),) * dims)]
    if down == "low-pass":
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]).double() / 8
        filter_ = torch.ones(()).double()
        for _ in range(dims):
            filter_ = filter_[..., None] * taps
        filter_ = filter_.expand(x.shape[1], 1, *filter_.shape)
        x = CONV[dims](F.pad(x, (2, 2) * dims), filter_, groups=x.shape[1])
        return CONV[dims](x, kernel, stride=2, groups=groups)
    return CONV[dims](x, kernel, padding=kernel.shape[-1] // 2, groups=groups)


def split_definition(module, x, down):
    halves = zip(x.chunk(2, 1), module.branches, strict=True)
    answers = [convolved(half, gained(branch), down=down) for half, branch in halves]
    return interleaved(*answers) if module.shuffle else torch.cat(answers, 1)


HALVINGS = list(get_args(Halving))

DEFINITIONS = {
    "plain": lambda m, x, down: convolved(x, gained(m), down=down),
    "group": lambda m, x, down: convolved(x, gained(m), down=down, groups=4),
    "depthwise": lambda m, x, down: convolved(
        convolved(x, gained(m.depthwise), down=down, groups=x.shape[1]), gained(m.pointwise)
    ),
    "split": split_definition,
    "split-shuffle": split_definition,
    "split-symmetric": split_definition,
    "split-shuffle-symmetric": split_definition,
}


@given(st.sampled_from(list(CONVS)), st.sampled_from([2, 3]), st.sampled_from(HALVINGS), seeds)
def test_the_discriminators_convolutions_are_their_definitions(name, dims, down, seed):
    module = CONVS[name](8, 8, (3,) * dims)
    randomised(module, seed).double()
    x = random_tensor(2, 8, *(4, 6, 2)[:dims], seed=seed)
    torch.testing.assert_close(module(x, down), DEFINITIONS[name](module, x, down), rtol=0, atol=1e-10)


@given(st.sampled_from([2, 3]), st.sampled_from(["low-pass", "stride"]), seeds)
def test_a_pointwise_convolution_halves_with_the_same_filter(dims, down, seed):
    module = randomised(EqualConv(4, 2, (1,) * dims), seed).double()
    x = random_tensor(2, 4, *(4, 6, 2)[:dims], seed=seed)
    expected = convolved(x, gained(module), down="low-pass")
    torch.testing.assert_close(module(x, down), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in CONVS if name.startswith("split")])
def test_an_odd_number_of_channels_goes_through_a_pointwise_convolution_first(name):
    module = randomised(CONVS[name](5, 4, (3, 3))).double()
    x = random_tensor(2, 5, 4, 4)
    even = convolved(x, gained(module.even)) + axes(module.even_bias[None], 2)
    torch.testing.assert_close(module(x), split_definition(module, even, "none"), rtol=0, atol=1e-10)


def test_group_d_stays_dense_where_four_groups_do_not_fit():
    assert CONVS["group"](8, 8, (3, 3, 3)).weight.shape[1] == 2
    assert CONVS["group"](9, 8, (3, 3, 3)).weight.shape[1] == 9


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("name", "shuffled"), [("split", False), ("split-shuffle", True)])
@pytest.mark.parametrize("kind", ["generator", "discriminator"])
def test_branch_2_hears_of_branch_1_only_through_the_shuffle(kind, name, shuffled, dims):
    x = random_tensor(2, 4, *(4,) * dims, dtype=torch.float32)
    if kind == "generator":
        first, second = (
            randomised(StyledConv(4, 4, 5, (3,) * dims, name, up=False), seed) for seed in (0, 1)
        )
        w = random_tensor(2, 5, dtype=torch.float32)
        noise = torch.zeros(2, 1, *(4,) * dims)
        y = second(first(x, w, noise), w, noise)
        first = first.conv
    else:
        first, second = CONVS[name](4, 4, (3,) * dims), CONVS[name](4, 4, (3,) * dims)
        y = second(first(x))
    of_branch_2 = y[:, 1::2] if shuffled else y[:, 2:]
    (gradient,) = torch.autograd.grad(of_branch_2.square().sum(), first.branches[0].weight, allow_unused=True)
    assert bool(gradient is not None and gradient.any()) == shuffled


@pytest.mark.parametrize("table", [STYLED_CONVS, CONVS])
def test_odd_channels_cannot_be_split(table):
    with pytest.raises(ValueError, match="choose an even number"):
        table["split-shuffle"](4, 3, (3, 3))


def test_the_architectures_name_convolutions_that_exist():
    assert list(ARCHITECTURES) == VARIANTS
    for architecture in ARCHITECTURES.values():
        assert architecture.generator in STYLED_CONVS
        assert architecture.discriminator in CONVS
