"""Tilted, sheared and uneven stacks: refused with what was measured, resampled when asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxflate._system.errors import VoxflateError
from voxflate.data.preparing.prepare import prepare
from voxflate.data.readers.regrid import even_out, upright
from voxflate.data.sources.found import Reading, Source, find_sources
from voxflate.data.volume import Volume

REGRID = Reading(regrid=True)
NORMAL, STEP = np.array([0.0, 0.0, 1.0]), 3.0


def value_at(world: Any) -> Any:
    """A field that linear interpolation renders exactly; world is [..., 3], DICOM's axes, mm."""
    return 2 * world[..., 0] - 3 * world[..., 1] + 5 * world[..., 2]


def slices_at(positions: Any, shape: tuple[int, int] = (20, 16), side: float = 2.0) -> Any:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    offsets = np.stack([columns * side, rows * side, 0 * rows], -1)
    return np.rint([value_at(np.asarray(position) + offsets) for position in positions])


def only(folder: Path, reading: Reading = REGRID) -> Source:
    def stop(error: VoxflateError) -> None:
        raise error

    (source,) = find_sources(folder, stop, reading)
    return source


def check_field(source: Source) -> None:
    """Every voxel that is not filled up holds the field's value at its place in the world."""
    volume = source.volume()
    assert source.geometry().shape == volume.array.shape
    np.testing.assert_allclose(source.geometry().affine, volume.affine)
    d, h, w = np.indices(volume.array.shape)
    world = np.stack([w, h, d, np.ones_like(d)], -1) @ volume.affine.T
    wanted = value_at(world[..., :3] * [-1, -1, 1])
    inside = volume.array != volume.array.min()
    assert inside.mean() > 0.6
    np.testing.assert_allclose(volume.array[inside], wanted[inside], atol=0.6)


def test_a_tilted_gantry_is_straightened_when_asked(tmp_path: Path, write_series: Callable[..., Any]) -> None:
    slope = np.tan(np.radians(14.0))
    positions = [[-10, 5 + slope * STEP * i, STEP * i] for i in range(8)]
    write_series(tmp_path / "s", slices_at(positions), positions=positions, sides=(STEP, 2.0, 2.0))
    with pytest.raises(VoxflateError, match=r"sheared by 14\.0 degrees \(gantry tilt\).*--regrid"):
        only(tmp_path / "s", Reading())
    source = only(tmp_path / "s")
    assert source.geometry().spacing == pytest.approx((STEP, 2, 2))
    assert source.geometry().shape == (8, 23, 16)  # all of every slice is kept
    check_field(source)
    steps = prepare(tmp_path / "s", tmp_path / "set", "mr", (4, 8, 8), reading=REGRID).manifest.steps
    assert steps[0] == {"step": "regrid"}
    assert source.geometry().note.endswith("the scan was resampled to a box (--regrid)")


def test_uneven_gaps_are_evened_out_when_asked(tmp_path: Path, write_series: Callable[..., Any]) -> None:
    places = [0, 3, 6, 12, 15, 18.5, 21]
    positions = [[-10, 5, z] for z in places]
    write_series(tmp_path / "s", slices_at(positions), positions=positions, sides=(STEP, 2.0, 2.0))
    with pytest.raises(VoxflateError, match=r"unevenly spaced, 2\.50 to 6\.00 mm \(median 3\.00\).*--regrid"):
        only(tmp_path / "s", Reading())
    source = only(tmp_path / "s")
    assert source.geometry().shape == (8, 20, 16)
    assert source.geometry().note.endswith("were interpolated to even gaps (--regrid)")
    check_field(source)


def test_too_wide_a_gap_stays_refused(tmp_path: Path, write_series: Callable[..., Any]) -> None:
    positions = [[0, 0, z] for z in (0, 1, 2, 3, 8)]
    write_series(tmp_path / "s", slices_at(positions), positions=positions)
    with pytest.raises(VoxflateError, match="gaps of more than 3 medians are not filled in"):
        only(tmp_path / "s")


def test_a_sheared_nifti_is_refused_and_straightened_when_asked(
    tmp_path: Path, write_scan: Callable[..., Path]
) -> None:
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[1, 2] = 3.0 * np.tan(np.radians(9.0))
    affine[:3, 3] = [5, -7, 9]
    i, j, k = np.indices((16, 20, 8))
    world = np.stack([i, j, k, np.ones_like(i)], -1) @ affine.T
    values = value_at(world[..., :3] * [-1, -1, 1]).astype(np.float32)
    write_scan(tmp_path / "s" / "a.nii", values, affine)
    with pytest.raises(VoxflateError, match=r"axes are 9\.0 degrees off a right angle.*--regrid"):
        only(tmp_path / "s", Reading()).geometry()
    check_field(only(tmp_path / "s"))


def test_what_is_upright_and_even_stays_as_it_is() -> None:
    array = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    volume = Volume(array, np.diag([2.0, -1.5, 3.0, 1.0]))
    np.testing.assert_array_equal(upright(volume).array, array)
    np.testing.assert_allclose(upright(volume).affine, volume.affine)
    np.testing.assert_array_equal(even_out(array, np.arange(5) * 2.0), array)
