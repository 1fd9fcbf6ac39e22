from contextlib import contextmanager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import networks
from voxflate.gans.samples import sample, sample_inputs

KINDS = {
    "2d": (2, False, False),
    "3d": (3, False, False),
    "slices": (2, True, True),
    "planar volumes": (2, True, False),
}
DRAWN = {}


def generator_of(kind):
    dims, planar, _ = KINDS[kind]
    return networks(dims, planar=planar, position=planar)[0]


def samples(generator, kind, count, **options):
    return torch.cat(list(sample(generator, count, seed=3, slices=KINDS[kind][2], **options)))


@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 3))
def test_a_sample_depends_on_its_seed_and_number_alone(kind, count, batch, first):
    if kind not in DRAWN:
        DRAWN[kind] = samples(generator_of(kind), kind, 9, batch=3)
    again = samples(generator_of(kind), kind, count, batch=batch, first=first)
    assert again.shape == (count, *DRAWN[kind].shape[1:])
    torch.testing.assert_close(again, DRAWN[kind][first : first + count], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_differ_within_and_between_seeds(kind):
    generator = generator_of(kind)
    images = torch.cat([torch.cat(list(sample(generator, 4, seed=s, slices=KINDS[kind][2]))) for s in (0, 1)])
    assert len({tuple(image.flatten().tolist()) for image in images}) == 8


def test_truncation_0_gives_every_sample_the_same_style():
    generator, seen = generator_of("3d"), []
    generator.mapping.w_avg.normal_(generator=torch.Generator().manual_seed(0))
    generator.synthesis.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for psi in (0.0, 1.0):
        list(sample(generator, 3, seed=0, truncation_psi=psi))
    assert torch.equal(seen[0], generator.mapping.w_avg.expand_as(seen[0]))
    assert not torch.equal(seen[1][0], seen[1][1])


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_leaves_the_generator_and_the_global_random_state_alone(kind):
    generator = generator_of(kind).train()
    random_state = torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    images = samples(generator, kind, 3)
    assert generator.training
    assert not images.requires_grad
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())


def test_positions_of_slices_cover_the_volume():
    generator = generator_of("slices")
    positions = [int(sample_inputs(generator, 0, index)[2]) for index in range(60)]
    assert set(positions) == set(range(4))


def test_the_mode_comes_back_even_when_sampling_stops_early():
    generator = generator_of("2d").train()
    stream = sample(generator, 8, seed=0, batch=2)
    next(stream)
    stream.close()
    assert generator.training


def test_samples_are_computed_without_tf32_but_what_is_done_between_them_is_not(monkeypatch):
    generator, told = generator_of("3d"), []

    @contextmanager
    def exact(device):
        told.append("exact")
        yield
        told.append("as before")

    monkeypatch.setattr("voxflate.gans.samples.exact_float32", exact)
    generator.register_forward_hook(lambda *_: told.append("images"))
    for _ in sample(generator, 2, seed=0, batch=1):
        told.append("given")
    assert told == ["exact", "images", "as before", "given"] * 2
