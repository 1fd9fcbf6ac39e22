"""Dice and HD95: known answers, and the definition."""

import numpy as np
import pytest

from voxflate.metrics.overlap import dice, hausdorff_95

SPACING = (3.0, 2.0, 1.0)


def box(start, stop):
    mask = np.zeros((8, 10, 12), bool)
    mask[tuple(slice(*ends) for ends in zip(start, stop, strict=True))] = True
    return mask


def test_a_shifted_box_has_the_known_overlap_and_distance():
    one, moved = box((1, 2, 3), (5, 6, 7)), box((2, 2, 3), (6, 6, 7))
    assert dice(one, one) == 1
    assert dice(one, moved) == 0.75
    assert hausdorff_95(one, one, SPACING) == 0
    assert hausdorff_95(one, moved, SPACING) == SPACING[0]


def test_an_empty_mask_counts_as_the_worst_and_two_as_equal():
    empty, one = np.zeros((8, 10, 12), bool), box((1, 2, 3), (5, 6, 7))
    assert (dice(empty, empty), hausdorff_95(empty, empty, SPACING)) == (1, 0)
    assert dice(empty, one) == 0
    far = hausdorff_95(one, empty, SPACING)
    assert far == pytest.approx(np.hypot(np.hypot(24, 20), 12))
    assert far > hausdorff_95(box((0, 0, 0), (1, 1, 1)), box((7, 9, 11), (8, 10, 12)), SPACING)


def test_the_distance_is_that_of_all_pairs_of_surface_voxels():
    """The definition written out; MONAI's `compute_hausdorff_distance` gives the same."""
    rng = np.random.default_rng(0)
    for _ in range(3):
        masks = rng.random((2, 8, 10, 12)) < [[[[0.4]]], [[[0.2]]]]
        surfaces = []
        for mask in masks:
            outside = np.pad(~mask, 1, constant_values=True)
            faces = [np.roll(outside, step, axis)[1:-1, 1:-1, 1:-1] for axis in range(3) for step in (-1, 1)]
            surfaces.append(np.argwhere(mask & np.any(faces, axis=0)) * SPACING)
        gaps = np.linalg.norm(surfaces[0][:, None] - surfaces[1][None], axis=2)
        expected = max(np.percentile(gaps.min(axis=axis), 95) for axis in (0, 1))
        assert hausdorff_95(*masks, SPACING) == pytest.approx(expected)
