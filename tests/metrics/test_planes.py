import numpy as np
import pytest

from voxflate.metrics import PLANES, centre_slices, cut_background
from voxflate.metrics.planes import plane_slices


def test_each_plane_fixes_its_own_axis_at_the_centre():
    d, h, w = np.meshgrid(np.arange(4), np.arange(6), np.arange(9), indexing="ij")
    volumes = (100 * d + 10 * h + w)[None, None].astype(np.float32)
    slices = centre_slices(volumes)
    assert tuple(slices) == PLANES == ("ax", "sag", "cor")
    assert slices["ax"].shape == (1, 1, 6, 9)
    assert slices["sag"].shape == (1, 1, 4, 6)
    assert slices["cor"].shape == (1, 1, 4, 9)
    np.testing.assert_array_equal(slices["ax"][0, 0], (100 * d + 10 * h + w)[2])
    np.testing.assert_array_equal(slices["sag"][0, 0], (100 * d + 10 * h + w)[:, :, 4])
    np.testing.assert_array_equal(slices["cor"][0, 0], (100 * d + 10 * h + w)[:, 3])


def test_several_slices_are_grouped_by_volume_at_even_places():
    d, h, w = np.meshgrid(np.arange(8), np.arange(12), np.arange(16), indexing="ij")
    one = (10_000 * d + 100 * h + w).astype(np.float32)
    found = plane_slices(np.stack([one, one + 1e6])[:, None], 3)
    places = {"ax": (2, 4, 6), "cor": (3, 6, 9), "sag": (4, 8, 12)}
    for plane, axis in {"ax": 0, "cor": 1, "sag": 2}.items():
        expected = [volume.take(place, axis) for volume in (one, one + 1e6) for place in places[plane]]
        np.testing.assert_array_equal(found[plane][:, 0], expected)


def test_volumes_must_have_five_axes():
    with pytest.raises(ValueError, match=r"\[n, 1, D, H, W\]"):
        centre_slices(np.zeros((4, 4, 4)))


def test_the_cut_sets_only_what_is_nearly_air():
    values = np.array([-1.0, -0.98, -0.81, -0.79, 0.0, 1.0], np.float32)
    cut = cut_background(values)
    np.testing.assert_array_equal(cut, np.array([-1, -1, -1, -0.79, 0, 1], np.float32))
    np.testing.assert_array_equal(cut_background(cut), cut)
    assert values[1] == np.float32(-0.98)
    assert cut.dtype == np.float32
