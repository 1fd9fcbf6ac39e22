"""The compiled kernels give what the PyTorch operations give, and nobody needs them."""

import logging
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import VARIANTS, randomised, seeds
from voxflate._system.errors import VoxflateError
from voxflate.losses import r1_penalty
from voxflate.nn import Discriminator, Generator, compiled
from voxflate.nn.conv_modules import ARCHITECTURES
from voxflate.nn.epilogue import Branches, Styled, finish, finish_image, finish_modulated, finish_with_image
from voxflate.nn.functional import modulate, weighted_sums
from voxflate.nn.resample import DOUBLE, HALVE, SMOOTH_DOWN, SMOOTH_UP, Plan, fork, lowpass_matrix, resample

needs_compiler = pytest.mark.skipif(compiled.kernels_in_use() == "plain", reason="no C++ compiler here")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    mode = compiled._mode
    yield
    compiled.use_kernels(mode)


def everything(
    mode: str, architecture: str, base: tuple[int, ...], *, planar: bool, seed: int
) -> list[torch.Tensor]:
    """Images, logits, every gradient, R1 and its gradients."""
    compiled.use_kernels(mode)
    names = ARCHITECTURES[architecture]
    generator = randomised(
        Generator((2, *base) if planar else base, 3, 8, 8, 8, 2, names.generator, planar=planar), seed
    )
    discriminator = randomised(Discriminator(base, 3, 8, names.discriminator), seed + 1)
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(4, 8, generator=rng)
    noise = [torch.randn(4, *shape, generator=rng) for shape in generator.synthesis.noise_shapes()]
    positions = torch.tensor([0, 3, 5, 7]) if planar else None
    images = generator(z, noise=noise, positions=positions)
    logits = discriminator(images)
    weights = torch.tensor([1.0, -2.0, 3.0, 0.5])
    gradients = torch.autograd.grad(
        (logits * weights).sum(), [*generator.parameters(), *discriminator.parameters()]
    )
    penalty = r1_penalty(discriminator, images.detach())
    second = torch.autograd.grad(penalty, list(discriminator.parameters()), allow_unused=True)
    zeros = [torch.zeros(())] * len(second)
    return [
        images,
        logits,
        *gradients,
        penalty,
        *(z if s is None else s for s, z in zip(second, zeros, strict=True)),
    ]


@needs_compiler
@pytest.mark.parametrize("architecture", VARIANTS)
@pytest.mark.parametrize(("base", "planar"), [((2, 4), False), ((2, 4), True), ((2, 3, 4), False)])
def test_whole_networks_agree_to_rounding(architecture, base, planar):
    plain = everything("plain", architecture, base, planar=planar, seed=3)
    quick = everything("auto", architecture, base, planar=planar, seed=3)
    for expected, got in zip(plain, quick, strict=True):
        scale = expected.abs().max().clamp(min=1e-2)
        assert (got - expected).abs().max() < 2e-4 * scale


@needs_compiler
@given(st.lists(st.integers(1, 5), min_size=2, max_size=3), st.integers(1, 3), st.integers(1, 9), seeds)
def test_every_low_pass_agrees_with_its_matrix(half_sizes, n, channels, seed):
    rng = torch.Generator().manual_seed(seed)
    size = [2 * half for half in half_sizes]
    x = torch.randn(n, channels, *size, generator=rng, requires_grad=True)
    for filter_ in (DOUBLE, HALVE, SMOOTH_DOWN, SMOOTH_UP):
        results = []
        for dtype in (torch.float32, torch.float64):  # the kernels take float32 only
            y = resample(x.to(dtype), [filter_] * len(size))
            g = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))
            results.append((y, torch.autograd.grad(y, x, g.to(dtype))[0]))
        (y, gx), (y64, gx64) = results
        torch.testing.assert_close(y.double(), y64, rtol=0, atol=1e-5)
        torch.testing.assert_close(gx, gx64, rtol=0, atol=1e-5)


@needs_compiler
@given(st.lists(st.integers(1, 3), min_size=2, max_size=3), st.sampled_from([2, 6, 32, 48]), seeds)
def test_the_ways_into_a_block_agree_and_so_do_their_gradients(half_sizes, channels, seed):
    rng = torch.Generator().manual_seed(seed)
    size = [2 * half for half in half_sizes]
    x = torch.randn(2, channels, *size, generator=rng, requires_grad=True)
    for parts in (1, 2):
        results = []
        for dtype in (torch.float32, torch.float64):  # the kernels take float32 only
            inputs, small = fork(x.to(dtype), parts)
            outs = (*inputs, small)
            rng_g = torch.Generator().manual_seed(seed)
            grads = [torch.randn(out.shape, generator=rng_g).to(dtype) for out in outs]
            results.append((*outs, torch.autograd.grad(outs, x, grads)[0]))
        for got, expected in zip(*results, strict=True):
            torch.testing.assert_close(got.double(), expected.double(), rtol=0, atol=1e-5)


@needs_compiler
@given(st.lists(st.integers(1, 20), min_size=2, max_size=3), st.sampled_from([2, 6, 32, 48]), seeds)
def test_an_image_becomes_features_and_so_do_its_gradients(size, channels, seed):
    rng = torch.Generator().manual_seed(seed)
    image = torch.randn(2, 1, *size, generator=rng)
    parameters = torch.randn(channels, 1, generator=rng), torch.randn(channels, generator=rng)
    results = []
    for dtype in (torch.float32, torch.float64):
        arguments = [one.to(dtype).requires_grad_() for one in (image, *parameters)]
        out = finish_image(*arguments)
        g = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
        results.append((out, *torch.autograd.grad(out, arguments, g)))
    for got, expected in zip(*results, strict=True):
        scale = expected.abs().max().clamp(min=1)
        assert (got - expected).abs().max() < 1e-5 * scale


def finished(dtype, shuffle, branches, channels, resampled, seed):
    """All ways to finish a convolution, and their gradients; in any precision from the same numbers."""
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
    given = Branches(parts, shuffle)
    styled = Styled(filters, demodulation, noise, strength, bias)
    outs = [
        *finish(given, bias),
        *finish(given, bias, 0.5, parts=2),
        *finish_modulated(given, styled, style, 1),
        *finish_modulated(given, styled, style, 2),
        *(x for last in (False, True) for x in finish_with_image(given, styled, mix, last=last)),
    ]
    outs = [x for x in outs if x is not None]
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
        drawn = finish_with_image(given, styled, mix, last=True)[1]
    return [*outs, *gradients(outs, weights), *alone, *second, drawn]


@needs_compiler
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


def test_a_filter_that_reads_samples_far_apart_is_refused():
    with pytest.raises(ValueError, match="at most 4 neighbouring"):
        compiled.make_tables([torch.tensor([[1.0, 0.0, 0.0, 0.0, 1.0]])], [5])


@needs_compiler
def test_second_derivatives_reach_styles_that_are_not_dense():
    noise, strength, bias = torch.randn(2, 1, 3, 4), torch.randn(()), torch.randn(16)
    x = torch.randn(2, 16, 3, 4, requires_grad=True)

    def outs(small):
        styled = Styled([], small.exp(), noise, strength, bias)
        given = Branches((x,))
        yield from modulate(x, small)
        yield weighted_sums(x, small[:, None])
        yield from finish_modulated(given, styled, small, 1)
        yield finish_with_image(given, styled, small[:, None], last=True)[1]

    base = torch.randn(16, 2, requires_grad=True)
    results = []
    for small in (base.t(), base.t().contiguous()):
        first = [torch.autograd.grad(y.square().sum(), x, create_graph=True)[0] for y in outs(small)]
        results.append([torch.autograd.grad(g.pow(3).sum(), base, retain_graph=True)[0] for g in first])
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


@needs_compiler
def test_noise_that_learns_gets_its_gradient():
    noise = torch.randn(2, 1, 3, 4, requires_grad=True)
    styled = Styled([], torch.ones(2, 16), noise, torch.ones(()), torch.zeros(16))
    (y,) = finish_modulated(Branches((torch.randn(2, 16, 3, 4),)), styled, torch.ones(2, 16), 1)
    assert torch.autograd.grad(y.sum(), noise)[0].abs().min() > 0


@needs_compiler
def test_an_axis_that_vanishes_is_refused():
    with pytest.raises(ValueError, match="one sample at least"):
        resample(torch.randn(1, 1, 1, 1), [SMOOTH_UP] * 2)


@needs_compiler
def test_the_number_of_threads_changes_no_bit_of_the_kernels():
    x, style = torch.randn(3, 5, 7, 9, 48), torch.randn(3, 48)
    plan = Plan((SMOOTH_UP,) * 3, (5, 7, 9))
    results = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        image, bias = x[..., 0].contiguous(), style[1]
        parts, sums = compiled.finish_backward(
            [x], [-x], style.exp(), noise=image, style=style, mix=-style, image_grad=image, branches=2
        )
        done = compiled.finish(
            parts,
            plan.tables(),
            compiled.Epilogue(style, bias),
            out_parts=2,
            style=style,
            mix=style,
            keep=True,
        )
        scaled = compiled.modulate(x, style, 2)
        features = compiled.from_image(image, style[0], bias, torch.float32)
        results.append(
            [
                *parts, sums, *done.features, done.kept, done.image, *scaled,
                *compiled.modulate_backward(scaled, x, style),
                *compiled.resample([x], plan.tables(), 2), compiled.to_image(x, style),
                *compiled.to_image_backward(image, x, style), features,
                *compiled.from_image_backward(x, features, image, bias, to_image=True),
                *compiled.resample(parts, plan.tables(), addend=[x.new_ones(3, 4, 6, 8, 24)] * 2),
            ]
        )  # fmt: skip
    torch.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_without_a_compiler_plain_pytorch_runs_and_one_line_says_so(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("VOXFLATE_CACHE", str(tmp_path / "cache"))
    compiled._library.cache_clear()
    compiled.use_kernels("auto")
    try:
        with caplog.at_level(logging.INFO, "voxflate"):
            assert not compiled.usable(torch.zeros(1))
            assert not compiled.usable(torch.zeros(1))
        assert compiled.kernels_in_use() == "plain"
        assert [record.getMessage() for record in caplog.records] == [
            "no compiled kernels, training runs on plain PyTorch: there is no C++ compiler"
        ]
    finally:
        compiled._library.cache_clear()


def test_a_library_that_cannot_be_built_is_no_error(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("VOXFLATE_CACHE", str(tmp_path / "cache"))
    broken = tmp_path / "kernels.cpp"
    broken.write_text("this is no C++")
    monkeypatch.setattr(compiled, "SOURCE", broken)
    compiled._library.cache_clear()
    compiled.use_kernels("auto")
    try:
        with caplog.at_level(logging.INFO, "voxflate"):
            assert compiled.kernels_in_use() == "plain"
        assert len(caplog.records) == 1
        assert not list((tmp_path / "cache").rglob("*.so"))
    finally:
        compiled._library.cache_clear()


def test_the_environment_can_forbid_them(monkeypatch):
    monkeypatch.setenv("VOXFLATE_KERNELS", "plain")
    compiled._library.cache_clear()
    try:
        assert compiled.kernels_in_use() == "plain"
    finally:
        compiled._library.cache_clear()


def test_other_precisions_stay_with_pytorch():
    assert not compiled.usable(torch.zeros(1, dtype=torch.float64))
    assert not compiled.usable(torch.zeros(1, dtype=torch.float16))
    assert not compiled.usable(torch.zeros(1), torch.zeros(1, dtype=torch.bfloat16))
    assert not compiled.usable(torch.zeros(1), small=[torch.zeros(1, dtype=torch.bfloat16)])


def test_an_unknown_choice_of_kernels_is_refused():
    with pytest.raises(VoxflateError, match="'fast' is not one of auto, plain"):
        compiled.use_kernels("fast")
