"""Planar inflation's law: the inflated generator's volume is the stack of its twin's slices."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import VARIANTS, networks, noise_for, random_tensor, seeds
from voxflate.inflation import inflate

PRECISIONS = {torch.float32: 1e-5, torch.float64: 1e-10}


def twin_and_inflated(architecture, base, stages, seed, dtype, **made):
    options = {"base": base, "stages": stages, "position": True, **made}
    twins = networks(2, architecture, planar=True, seed=seed, **options)
    full = networks(3, architecture, seed=seed + 1, **options)
    for network in (*twins, *full):
        network.to(dtype)
    states, _ = inflate(
        {"generator": twins[0].state_dict(), "discriminator": twins[1].state_dict()},
        {"generator": full[0].state_dict(), "discriminator": full[1].state_dict()},
        "planar",
        "gd",
        torch.Generator(),
    )
    full[0].load_state_dict(states["generator"])
    full[1].load_state_dict(states["discriminator"])
    return twins, full


@pytest.mark.parametrize("dtype", PRECISIONS)
@given(
    st.sampled_from(VARIANTS),
    st.tuples(*(st.integers(1, 4),) * 3),
    st.integers(1, 3),
    st.integers(1, 2),
    seeds,
)
def test_the_inflated_volume_is_the_stack_of_the_twins_slices(dtype, architecture, base, stages, n, seed):
    (twin, _), (full, _) = twin_and_inflated(architecture, base, stages, seed, dtype)
    z, noise = random_tensor(n, 6, seed=seed, dtype=dtype), noise_for(full, n, seed, dtype)
    assert all(float(layer.detach()) for name, layer in twin.named_parameters() if "noise_strength" in name)
    volume = full(z, noise=noise)
    depth = volume.shape[2]
    slices = [twin(z, noise=noise, positions=torch.full((n,), d)) for d in range(depth)]
    error = (torch.stack(slices, dim=2) - volume).abs().max()
    assert error < PRECISIONS[dtype] * max(1.0, float(volume.detach().abs().max()))


@given(st.integers(1, 5), seeds)
def test_without_low_pass_the_inflated_discriminator_takes_the_mean_over_its_slices(depth, seed):
    """One stage: what the head sees of a volume is the mean of what the twin's sees of its slices."""
    (_, twin), (_, full) = twin_and_inflated("baseline", (depth, 4, 4), 1, seed, torch.float64)
    volumes = random_tensor(3, 1, depth, 4, 4, seed=seed)
    ramp = torch.linspace(-1, 1, depth).double() if depth > 1 else torch.zeros(1).double()
    features = [twin.from_image(volumes[:, :, d], ramp[d].expand(3)) for d in range(depth)]
    stacked = torch.stack(features, dim=2)
    torch.testing.assert_close(full.from_image(volumes, None), stacked, rtol=0, atol=1e-6)
    flat, flat_2d = full.epilogue.fc, twin.epilogue.fc
    answer = stacked.flatten(1) @ flat.weight.t() * flat.gain
    answers = [f.flatten(1) @ flat_2d.weight.t() * flat_2d.gain for f in features]
    torch.testing.assert_close(answer, torch.stack(answers).mean(dim=0), rtol=0, atol=1e-10)


@pytest.mark.parametrize("architecture", ["baseline", "split-shuffle"])
def test_so_is_a_volume_of_several_channels_made_for_labels(architecture):
    (twin, _), (full, _) = twin_and_inflated(
        architecture, (2, 4, 4), 2, 0, torch.float64, image_channels=3, label_width=2
    )
    z, noise = random_tensor(2, 6), noise_for(full, 2, dtype=torch.float64)
    labels = random_tensor(2, 2, seed=1)
    volume = full(z, noise=noise, labels=labels)
    slices = [twin(z, noise=noise, positions=torch.full((2,), d), labels=labels) for d in range(4)]
    assert volume.shape == (2, 3, 4, 8, 8)
    torch.testing.assert_close(torch.stack(slices, dim=2), volume, rtol=0, atol=1e-9)
