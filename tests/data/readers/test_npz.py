from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from voxflate._system.errors import VoxflateError
from voxflate.data.readers.table import read_geometry, read_volume

AFFINE = np.array([[0.0, -2.0, 0.0, 9.0], [1.5, 0.0, 0.0, -4.0], [0.0, 0.0, 3.0, 2.0], [0.0, 0.0, 0.0, 1.0]])


def array() -> Any:
    return np.random.default_rng(0).integers(-500, 500, (6, 5, 4)).astype(np.int16)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_it_is_the_volume_that_nifti_would_be(tmp_path: Path, save: Any) -> None:
    save(tmp_path / "a.npz", array=array(), affine=AFFINE)
    nib.Nifti1Image(array(), AFFINE).to_filename(tmp_path / "a.nii")
    found, expected = read_volume(tmp_path / "a.npz"), read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(found.array, expected.array)
    np.testing.assert_array_equal(found.affine, expected.affine)
    assert read_geometry(tmp_path / "a.npz").shape == (4, 5, 6)


def test_without_an_affine_it_needs_spacing_and_an_orientation(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, array=array(), spacing=[1.0, 2.0, 3.0])
    with pytest.raises(VoxflateError, match="left and right are never guessed"):
        read_volume(path)
    np.testing.assert_array_equal(read_volume(path, "LPS").affine, np.diag([-1.0, -2.0, 3.0, 1.0]))
    np.savez(path, array=array())
    with pytest.raises(VoxflateError, match="with spacing"):
        read_volume(path, "LPS")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"other": array()}, "an entry called array"),
        ({"array": array()[0], "affine": AFFINE}, "has 5x4 voxels"),
        ({"array": array().astype(complex), "affine": AFFINE}, "does not have one real number"),
        ({"array": array().astype(object), "affine": AFFINE}, "does not have one real number"),
        ({"array": np.full((4, 4, 4), np.nan), "affine": AFFINE}, "NaN"),
        ({"array": array(), "affine": AFFINE[:3]}, "affine does not have 16 numbers"),
        ({"array": array(), "affine": AFFINE.T}, "is not a 4x4 matrix"),
        ({"array": array(), "affine": np.zeros((4, 4))}, "is not a 4x4 matrix"),
        ({"array": array(), "affine": np.zeros((900, 900))}, "affine does not have 16 numbers"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **entries)
    with pytest.raises(VoxflateError, match=message) as error:
        read_volume(tmp_path / "a.npz")
    assert "\n" not in str(error.value)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", array=array(), affine=AFFINE)
    content = (tmp_path / "a.npz").read_bytes()
    for length in (0, 20, len(content) // 2, len(content) - 10):
        (tmp_path / "a.npz").write_bytes(content[:length])
        with pytest.raises(VoxflateError, match="cannot be read as NPZ"):
            read_volume(tmp_path / "a.npz")
