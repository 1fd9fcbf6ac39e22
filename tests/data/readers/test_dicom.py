import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK

from voxflate._system.errors import VoxflateError
from voxflate.data.readers import dicom
from voxflate.data.readers.dicom_series import group
from voxflate.data.readers.dicom_slices import Slice, is_dicom, read_slices
from voxflate.data.volume import to_ras

WriteSeries = Callable[..., list[Path]]
SHAPE = (5, 16, 12)


@pytest.fixture
def array() -> Any:
    return np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)


def grouped(paths: Iterable[Path]) -> list[list[Slice]]:
    return group(one for path in paths for one in read_slices(path))


def read(folder: Path) -> tuple[dicom.Series, Any]:
    """The only series of a folder."""
    (slices,) = grouped(sorted(folder.iterdir()))
    series = dicom.order(slices)
    return series, dicom.read_series(series)


def turned(degrees: float) -> tuple[Any, Any]:
    """Row and column directions of slices tipped about the x axis and turned about z, in degrees."""
    a, b = np.radians(degrees), np.radians(degrees / 2)
    across = np.array([np.cos(b), np.sin(b), 0.0])
    down = np.array([-np.sin(b) * np.cos(a), np.cos(b) * np.cos(a), np.sin(a)])
    return across, down


@pytest.mark.parametrize("degrees", [0.0, 17.0, 60.0, 90.0, 180.0])
def test_a_marked_voxel_stays_at_its_world_position(
    tmp_path: Path, write_series: WriteSeries, degrees: float
) -> None:
    across, down = turned(degrees)
    array = np.zeros(SHAPE, np.int16)
    marked = (3, 1, 4)
    array[marked] = 500
    origin, sides = np.array([-20.0, 35.0, 7.0]), (3.0, 1.5, 0.5)
    write_series(tmp_path / "s", array, across=across, down=down, origin=origin, sides=sides)
    left_posterior = (
        origin
        + np.cross(across, down) * sides[0] * marked[0]
        + down * sides[1] * marked[1]
        + across * sides[2] * marked[2]
    )
    volume = to_ras(read(tmp_path / "s")[1])
    (place,) = np.argwhere(volume.array == 500)
    world = volume.affine @ [*place[::-1], 1.0]
    np.testing.assert_allclose(world[:3], left_posterior * [-1, -1, 1], atol=1e-4)


@pytest.mark.parametrize("rle", [False, True], ids=["plain", "rle"])
def test_voxels_and_grid_are_what_simpleitk_reads(
    tmp_path: Path, write_series: WriteSeries, array: Any, rle: bool
) -> None:
    across, down = turned(17.0)
    paths = write_series(tmp_path / "s", array, across=across, down=down, rle=rle, RescaleIntercept=-24)
    _, volume = read(tmp_path / "s")
    peer = SimpleITK.ReadImage([str(path) for path in paths])
    np.testing.assert_array_equal(volume.array, SimpleITK.GetArrayFromImage(peer))
    np.testing.assert_array_equal(volume.array, array.astype(np.float32) - 24)
    corner = peer.TransformIndexToPhysicalPoint([4, 3, 2])
    np.testing.assert_allclose((volume.affine @ [4, 3, 2, 1])[:3], np.array(corner) * [-1, -1, 1], atol=1e-3)
    np.testing.assert_allclose(volume.geometry.spacing, (3.0, 1.5, 0.5), atol=1e-5)


def test_each_slice_has_its_own_slope_and_intercept(
    tmp_path: Path, write_series: WriteSeries, array: Any
) -> None:
    def change(dataset: Any, index: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 + index, -10 * index

    write_series(tmp_path / "s", array, change=change, Modality="PT")
    series, volume = read(tmp_path / "s")
    assert (series.modality, series.patient) == ("PT", "MUSTERMANN")
    expected = [pixels * (0.5 + index) - 10.0 * index for index, pixels in enumerate(array)]
    np.testing.assert_allclose(volume.array, np.array(expected), rtol=1e-6)


def test_a_scout_in_the_same_series_is_a_scan_of_its_own(
    tmp_path: Path, write_series: WriteSeries, array: Any
) -> None:
    axial = write_series(tmp_path / "a", array, SeriesInstanceUID="1.2.3")
    scout = write_series(
        tmp_path / "b", array[:1], across=(0, 1, 0), down=(0, 0, -1), SeriesInstanceUID="1.2.3"
    )
    groups = grouped([*axial, *scout])
    assert sorted(map(len, groups)) == [1, 5]


def uneven(dataset: Any, index: int) -> None:
    dataset.ImagePositionPatient = [0.0, 0.0, 3.0 * index + (index == 2) * 0.4]


def tilted(dataset: Any, index: int) -> None:
    dataset.ImagePositionPatient = [0.0, 1.0 * index, 3.0 * index]


def double(dataset: Any, index: int) -> None:
    dataset.ImagePositionPatient = [0.0, 0.0, 3.0 * (index // 2)]


def without(name: str) -> Callable[[Any, int], None]:
    def change(dataset: Any, index: int) -> None:
        del dataset[name]

    return change


@pytest.mark.parametrize(
    ("change", "elements", "message"),
    [
        (uneven, {}, r"unevenly spaced, 2\.60 to 3\.40 mm \(median 3\.00\)"),
        (tilted, {}, r"sheared by 18\.4 degrees \(gantry tilt\), at most 0\.2"),
        (double, {}, r"two at one position \(IM000\d, IM000\d\)"),
        (without("ImagePositionPatient"), {}, "no usable ImagePositionPatient"),
        (without("ImageOrientationPatient"), {}, "no usable ImageOrientationPatient"),
        (without("PixelSpacing"), {}, "no usable PixelSpacing"),
        (without("PixelData"), {"Rows": 0}, "DICOM without an image"),
        (
            lambda dataset, index: None,
            {"PixelSpacing": [-1.5, 1.5]},
            r"PixelSpacing is \[-1\.5, 1\.5\].*above 0",
        ),
        (lambda dataset, index: None, {"RescaleSlope": 0}, "RescaleSlope.* 0.*a slope other than 0"),
        pytest.param(
            *(lambda dataset, index: None, {"RescaleSlope": "NaN"}, "RescaleSlope.* (?i:nan).*finite"),
            marks=pytest.mark.filterwarnings("ignore:Invalid value for VR DS"),
        ),
        (lambda dataset, index: None, {"NumberOfFrames": 3}, "3 frames and gives the position of 0"),
        (
            lambda dataset, index: None,
            {"PhotometricInterpretation": "MONOCHROME1"},
            "Interpretation MONOCHROME1, expected 1 and MONOCHROME2",
        ),
        (lambda dataset, index: None, {"Rows": [16, 16]}, r"its Rows is .* expected a whole number"),
        (lambda dataset, index: None, {"Rows": 60000, "Columns": 60000}, "cut short.*7,200,000,000 bytes"),
    ],
)
def test_slices_that_fill_no_box_are_refused_with_what_was_measured(
    tmp_path: Path,
    write_series: WriteSeries,
    array: Any,
    change: Callable[[Any, int], None],
    elements: dict[str, Any],
    message: str,
) -> None:
    write_series(tmp_path / "s", array, change=change, **elements)
    with pytest.raises(VoxflateError, match=message) as error:
        read(tmp_path / "s")
    assert str(tmp_path / "s") in str(error.value)


def test_pixels_in_the_upper_bits_are_refused(tmp_path: Path, write_series: WriteSeries, array: Any) -> None:
    """The decoder reads 12 bits that end at bit 15 as if they ended at bit 11."""
    upper = {"BitsStored": 12, "HighBit": 15, "PixelRepresentation": 0}
    paths = write_series(tmp_path / "upper", np.abs(array) << 4, **upper)
    message = r"its pixels have 12 bits and end at bit 15 \(HighBit\), expected 11"
    with pytest.raises(VoxflateError, match=message):
        dicom.order(grouped(paths)[0])
    (lower,) = grouped(write_series(tmp_path / "lower", np.abs(array), **{**upper, "HighBit": 11}))
    np.testing.assert_array_equal(dicom.read_series(dicom.order(lower)).array, np.abs(array))


def test_a_single_slice_is_refused(tmp_path: Path, write_series: WriteSeries, array: Any) -> None:
    write_series(tmp_path / "s", array[:1])
    with pytest.raises(VoxflateError, match="single slice"):
        read(tmp_path / "s")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 90)
    assert is_dicom(tmp_path / "a.dcm")
    with pytest.raises(VoxflateError, match=r"a\.dcm"):
        read(tmp_path)


def test_damaged_files_end_in_a_volume_or_in_one_clear_line(
    tmp_path: Path, write_series: WriteSeries, array: Any
) -> None:
    paths = write_series(tmp_path / "s", array)
    victim = paths[2]
    whole = victim.read_bytes()
    rng = np.random.default_rng(0)
    outcomes, messages = set(), []
    for case in range(60):
        damaged = bytearray(whole)
        if case % 2:
            damaged = damaged[: rng.integers(1, len(whole))]
        else:
            for place in rng.integers(132, len(whole), 4):
                damaged[place] ^= 1 << int(rng.integers(8))
        victim.write_bytes(damaged)
        try:
            slices = []
            for path in paths:
                if is_dicom(path):
                    slices += read_slices(path)
            for acquisition in group(slices):
                dicom.read_series(dicom.order(acquisition))
            outcomes.add("read")
        except VoxflateError as error:
            outcomes.add("refused")
            messages.append(str(error))
    assert outcomes == {"read", "refused"}
    assert all("\n" not in message and str(tmp_path) in message for message in messages)


def test_the_order_is_that_of_positions_not_of_names(
    tmp_path: Path, write_series: WriteSeries, array: Any
) -> None:
    paths = write_series(tmp_path / "s", array)
    assert [path.name for path in paths] != sorted(path.name for path in paths)
    for permuted in itertools.islice(itertools.permutations(paths), 0, 120, 17):
        (slices,) = grouped(permuted)
        series = dicom.order(slices)
        assert list(series.files) == paths
    assert pydicom.dcmread(paths[0]).PatientID == "MUSTERMANN"


def test_copies_of_a_series_in_two_folders_are_two_scans_and_scattered_slices_one(
    tmp_path: Path, write_series: WriteSeries, array: Any
) -> None:
    paths = write_series(tmp_path / "a", array, SeriesInstanceUID="1.2.3")
    copies = write_series(tmp_path / "b", array, SeriesInstanceUID="1.2.3")
    groups = grouped([*paths, *copies])
    assert sorted(dicom.order(one).files for one in groups) == [tuple(paths), tuple(copies)]
    scattered = []
    for index, path in enumerate(paths):
        (tmp_path / f"slice{index}").mkdir()
        scattered.append(path.rename(tmp_path / f"slice{index}" / "image"))
    (only,) = grouped(scattered)
    assert dicom.order(only).files == tuple(scattered)
