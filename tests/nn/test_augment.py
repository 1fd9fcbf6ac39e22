import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import random_tensor, seeds
from voxflate.nn.augment import AUGMENTATIONS, augment, cutout, intensity, translation
from voxflate.nn.draws import Draws

SHAPES = [(8, 16), (8, 16, 24)]
any_shape = st.sampled_from(SHAPES)


def images(shape, n=3, seed=0):
    """In (-1, 1), no two voxels alike."""
    return torch.tanh(random_tensor(n, 2, *shape, seed=seed, dtype=torch.float32))


def seeded(seed, function, *args):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return function(*args)


def drawn(seed, augmentation, before):
    return seeded(seed, augmentation, before, Draws(len(before), "cpu"))


def moved_by(image, shift):
    """An image moved by whole voxels; what enters is -1."""
    result = torch.full_like(image, -1.0)
    source, target = [slice(None)], [slice(None)]
    for s, n in zip(shift, image.shape[1:], strict=True):
        source.append(slice(max(0, -s), n - max(0, s)))
        target.append(slice(max(0, s), n - max(0, -s)))
    result[tuple(target)] = image[tuple(source)]
    return result


@given(any_shape, seeds)
def test_translation_moves_by_whole_voxels_and_background_enters(shape, seed):
    before = images(shape)
    after = drawn(seed, translation, before)
    ranges = [torch.arange(-(n // 8), n // 8 + 1) for n in shape]
    shifts = torch.cartesian_prod(*ranges).tolist()
    for one, moved in zip(before, after, strict=True):
        assert any(torch.allclose(moved, moved_by(one, shift), atol=1e-6) for shift in shifts)


@pytest.mark.parametrize("shape", SHAPES)
def test_translations_reach_both_ends_of_every_axis_and_differ_within_a_batch(shape):
    marked = torch.full((400, 1, *shape), -1.0)
    centre = tuple(n // 2 for n in shape)
    marked[(slice(None), 0, *centre)] = 1
    moved = drawn(0, translation, marked)[:, 0]
    places = (moved > 0).nonzero()[:, 1:] - torch.tensor(centre)
    assert len(places) == 400
    for axis, n in enumerate(shape):
        assert places[:, axis].min() == -(n // 8)
        assert places[:, axis].max() == n // 8


@given(any_shape, seeds)
def test_cutout_erases_one_box_of_half_of_every_axis(shape, seed):
    before = images(shape)
    after = drawn(seed, cutout, before)
    for one, cut in zip(before, after, strict=True):
        gone = cut != one
        assert (cut[gone] == -1).all()
        assert torch.equal(gone[0], gone[1])  # the same box in every channel
        lengths = [gone[0].movedim(axis, 0).flatten(1).any(1).sum().item() for axis in range(len(shape))]
        assert gone[0].sum() == torch.tensor(lengths).prod()
        assert all(1 <= length <= n // 2 + 1 for length, n in zip(lengths, shape, strict=True))


@given(any_shape, seeds)
def test_intensity_scales_what_is_above_the_background(shape, seed):
    before = images(shape)
    factors = ((drawn(seed, intensity, before) + 1) / (before + 1)).flatten(1)
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors), rtol=1e-3, atol=1e-4)
    assert factors.min() > 0.79
    assert factors.max() < 1.21
    background = torch.full((2, 1, *shape), -1.0)
    assert torch.equal(drawn(seed, intensity, background), background)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_augmentations_keep_shape_and_background_and_pass_gradients(name, shape):
    before = images(shape).requires_grad_()
    untouched = before.detach().clone()
    after = seeded(1, augment, before, [name])
    assert after.shape == before.shape
    assert not torch.equal(after, before)
    assert after.min() >= -1
    after.sum().backward()
    assert (before.grad.flatten(1).abs().sum(1) > 0).all()
    assert torch.equal(before.detach(), untouched)


def test_probability_0_is_the_identity():
    before = images((8, 16))
    assert torch.equal(augment(before, list(AUGMENTATIONS), 0.0), before)


def test_probability_is_the_share_of_the_images_that_change():
    before = images((8, 8), n=1000)
    after = seeded(2, augment, before, ["intensity"], 0.3)
    share = float((after != before).flatten(1).any(1).float().mean())
    assert 0.25 < share < 0.35


def test_augmentations_are_applied_one_after_the_other():
    before = images((8, 16))
    together = seeded(3, augment, before, ["translation", "cutout"])

    def in_turn():
        return augment(augment(before, ["translation"]), ["cutout"])

    assert torch.equal(together, seeded(3, in_turn))


def test_a_part_of_a_batch_is_changed_as_in_the_whole():
    before, draws = images((8, 16), n=4), Draws(4, "cpu", [3, 5, 7, 9])
    whole = augment(before, list(AUGMENTATIONS), 0.5, draws)
    parts = [augment(before[a:b], list(AUGMENTATIONS), 0.5, draws.part(a, b)) for a, b in ((0, 1), (1, 4))]
    assert torch.equal(torch.cat(parts), whole)
