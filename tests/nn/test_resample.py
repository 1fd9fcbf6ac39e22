import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.strategies import random_tensor, seeds, sizes
from voxflate.nn.resample import DOUBLE, HALVE, SMOOTH_DOWN, SMOOTH_UP, lowpass_matrix, resample

FILTERS = {"double": DOUBLE, "smooth-up": SMOOTH_UP, "smooth-down": SMOOTH_DOWN, "halve": HALVE}
CONV = {2: F.conv2d, 3: F.conv3d}
INTERPOLATION = {2: "bilinear", 3: "trilinear"}


def written_out(x, filter_):
    """Zeros between the samples and around them, the dense [1, 3, 3, 1] filter, every `down`-th sample."""
    dims = x.ndim - 2
    inserted = x.new_zeros(*x.shape[:2], *(n * filter_.up for n in x.shape[2:]))
    inserted[(..., *(slice(None, None, filter_.up),) * dims)] = x
    padded = F.pad(inserted, filter_.pad * dims)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]).double() / 8 * filter_.gain
    kernel = torch.ones(()).double()
    for _ in range(dims):
        kernel = kernel[..., None] * taps
    channels = x.shape[1]
    kernel = kernel.expand(channels, 1, *kernel.shape)
    return CONV[dims](padded.double(), kernel, stride=filter_.down, groups=channels)


def by_matrices(x, filters):
    for axis, filter_ in enumerate(filters, start=2):
        matrix = lowpass_matrix(filter_, x.shape[axis]).to(x.dtype)
        x = torch.tensordot(x, matrix, dims=([axis], [1])).movedim(-1, axis)
    return x


any_filter = st.sampled_from(list(FILTERS.values()))


@given(any_filter, sizes(3, 8), st.sampled_from([torch.float32, torch.float64]), seeds)
def test_every_step_is_insert_pad_filter_and_keep(filter_, size, dtype, seed):
    x = random_tensor(2, 3, *size, seed=seed, dtype=dtype)
    ours = resample(x, [filter_] * len(size))
    assert ours.dtype == dtype
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(ours.double(), written_out(x, filter_), rtol=0, atol=tolerance)


@given(sizes(3, 6), st.data(), seeds)
def test_the_quick_float32_path_and_its_derivatives_are_those_of_the_matrices(size, data, seed):
    filters = [data.draw(any_filter) for _ in size]
    results = []
    for dtype, apply in ((torch.float32, resample), (torch.float64, by_matrices)):
        x = random_tensor(1, 2, *size, seed=seed, dtype=dtype).requires_grad_()
        y = apply(x, filters)
        (first,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad((first * first).sum(), x)
        results.append((y, first, second))
    for quick, exact in zip(*results, strict=True):
        error = (quick.detach().double() - exact.detach()).abs().max()
        assert error < 1e-5 * exact.detach().abs().max()


def test_axes_may_have_filters_of_their_own():
    x = random_tensor(1, 2, 4, 6, 7, dtype=torch.float32)
    assert resample(x, [DOUBLE, HALVE, SMOOTH_UP]).shape == (1, 2, 8, 3, 6)


@given(sizes(1, 6), seeds)
def test_doubling_is_padding_linear_interpolation_and_cropping(size, seed):
    x = random_tensor(2, 2, *size, seed=seed)
    dims = len(size)
    larger = F.interpolate(
        F.pad(x, (1, 1) * dims), scale_factor=2.0, mode=INTERPOLATION[dims], align_corners=False
    )
    cropped = larger[(..., *(slice(2, -2),) * dims)]
    torch.testing.assert_close(resample(x, [DOUBLE] * dims), cropped, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "inside", "value"),
    [
        ("double", slice(1, -1), 1.0),
        ("smooth-up", slice(1, -1), 2.0),  # it makes up for inserted zeros that are not there
        ("smooth-down", slice(2, -2), 1.0),
        ("halve", slice(1, -1), 1.0),
    ],
)
@pytest.mark.parametrize("dims", [2, 3])
def test_a_constant_stays_one_inside(name, inside, value, dims):
    y = resample(torch.ones(1, 1, *(8,) * dims), [FILTERS[name]] * dims)
    torch.testing.assert_close(
        y[(..., *(inside,) * dims)], torch.full_like(y[(..., *(inside,) * dims)], value**dims)
    )
    assert y[(..., *(0,) * dims)] < value**dims


@pytest.mark.parametrize("n", [2, 5, 8])
def test_sizes(n):
    sizes_after = [len(lowpass_matrix(filter_, n)) for filter_ in (DOUBLE, SMOOTH_DOWN, HALVE)]
    assert sizes_after == [2 * n, n + 1, n // 2]
    assert len(lowpass_matrix(SMOOTH_UP, 2 * n + 1)) == 2 * n


@given(st.integers(1, 5), st.integers(2, 4), seeds)
def test_a_matrix_a_sample_replaces_the_first_axis(depth, rows, seed):
    x = random_tensor(2, 3, depth, 4, 5, seed=seed)
    matrices = random_tensor(2, rows, depth, seed=seed + 1)
    ours = resample(x, [matrices, DOUBLE, HALVE])
    for sample, matrix, result in zip(x, matrices, ours, strict=True):
        mixed = torch.einsum("sd,cdhw->cshw", matrix, sample)
        torch.testing.assert_close(result, by_matrices(mixed, [DOUBLE, HALVE]), rtol=0, atol=1e-12)
