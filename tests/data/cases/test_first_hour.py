"""What a newcomer meets in the first hour: the box, the window, few volumes, the plan, the next command."""

from __future__ import annotations

import shlex
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.data.cases.phantoms import (
    SHAPE,
    body,
    chest,
    prepared,
    refusal,
    volumes,
    write_nifti,
    write_series,
)
from voxflate.cli import app
from voxflate.data.preparing.recipes import RecipeOptions, cohort_box
from voxflate.data.readers.generated import SYNTHETIC
from voxflate.data.volume import Geometry
from voxflate.data.writers.nifti import write_nifti as write_volume
from voxflate.data.writers.synthetic import PLAIN
from voxflate.training.planner import Machine


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Nine scans of one size and one that is twice as long."""
    for number in range(9):
        write_nifti(tmp_path / "in" / f"{number}.nii", body(number))
    write_nifti(tmp_path / "in" / "long.nii", body(9, (24, 20, 16)))
    return tmp_path / "in"


@pytest.mark.parametrize(("box", "height"), [("largest", 48.0), ("percentile", 24.0), ("common", 24.0)])
def test_the_box_is_chosen(cohort: Path, tmp_path: Path, box: str, height: float) -> None:
    made, account = prepared(cohort, tmp_path / "out", options=RecipeOptions(box=box))
    assert made.spacing[0] * SHAPE[0] == pytest.approx(height)
    assert any("45% of it lies outside the scans" in note for note in account.notes) == (box == "largest")
    assert any(
        "cuts off parts of 1 of 10 scans, 50% of each on average" in note for note in account.notes
    ) == (box != "largest")


def test_the_box_of_a_cohort() -> None:
    grids = [Geometry((10, 10, side), np.eye(4)) for side in (10, 20, 30, 40, 50)]
    assert [cohort_box(grids, box)[2] for box in ("common", "percentile", "largest")] == [10, 40, 50]


def test_a_box_that_there_is_not_is_refused(cohort: Path, tmp_path: Path) -> None:
    assert "--box huge: choose one of largest, percentile, common" in refusal(
        cohort, tmp_path / "out", options=RecipeOptions(box="huge")
    )
    assert "--box is for --recipe mr, adni or ct, not for coca" in refusal(
        cohort, tmp_path / "out", "coca", options=RecipeOptions(box="common")
    )


def test_a_window_without_air_is_said_with_what_it_clips(tmp_path: Path) -> None:
    write_nifti(tmp_path / "in" / "a.nii", chest())
    _, account = prepared(tmp_path / "in", tmp_path / "out", "ct")
    text = " ".join(account.notes)
    assert "air will be -250 HU in generated volumes, not -1000" in text
    assert "--window -1000,650" in text
    assert "voxflate generate --air -1000" in text
    assert "of the scans' voxels lie below the window of -250 to 650 HU and 0.0% above" in text
    wide = RecipeOptions(window=(-1000.0, 650.0))
    _, account = prepared(tmp_path / "in", tmp_path / "wide", "ct", options=wide)
    assert "air will be" not in " ".join(account.notes)


def test_the_shares_outside_the_window_are_those_of_the_scans(tmp_path: Path) -> None:
    """Neither the air around a smaller scan nor the mean of its bright voxels with others counts."""
    hu = np.zeros((12, 24, 20), np.int16)
    hu[::2, ::2, ::2] = 900
    hu[:, :, :4] = -1000
    small = hu[:6, :12].copy()
    for name, array in {"a": hu, "b": small}.items():
        write_nifti(tmp_path / "in" / f"{name}.nii", array)
    _, account = prepared(tmp_path / "in", tmp_path / "out", "ct")
    expected = f"{(hu < -250).mean():.0%} of the scans' voxels lie below the window of -250 to 650 HU and "
    assert f"{expected}{(hu > 650).mean():.1%} above" in " ".join(account.notes)


def test_few_volumes_are_said(cohort: Path, tmp_path: Path) -> None:
    _, account = prepared(cohort, tmp_path / "out")
    assert any(note.startswith("10 training volumes are few") for note in account.notes)


def test_a_generated_volume_says_so_in_its_header(cohort: Path, tmp_path: Path) -> None:
    made, _ = prepared(cohort, tmp_path / "out")
    write_volume(tmp_path / "new.nii.gz", volumes(made)[0], made, look=PLAIN)
    write_volume(tmp_path / "real.nii.gz", volumes(made)[0], made)
    assert nib.load(tmp_path / "new.nii.gz").header["descrip"].item().decode() == SYNTHETIC
    assert nib.load(tmp_path / "real.nii.gz").header["descrip"].item() == b""


def test_generated_volumes_among_scans_are_said_with_their_names(cohort: Path, tmp_path: Path) -> None:
    made, account = prepared(cohort, tmp_path / "out")
    assert not any("generative network" in note for note in account.notes)
    for number in range(2):
        write_volume(cohort / f"new-{number}.nii.gz", volumes(made)[0] * 0.9**number, made, look=PLAIN)
    again, account = prepared(cohort, tmp_path / "again")
    (note,) = [note for note in account.notes if "made by a generative network" in note]
    assert note.startswith("2 scans: ")
    assert note.endswith("(new-0.nii.gz, new-1.nii.gz)")
    assert "new-0" not in (again.root / "manifest.json").read_text()
    array = np.random.default_rng(0).integers(0, 1000, (8, 16, 16))
    write_series(tmp_path / "dicom", array, DerivationDescription=SYNTHETIC)
    _, account = prepared(tmp_path / "dicom", tmp_path / "of-dicom")
    assert any(note.startswith("1 scan: the header says: made by") for note in account.notes)


@pytest.mark.parametrize("seconds", [1e-7, 1e-5, 1.0])
def test_the_plan_recommends_one_shape_and_fits_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    source = tmp_path / "my scans"
    write_nifti(source / "a.nii", body(0, (96, 160, 128)), mm=1.0)
    machine = Machine("cpu", seconds, gib_per_voxel=1e-6, gib_at_rest=0.5, gib_available=64)
    monkeypatch.setattr("voxflate.training.planner.measure_machine", lambda config: machine)
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, ["prepare", str(source), str(tmp_path / "out"), "--plan"]).stdout
    table = [line for line in shown.splitlines() if "\u2502" in line or "\u2503" in line]
    assert table
    assert max(map(len, table)) <= 80
    assert "\u2026" not in shown  # nothing is cut
    (line,) = [one for one in shown.splitlines() if one.startswith("recommended: ")]
    shape = line.split()[2]
    (command,) = [one for one in shown.splitlines() if one.startswith("next: ")]
    words = shlex.split(command.removeprefix("next: "))
    assert words[:3] == ["voxflate", "prepare", str(source)]
    assert words[-1] == shape
    marked = [one for one in table if "\u2502 >" in one or "\u2502>" in one]
    assert len(marked) == 1
    assert shape in marked[0]
    hours = 100_000 * np.prod([int(side) for side in shape.split(",")]) * seconds / 3600
    assert hours <= 24 or seconds == 1.0
