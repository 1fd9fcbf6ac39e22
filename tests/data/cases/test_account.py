"""Every file that is seen is used or left out for a reason; nothing vanishes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from tests.data.cases.phantoms import (
    AXIAL,
    SAGITTAL,
    SHAPE,
    body,
    dicom_slice,
    prepared,
    refusal,
    volumes,
    write_enhanced,
    write_nifti,
    write_series,
)
from voxflate.cli import app
from voxflate.data.preparing.prepare import prepare
from voxflate.data.sources.account import Account

NOBODY = 65534


def rows(account: Account) -> dict[str, int]:
    return {reason: len(names) for reason, names in account.left_out().items()}


def test_pairs_and_other_formats_beside_readable_files_do_not_vanish(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for number in range(2):
        write_nifti(source / f"single{number}.nii.gz", body(number))
        write_nifti(source / f"pair{number}.img", body(number + 2), nib.Nifti1Pair)
    for name in ("brain.mnc", "all.zip", "more.tar.gz", "notes.txt", "alone.img"):
        (source / name).write_bytes(b"something else, long enough to be looked at" * 9)
    made, account = prepared(source, tmp_path / "out")
    assert len(volumes(made)) == 4
    assert account.seen == 2 + 4 + 5
    assert rows(account) == {
        "an unsupported format: convert it to NIfTI (.mnc)": 1,
        "an archive, which is not searched: unpack it (.zip)": 1,
        "an archive, which is not searched: unpack it (.tar.gz)": 1,
        "voxels without their header (.hdr, .mhd or .nhdr)": 1,
        "not a scan": 1,
    }
    assert any("brain.mnc" in line for line in account.lines())
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "11 seen = 6 used + 5 left out" in page
    assert "brain" not in page


def test_an_exported_disc_gives_its_scan_and_says_what_else_is_on_it(tmp_path: Path) -> None:
    disc = tmp_path / "disc"
    array = body()
    write_series(disc / "DICOM", array, SeriesInstanceUID="1.2.840.9999.1.1.1")
    write_series(
        disc / "DICOM", array[:2], first=50, SeriesInstanceUID="1.2.840.9999.1.1.1", directions=SAGITTAL,
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )  # fmt: skip
    for name, storage in (("report", "1.2.840.10008.5.1.4.1.1.88.11"), ("index", "1.2.840.10008.1.3.10")):
        dicom_slice(disc / name, array[0], storage).save_as(disc / name, enforce_file_format=True)
    screen = dicom_slice(disc / "screen", array[0], "1.2.840.10008.5.1.4.1.1.7")
    screen.save_as(disc / "screen", enforce_file_format=True)
    (disc / "viewer.exe").write_bytes(b"MZ" + bytes(999))
    made, account = prepared(disc, tmp_path / "out")
    assert len(volumes(made)) == 1
    write_series(tmp_path / "plain", array)
    np.testing.assert_array_equal(volumes(made), volumes(prepared(tmp_path / "plain", tmp_path / "ref")[0]))
    assert rows(account) == {
        "DICOM localizer": 2,
        "DICOM report": 1,
        "index of a disc (DICOMDIR)": 1,
        "DICOM picture without a position in the body (radiograph, ultrasound, screenshot)": 1,
        "not a scan": 1,
    }


def test_links_are_followed_once_and_broken_ones_are_said(tmp_path: Path) -> None:
    source, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    real = write_nifti(source / "a" / "one.nii", body(0))
    write_nifti(elsewhere / "two.nii", body(1))
    (source / "again.nii").symlink_to(real)
    os.link(real, source / "hard.nii")
    (source / "folder").symlink_to(elsewhere)
    (source / "a" / "loop").symlink_to(source)
    (source / "circle.nii").symlink_to("circle.nii")
    (source / "gone.nii").symlink_to("nothing.nii")
    os.mkfifo(source / "pipe.nii")
    made, account = prepared(source, tmp_path / "out")
    assert len(volumes(made)) == 2
    assert rows(account) == {
        "a second name (link) of a file that is already there": 2,
        "a broken link (content not fetched, moved, or circular)": 2,
        "not a regular file (pipe, socket or device)": 1,
    }
    assert account.record()["folders"] == [
        {"reason": "a link to a folder that is already searched", "folders": 1}
    ]
    assert any("1 file is read through links that lead outside" in note for note in account.notes)


def test_hidden_folders_are_not_searched(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for number in range(3):
        key = write_nifti(source / ".git" / "annex" / f"key{number}.nii.gz", body(number))
        write_nifti(source / ".ipynb_checkpoints" / f"{number}-checkpoint.nii.gz", body(number))
        (source / f"sub-{number}").mkdir()
        (source / f"sub-{number}" / "t1.nii.gz").symlink_to(key)
    (source / "__MACOSX").mkdir()
    (source / "__MACOSX" / "._t1.nii.gz").write_bytes(b"\0\5\x16\7")
    made, account = prepared(source, tmp_path / "out")
    assert len(volumes(made)) == 3
    assert rows(account) == {"hidden file": 1}
    assert account.record()["folders"] == [{"reason": "hidden", "folders": 2}]


@pytest.mark.parametrize("gap", [False, True], ids=["constant", "uneven"])
def test_a_stack_left_out_has_another_pseudonym_than_the_one_used(tmp_path: Path, gap: bool) -> None:
    path = write_enhanced(tmp_path / "in" / "a.dcm", [(body(), AXIAL), (body() * int(gap), SAGITTAL)])
    if gap:
        file = pydicom.dcmread(path)
        place = file.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0]
        place.ImagePositionPatient = [2 * float(x) for x in place.ImagePositionPatient]
        file.save_as(path)
    names = tmp_path / "names.csv"
    made = prepare(
        tmp_path / "in", tmp_path / "out", "mr", SHAPE, refuse=lambda error: None, names_file=names
    )
    used, left = made.manifest.scans, made.manifest.left_out
    assert len(used) == len(left) == 1
    table = [line.split(",")[0] for line in names.read_text().splitlines()[1:]]
    assert sorted(table) == sorted([used[0].scan, left[0].scan])
    assert table[0] != table[1]


def test_both_stacks_of_an_enhanced_file_are_volumes(tmp_path: Path) -> None:
    first, second = body(0), body(1)
    write_enhanced(tmp_path / "in" / "one.dcm", [(first, AXIAL), (second, SAGITTAL)])
    made, account = prepared(tmp_path / "in", tmp_path / "out")
    write_series(tmp_path / "axial", first)
    write_series(tmp_path / "sagittal", second, directions=SAGITTAL)
    assert len(volumes(made)) == 2
    assert len({scan.scan for scan in made.manifest.scans}) == 2
    for name in ("axial", "sagittal"):
        (alone, _) = prepared(tmp_path / name, tmp_path / f"out-{name}")
        box = [s.source_shape for s in made.manifest.scans]
        assert alone.manifest.scans[0].source_shape in box
    assert (account.seen, rows(account)) == (1, {})


def test_a_pattern_that_matches_nothing_names_what_is_there(tmp_path: Path) -> None:
    for number in range(5):
        write_nifti(tmp_path / "in" / f"scan{number}.nii", body(number))
    text = refusal(tmp_path / "in", tmp_path / "out", only="*.nii.gz")
    assert (
        "no scan that matches --only '*.nii.gz'; it has 5 files, such as scan0.nii, scan1.nii, scan2" in text
    )
    _, account = prepared(tmp_path / "in", tmp_path / "out", only="scan[01]*")
    assert rows(account) == {"does not match --only": 3}


def test_nothing_that_can_be_read_says_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "all.zip").write_bytes(b"PK\3\4" + bytes(99))
    text = refusal(tmp_path / "in", tmp_path / "out")
    assert "1 file: 1 an archive, which is not searched: unpack it (.zip) (all.zip)" in text


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[None]:
    """Run as a user without privileges, where the tests run as root."""
    if os.geteuid():
        yield
        return
    os.environ["VOXFLATE_SALT_FILE"], before = str(tmp_path / "salt"), os.environ["VOXFLATE_SALT_FILE"]
    (tmp_path / "salt").write_text("a salt that anybody may read")
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(parent.stat().st_mode | 0o055)
    tmp_path.chmod(0o777)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.environ["VOXFLATE_SALT_FILE"] = before


@pytest.mark.usefixtures("nobody")
def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for number in range(3):
        write_nifti(source / f"{number}.nii", body(number))
    write_nifti(source / "private" / "x.nii", body(8))
    (source / "notes.txt").write_text("of somebody else")
    (source / "notes.txt").chmod(0)
    (source / "private").chmod(0)
    made, account = prepared(source, tmp_path / "out")
    assert len(volumes(made)) == 3
    assert rows(account) == {"not a scan": 1}
    assert account.record()["folders"] == [{"reason": "cannot be opened: Permission denied", "folders": 1}]
    assert any("could not be opened (private), so its scans are missing" in one for one in account.notes)
    (source / "0.nii").chmod(0)
    assert "0.nii: cannot be read (permission denied)" in refusal(source, tmp_path / "more")
    (source / "0.nii").chmod(0o600)
    (source / "IM01").write_bytes(b"may be a slice")
    (source / "IM01").chmod(0)
    assert "IM01: may be a scan but cannot be opened" in refusal(source, tmp_path / "more")
    (source / "private").chmod(0o700)
    shutil.rmtree(source / "private")


def test_the_terminal_shows_the_account(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    source = tmp_path / "in"
    write_series(source / "ct", body(), modality="CT")
    write_series(source / "short", body()[:2], modality="CT", patient="P2")
    shown = CliRunner().invoke(app, ["prepare", str(source), str(tmp_path / "a set"), "--shape", "8,16,16"])
    assert shown.exit_code == 0, shown.output
    lines = shown.stderr.splitlines()
    assert "files: 14 seen = 12 used + 2 left out" in lines
    assert "      2  DICOM series of fewer than 3 slices: short/000.dcm, short/001.dcm" in lines
    assert f"next: voxflate pretrain '{tmp_path / 'a set'}' --out runs/2d" in shown.stdout


def test_a_short_stack_of_a_file_that_is_used_is_noted(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "in" / "one.dcm", [(body(0), AXIAL), (body(1)[:2], SAGITTAL)])
    made, account = prepared(tmp_path / "in", tmp_path / "out")
    assert len(made.manifest.scans) == 1
    text = "stacks of fewer than 3 frames that were left out of files with other stacks: 1 (one.dcm)"
    assert text in account.notes
