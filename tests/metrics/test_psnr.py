import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from voxflate.metrics.psnr import from_error, psnr, squared_errors


def test_it_is_scikit_images():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, 3, 1, 4, 6, 8))
    expected = [peak_signal_noise_ratio(a, b, data_range=2.0) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(psnr(torch.from_numpy(x), torch.from_numpy(y)), expected, rtol=1e-9)


def test_a_known_offset_is_a_known_number_and_equal_volumes_are_finite():
    x = torch.zeros(2, 1, 4, 4, 4)
    assert psnr(x, x + 0.2)[0] == pytest.approx(20.0, abs=1e-4)
    assert psnr(x, x)[0] == pytest.approx(106.02, abs=0.01)


@pytest.mark.parametrize("offset", [0.0, 1e-4, 1e-3, 1e-2])
def test_errors_of_close_volumes_do_not_cancel(offset):
    """Exact copies came out anywhere between 69 and 106 dB."""
    real = torch.rand(6, 1, 16, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    generated = real[[4, 1]] + offset
    errors = squared_errors(generated, real)
    nearest = from_error(errors.amin(dim=1))
    torch.testing.assert_close(nearest, psnr(generated, real[[4, 1]]), rtol=0, atol=1e-3)
    assert errors.argmin(dim=1).tolist() == [4, 1]
    if not offset:
        assert errors.amin(dim=1).tolist() == [0.0, 0.0]


def test_errors_of_all_pairs_are_those_of_each():
    a, b = torch.rand(5, 1, 3, 4, 5), torch.rand(7, 1, 3, 4, 5)
    every = torch.stack([psnr(x[None].expand_as(b), b) for x in a])
    torch.testing.assert_close(from_error(squared_errors(a, b)), every, rtol=1e-4, atol=1e-4)
