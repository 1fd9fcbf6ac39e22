"""Random numbers that belong to the samples."""

import pytest
import torch
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode

from tests.strategies import networks, random_tensor
from voxflate.nn import counted
from voxflate.nn.draws import Draws

SEEDS = [11, 12, 13, 14]


def drawn(draws):
    return [draws.normal(2, 3), draws.uniform(4), draws.normal(1)]


@pytest.mark.parametrize("is_counted", [False, True])
def test_parts_draw_what_the_whole_draws(is_counted):
    whole = drawn(Draws(4, "cpu", SEEDS, is_counted))
    parts = [drawn(Draws(4, "cpu", SEEDS, is_counted).part(*cut)) for cut in ((0, 1), (1, 4))]
    for together, *apart in zip(whole, *parts, strict=True):
        assert torch.equal(together, torch.cat(apart))


@pytest.mark.parametrize("is_counted", [False, True])
def test_numbers_are_normal_and_uniform_and_differ_between_samples(is_counted):
    draws = Draws(2, "cpu", SEEDS[:2], is_counted)
    normal, uniform = draws.normal(20_000), draws.uniform(20_000)
    assert normal.shape == uniform.shape == (2, 20_000)
    assert normal.mean(1).abs().max() < 0.03
    assert (normal.std(1) - 1).abs().max() < 0.03
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert (uniform.mean(1) - 0.5).abs().max() < 0.02
    assert abs(torch.corrcoef(normal)[0, 1]) < 0.03


def test_counted_numbers_have_the_distributions_they_should_and_no_memory():
    draws = Draws(3, "cpu", [0, 1, 2**32 - 1], is_counted=True)
    normal, uniform, again = draws.normal(100_000), draws.uniform(100_000), draws.normal(100_000)
    for row, cdf in [(row, "norm") for row in normal] + [(row, "uniform") for row in uniform]:
        assert stats.kstest(row.numpy(), cdf).pvalue > 1e-3
    assert normal.abs().max() > 4  # the tails are there
    assert normal.isfinite().all()
    # Neither neighbours, nor samples, nor calls know of each other.
    assert torch.corrcoef(torch.cat([normal, again, uniform])).fill_diagonal_(0).abs().max() < 0.015
    assert torch.corrcoef(torch.stack([normal[0, 1:], normal[0, :-1]]))[0, 1].abs() < 0.015
    assert len(torch.cat([normal, again]).unique()) > 0.99 * 6e5


def test_counted_numbers_stay_the_same_between_versions():
    draws = Draws(2, "cpu", [1, 2], is_counted=True)
    expected = torch.tensor([[0.5790, 0.0072], [0.4375, 0.4020]])
    torch.testing.assert_close(draws.uniform(2), expected, rtol=0, atol=1e-4)
    pair, one = draws.normals([(2,), (1,)])
    torch.testing.assert_close(pair, torch.tensor([[-0.4329, 0.6994], [1.2142, -2.3593]]), rtol=0, atol=1e-4)
    torch.testing.assert_close(one, torch.tensor([[-0.5120], [-0.7346]]), rtol=0, atol=1e-4)


def operations(count, shapes):
    """What `normals` asks of a device: every operation that is no view."""
    draws, asked = Draws(count, "cpu", range(count), is_counted=True), []

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            asked.extend([] if func.is_view else [func])
            return func(*args, **(kwargs or {}))

    with Seen():
        draws.normals(shapes)
    return len(asked)


def test_counted_numbers_of_any_batch_and_any_layers_take_as_many_operations():
    assert operations(2, [(2, 3)]) == operations(64, [(2, 3)]) < 60
    assert operations(2, [(5,), *[(1, 2, 3)] * 20]) == operations(2, [(2, 3)])


def test_seeds_outlive_the_numbers_made_from_them():
    seeds = torch.tensor([1, 2])
    counted.uniform(seeds, 0, (3,))
    counted.normals(seeds, 1, [(3,), (2,)])
    assert seeds.tolist() == [1, 2]


@pytest.mark.parametrize("is_counted", [False, True])
def test_a_whole_of_which_only_parts_are_drawn_makes_no_generators(is_counted, monkeypatch):
    made = []
    with monkeypatch.context() as patch:
        patch.setattr(torch, "Generator", lambda device: made.append(device))
        patch.setattr("voxflate.nn.draws.send", lambda seeds, device: made.append(device))
        part = Draws(4, "cpu", SEEDS, is_counted).part(1, 3)
    assert made == []
    assert torch.equal(part.normal(3), Draws(4, "cpu", SEEDS, is_counted).normal(3)[1:3])


def test_without_seeds_the_global_random_state_is_drawn_from():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        got = Draws(2, "cpu").normal(5)
        torch.manual_seed(3)
        assert torch.equal(got, torch.randn(2, 5))


def test_every_sample_needs_its_seed():
    with pytest.raises(ValueError, match="2 seeds for 3 samples"):
        Draws(3, "cpu", [1, 2])


@pytest.mark.parametrize("is_counted", [False, True])
def test_samples_that_are_like_one_draw_what_it_does_but_not_what_it_draws_itself(is_counted):
    draws = Draws(3, "cpu", [1, 2, 3], is_counted)
    like = draws.like([0, 0, 2]).uniform(5)
    assert torch.equal(like[0], like[1])
    assert torch.equal(like, draws.like([0, 0, 2]).uniform(5))
    for mine in draws.uniform(5):
        assert not (like == mine).any()


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
