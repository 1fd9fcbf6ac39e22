import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import networks, randomised
from voxflate.gans.ema import Ema
from voxflate.nn.dcgan import UpsamplingGenerator


def test_the_average_starts_at_the_network_and_is_a_copy():
    generator, _ = networks()
    ema = Ema(generator, 0.05)
    assert all(
        torch.equal(a, b) and a is not b
        for a, b in zip(ema.generator.parameters(), generator.parameters(), strict=True)
    )
    assert not any(parameter.requires_grad for parameter in ema.generator.parameters())
    assert all(parameter.requires_grad for parameter in generator.parameters())


@given(st.floats(0.001, 1), st.floats(0, 5000), st.integers(1, 10**6), st.integers(1, 256))
def test_the_decay_halves_after_its_half_life(fraction, limit, n_images, batch):
    generator, _ = networks(2, stages=1)
    halflife = fraction * n_images if not limit else min(fraction * n_images, limit)
    decay = Ema(generator, fraction, limit).decay(n_images, batch)
    assert decay == pytest.approx(0.5 ** (batch / halflife), abs=1e-300)
    assert 0 <= decay < 1


def test_without_half_life_the_average_is_the_network():
    ema = Ema(networks(2, stages=1)[0], 0.0)
    assert ema.decay(1000, 8) == 0.0


@pytest.mark.parametrize("batch", [1, 8, 64])
def test_an_old_network_counts_half_after_one_half_life_whatever_the_batch(batch):
    generator, _ = networks(2, stages=1)
    ema = Ema(generator, 1.0, 64.0)  # the limit makes the half-life 64 images
    old = generator.synthesis.const.detach().clone()
    with torch.no_grad():
        generator.synthesis.const.zero_()
    for step in range(64 // batch):
        ema.update(generator, 10_000 + step * batch, batch)
    torch.testing.assert_close(ema.generator.synthesis.const, 0.5 * old)


def test_an_update_is_the_formula_and_buffers_are_copied():
    generator, _ = networks()
    ema = Ema(generator, 0.1)
    before = [parameter.clone() for parameter in ema.generator.parameters()]
    randomised(generator, 9)
    generator.mapping.w_avg.fill_(3.0)
    live = [parameter.detach().clone() for parameter in generator.parameters()]
    ema.update(generator, 500, 4)
    decay = 0.5 ** (4 / 50)
    for average, old, new in zip(ema.generator.parameters(), before, live, strict=True):
        torch.testing.assert_close(average, decay * old + (1 - decay) * new)
    assert torch.equal(ema.generator.mapping.w_avg, generator.mapping.w_avg)
    for parameter, kept in zip(generator.parameters(), live, strict=True):
        assert torch.equal(parameter, kept)


def test_running_statistics_are_averaged_like_the_weights_they_belong_to():
    generator = UpsamplingGenerator((16, 16, 16), 8, 3, linear=True)
    ema = Ema(generator, 1.0, 64.0)
    norm, average = generator.tail[0], ema.generator.tail[0]
    norm.running_mean.fill_(4.0)
    norm.num_batches_tracked.fill_(7)
    ema.update(generator, 10_000, 64)  # one half-life
    assert average.running_mean.unique().tolist() == [2.0]
    assert average.num_batches_tracked == 7
