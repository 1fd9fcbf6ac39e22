from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from voxflate._system.errors import VoxflateError
from voxflate.data import PreparedSet, write_nifti
from voxflate.data.preparing.prepare import prepare

SHAPE = (8, 16, 16)


@pytest.fixture
def prepared(scans: Path, tmp_path: Path) -> PreparedSet:
    return prepare(scans, tmp_path / "set", "mr", SHAPE)


def test_what_is_written_is_what_was_prepared(prepared: PreparedSet, tmp_path: Path) -> None:
    volume = prepared.volumes("train", [0])[0, 0]
    write_nifti(tmp_path / "a.nii.gz", volume, prepared)
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.shape == SHAPE[::-1]
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.header.get_zooms() == pytest.approx(prepared.spacing[::-1])
    np.testing.assert_allclose(image.affine, prepared.affine, atol=1e-5)
    np.testing.assert_allclose(image.get_fdata().T, prepared.to_intensity(volume), rtol=1e-6)


def test_a_scan_can_be_put_back_where_it_was(prepared: PreparedSet, tmp_path: Path) -> None:
    affine = np.array(prepared.manifest.scans[0].affine)
    affine[0, 3] += 7
    write_nifti(tmp_path / "a.nii", prepared.volumes("train", [0])[0, 0], prepared, affine)
    np.testing.assert_allclose(nib.load(tmp_path / "a.nii").affine, affine, atol=1e-5)


def test_ct_comes_out_in_whole_hounsfield_units(tmp_path: Path, write_scan: Callable[..., Path]) -> None:
    array = np.random.default_rng(0).integers(-1000, 1000, (16, 16, 8)).astype(np.int16)
    write_scan(tmp_path / "in" / "ct.nii", array)
    prepared = prepare(tmp_path / "in", tmp_path / "set", "coca", SHAPE)
    write_nifti(tmp_path / "ct.nii.gz", prepared.volumes("all")[0, 0], prepared)
    image = nib.load(tmp_path / "ct.nii.gz")
    assert image.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(image.dataobj), np.clip(array, -250, 650))


def test_values_beyond_the_range_are_clipped(prepared: PreparedSet, tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", np.full(SHAPE, -1.5, np.float32), prepared)
    low = prepared.manifest.intensity[0]
    np.testing.assert_allclose(nib.load(tmp_path / "a.nii").get_fdata(), low, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "volume", "message"),
    [
        ("a.nii", np.zeros((8, 8, 8), np.float32), "the prepared set has (8, 16, 16)"),
        ("a.nii", np.full(SHAPE, np.nan, np.float32), "2048 voxels are NaN"),
        ("a.png", np.zeros(SHAPE, np.float32), "must end in .nii or .nii.gz"),
    ],
    ids=["shape", "nan", "suffix"],
)
def test_what_cannot_be_written_is_not(
    prepared: PreparedSet, tmp_path: Path, name: str, volume: np.ndarray, message: str
) -> None:
    with pytest.raises(VoxflateError) as error:
        write_nifti(tmp_path / "out" / name, volume, prepared)
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()
