"""What `prepare` prints beside its progress: names of files, and the next command."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.cli.calls import refused, voxflate
from voxflate.cli.printing import new_run


def test_the_next_command_writes_a_new_run(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "2d").mkdir(parents=True)
    (tmp_path / "runs" / "2d-2").symlink_to("gone")
    shown = voxflate("prepare", scans, "set", "--shape", "8,16,16")
    assert shown.exit_code == 0, shown.output
    (line,) = [one for one in shown.stdout.splitlines() if one.startswith("next: ")]
    assert shlex.split(line)[1:] == ["voxflate", "pretrain", "set", "--out", "runs/2d-3"]
    assert new_run("runs/3d") == "runs/3d"


def test_so_does_the_one_after_a_2d_run(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainings: object
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "3d").mkdir(parents=True)
    shown = voxflate("pretrain", prepared, "--out", "runs/2d")
    (line,) = [one for one in shown.stdout.splitlines() if one.startswith("next: ")]
    assert shlex.split(line)[-2:] == ["--out", "runs/3d-2"]


def test_copies_are_named_by_file_on_the_terminal_alone(scans: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    shutil.copytree(scans, folder)
    shutil.copy(folder / "subject3.nii.gz", folder / "again.nii.gz")
    shown = voxflate("prepare", folder, tmp_path / "set", "--shape", "8,16,16")
    (line,) = [one for one in shown.stderr.splitlines() if one.startswith("copies: ")]
    names = re.findall(r"([\w.]+) \[(scan-[0-9a-f]{12})\]", line)
    assert {name for name, _ in names} == {"again.nii.gz", "subject3.nii.gz"}
    page = (tmp_path / "set" / "report.html").read_text()
    assert all(scan in page for _, scan in names)
    assert "again.nii" not in page
    assert "subject3" not in page


@pytest.mark.parametrize("options", [(), ("--skip-bad",), ("--nan", "air", "--skip-bad")])
def test_scans_of_nan_alone_say_so_even_if_nothing_is_left(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "in").mkdir()
    nan = np.full((16, 16, 8), np.nan, np.float32)
    nib.save(nib.Nifti1Image(nan, np.eye(4)), tmp_path / "in" / "a.nii")
    line = refused("prepare", tmp_path / "in", tmp_path / "out", *options)
    assert line.endswith(f"{tmp_path}/in/a.nii: all voxels are NaN; remove the file")
    assert ("none of its scans can be used: 1 refused, first" in line) == ("--skip-bad" in options)


def test_what_a_dry_run_leaves_out_is_named(scans: Path, tmp_path: Path) -> None:
    shutil.copytree(scans, tmp_path / "scans")
    (tmp_path / "scans" / "bad.dcm").write_text("junk")
    shown = voxflate("prepare", tmp_path / "scans", tmp_path / "set", "--skip-bad", "--dry-run")
    (line,) = [one for one in shown.stderr.splitlines() if one.startswith("left out: ")]
    assert "scans/bad.dcm: cannot be read as DICOM" in line
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--mask", "tumour=", "expected PATTERN, or NAME=PATTERN such as tumour='labels/*'"),
        ("--mask", "=labels/*", "expected PATTERN, or NAME=PATTERN such as tumour='labels/*'"),
        ("--mask", "a{b}=labels/*", "a name cannot have { or }; choose another"),
        ("--channel", "a{b}=*", "a name cannot have { or }; choose another"),
        ("--percentiles", "5", "expected two numbers LOW,HIGH such as 0.1,99.9"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    scans: Path, tmp_path: Path, option: str, value: str, message: str
) -> None:
    assert refused("prepare", scans, tmp_path / "set", option, value).endswith(message)
