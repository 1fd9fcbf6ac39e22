"""Enhanced DICOM: many slices in one file, in any order, their geometry in functional groups."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

from voxflate._system.errors import VoxflateError
from voxflate.data.sources.found import Source, find_sources

ARRAY = np.random.default_rng(0).integers(-900, 900, (5, 6, 4)).astype(np.int16)
ORDER = [3, 0, 4, 1, 2]
"""Which slice each frame is."""


def item(**elements: Any) -> Dataset:
    one = Dataset()
    for name, value in elements.items():
        setattr(one, name, value)
    return one


def write(path: Path, change: Callable[[FileDataset], None] = lambda one: None) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, EnhancedCTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    one = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID, one.SOPInstanceUID = EnhancedCTImageStorage, meta.MediaStorageSOPInstanceUID
    one.SeriesInstanceUID, one.Modality, one.PatientID = generate_uid(), "CT", "MUSTERMANN"
    one.NumberOfFrames, one.Rows, one.Columns = ARRAY.shape
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.PixelRepresentation = 15, 1
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[1.5, 0.5], SliceThickness=3)],
        PixelValueTransformationSequence=[item(RescaleSlope=2, RescaleIntercept=-1024, RescaleType="HU")],
    )
    one.SharedFunctionalGroupsSequence = [shared]
    one.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[item(ImagePositionPatient=[-10.0, 20.0, 3.0 * place])]) for place in ORDER
    ]
    one.PixelData = ARRAY[ORDER].tobytes()
    change(one)
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, one)
    return path


def only(folder: Path) -> Source:
    def stop(error: VoxflateError) -> None:
        raise error

    (source,) = find_sources(folder, stop)
    return source


def test_frames_are_put_in_order_and_rescaled(tmp_path: Path) -> None:
    source = only(write(tmp_path / "s" / "one").parent)
    volume = source.volume()
    np.testing.assert_array_equal(volume.array, ARRAY * 2.0 - 1024)
    assert volume.geometry.spacing == pytest.approx((3, 1.5, 0.5))
    np.testing.assert_allclose(volume.geometry.world((4, 0, 0)), (10, -20, 12))
    assert (source.modality, source.subject, len(source.files)) == ("CT", "MUSTERMANN", 1)


def per_frame_rescale(one: FileDataset) -> None:
    for index, frame in enumerate(one.PerFrameFunctionalGroupsSequence):
        frame.PixelValueTransformationSequence = [item(RescaleSlope=index + 1, RescaleIntercept=0)]


def one_lost(one: FileDataset) -> None:
    one.PerFrameFunctionalGroupsSequence = one.PerFrameFunctionalGroupsSequence[1:]


def two_at_one_place(one: FileDataset) -> None:
    one.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient = [-10, 20, 9]


def nowhere(one: FileDataset) -> None:
    del one.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (per_frame_rescale, "5 frames with 5 different slopes and intercepts"),
        (one_lost, "5 frames and gives the position of 4"),
        (two_at_one_place, "two at one position"),
        (nowhere, "no usable ImageOrientationPatient"),
        (lambda one: setattr(one, "Rows", 6000), "cut short or damaged"),
    ],
)
def test_what_cannot_be_one_box_is_refused(
    tmp_path: Path, change: Callable[[FileDataset], None], message: str
) -> None:
    with pytest.raises(VoxflateError, match=message) as error:
        only(write(tmp_path / "s" / "one", change).parent).volume()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["7.3", "2", "6.2"])
def test_a_slope_in_groups_that_the_decoder_passes_over_is_refused(tmp_path: Path, name: str) -> None:
    """The values would be stored ones, without a word."""

    def change(one: FileDataset) -> None:
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = UID(f"1.2.840.10008.5.1.4.1.1.{name}")

    def at_the_top(one: FileDataset) -> None:
        change(one)
        del one.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
        one.RescaleSlope, one.RescaleIntercept = 2, -1024

    write(tmp_path / "groups" / "a.dcm", change)
    with pytest.raises(VoxflateError, match="slope and intercept in functional groups are not supported"):
        only(tmp_path / "groups")
    write(tmp_path / "top" / "a.dcm", at_the_top)
    np.testing.assert_array_equal(only(tmp_path / "top").volume().array, ARRAY * 2.0 - 1024)


@pytest.mark.parametrize(
    "name", ["2.2", "4.1", "4.4", "130", "128.1", "13.1.1", "13.1.2", "13.1.3", "13.1.5"]
)
def test_it_takes_them_from_the_groups_of_other_classes(tmp_path: Path, name: str) -> None:
    def change(one: FileDataset) -> None:
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = UID(f"1.2.840.10008.5.1.4.1.1.{name}")

    write(tmp_path / "s" / "a.dcm", change)
    np.testing.assert_array_equal(only(tmp_path / "s").volume().array, ARRAY * 2.0 - 1024)
