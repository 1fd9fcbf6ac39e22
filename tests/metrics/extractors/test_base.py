import pytest
import torch

from voxflate.metrics.extractors.untrained import random_network


@pytest.fixture
def slices():
    return torch.rand(5, 1, 16, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_autocast_around_it_does_not_change_features(slices):
    extract = random_network()
    with torch.autocast("cpu", torch.bfloat16):
        inside = extract(slices)
    assert torch.equal(inside, extract(slices))


def test_no_gradient_is_kept(slices):
    assert not random_network()(slices.requires_grad_()).requires_grad


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 8, 8), (0, 1, 8, 8)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"must be \[n, 1, H, W\]"):
        random_network()(torch.zeros(shape))
