"""Nothing ends in a traceback: odd names, full disks, wrong places."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.data.cases.phantoms import body, prepared, refusal, volumes, write_nifti, write_series
from voxflate._system.errors import VoxflateError
from voxflate.cli import app, progress
from voxflate.data.readers.refusals import printable
from voxflate.data.sources.names import load_salt

LONE_BYTE = "M\udcfcller"
"""A name in Latin-1 as Python gives it where the file system speaks UTF-8."""


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder whose name is not UTF-8, on a file system that has such names."""
    folder = tmp_path / "in" / LONE_BYTE
    try:
        folder.mkdir(parents=True)
    except OSError:
        pytest.skip("this file system has no such names")
    return folder


def test_names_that_are_not_utf8(tmp_path: Path, odd: Path) -> None:
    write_nifti(tmp_path / "in" / "good.nii", body())
    for number, name in enumerate(("a.nii.gz", f"{LONE_BYTE}.nrrd", "b.mha")):
        import SimpleITK

        plain = write_nifti(tmp_path / "plain.nii", body(number + 1))
        target = tmp_path / f"plain{Path(name).suffix}"
        if name.endswith(".gz"):
            write_nifti(target := tmp_path / "plain.nii.gz", body(number + 1))
        else:
            SimpleITK.WriteImage(SimpleITK.ReadImage(str(plain)), str(target))
        target.rename(odd / name)
    write_series(odd / "dicom", body(7))
    (odd / "torn.nii").write_bytes(b"no image")
    result = CliRunner().invoke(
        app,
        [
            "prepare", str(tmp_path / "in"), str(tmp_path / "out"), "--shape", "8,16,16", "--skip-bad",
            "--names", str(tmp_path / "names.csv"), "--only", "*",
        ],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "M\\udcfcller/torn.nii: cannot be read as NIfTI" in result.stderr
    assert "files: 17 seen = 16 used + 1 left out" in result.stderr
    assert os.fsencode(LONE_BYTE) in (tmp_path / "names.csv").read_bytes()


@pytest.mark.parametrize(
    "name", ["a\nb.nii", "\u60a3\u8005 1.nii", "-x.nii", "%s.nii", "a {b} 'c'.nii", "\U0001f600.nii"]
)
def test_odd_names_are_only_names(tmp_path: Path, name: str) -> None:
    write_nifti(tmp_path / "in" / name, body())
    assert len(volumes(prepared(tmp_path / "in", tmp_path / "out")[0])) == 1
    (tmp_path / "in" / name).write_bytes(b"no image")
    assert printable(name) in refusal(tmp_path / "in", tmp_path / "again")


@pytest.mark.parametrize("out", ["in", "in/set", "in/deep/er/set"])
def test_a_set_among_the_scans_is_refused(tmp_path: Path, out: str) -> None:
    write_nifti(tmp_path / "in" / "a.nii", body())
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(VoxflateError, match=r"is inside the folder of scans|not an empty folder"):
        prepared(tmp_path / "in", tmp_path / out)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_leaves_no_empty_salt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(VoxflateError, match=r"No space left on device.*--salt-file"):
        load_salt(tmp_path / "settings" / "salt")
    assert list((tmp_path / "settings").iterdir()) == []
    monkeypatch.undo()
    assert len(load_salt(tmp_path / "settings" / "salt")) == 64


def test_a_place_that_takes_no_folder_is_one_line(tmp_path: Path) -> None:
    write_nifti(tmp_path / "in" / "a.nii", body())
    result = CliRunner().invoke(app, ["prepare", str(tmp_path / "in"), "/proc/x", "--shape", "8,16,16"])
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("voxflate: /proc/x: ")


def test_without_a_terminal_progress_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with progress.stage_bars() as move:
        for second in range(150):
            clock[0] = float(second)
            move("preparing", second / 200)
    lines = ["preparing: 30%, 0:02:20 left", "preparing: 60%, 0:01:21 left"]
    assert capsys.readouterr().err.splitlines() == lines


def test_an_error_of_the_disk_of_the_scans_is_none_of_writing_the_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(path: Path) -> str:
        raise OSError(5, "Input/output error", str(path))

    write_nifti(tmp_path / "in" / "a.nii", body())
    monkeypatch.setattr("voxflate.data.sources.source.sha256", gone)
    text = refusal(tmp_path / "in", tmp_path / "out")
    assert text.startswith(f"{tmp_path}/in/a.nii: cannot be read any more")
    assert "(Input/output error); check the disk or the connection" in text
