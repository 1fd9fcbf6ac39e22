"""A DICOM series is what the scanner made: never two people, never two stacks, never a slice less."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import generate_uid

from tests.data.cases.phantoms import (
    AXIAL,
    SAGITTAL,
    body,
    prepared,
    refusal,
    volumes,
    write_enhanced,
    write_series,
)

UID = "1.2.826.0.1.3680043.8.498.777777"
STUDY = f"{UID}.1"


def alone(array: Any, tmp_path: Path) -> Any:
    """The volume that a plain series of these slices gives."""
    write_series(tmp_path / "plain", array)
    return volumes(prepared(tmp_path / "plain", tmp_path / "plain-set")[0])[0]


def without(*names: str) -> Callable[[Any, int], None]:
    def change(one: Any, index: int) -> None:
        for name in names:
            delattr(one, name)

    return change


DUMMIES = {
    "a short dummy for the series": {"SeriesInstanceUID": "1.2.3.4"},
    "a long dummy for the series": {"SeriesInstanceUID": UID},
    "dummies for series and study": {"SeriesInstanceUID": UID, "StudyInstanceUID": STUDY},
    "dummies, and one patient": {"SeriesInstanceUID": UID, "StudyInstanceUID": STUDY, "PatientID": "ANON"},
    "no series": {"change": without("SeriesInstanceUID")},
    "no name at all": {"change": without("SeriesInstanceUID", "StudyInstanceUID", "PatientID")},
}


@pytest.mark.parametrize("dummies", DUMMIES.values(), ids=DUMMIES.keys())
def test_two_people_are_never_stitched(tmp_path: Path, dummies: dict[str, Any]) -> None:
    """The second lies where the first ends, so their slices would make one even stack."""
    arrays = body(0), body(5)
    for number, array in enumerate(arrays):
        write_series(
            tmp_path / "in" / f"person{number}",
            array,
            **{"patient": f"P{number}", "start": 36.0 * number, **dummies},
        )
    found = volumes(prepared(tmp_path / "in", tmp_path / "out")[0])
    assert len(found) == 2
    for number, array in enumerate(arrays):
        write_series(tmp_path / f"ref{number}", array)
        expected = volumes(prepared(tmp_path / f"ref{number}", tmp_path / f"set{number}")[0])[0]
        assert min(float(np.abs(one - expected).max()) for one in found) < 1e-4


def test_two_people_in_one_folder_are_not_stitched_either(tmp_path: Path) -> None:
    for number in range(2):
        write_series(
            tmp_path / "in", body(number), patient=f"P{number}", start=36.0 * number, first=50 * number,
            SeriesInstanceUID="1.2.3.4", StudyInstanceUID="1.2.3",
        )  # fmt: skip
    made, _ = prepared(tmp_path / "in", tmp_path / "out")
    assert len(volumes(made)) == 2
    assert len({scan.subject for scan in made.manifest.scans}) == 2


def test_slices_scattered_over_folders_are_one_series(tmp_path: Path) -> None:
    array = body()
    for index, path in enumerate(write_series(tmp_path / "all", array, SeriesInstanceUID=UID)):
        (tmp_path / "in" / f"slice{index}").mkdir(parents=True)
        shutil.move(path, tmp_path / "in" / f"slice{index}" / "image")
    halves = write_series(tmp_path / "in" / "second-a", body(3), patient="P2", SeriesInstanceUID=f"{UID}.5")
    (tmp_path / "in" / "second-b").mkdir()
    for path in halves[6:]:
        shutil.move(path, tmp_path / "in" / "second-b" / path.name)
    found = volumes(prepared(tmp_path / "in", tmp_path / "out")[0])
    assert len(found) == 2
    assert np.abs(found - alone(array, tmp_path)).max(axis=(1, 2, 3)).min() == 0


@pytest.mark.parametrize("which", [lambda index: index < 6, lambda index: index % 2], ids=["halves", "turns"])
def test_rounding_of_directions_makes_no_second_stack(tmp_path: Path, which: Callable[[int], bool]) -> None:
    """Around 0.125 a rounding to two decimals goes either way."""

    def change(one: Any, index: int) -> None:
        sine = 0.1249999 if which(index) else 0.1250001
        one.ImageOrientationPatient = ["1", "0", "0", "0", f"{np.sqrt(1 - sine**2):.7f}", f"{sine:.7f}"]

    directions = (1.0, 0.0, 0.0, 0.0, float(np.sqrt(1 - 0.125**2)), 0.125)
    array = body()
    write_series(tmp_path / "in", array, directions=directions, change=change)
    write_series(tmp_path / "ref", array, directions=directions)
    found, expected = (volumes(prepared(tmp_path / one, tmp_path / f"{one}-set")[0]) for one in ("in", "ref"))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4)


def turned(one: Any, index: int) -> None:
    if index == 11:  # at the end, where no gap would tell
        sine = np.sin(np.radians(2.0))
        one.ImageOrientationPatient = [1, 0, 0, 0, float(np.cos(np.radians(2.0))), float(sine)]


def moved(one: Any, index: int) -> None:
    if index == 4:
        one.ImagePositionPatient = [1.5, 0.0, 12.0]


def finer(one: Any, index: int) -> None:
    if index == 11:
        one.PixelSpacing = [1.0, 1.0]


def smaller(one: Any, index: int) -> None:
    if index == 11:
        one.Rows = 19
        one.PixelData = one.PixelData[: 19 * 16 * 2]


def of_another_patient(one: Any, index: int) -> None:
    if index == 11:
        one.PatientID = "P2"


def without_place(one: Any, index: int) -> None:
    if index == 11:
        del one.ImageOrientationPatient


def pushed(one: Any, index: int) -> None:
    if index == 5:
        one.ImagePositionPatient = [0.0, 0.0, 15.4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (turned, r"011\.dcm is rotated by 2\.0 degrees"),
        (moved, r"004\.dcm is 1\.5 mm off the line"),
        (finer, r"011\.dcm has pixels of 1 x 1 mm, the others 2 x 2"),
        (smaller, r"011\.dcm has 19x16 pixels, the others 20x16"),
        (of_another_patient, r"011\.dcm: is 1 of the slices of a series but differs in patient"),
        (without_place, r"011\.dcm: has no usable ImageOrientationPatient"),
        (pushed, r"unevenly spaced, 2\.60 to 3\.40 mm .* as between 004\.dcm and 005\.dcm|005\.dcm and 006"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_odd_slice_is_named(tmp_path: Path, change: Callable[[Any, int], None], message: str) -> None:
    write_series(tmp_path / "in" / "good", body(1), patient="P0")
    write_series(tmp_path / "in" / "odd", body(), change=change, SeriesInstanceUID=UID)
    text = refusal(tmp_path / "in", tmp_path / "out")
    with pytest.raises(AssertionError, match=message):  # shows the text where it does not match
        raise AssertionError(text)


def test_an_odd_frame_of_one_file_is_named(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "in" / "e.dcm", [(body(), AXIAL), (body()[:3], AXIAL)])
    assert "two at one position (e.dcm, frame 13 of e.dcm)" in refusal(tmp_path / "in", tmp_path / "out")


def test_exact_copies_of_slices_are_dropped_with_a_note(tmp_path: Path) -> None:
    array = body()
    write_series(tmp_path / "in" / "a", array)
    shutil.copytree(tmp_path / "in" / "a", tmp_path / "in" / "b")
    (tmp_path / "in" / "some").mkdir()
    for number in (3, 4, 5):
        shutil.copy(tmp_path / "in" / "a" / f"{number:03d}.dcm", tmp_path / "in" / "some" / f"{number} (1)")
    made, account = prepared(tmp_path / "in", tmp_path / "out")
    assert len(volumes(made)) == 1
    np.testing.assert_array_equal(volumes(made)[0], alone(array, tmp_path))
    assert {reason: len(names) for reason, names in account.left_out().items()} == {
        "a copy of a slice that is already there": 15
    }
    assert "15 DICOM files are byte-for-byte copies of others and were left out" in account.notes


def test_a_frame_of_reference_of_its_own_for_every_slice_splits_nothing(tmp_path: Path) -> None:
    def change(one: Any, index: int) -> None:
        one.FrameOfReferenceUID = generate_uid()

    array = body()
    write_series(tmp_path / "in", array, change=change)
    np.testing.assert_array_equal(
        volumes(prepared(tmp_path / "in", tmp_path / "out")[0])[0], alone(array, tmp_path)
    )


def phases(one: Any, index: int) -> None:
    one.ImagePositionPatient = [0.0, 0.0, 3.0 * (index % 6)]


def passes(one: Any, index: int) -> None:
    one.ImagePositionPatient = [0.0, 0.0, 3.0 * index if index < 8 else 3.0 * (index - 3) + 1.0]


def mosaic(one: Any, index: int) -> None:
    one.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]


@pytest.mark.parametrize(
    ("change", "message"),
    [(phases, "two at one position"), (passes, "unevenly spaced"), (mosaic, "is a mosaic")],
)
@pytest.mark.parametrize("regrid", [False, True])
def test_several_volumes_in_one_series_are_never_one(
    tmp_path: Path, change: Callable[[Any, int], None], message: str, regrid: bool
) -> None:
    write_series(tmp_path / "in", body(), change=change)
    assert message in refusal(tmp_path / "in", tmp_path / "out", regrid=regrid)


def test_stacks_of_another_orientation_are_volumes_of_their_own(tmp_path: Path) -> None:
    write_series(tmp_path / "in", body(0), SeriesInstanceUID=UID, StudyInstanceUID=STUDY)
    write_series(
        tmp_path / "in", body(1), first=50, directions=SAGITTAL, SeriesInstanceUID=UID, StudyInstanceUID=STUDY
    )
    made, account = prepared(tmp_path / "in", tmp_path / "out")
    assert len(volumes(made)) == 2
    (note,) = [one for one in account.notes if "series that make several volumes" in one]
    assert "or folder: 1 (000.dcm, 050.dcm); each volume counts as a scan" in note
    assert "050.dcm" not in (made.root / "manifest.json").read_text()


def test_slices_that_each_name_a_series_of_their_own_are_not_left_out(tmp_path: Path) -> None:
    def own_name(one: Any, index: int) -> None:
        one.SeriesInstanceUID = generate_uid()

    write_series(tmp_path / "in" / "a", body())
    write_series(tmp_path / "in" / "b", body(1), patient="P2", change=own_name)
    assert "one of 12 slices of a study that each have their own series UID" in refusal(
        tmp_path / "in", tmp_path / "out"
    )


def test_two_single_slices_are_left_out_as_few(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "a", body())
    for index in range(2):
        write_series(tmp_path / "in" / "b", body(1)[:1], patient="P2", start=9.0 * index, first=index)
    _, account = prepared(tmp_path / "in", tmp_path / "out")
    assert list(account.left_out()) == ["DICOM series of fewer than 3 slices"]
