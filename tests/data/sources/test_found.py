import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxflate._system.errors import VoxflateError
from voxflate.data.preparing.prepare import prepare
from voxflate.data.sources.found import find_sources

WriteSeries = Callable[..., list[Path]]
SMALL = (4, 4, 4)


def stop(error: VoxflateError) -> None:
    raise error


def ct(seed: int) -> Any:
    return np.random.default_rng(seed).integers(-1000, 1000, (5, 7, 6)).astype(np.int16)


def test_scans_are_found_in_subfolders_and_nothing_else_is(
    tmp_path: Path, write_scan: Callable[..., Path]
) -> None:
    wanted = [write_scan(tmp_path / "b.NII"), write_scan(tmp_path / "deep" / "er" / "a.nii.gz")]
    (tmp_path / "participants.csv").write_text("id,age\n")
    (tmp_path / "._b.nii").write_bytes(b"what a Mac leaves behind")
    assert [source.path for source in find_sources(tmp_path, stop)] == sorted(wanted)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such folder"),
        (lambda path: path.mkdir(), "has no scans (it is empty)"),
        (lambda path: path.write_text("x"), "is a file, not a folder"),
        (
            lambda path: (path.mkdir(), (path / "a.txt").write_text("x")),
            "has no scans (1 file: 1 not a scan (a.txt))",
        ),
    ],
    ids=["missing", "empty", "file", "other"],
)
def test_a_folder_without_scans_is_refused(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / "source")
    with pytest.raises(VoxflateError) as error:
        find_sources(tmp_path / "source", stop)
    assert message in str(error.value)


def test_a_patient_s_series_stay_on_one_side_and_nameless(tmp_path: Path, write_series: WriteSeries) -> None:
    for patient in range(4):
        for scan in range(2):
            folder = tmp_path / "pacs" / f"{scan}{patient}"
            write_series(folder, ct(10 * patient + scan), PatientID=f"MUSTERMANN-{patient}")
    prepared = prepare(tmp_path / "pacs", tmp_path / "out", "ct", SMALL, held_out=0.5)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    sides: dict[str, set[str]] = {}
    for scan in manifest["scans"]:
        sides.setdefault(scan["subject"], set()).add(scan["split"])
    assert len(sides) == 4
    assert all(len(side) == 1 for side in sides.values())
    assert len(prepared.stored("train")) == len(prepared.stored("heldout")) == 4
    for file in (tmp_path / "out").iterdir():
        assert b"MUSTERMANN" not in file.read_bytes()


@pytest.mark.parametrize("recipe", ["ct", "coca"])
def test_a_ct_recipe_refuses_what_is_not_ct(tmp_path: Path, write_series: WriteSeries, recipe: str) -> None:
    write_series(tmp_path / "pacs" / "mr", ct(0), Modality="MR")
    with pytest.raises(VoxflateError, match=f"is MR, not CT, and --recipe {recipe}"):
        prepare(tmp_path / "pacs", tmp_path / "out", recipe, SMALL)
    assert not (tmp_path / "out").exists()


def test_bad_scans_can_be_left_out_and_none_is_lost_with_them(
    tmp_path: Path, write_series: WriteSeries, write_scan: Callable[..., Path]
) -> None:
    for good in range(6):
        write_series(tmp_path / "pacs" / f"good{good}", ct(good), PatientID=str(good))
    write_series(tmp_path / "pacs" / "single", ct(6)[:1])
    write_series(tmp_path / "pacs" / "mr", ct(7), Modality="MR")
    write_series(tmp_path / "pacs" / "flat", np.full((4, 6, 6), 7), PatientID="flat")
    (tmp_path / "pacs" / "torn.dcm").write_bytes(b"\0" * 128 + b"DICM\xff")
    (tmp_path / "pacs" / "torn.nii").write_bytes(b"no image")
    refused: list[VoxflateError] = []
    prepared = prepare(tmp_path / "pacs", tmp_path / "out", "ct", SMALL, held_out=0.3, refuse=refused.append)
    reasons = sorted(str(error) for error in refused)
    assert len(reasons) == 4
    for word in ("not CT", "constant volume", "torn.dcm", "torn.nii"):
        assert any(word in reason for reason in reasons)
    rows = {row["reason"]: row["files"] for row in prepared.manifest.files["left_out"]}
    assert rows["DICOM series of fewer than 3 slices"] == 1
    assert sum(len(prepared.stored(split)) for split in ("train", "heldout")) == 6
    # Without permission, the first of them ends it, and nothing is left behind.
    with pytest.raises(VoxflateError):
        prepare(tmp_path / "pacs", tmp_path / "none", "ct", SMALL)
    assert not (tmp_path / "none").exists()


def test_a_set_of_bad_scans_only_is_refused(tmp_path: Path, write_series: WriteSeries) -> None:
    write_series(tmp_path / "pacs" / "flat", np.full((4, 6, 6), 7))
    with pytest.raises(VoxflateError, match="none of its scans can be used"):
        prepare(tmp_path / "pacs", tmp_path / "out", "ct", SMALL, refuse=lambda error: None)
    assert not (tmp_path / "out").exists()
