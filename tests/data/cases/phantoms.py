"""Small scans as hospitals, archives and other tools leave them: invented, written on the spot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)

from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import PreparedSet
from voxflate.data.preparing.prepare import prepare
from voxflate.data.preparing.recipes import RecipeOptions
from voxflate.data.sources.account import Account
from voxflate.data.sources.source import Reading

SHAPE = (8, 16, 16)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}


def body(seed: int = 0, shape: tuple[int, int, int] = (12, 20, 16)) -> Any:
    """A lopsided blob on dark air, int16 [D, H, W]: every orientation of it looks different."""
    d, h, w = np.indices(shape)
    middle = np.array(shape) * [0.4, 0.6, 0.45] + np.random.default_rng(seed).uniform(-1, 1, 3)
    far = ((d - middle[0]) / 4) ** 2 + ((h - middle[1]) / 6) ** 2 + ((w - middle[2]) / 4) ** 2
    return (900 * np.exp(-far) + 7 * w + 3 * h + d).astype(np.int16)


def chest(seed: int = 0) -> Any:
    """CT in Hounsfield units: air, tissue, a lung and a bone, int16 [D, H, W]."""
    d, h, w = np.indices((12, 24, 20))
    hu = np.full(d.shape, -1000.0)
    hu[((h - 12) / 9) ** 2 + ((w - 10) / 8) ** 2 < 1] = 40
    hu[((h - 11) / 4) ** 2 + ((w - 6) / 2) ** 2 < 1] = -800
    hu[:, 10:12, 12:14] = 400
    return np.rint(hu + np.random.default_rng(seed).normal(0, 8, hu.shape)).astype(np.int16)


def write_nifti(path: Path, array: Any, kind: Any = nib.Nifti1Image, mm: float = 2.0) -> Path:
    """Write [D, H, W] as a file whose axes point right, to the front and up."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = kind(array.T, np.diag([mm, mm, mm, 1.0]))
    image.to_filename(path)
    return path


def dicom_slice(path: Path, pixels: Any, storage: str, meta: FileMetaDataset | None = None) -> FileDataset:
    """A slice with pixels and identifiers; the caller sets the rest and saves it."""
    meta = FileMetaDataset() if meta is None else meta
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = storage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    one = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID, one.SOPInstanceUID = storage, meta.MediaStorageSOPInstanceUID
    one.Rows, one.Columns = pixels.shape[-2:]
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.PixelRepresentation = 15, 1
    one.PixelData = np.asarray(pixels, "<i2").tobytes()
    return one


def write_series(
    folder: Path,
    array: Any,
    *,
    modality: str = "MR",
    patient: str = "P1",
    directions: Sequence[float] = AXIAL,
    start: float = 0.0,
    first: int = 0,
    change: Callable[[Any, int], None] = lambda one, index: None,
    **elements: Any,
) -> list[Path]:
    """Write a series of slices 3 mm apart with pixels of 2 mm, named by their number from `first` on.

    Args:
        folder: Where to write.
        array: int16 [D, H, W].
        modality: CT, MR or PT; CT gets a rescale intercept of 0.
        patient: PatientID.
        directions: ImageOrientationPatient.
        start: Place of the first slice along their normal, mm.
        first: Number of the first file.
        change: Called with each slice and its index, before it is saved.
        elements: Further elements of all slices.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series, study = generate_uid(), generate_uid()
    normal = np.cross(directions[:3], directions[3:])
    paths = []
    for index, pixels in enumerate(array):
        path = folder / f"{first + index:03d}.dcm"
        one = dicom_slice(path, pixels, _CLASSES[modality])
        one.PatientID, one.Modality = patient, modality
        one.SeriesInstanceUID, one.StudyInstanceUID, one.InstanceNumber = series, study, index + 1
        one.ImagePositionPatient = [round(float(x), 6) for x in normal * (start + 3.0 * index)]
        one.ImageOrientationPatient = [f"{x:.7f}" for x in directions]
        one.PixelSpacing = [2.0, 2.0]
        if modality == "CT":
            one.RescaleSlope, one.RescaleIntercept = 1, 0
        for name, value in elements.items():
            setattr(one, name, value)
        change(one, index)
        one.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def group_of(**elements: Any) -> Dataset:
    """A data set of some elements."""
    one = Dataset()
    for name, value in elements.items():
        setattr(one, name, value)
    return one


def write_enhanced(path: Path, stacks: Iterable[tuple[Any, Sequence[float]]]) -> Path:
    """Write one file of several stacks of frames: (array [D, H, W], directions)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays, frames = [], []
    for array, directions in stacks:
        normal = np.cross(directions[:3], directions[3:])
        arrays.append(array)
        for index in range(len(array)):
            position = group_of(ImagePositionPatient=[float(x) for x in normal * 3.0 * index])
            frames.append(
                group_of(
                    PlanePositionSequence=[position],
                    PlaneOrientationSequence=[group_of(ImageOrientationPatient=list(directions))],
                )
            )
    one = dicom_slice(path, np.concatenate(arrays), EnhancedMRImageStorage)
    one.PatientID, one.Modality, one.NumberOfFrames = "P1", "MR", len(frames)
    one.SeriesInstanceUID, one.StudyInstanceUID = generate_uid(), generate_uid()
    one.SharedFunctionalGroupsSequence = [group_of(PixelMeasuresSequence=[group_of(PixelSpacing=[2, 2])])]
    one.PerFrameFunctionalGroupsSequence = frames
    one.save_as(path, enforce_file_format=True)
    return path


def prepared(
    source: Path, out: Path, recipe: str = "mr", held_out: float = 0.0, **settings: Any
) -> tuple[PreparedSet, Account]:
    """Prepare a source; settings are those of `Reading`, `options`, `refuse` and `seed`."""
    account = Account()
    options, refuse = settings.pop("options", RecipeOptions()), settings.pop("refuse", None)
    seed = settings.pop("seed", 0)
    made = prepare(
        source,
        out,
        recipe,
        SHAPE,
        held_out,
        seed,
        refuse=refuse,
        reading=Reading(**settings),
        options=options,
        account=account,
    )
    check_account(made, account)
    return made, account


def check_account(made: PreparedSet, account: Account) -> None:
    """Every file is used or left out for a reason, and the manifest says so without a name."""
    files = made.manifest.files
    rows = account.left_out()
    assert files == account.record()
    assert files["seen"] == files["used"] + sum(map(len, rows.values()))
    assert not any(reason.startswith("not part of") for reason in rows), rows


def refusal(source: Path, out: Path, recipe: str = "mr", **settings: Any) -> str:
    """The one line with which a source is refused."""
    with pytest.raises(VoxflateError) as caught:
        prepared(source, out, recipe, **settings)
    assert "\n" not in str(caught.value)
    assert not out.exists()
    return str(caught.value)


def volumes(made: PreparedSet) -> Any:
    """All volumes, [N, D, H, W] in [-1, 1]."""
    return made.volumes("all")[:, 0]
