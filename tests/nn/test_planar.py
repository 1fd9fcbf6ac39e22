import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import networks, noise_for, random_tensor, seeds
from voxflate.nn.planar import slice_window
from voxflate.nn.resample import DOUBLE, lowpass_matrix


@given(st.integers(1, 5), st.integers(1, 4), st.data())
def test_a_window_holds_all_that_its_slice_depends_on(depth, stages, data):
    last = depth * 2 ** (stages - 1)
    positions = torch.tensor(data.draw(st.lists(st.integers(0, last - 1), min_size=1, max_size=4)))
    window = slice_window(depth, stages, positions)
    assert window.slices[-1].flatten().tolist() == positions.tolist()
    for sample in range(len(positions)):
        full = [random_tensor(depth * 2**stage, seed=stage) for stage in range(stages)]
        # From any stage on, the doubling makes of the whole axis what the window makes of its part.
        for start in range(stages):
            whole, part = full[start], full[start][window.slices[start][sample]]
            for stage in range(start + 1, stages):
                whole = lowpass_matrix(DOUBLE, len(whole)).double() @ whole
                part = window.mixing[stage - 1][sample].double() @ part
            torch.testing.assert_close(part, whole[positions[sample] : positions[sample] + 1])


@given(st.integers(1, 4), seeds)
def test_every_window_is_narrow(depth, seed):
    window = slice_window(depth, 4, torch.arange(8 * depth))
    assert all(slices.shape[1] <= 4 for slices in window.slices)
    for stage, slices in enumerate(window.slices):
        assert slices.min() >= 0
        assert slices.max() < depth * 2**stage


@given(st.sampled_from([(1, 2, 3), (2, 4, 4), (3, 2, 2)]), st.integers(1, 3), seeds)
def test_a_slice_is_the_slice_of_the_rendered_volume(base, stages, seed):
    generator, _ = networks(2, base=base, stages=stages, planar=True, position=True, seed=seed)
    generator.double()
    depth = generator.synthesis.shape[0]
    z, noise = random_tensor(1, 6, seed=seed), noise_for(generator, 1, seed, torch.float64)
    volume = generator(z, noise=noise)[0]
    slices = generator(
        z.expand(depth, -1),
        noise=[n.expand(depth, *n.shape[1:]) for n in noise],
        positions=torch.arange(depth),
    )
    torch.testing.assert_close(slices, volume.movedim(1, 0), rtol=0, atol=1e-10)
