import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import random_tensor, seeds
from voxflate.config import schema as config
from voxflate.inflation import STRATEGIES

T = 3


def written_out(name, kernel2d, start):
    """Eqs. 3-7 tap by tap: where the 2D kernel goes, and what is left of the start."""
    kernel3d = start.clone()
    for o in range(start.shape[0]):
        for i in range(start.shape[1]):
            for d in range(T):
                for h in range(T):
                    for w in range(T):
                        value = RULES[name](kernel2d[o, i], d, h, w)
                        if value is not None:
                            kernel3d[o, i, d, h, w] = value
    return kernel3d


def asc(k, d, h, w):
    """The last write wins: coronal over sagittal over axial."""
    if w == 1:
        return k[d, h]
    if h == 1:
        return k[d, w]
    return k[h, w] if d == 1 else None


RULES = {
    "inflate-1": lambda k, d, h, w: k[h, w] if d == 1 else None,
    "inflate-2": lambda k, d, h, w: k[h, w] if d in (0, 1) else None,
    "inflate-3": lambda k, d, h, w: k[h, w],
    "inflate-asc": asc,
    "inflate-nwi": lambda k, d, h, w: k[h, w] * (5 / 3 if d == 1 else -1 / 3),
    "preserving": lambda k, d, h, w: k[h, w] if d == 1 else None,
    "planar": lambda k, d, h, w: k[h, w] if d == 1 else None,
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_is_its_equation_and_leaves_its_inputs_alone(name):
    kernel2d, start = random_tensor(2, 3, T, T, seed=1), random_tensor(2, 3, T, T, T, seed=2)
    before = kernel2d.clone(), start.clone()
    kernel3d = STRATEGIES[name].kernel(kernel2d, start)
    torch.testing.assert_close(kernel3d, written_out(name, kernel2d, start), rtol=0, atol=1e-15)
    assert torch.equal(kernel2d, before[0])
    assert torch.equal(start, before[1])
    kernel3d.zero_()
    assert torch.equal(kernel2d, before[0])
    assert torch.equal(start, before[1])


@given(st.integers(1, 3), st.integers(1, 3), seeds)
def test_nwi_slices_sum_to_the_2d_kernel(channels_out, channels_in, seed):
    kernel2d = random_tensor(channels_out, channels_in, T, T, seed=seed)
    start = random_tensor(channels_out, channels_in, T, T, T, seed=seed + 1)
    kernel3d = STRATEGIES["inflate-nwi"].kernel(kernel2d, start)
    torch.testing.assert_close(kernel3d.sum(dim=2), kernel2d, rtol=0, atol=1e-12)


@given(st.integers(1, 3), seeds)
def test_inflate_1_changes_the_middle_slice_only(channels, seed):
    kernel2d, start = (
        random_tensor(channels, channels, T, T),
        random_tensor(channels, channels, T, T, T, seed=seed),
    )
    kernel3d = STRATEGIES["inflate-1"].kernel(kernel2d, start)
    changed = (kernel3d != start).flatten(3).any(dim=3).flatten(0, 1).any(dim=0)
    assert changed.tolist() == [False, True, False]


def test_the_papers_fresh_kernels_are_drawn_with_a_tenth():
    assert {name: strategy.start_std for name, strategy in STRATEGIES.items()} == {
        name: 0.0 if name in ("preserving", "planar") else 0.1 for name in STRATEGIES
    }


def test_the_configuration_knows_the_same_strategies():
    assert ("none", *STRATEGIES) == config.STRATEGIES
