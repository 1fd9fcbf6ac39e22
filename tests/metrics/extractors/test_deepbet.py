import pytest
import torch

from voxflate.metrics.extractors.deepbet import DEEPBET_WEIGHTS, N_FEATURES, LinkNetEncoder, resized
from voxflate.metrics.extractors.table import VOLUME_EXTRACTORS
from voxflate.metrics.extractors.weights import load_script


@pytest.fixture(scope="module", params=["deepbet", "random3d"])
def extract(request):
    return VOLUME_EXTRACTORS[request.param]("cpu")


def volumes(n, seed=0):
    coarse = torch.rand(n, 1, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, (8, 16, 16), mode="trilinear")


def test_our_encoder_is_the_one_in_the_file():
    script = load_script(DEEPBET_WEIGHTS.find())
    state = script.state_dict()
    encoder = LinkNetEncoder().eval()
    encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
    x = torch.rand(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    relu = getattr(script.conv, "2")
    with torch.inference_mode():
        theirs = script.init(relu, x)
        for index, ours in enumerate(encoder.stages(x)):
            theirs = getattr(script, f"down{index}")(relu, theirs)
            torch.testing.assert_close(ours, theirs)


def test_features_know_nothing_of_their_batch_and_of_contrast(extract):
    x = volumes(3)
    together = extract(x)
    assert together.shape == (3, N_FEATURES)
    torch.testing.assert_close(
        torch.cat([extract(one) for one in x.split(1)]), together, rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(extract(0.5 * x - 0.2), together, rtol=1e-3, atol=1e-3)
    assert torch.pdist(together).min() > 0.01


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_fine_stripes_do_not_alias_when_a_volume_shrinks(axis):
    """Stripes finer than the new voxels become grey; without a low-pass they come out as coarse ones."""
    places = torch.arange(40.0)
    stripes = torch.cos(places * torch.pi * 0.9).view([-1 if i == axis else 1 for i in range(5)])
    small = resized(stripes.expand(1, 1, 40, 40, 40), 16)
    assert small.shape == (1, 1, 16, 16, 16)
    assert small.abs().max() < 0.15
    coarse = torch.cos(places * torch.pi / 20).view(stripes.shape).expand(1, 1, 40, 40, 40)
    assert resized(coarse, 16).std() > 0.6


def test_a_volume_that_grows_is_interpolated_as_ever():
    x = volumes(2)
    expected = torch.nn.functional.interpolate(x, (24, 24, 24), mode="trilinear")
    torch.testing.assert_close(resized(x, 24), expected)


def test_a_constant_volume_has_finite_features(extract):
    assert extract(torch.full((2, 1, 8, 16, 16), -1.0)).isfinite().all()


def test_other_shapes_are_refused(extract):
    with pytest.raises(ValueError, match=r"\[n, 1, D, H, W\]"):
        extract(torch.zeros(2, 1, 8, 8))
