import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import from_stored, to_stored
from voxflate.data.preparing.recipes import RECIPES, RecipeOptions, cohort_box, cropping, find_recipe
from voxflate.data.preparing.steps import (
    AIR,
    crop_foreground,
    fit_depth,
    resample_box,
    rescale_percentiles,
    resize_in_plane,
    window_hu,
)
from voxflate.data.volume import Geometry, Volume

seeds = st.integers(0, 2**32 - 1)
sides = st.tuples(*[st.integers(2, 9)] * 3)


def noise(shape: tuple[int, int, int], seed: int = 0, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Volume:
    array = np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)
    return Volume(array, np.diag([*spacing[::-1], 1.0]), intensity=(0.0, 1.0))


def ramp(shape: tuple[int, int, int], spacing: tuple[float, ...]) -> Volume:
    """A volume whose value is a linear function of the world position."""
    grid = Geometry(shape, np.diag([*spacing[::-1], 1.0]))
    return Volume(world_ramp(grid).astype(np.float32), grid.affine)


def world_ramp(grid: Geometry) -> np.ndarray:
    world = np.stack([grid.world(index) for index in np.ndindex(grid.shape)])
    return (world @ [0.01, 0.02, -0.03]).reshape(grid.shape)


def test_the_window_maps_hounsfield_units() -> None:
    array = np.array([-1000, -250, 200, 650, 3000], np.float32).reshape(5, 1, 1)
    volume = window_hu(Volume(array, np.eye(4)), -250, 650)
    np.testing.assert_allclose(volume.array.ravel(), [-1, -1, 0, 1, 1], atol=1e-6)
    assert volume.intensity == (-250, 650)


def test_a_volume_outside_the_window_is_no_ct() -> None:
    with pytest.raises(VoxflateError, match="not a CT in Hounsfield units"):
        window_hu(Volume(np.full((2, 2, 2), 5000, np.float32), np.eye(4)), -250, 650)
    with pytest.raises(VoxflateError, match="low < high"):
        window_hu(noise((2, 2, 2)), 650, -250)


@given(sides, seeds, st.floats(0, 40), st.floats(60, 100))
def test_percentiles_are_numpys(shape: tuple[int, int, int], seed: int, low: float, high: float) -> None:
    volume = noise(shape, seed)
    intensity = rescale_percentiles(volume, low, high).intensity
    assert intensity == pytest.approx(np.percentile(volume.array, [low, high]), abs=1e-6)


def test_stripped_air_becomes_exactly_minus_one() -> None:
    array = np.zeros((8, 8, 8), np.float32)
    array[2:6, 2:6, 2:6] = np.random.default_rng(0).uniform(50, 200, (4, 4, 4))
    rescaled = rescale_percentiles(Volume(array, np.eye(4)), 0.1, 99.9).array
    assert (rescaled[array == 0] == AIR).all()
    assert rescaled.max() == 1
    assert rescaled[array > 0].min() > AIR


def test_almost_constant_volumes_are_refused() -> None:
    array = np.zeros((16, 16, 16), np.float32)
    array[0, 0, 0] = 1
    with pytest.raises(VoxflateError, match="almost all voxels are equal"):
        rescale_percentiles(Volume(array, np.eye(4)), 0.1, 99.9)


@given(sides, seeds)
def test_the_same_box_and_shape_change_nothing(shape: tuple[int, int, int], seed: int) -> None:
    volume = noise(shape, seed, spacing=(3.0, 0.7, 1.2))
    again = resample_box(volume, volume.geometry.extent, shape)
    np.testing.assert_allclose(again.array, volume.array, atol=1e-5)
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-9)


@given(sides, sides, st.floats(-1, 1))
def test_a_constant_stays_constant_in_its_own_box(
    old: tuple[int, int, int], new: tuple[int, int, int], value: float
) -> None:
    volume = Volume(np.full(old, value, np.float32), np.diag([1.0, 2.0, 3.0, 1.0]))
    again = resample_box(volume, volume.geometry.extent, new)
    np.testing.assert_allclose(again.array, value, atol=1e-5)


@settings(max_examples=30)
@given(st.tuples(*[st.floats(0.4, 3)] * 3), st.tuples(*[st.integers(2, 12)] * 3))
def test_what_is_linear_in_space_stays_where_it_was(
    scale: tuple[float, float, float], shape: tuple[int, int, int]
) -> None:
    volume = ramp((10, 12, 14), spacing=(2.0, 1.5, 1.0))
    extent = volume.geometry.extent
    box = tuple(side * factor for side, factor in zip(extent, scale, strict=True))
    new = resample_box(volume, box, shape)
    assert new.geometry.spacing == pytest.approx([b / n for b, n in zip(box, shape, strict=True)])
    np.testing.assert_allclose(new.geometry.centre, volume.geometry.centre, atol=1e-6)
    # Where the triangle lies in the volume altogether, interpolation is exact for a linear function.
    steps = np.array(new.geometry.spacing) / volume.geometry.spacing
    where = np.indices(shape).reshape(3, -1).T
    old = (where - (np.array(shape) - 1) / 2) * steps + (np.array(volume.array.shape) - 1) / 2
    reach = np.maximum(steps, 1)
    inner = ((old - reach >= -1) & (old + reach <= volume.array.shape)).all(axis=1)
    expected = world_ramp(new.geometry).ravel()
    if (steps <= 1).all() or (np.abs(steps - np.rint(steps)) < 1e-9).all():
        np.testing.assert_allclose(new.array.ravel()[inner], expected[inner], atol=1e-4)
    # A widened triangle over whole voxels is not quite symmetric; half a voxel of the ramp bounds the error.
    np.testing.assert_allclose(new.array.ravel()[inner], expected[inner], atol=0.03)


def test_a_larger_box_is_padded_with_air() -> None:
    volume = Volume(np.ones((4, 4, 4), np.float32), np.eye(4))
    padded = resample_box(volume, (8.0, 8.0, 8.0), (8, 8, 8)).array
    np.testing.assert_allclose(padded[2:6, 2:6, 2:6], 1)
    assert padded[[0, 7]].max() == AIR
    assert padded.sum() == pytest.approx(64 - (512 - 64))


def test_shrinking_averages_and_does_not_skip() -> None:
    checkers = np.indices((16, 16, 16)).sum(axis=0) % 2 * 2.0 - 1
    volume = Volume(checkers.astype(np.float32), np.eye(4))
    small = resample_box(volume, volume.geometry.extent, (4, 4, 4)).array
    assert np.abs(small).max() < 0.05


@given(st.integers(2, 20), st.integers(2, 20), st.integers(1, 20), st.integers(1, 20), seeds)
def test_in_plane_resizing_is_pillows_bilinear(old_h: int, old_w: int, h: int, w: int, seed: int) -> None:
    volume = noise((2, old_h, old_w), seed)
    ours = resize_in_plane(volume, h, w).array
    theirs = [np.asarray(Image.fromarray(s).resize((w, h), Image.Resampling.BILINEAR)) for s in volume.array]
    np.testing.assert_allclose(ours, np.stack(theirs), atol=1e-5)


@given(st.integers(1, 9), st.integers(1, 9))
def test_depth_is_fitted_by_whole_slices_that_stay_in_place(old: int, new: int) -> None:
    volume = ramp((old, 2, 2), spacing=(5.0, 1.0, 1.0))
    fitted = fit_depth(volume, new)
    assert fitted.array.shape == (new, 2, 2)
    kept = [d for d in range(new) if fitted.array[d, 0, 0] != AIR]
    assert len(kept) == min(old, new)
    assert kept == list(range(kept[0], kept[-1] + 1))
    np.testing.assert_allclose(fitted.array[kept], world_ramp(fitted.geometry)[kept], atol=1e-6)
    cut_below = np.rint(fitted.geometry.world((0, 0, 0))[2] / 5)
    assert abs(cut_below - (old - new) / 2) <= 0.5


def test_the_cohort_box_holds_every_scan() -> None:
    grids = [Geometry((10, 20, 30), np.diag([1.0, 1, 4, 1])), Geometry((50, 5, 5), np.diag([1.0, 1, 1, 1]))]
    assert cohort_box(grids) == (50, 20, 30)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_makes_the_shape_and_the_range(name: str) -> None:
    rng = np.random.default_rng(0)
    volumes = [
        Volume(rng.uniform(-1000, 1000, (40, 30, 20)).astype(np.float32), np.diag([1.0, 1, 2, 1])),
        Volume(rng.uniform(-1000, 1000, (10, 30, 50)).astype(np.float32), np.diag([1.0, 2, 1, 1])),
    ]
    steps = find_recipe(name)([volume.geometry for volume in volumes], (16, 32, 32), RecipeOptions())
    for volume in volumes:
        new = volume
        for step in steps:
            new = step(new)
        assert new.array.shape == (16, 32, 32)
        assert new.array.dtype == np.float32
        assert -1 <= new.array.min() < new.array.max() <= 1
        assert new.intensity is not None


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("kind", [np.uint8, np.int16])
def test_integers_are_prepared_as_the_same_floats(name: str, kind: type[np.integer]) -> None:
    array = np.random.default_rng(0).integers(0, 250, (20, 30, 25)).astype(kind)
    options = RecipeOptions(crop=name != "coca")
    results = []
    for volume in (Volume(array, np.eye(4)), Volume(array.astype(np.float32), np.eye(4))):
        for step in [*cropping(options), *find_recipe(name)([volume.geometry], (16, 32, 32), options)]:
            volume = step(volume)
        results.append(volume)
    assert results[0].array.dtype == np.float32
    assert results[0].intensity == results[1].intensity
    np.testing.assert_array_equal(results[0].array, results[1].array)


def test_adni_keeps_proportions_at_a_cubic_shape() -> None:
    grid = Geometry((80, 96, 80), np.diag([2.0, 2, 2, 1]))
    steps = RECIPES["adni"]([grid], (64, 64, 64), RecipeOptions())
    (box,) = [step.settings["box"] for step in steps if "box" in step.settings]
    assert box == (192, 192, 192)


def test_an_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(VoxflateError, match="'brain'; choose one of mr, adni, ct, coca"):
        find_recipe("brain")


def test_a_foreground_crop_keeps_the_object_its_margin_and_its_place() -> None:
    rng = np.random.default_rng(0)
    array = rng.uniform(0, 20, (30, 40, 50)).astype(np.float32)
    array[10:20, 12:30, 8:40] = rng.uniform(400, 600, (10, 18, 32))
    array[2, 2, 2] = 600  # a bright speck is not what was scanned
    before = array.copy()
    volume = Volume(array, np.diag([1.0, 2.0, 3.0, 1.0]))
    cropped = crop_foreground(volume, margin=4.0)
    np.testing.assert_array_equal(cropped.array, array[8:22, 10:32, 4:44])
    np.testing.assert_allclose(cropped.geometry.world((0, 0, 0)), volume.geometry.world((8, 10, 4)))
    np.testing.assert_array_equal(array, before)


def test_steps_leave_their_volume_as_it_was() -> None:
    array = np.random.default_rng(0).uniform(-500, 500, (10, 12, 14)).astype(np.float32)
    for name in RECIPES:
        volume = Volume(array.copy(), np.eye(4))
        for step in find_recipe(name)([volume.geometry], (4, 8, 8), RecipeOptions()):
            kept = volume.array.copy()
            result = step(volume)
            np.testing.assert_array_equal(volume.array, kept)
            volume = result


def test_options_reach_the_steps_and_foreign_ones_are_refused() -> None:
    grid = Geometry((10, 10, 10), np.eye(4))
    options = RecipeOptions(window=(-1000, 400), percentiles=(1, 99))
    assert RECIPES["ct"]([grid], (4, 4, 4), options)[0].settings == {"low": -1000, "high": 400}
    assert RECIPES["mr"]([grid], (4, 4, 4), options)[0].settings == {"low": 1, "high": 99}
    for recipe, wrong, message in (
        ("ct", RecipeOptions(window=(5, 5)), "LOW below HIGH"),
        ("mr", RecipeOptions(percentiles=(-1, 99)), "0 <= LOW"),
        ("mr", RecipeOptions(window=(0, 5)), "--window is for --recipe ct, not for mr"),
        ("coca", RecipeOptions(window=(0, 5)), "is for --recipe ct, not for coca"),
        ("ct", RecipeOptions(percentiles=(1, 99)), "for --recipe mr or adni, not for ct"),
        ("coca", RecipeOptions(crop=True), "--crop is for --recipe mr, adni or ct, not for coca"),
    ):
        with pytest.raises(VoxflateError, match=message):
            wrong.check(recipe)


@given(st.integers(-250, 650))
def test_whole_hounsfield_units_survive_storage_to_the_last_bit(value: int) -> None:
    """16-bit integers over a window of 900 units are finer than the units: what was an integer stays it."""
    hu = np.full((2, 2, 2), value, np.float32)
    hu[0, 0, 0] = 0.0
    window = window_hu(Volume(hu, np.eye(4)), -250, 650)
    back = np.rint(-250 + (from_stored(to_stored(window.array)) + 1) * 450)
    np.testing.assert_array_equal(back, hu)
