"""Random numbers that belong to the samples."""

import pytest
import torch

from tests.strategies import networks, random_tensor
from voxflate.nn.draws import Draws

SEEDS = [11, 12, 13, 14]


def drawn(draws):
    return [draws.normal(2, 3), draws.uniform(4), draws.normal(1)]


def test_parts_draw_what_the_whole_draws():
    whole = drawn(Draws(4, "cpu", SEEDS))
    parts = [drawn(Draws(4, "cpu", SEEDS).part(first, last)) for first, last in ((0, 1), (1, 4))]
    for together, *apart in zip(whole, *parts, strict=True):
        assert torch.equal(together, torch.cat(apart))


def test_numbers_are_normal_and_uniform_and_differ_between_samples():
    draws = Draws(2, "cpu", SEEDS[:2])
    normal, uniform = draws.normal(20_000), draws.uniform(20_000)
    assert normal.shape == uniform.shape == (2, 20_000)
    assert normal.mean(1).abs().max() < 0.03
    assert (normal.std(1) - 1).abs().max() < 0.03
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert (uniform.mean(1) - 0.5).abs().max() < 0.02
    assert abs(torch.corrcoef(normal)[0, 1]) < 0.03


def test_without_seeds_the_global_random_state_is_drawn_from():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        got = Draws(2, "cpu").normal(5)
        torch.manual_seed(3)
        assert torch.equal(got, torch.randn(2, 5))


def test_every_sample_needs_its_seed():
    with pytest.raises(ValueError, match="2 seeds for 3 samples"):
        Draws(3, "cpu", [1, 2])


@pytest.mark.parametrize("planar", [False, True])
def test_a_generator_makes_the_same_images_of_a_part(planar):
    generator, _ = networks(2 if planar else 3, planar=planar, position=planar)
    z = random_tensor(4, generator.z_dim, dtype=torch.float32)
    where = torch.tensor([0, 1, 2, 3]) if planar else None
    whole = generator(z, noise=Draws(4, "cpu", SEEDS), positions=where)
    part = generator(
        z[1:3], noise=Draws(4, "cpu", SEEDS).part(1, 3), positions=None if where is None else where[1:3]
    )
    torch.testing.assert_close(part, whole[1:3], rtol=1e-5, atol=1e-5)
    other = generator(z, noise=Draws(4, "cpu", [1, 2, 3, 4]), positions=where)
    assert not torch.allclose(other, whole, atol=1e-3)
