"""Scans made on the spot: small, with a known value at a known place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

WriteScan = Callable[..., Path]


@pytest.fixture
def write_scan() -> WriteScan:
    """Writes a NIfTI file; noise of 0 to 100 in RAS at 2 mm unless told otherwise."""

    def write(path: Path, array: Any = None, affine: Any = None, seed: int = 0) -> Path:
        if array is None:
            array = np.random.default_rng(seed).uniform(0, 100, (12, 14, 10)).astype(np.float32)
        path.parent.mkdir(parents=True, exist_ok=True)
        affine = np.diag([2.0, 2.0, 2.0, 1.0]) if affine is None else affine
        nib.Nifti1Image(array, affine).to_filename(path)
        return path

    return write


@pytest.fixture
def scans(tmp_path: Path, write_scan: WriteScan) -> Path:
    """A folder of ten scans whose names are nobody's business."""
    folder = tmp_path / "scans"
    for i in range(10):
        write_scan(folder / f"MUSTERMANN-{i}.nii.gz", seed=i)
    return folder


@pytest.fixture
def write_series() -> Callable[..., list[Path]]:
    """Writes a CT series into a folder, its files named in an order that has nothing to do with the slices.

    The slices are int16 [D, H, W]; the directions are DICOM's, along the rows and down the columns.
    """

    def write(
        folder: Path,
        array: Any,
        *,
        across: Any = (1.0, 0.0, 0.0),
        down: Any = (0.0, 1.0, 0.0),
        origin: Any = (-100.0, -90.0, 30.0),
        sides: tuple[float, float, float] = (3.0, 1.5, 0.5),
        positions: Any = None,
        rle: bool = False,
        change: Callable[[FileDataset, int], None] = lambda dataset, index: None,
        **elements: Any,
    ) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        series, normal = generate_uid(), np.cross(across, down)
        names = np.random.default_rng(0).permutation(len(array))
        paths = []
        for index, pixels in enumerate(np.asarray(array, np.int16)):
            meta = FileMetaDataset()
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            meta.MediaStorageSOPClassUID = CTImageStorage
            meta.MediaStorageSOPInstanceUID = generate_uid()
            path = folder / f"IM{names[index]:04d}"
            dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
            dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
            dataset.SeriesInstanceUID, dataset.Modality, dataset.PatientID = series, "CT", "MUSTERMANN"
            position = np.array(origin) + normal * sides[0] * index if positions is None else positions[index]
            dataset.ImagePositionPatient = [float(f"{x:.6f}") for x in position]
            dataset.ImageOrientationPatient = [float(f"{x:.9f}") for x in (*across, *down)]
            dataset.PixelSpacing = [sides[1], sides[2]]
            dataset.Rows, dataset.Columns = pixels.shape
            dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
            dataset.BitsAllocated = dataset.BitsStored = 16
            dataset.HighBit, dataset.PixelRepresentation = 15, 1
            dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
            dataset.PixelData = pixels.tobytes()
            for name, value in elements.items():
                setattr(dataset, name, value)
            change(dataset, index)
            if rle:
                dataset.compress(RLELossless, generate_instance_uid=False)
            pydicom.dcmwrite(path, dataset)
            paths.append(path)
        return paths

    return write
