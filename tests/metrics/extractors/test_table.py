import pytest
import torch

from voxflate.metrics import EXTRACTORS


@pytest.fixture
def slices():
    return torch.rand(5, 1, 16, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("name", sorted(set(EXTRACTORS) - {"inception"}))  # its file is a download
def test_features_are_deterministic_and_know_nothing_of_their_batch(name, slices):
    extract = EXTRACTORS[name]("cpu")
    together = extract(slices)
    assert torch.equal(together, EXTRACTORS[name]("cpu")(slices))
    one_by_one = torch.cat([extract(one) for one in slices.split(1)])
    torch.testing.assert_close(one_by_one, together, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(extract(slices.flip(0)).flip(0), together, rtol=1e-4, atol=1e-5)
    # Longer than a run through the network:
    many = extract(slices.repeat(14, 1, 1, 1))
    torch.testing.assert_close(many, together.repeat(14, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "mean", "deviation"),
    [("mobilenetv2", 0.34852, 0.63612), ("efficientnet-lite0", 0.48526, 1.22758)],
)
def test_pretrained_features_are_those_of_earlier_versions(name, mean, deviation):
    """The numbers are what the networks gave when this test was written."""
    image = torch.linspace(-1, 1, 4096).view(1, 1, 64, 64) * torch.cos(torch.arange(64.0) / 3)
    features = EXTRACTORS[name]("cpu")(image)
    assert (float(features.mean()), float(features.std())) == pytest.approx((mean, deviation), rel=1e-3)
