"""`generate --air`: a CT window that begins above -1000 HU, and air that is air again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from tests.strategies import run_config, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import PreparedSet, open_prepared
from voxflate.data.readers.generated import SYNTHETIC
from voxflate.data.writers.dicom import write_dicom
from voxflate.data.writers.nifti import write_nifti
from voxflate.data.writers.synthetic import OTHER_DATA, Look
from voxflate.sampling.generate import check_generation, generate
from voxflate.sampling.volumes import Volumes
from voxflate.training.run import train_run

LOW, HIGH = -250.0, 650.0


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    prepared = write_prepared(tmp_path_factory.mktemp("data") / "set")
    step = {"step": "window_hu", "low": LOW, "high": HIGH}
    replace(prepared.manifest, steps=[step], intensity=(LOW, HIGH)).write(prepared.root)
    return open_prepared(prepared.root)


@pytest.fixture(scope="module")
def run(ct: PreparedSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    train_run(run_config(ct, training__kimg=0.004), folder)
    return folder


def ramp(ct: PreparedSet) -> np.ndarray:
    return np.linspace(-1.1, 1.0, int(np.prod(ct.shape)), dtype=np.float32).reshape(ct.shape)


def test_the_lower_end_becomes_air_and_nothing_else_changes(ct: PreparedSet, tmp_path: Path) -> None:
    volume = ramp(ct)
    write_nifti(tmp_path / "plain.nii", volume, ct)
    write_nifti(tmp_path / "air.nii", volume, ct, look=Look(air=-1000))
    plain, air = (np.asarray(nib.load(tmp_path / f"{name}.nii").dataobj) for name in ("plain", "air"))
    at_end = plain <= LOW + 9  # 1% of 900 HU
    assert at_end.any()
    assert (air[at_end] == -1000).all()
    np.testing.assert_array_equal(air[~at_end], plain[~at_end])
    assert plain.min() == LOW


def test_a_dicom_series_has_the_same_air(ct: PreparedSet, tmp_path: Path) -> None:
    write_dicom(tmp_path / "series", ramp(ct), ct, look=Look(air=-1000))
    slices = [pydicom.dcmread(path).pixel_array for path in sorted((tmp_path / "series").iterdir())]
    values = np.stack(slices)
    assert values.min() == -1000
    assert not ((values > -1000) & (values <= LOW + 9)).any()


def test_the_command_says_it_and_the_api_does_the_same(run: Path, ct: PreparedSet, tmp_path: Path) -> None:
    (path,) = generate(run, 1, out=tmp_path / "new", air=-1000)
    assert json.loads((tmp_path / "new" / "generation.json").read_text())["air_hu"] == -1000
    assert nib.load(path).get_data_dtype() == np.int16
    (saved,) = Volumes(ramp(ct), ct).save(tmp_path / "one.nii", air=-1000)
    assert np.asarray(nib.load(saved).dataobj).min() == -1000


@pytest.mark.parametrize("air", [0.0, -249.0, -40000.0, float("nan")])
def test_air_inside_the_window_or_beyond_16_bits_is_refused(air: float, run: Path, tmp_path: Path) -> None:
    with pytest.raises(VoxflateError, match=r"--air .*: the window of .* begins at -250 HU"):
        check_generation(run, tmp_path / "new", air=air)


def test_air_is_refused_for_mr(tmp_path: Path) -> None:
    prepared = write_prepared(tmp_path / "set")
    train_run(run_config(prepared, training__kimg=0.004), tmp_path / "run")
    with pytest.raises(VoxflateError, match=r"--air -1000: .* is not CT"):
        generate(tmp_path / "run", 1, out=tmp_path / "new", air=-1000)
    assert not (tmp_path / "new").exists()


def test_a_header_holds_what_is_said() -> None:
    assert len(SYNTHETIC + OTHER_DATA) <= 79
