import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity

from voxflate._system.errors import VoxflateError
from voxflate.metrics.ssim import WEIGHTS, _ssim, levels_and_kernel, ms_ssim, ms_ssim_kwon


def pair(shape, seed=0, noise=0.3):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    first = np.clip(smooth / np.abs(smooth).max(), -1, 1)
    second = np.clip(first + noise * ndimage.gaussian_filter(rng.normal(size=shape), 1), -1, 1)
    return first.astype(np.float32), second.astype(np.float32)


def tensors(*arrays):
    return [torch.from_numpy(array)[None, None] for array in arrays]


def maps(x, y, kernel, sigma, data_range):
    """SSIM and its contrast factor from SciPy's filters, where the kernel fits: [.], [.]."""
    radius = (kernel - 1) / 2
    taps = np.exp(-((np.arange(kernel) - radius) ** 2) / (2 * sigma**2))
    taps /= taps.sum()

    def filtered(z):
        z = z.astype(np.float64)
        for axis in range(3):
            z = np.apply_along_axis(np.convolve, axis, z, taps, mode="valid")
        return z

    mx, my = filtered(x), filtered(y)
    sxx, syy, sxy = filtered(x * x) - mx**2, filtered(y * y) - my**2, filtered(x * y) - mx * my
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    contrast = (2 * sxy + c2) / (sxx + syy + c2)
    return (2 * mx * my + c1) / (mx**2 + my**2 + c1) * contrast, contrast


def halved(x):
    d, h, w = (size // 2 for size in x.shape)
    return x[: 2 * d, : 2 * h, : 2 * w].reshape(d, 2, h, 2, w, 2).mean((1, 3, 5))


@pytest.mark.parametrize("shape", [(24, 26, 31), (16, 16, 16)])
def test_one_scale_is_scikit_images(shape):
    x, y = pair(shape)
    expected = structural_similarity(
        x.astype(np.float64), y.astype(np.float64), data_range=2.0, gaussian_weights=True,
        use_sample_covariance=False, sigma=1.5,
    )  # fmt: skip
    got, _ = _ssim(*tensors(x, y), kernel=11, sigma=1.5, data_range=2.0)
    assert float(got) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(("shape", "levels", "kernel"), [((16, 32, 32), 3, 3), ((32, 32, 40), 4, 3)])
def test_ms_ssim_is_its_formula(shape, levels, kernel):
    x, y = originals = pair(shape)
    weights = np.array(WEIGHTS[:levels]) / sum(WEIGHTS[:levels])
    expected = 1.0
    for level in range(levels):
        similarity, contrast = maps(x, y, kernel, 1.5 * kernel / 11, 2.0)
        expected *= (similarity if level == levels - 1 else contrast).mean() ** weights[level]
        x, y = halved(x), halved(y)
    assert levels_and_kernel(min(shape)) == (levels, kernel)
    assert float(ms_ssim(*tensors(*originals))) == pytest.approx(expected, abs=1e-4)


def kwon(x, y):
    """What the code of Kwon et al. computes, written from its description in decision 0208."""
    weights, factors = np.array(WEIGHTS), []
    for _ in WEIGHTS:
        mx, my, mxx, myy, mxy = (ndimage.gaussian_filter(z, 1.5) for z in (x, y, x * x, y * y, x * y))
        contrast = (2 * (mxy - mx * my) + 0.03**2) / (mxx - mx**2 + myy - my**2 + 0.03**2)
        luminance = (2 * mx * my + 0.01**2) / (mx**2 + my**2 + 0.01**2)
        factors.append(((luminance * contrast).mean(), contrast.mean()))
        x, y = halved(x), halved(y)
    similarities, contrasts = np.array(factors).T
    return np.prod(contrasts[:-1] ** weights[:-1] * similarities[-1] ** weights[-1])


@pytest.mark.parametrize("shape", [(16, 32, 32), (40, 32, 48), (64, 64, 64)])
def test_kwons_form_filters_like_scipy_and_raises_the_last_factor_once_per_earlier_level(shape):
    """SciPy's filter has 13 taps and reflects at the edges, where a volume of one voxel stays as it is."""
    x, y = originals = pair(shape)
    expected = kwon(x.astype(np.float64), y.astype(np.float64))
    assert float(ms_ssim_kwon(*tensors(*originals))) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("function", [ms_ssim, ms_ssim_kwon])
def test_laws_of_similarity(function):
    x, y = (torch.cat([a, b]) for a, b in (tensors(*pair((16, 16, 16), 0)), tensors(*pair((16, 16, 16), 1))))
    torch.testing.assert_close(function(x, x), torch.ones(2))
    torch.testing.assert_close(function(x, y), function(y, x))
    torch.testing.assert_close(function(x, y)[1:], function(x[1:], y[1:]))
    near, far = (function(x, x + scale * (y - x)) for scale in (0.2, 0.8))
    assert (near > far).all()
    assert function(x, -x).isfinite().all()


def test_small_volumes_are_refused():
    with pytest.raises(VoxflateError, match="at least 16 voxels, got 8"):
        ms_ssim_kwon(torch.zeros(1, 1, 8, 16, 16), torch.zeros(1, 1, 8, 16, 16))
    with pytest.raises(VoxflateError, match="at least 3 voxels, got 2"):
        ms_ssim(torch.zeros(1, 1, 2, 16, 16), torch.zeros(1, 1, 2, 16, 16))


@pytest.mark.parametrize(
    ("side", "levels", "kernel"),
    [(32, 4, 3), (64, 5, 3), (128, 5, 7)],
)
def test_the_kernel_obeys_the_rule(side, levels, kernel):
    assert levels_and_kernel(side) == (levels, kernel)
    assert side // (levels - 1) ** 2 > kernel - 1
