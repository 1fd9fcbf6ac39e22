import pytest
import torch
from torch import nn

from voxflate._system.errors import VoxflateError
from voxflate.nn.dcgan import (
    NORMS,
    UpsamplingGenerator,
    VariationalEncoder,
    code_discriminator,
    critic,
    encoder,
    statistics_kept,
    trunk,
)

SHAPES = [(16, 32, 32), (32, 16, 48), (16, 16, 16)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("norm", NORMS)
def test_shapes(shape, norm):
    x = torch.rand(2, 1, *shape)
    base = tuple(side // 16 for side in shape)
    assert trunk(8)(x).shape == (2, 8, *base)
    assert critic(shape, 8, norm)(x).shape == (2,)
    assert encoder(shape, 8, 5)(x).shape == (2, 5)
    assert [part.shape for part in VariationalEncoder(shape, 8, 5)(x)] == [(2, 5), (2, 5)]
    assert code_discriminator(5, 8, norm)(torch.rand(2, 5)).shape == (2,)
    for linear in (False, True):
        images = UpsamplingGenerator(shape, 8, 5, linear=linear)(torch.randn(2, 5))
        assert images.shape == (2, 1, *shape)
        assert images.abs().max() < 1


def test_a_side_that_cannot_be_halved_four_times_is_refused():
    with pytest.raises(VoxflateError, match="multiples of 16, this one is 16x24x32"):
        critic((16, 24, 32), 8, "batch")


def test_both_norms_learn_as_many_numbers():
    for make in (lambda name: critic((16, 16, 16), 16, name), lambda name: code_discriminator(5, 16, name)):
        counts = {sum(p.numel() for p in make(name).parameters()) for name in NORMS}
        assert len(counts) == 1


@pytest.mark.parametrize(("norm", "alone"), [("layer", True), ("batch", False)])
def test_layer_norm_judges_every_volume_alone(norm, alone):
    judge = critic((16, 16, 16), 8, norm)
    x = torch.rand(4, 1, 16, 16, 16)
    assert torch.allclose(judge(x)[:2], judge(x[:2]), atol=1e-6) == alone


def test_statistics_are_kept_in_passes_that_still_normalise_over_the_batch():
    norm = nn.BatchNorm1d(3)
    x = torch.randn(8, 3) * 5 + 2
    with statistics_kept(norm):
        inside = norm(x)
    assert norm.running_mean.eq(0).all()
    assert norm.running_var.eq(1).all()
    torch.testing.assert_close(norm(x), inside)
    assert not norm.running_mean.eq(0).any()
