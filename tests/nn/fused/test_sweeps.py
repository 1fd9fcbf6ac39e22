"""Every sweep gives what the operations of the plain path give in float64, with all gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import seeds
from voxflate.nn import resample as plain
from voxflate.nn.functional import (
    add_noise,
    bias_leaky_relu,
    channel_shuffle,
    mix_channels,
    per_channel,
    weighted_sums,
)
from voxflate.nn.fused import ops
from voxflate.nn.fused.build import kernels
from voxflate.nn.fused.resampling import Plan, WeightedSum, fork, halves, modulate, resample
from voxflate.nn.fused.sweeps import (
    Branches,
    Styled,
    finish,
    finish_image,
    finish_modulated,
    finish_with_image,
)
from voxflate.nn.resample import DOUBLE, HALVE, SMOOTH_DOWN, SMOOTH_UP, lowpass_matrix

needs_kernels = pytest.mark.skipif(bool(kernels().problem), reason="no C++ compiler here")


@needs_kernels
@given(st.lists(st.integers(1, 5), min_size=2, max_size=3), st.integers(1, 3), st.integers(1, 9), seeds)
def test_every_low_pass_agrees_with_its_matrix(half_sizes, n, channels, seed):
    rng = torch.Generator().manual_seed(seed)
    size = [2 * half for half in half_sizes]
    x = torch.randn(n, channels, *size, generator=rng, requires_grad=True)
    for filter_ in (DOUBLE, HALVE, SMOOTH_DOWN, SMOOTH_UP):
        results = []
        for dtype, apply in ((torch.float32, resample), (torch.float64, plain.resample)):
            y = apply(x.to(dtype), [filter_] * len(size))
            g = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))
            results.append((y, torch.autograd.grad(y, x, g.to(dtype))[0]))
        (y, gx), (y64, gx64) = results
        torch.testing.assert_close(y.double(), y64, rtol=0, atol=1e-5)
        torch.testing.assert_close(gx, gx64, rtol=0, atol=1e-5)


def plain_fork(x, parts):
    return x.chunk(parts, dim=1), plain.resample(x, [HALVE] * (x.ndim - 2))


@needs_kernels
@given(st.lists(st.integers(1, 3), min_size=2, max_size=3), st.sampled_from([2, 6, 32, 48]), seeds)
def test_the_ways_into_a_block_agree_and_so_do_their_gradients(half_sizes, channels, seed):
    rng = torch.Generator().manual_seed(seed)
    size = [2 * half for half in half_sizes]
    x = torch.randn(2, channels, *size, generator=rng, requires_grad=True)
    for parts in (1, 2):
        results = []
        for dtype, apply in ((torch.float32, fork), (torch.float64, plain_fork)):
            inputs, small = apply(x.to(dtype), parts)
            outs = (*inputs, small)
            rng_g = torch.Generator().manual_seed(seed)
            grads = [torch.randn(out.shape, generator=rng_g).to(dtype) for out in outs]
            results.append((*outs, torch.autograd.grad(outs, x, grads)[0]))
        for got, expected in zip(*results, strict=True):
            torch.testing.assert_close(got.double(), expected.double(), rtol=0, atol=1e-5)


def plain_finish_image(image, kernel, bias):
    return bias_leaky_relu(mix_channels(image, kernel), bias)


@needs_kernels
@given(st.lists(st.integers(1, 20), min_size=2, max_size=3), st.sampled_from([2, 6, 32, 48]), seeds)
def test_an_image_becomes_features_and_so_do_its_gradients(size, channels, seed):
    rng = torch.Generator().manual_seed(seed)
    image = torch.randn(2, 1, *size, generator=rng)
    parameters = torch.randn(channels, 1, generator=rng), torch.randn(channels, generator=rng)
    results = []
    for dtype, apply in ((torch.float32, finish_image), (torch.float64, plain_finish_image)):
        arguments = [one.to(dtype).requires_grad_() for one in (image, *parameters)]
        out = apply(*arguments)
        g = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
        results.append((out, *torch.autograd.grad(out, arguments, g)))
    for got, expected in zip(*results, strict=True):
        scale = expected.abs().max().clamp(min=1)
        assert (got - expected).abs().max() < 1e-5 * scale


def by_sweeps(given_, styled, style, mix):
    """All ways to finish a convolution."""
    return [
        *finish(given_, styled.bias),
        *finish(given_, styled.bias, 0.5, parts=2),
        *finish_modulated(given_, styled, style, 1),
        *finish_modulated(given_, styled, style, 2),
        *(x for last in (False, True) for x in finish_with_image(given_, styled, mix, last=last)),
    ]


def by_definition(given_, styled, style, mix):
    """The same in the operations of the plain path."""
    joined = channel_shuffle(given_.parts) if given_.shuffle else torch.cat(given_.parts, dim=1)
    unstyled = bias_leaky_relu(joined, styled.bias)
    x = plain.resample(joined, styled.filters) if styled.filters else joined
    x = x * per_channel(styled.demodulation, x)
    x = bias_leaky_relu(add_noise(x, styled.noise, styled.noise_strength), styled.bias)
    scaled, image = x * per_channel(style, x), weighted_sums(x, mix)
    return [
        unstyled,
        *(0.5 * unstyled).chunk(2, dim=1),
        scaled,
        *scaled.chunk(2, dim=1),
        x,
        image,
        None,
        image,
    ]


def finished(dtype, shuffle, branches, channels, resampled, seed):
    """All outputs and gradients: by sweeps in float32, by definition in float64, from the same numbers."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=rng).to(dtype).requires_grad_()

    size = (2, 3, 5)
    filters = [SMOOTH_UP, DOUBLE, SMOOTH_UP] if resampled else []
    out = tuple(len(lowpass_matrix(f, n)) for f, n in zip(filters, size, strict=True)) if resampled else size
    parts = tuple(draw(2, channels // branches, *size) for _ in range(branches))
    bias, style, strength = draw(channels), draw(2, channels), draw()
    demodulation = draw(2, channels).detach().abs().add(0.5).requires_grad_()
    mix, noise = draw(2, 1, channels), draw(2, 1, *out).detach()
    given_ = Branches(parts, shuffle)
    styled = Styled(filters, demodulation, noise, strength, bias)
    run = by_sweeps if dtype == torch.float32 else by_definition
    outs = [x for x in run(given_, styled, style, mix) if x is not None]
    weights = [torch.randn(x.shape, generator=rng).to(dtype) for x in outs]
    learns = (*parts, demodulation, bias, style, strength, mix)

    def gradients(of, weights=None):
        grads = torch.autograd.grad(of, learns, weights, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(x) if g is None else g for g, x in zip(grads, learns, strict=True)]

    # One after the other too: some inputs then get no gradient.
    alone = [g for x, w in zip(outs, weights, strict=True) for g in gradients([x], [w])]
    first = torch.autograd.grad(outs, learns, weights, create_graph=True)
    second = gradients(sum(g.square().sum() for g in first))
    with torch.no_grad():  # nothing is kept for gradients
        drawn = run(given_, styled, style, mix)[-1]
    return [*outs, *gradients(outs, weights), *alone, *second, drawn]


@needs_kernels
@given(
    st.sampled_from([(True, 2), (False, 2), (False, 1)]),
    st.sampled_from([2, 6, 16, 32, 48, 80]),
    st.booleans(),
    seeds,
)
def test_whatever_follows_a_convolution_agrees_and_so_do_its_gradients(kind, channels, resampled, seed):
    results = [finished(dtype, *kind, channels, resampled, seed) for dtype in (torch.float32, torch.float64)]
    for got, expected in zip(*results, strict=True):
        scale = expected.abs().max().clamp(min=1)
        assert (got - expected).abs().max() < 3e-5 * scale


@needs_kernels
@pytest.mark.parametrize("shuffle", [False, True])
def test_branches_of_two_precisions_are_joined_in_the_wider_one(shuffle):
    parts = torch.randn(2, 16, 3, 4).bfloat16(), torch.randn(2, 16, 3, 4)
    bias = torch.randn(32)
    (x,) = finish(Branches(parts, shuffle), bias)
    wide = [part.double() for part in parts]
    joined = channel_shuffle(wide) if shuffle else torch.cat(wide, dim=1)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x.double(), bias_leaky_relu(joined, bias.double()), rtol=0, atol=1e-5)


def test_a_filter_that_reads_samples_far_apart_is_refused():
    with pytest.raises(ValueError, match="at most 4 neighbouring"):
        ops.make_tables([torch.tensor([[1.0, 0.0, 0.0, 0.0, 1.0]])], [5])


@needs_kernels
def test_second_derivatives_reach_styles_that_are_not_dense():
    noise, strength, bias = torch.randn(2, 1, 3, 4), torch.randn(()), torch.randn(16)
    x = torch.randn(2, 16, 3, 4, requires_grad=True)

    def outs(small):
        styled = Styled([], small.exp(), noise, strength, bias)
        given_ = Branches((x,))
        yield from modulate(x, small)
        yield from finish_modulated(given_, styled, small, 1)
        yield finish_with_image(given_, styled, small[:, None], last=True)[1]

    base = torch.randn(16, 2, requires_grad=True)
    results = []
    for small in (base.t(), base.t().contiguous()):
        first = [torch.autograd.grad(y.square().sum(), x, create_graph=True)[0] for y in outs(small)]
        results.append([torch.autograd.grad(g.pow(3).sum(), base, retain_graph=True)[0] for g in first])
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


@needs_kernels
def test_scaled_cut_and_mixed_channels_agree_and_so_do_their_second_derivatives():
    x, style = torch.randn(2, 6, 3, 4), torch.randn(2, 6)
    results = []
    for dtype in (torch.float32, torch.float64):
        a, s = x.to(dtype).requires_grad_(), style.to(dtype).requires_grad_()
        if dtype == torch.float32:
            outs = [*modulate(a, s), *modulate(a, s, 2), *halves(a), WeightedSum.apply(a, s)]
        else:
            scaled = a * per_channel(s, a)
            outs = [scaled, *scaled.chunk(2, dim=1), *a.chunk(2, dim=1), weighted_sums(a, s[:, None])]
        first = torch.autograd.grad(sum(y.square().sum() for y in outs), (a, s), create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), (a, s))
        results.append([*outs, *first, *second])
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-4)


@needs_kernels
def test_an_axis_that_vanishes_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        resample(torch.randn(1, 1, 1, 1), [SMOOTH_UP] * 2)


@needs_kernels
@pytest.mark.parametrize(
    ("x", "style"),
    [
        (torch.zeros(1, 2, 4).double(), torch.zeros(1, 4)),
        (torch.zeros(1, 2, 4), torch.zeros(1, 4).double()),
        (torch.zeros(1, 2, 4).bfloat16(), torch.zeros(1, 4).bfloat16()),
        (torch.zeros(1, 4, 2).movedim(1, 2), torch.zeros(1, 4)),
    ],
)
def test_kernels_refuse_numbers_that_they_would_misread(x, style):
    with pytest.raises(TypeError, match="voxflate_modulate: argument"):
        ops.modulate(x, style, 1)


@needs_kernels
def test_the_number_of_threads_changes_no_bit_of_the_kernels():
    x, style = torch.randn(3, 5, 7, 9, 48), torch.randn(3, 48)
    plan = Plan((SMOOTH_UP,) * 3, (5, 7, 9))
    results = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        image, bias = x[..., 0].contiguous(), style[1]
        parts, sums = ops.finish_backward(
            [x], [-x], style.exp(), noise=image, style=style, mix=-style, image_grad=image, branches=2
        )
        done = ops.finish(
            parts,
            plan.tables(),
            ops.Epilogue(style, bias),
            out_parts=2,
            style=style,
            mix=style,
            keep=True,
        )
        scaled = ops.modulate(x, style, 2)
        features = ops.from_image(image, style[0], bias, torch.float32)
        results.append(
            [
                *parts, sums, *done.features, done.kept, done.image, *scaled,
                *ops.modulate_backward(scaled, x, style),
                *ops.resample([x], plan.tables(), 2), ops.to_image(x, style),
                *ops.to_image_backward(image, x, style), features,
                *ops.from_image_backward(x, features, image, bias, to_image=True),
                *ops.resample(parts, plan.tables(), addend=[x.new_ones(3, 4, 6, 8, 24)] * 2),
            ]
        )  # fmt: skip
    torch.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)
