"""`--plan` and memory: what does not fit is never recommended, and the settings that help are named."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.cli.calls import refused, voxflate
from voxflate.cli.plan import print_cost
from voxflate.config.schema import RunConfig
from voxflate.config.toml import from_values
from voxflate.training.planner import Machine

FAST = Machine("cpu", 1e-9, gib_per_voxel=1e-6, gib_at_rest=0.5)
"""Every shape is quick; four volumes of 64x64x64 need 1.5 GiB, of 128x128x128 8.9 GiB."""
LARGE = ("--set", "network.base=4,4,4", "--set", "network.stages=5", "--set", "training.batch=8")


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scan")
    voxels = np.random.default_rng(0).random((128, 128, 128), dtype=np.float32)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / "a.nii")
    return folder


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the memory left, and the share of the memory per voxel with checkpointing; None: not measured."""

    def make(gib: float, checkpointing: float | None = None) -> None:
        found = replace(FAST, gib_available=gib)
        less = None if checkpointing is None else replace(found, gib_per_voxel=checkpointing * 1e-6)
        monkeypatch.setattr("voxflate.training.planner.measure_machine", lambda config: found)
        monkeypatch.setattr("voxflate.training.memory.checkpointed_machine", lambda config: less)

    return make


def proposals(lines: list[str]) -> dict[str, tuple[float, str]]:
    """Shape -> GiB and whether it fits, from the table."""
    rows = [line.split("\u2502") for line in lines if line.count("\u2502") == 9]
    return {row[2].strip(): (float(row[5]), row[6].strip()) for row in rows}


def test_the_finest_shape_that_fits_is_recommended(scan: Path, tmp_path: Path, machine: Any) -> None:
    machine(64.0)
    lines = voxflate("prepare", scan, tmp_path / "set", "--plan").stdout.splitlines()
    shown = proposals(lines)
    assert {fits for _, fits in shown.values()} == {"yes"}
    assert any(line.startswith("recommended: --shape 128,128,128 ") for line in lines)
    assert not any("does not fit" in line or "fits if" in line for line in lines)

    machine(2.0, checkpointing=0.1)
    lines = voxflate("prepare", scan, tmp_path / "set", "--plan").stdout.splitlines()
    assert {shape: gib for shape, (gib, _) in shown.items()} == {
        shape: gib for shape, (gib, _) in proposals(lines).items()
    }
    for shape, (gib, fits) in proposals(lines).items():
        assert fits == ("yes" if gib <= 0.85 * 2.0 else "no"), shape
    assert any(line.startswith("recommended: --shape 64,64,64 ") for line in lines)
    (told,) = [line for line in lines if line.startswith("128,128,128 ")]
    assert told == "128,128,128 fits if trained with --set training.activation_checkpointing=true: 1.3 GiB"
    assert "fits: 2.0 GiB are left, of which the prediction may take 85%." in lines[-1]
    assert "hours: of a 3D run of 25 kimg; the time of the 2D run is not included." in lines[-1]


def test_no_shape_is_recommended_if_none_fits(scan: Path, tmp_path: Path, machine: Any) -> None:
    machine(0.5, checkpointing=0.1)
    shown = voxflate("prepare", scan, tmp_path / "set", "--plan")
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert {fits for _, fits in proposals(lines).values()} == {"no"}
    assert "recommended: none, because no shape fits into 0.5 GiB" in lines
    (told,) = [line for line in lines if "not fit" in line]
    assert told == (
        "16x16x16, 24x24x24, 32x32x32, 48x48x48, 64x64x64, 96x96x96 and 128x128x128 do not fit, even with "
        "training.activation_checkpointing = true; train with fewer network.channels or a smaller "
        "training.batch"
    )
    assert not any(line.startswith("next: ") for line in lines)


@pytest.mark.parametrize(
    ("gib", "checkpointing", "told"),
    [
        (3.0, None, "fits if trained with --set training.micro_batch=4: 1.6 GiB"),
        (1.7, 0.4, "fits if trained with --set training.activation_checkpointing=true: 1.3 GiB"),
        (
            1.2,
            0.4,
            "fits if trained with --set training.micro_batch=4 --set training.activation_checkpointing=true: "
            "0.9 GiB",
        ),
        (
            1.2,
            None,
            "does not fit, even with training.micro_batch = 4; train with fewer network.channels or a "
            "smaller training.batch, or choose a smaller shape",
        ),
        (
            0.5,
            0.4,
            "does not fit, even with training.micro_batch = 4 and training.activation_checkpointing = true; "
            "train with fewer network.channels or a smaller training.batch, or choose a smaller shape",
        ),
    ],
)
def test_a_training_that_does_not_fit_is_told_what_helps(
    gib: float, checkpointing: float | None, told: str, tmp_path: Path, machine: Any
) -> None:
    machine(gib, checkpointing)
    shown = voxflate("train", *LARGE, "--out", tmp_path / "run", "--plan")
    assert shown.exit_code == 0
    _, second, third, fourth, _ = shown.stdout.splitlines()
    assert second.startswith("predicted: 2.6 GiB, ")
    assert second.endswith(" without snapshots and metrics")
    assert third == f"memory left: {gib:.1f} GiB, of which the prediction may take 85%: not enough"
    assert fourth == f"{'64,64,64' if told.startswith('fits') else '64x64x64'} {told}"
    assert list(tmp_path.iterdir()) == []


def test_only_a_plan_that_starts_from_a_2d_run_speaks_of_its_time(
    machine: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(64.0)
    for twin in ("", "runs/2d"):
        print_cost(from_values({"network.base": [4, 4, 4], "network.stages": 5, "start.twin": twin}))
        assert ("; the time of the 2D run is not included\n" in capsys.readouterr().out) == bool(twin)


def test_a_plan_makes_the_checks_of_a_preparation(scan: Path, tmp_path: Path, machine: Any) -> None:
    machine(64.0)
    for words, told in (
        (("--recipe", "ct", "--modality", "PT"), "--modality PT: --recipe ct is for CT; use --recipe mr"),
        (("--hu-offset", "-1024"), "--hu-offset is for --recipe ct or coca, not for mr"),
        (("--held-out", "1"), "held"),
        (("--label", "age"), "age"),
    ):
        line = refused("prepare", scan, tmp_path / "set", *words, "--plan")
        assert told in line
        assert line == refused("prepare", scan, tmp_path / "set", *words)
    assert "is not an empty folder" in refused("prepare", scan, scan.parent, "--plan")


def test_the_next_command_repeats_the_options(scan: Path, tmp_path: Path, machine: Any) -> None:
    machine(64.0)
    out = tmp_path / "my set"
    given = ("--recipe", "adni", "--modality", "MR", "--only", "*.nii", "--skip-bad", "--box", "common")
    several = ("--channel", "t1=a*", "--mixed", "--held-out", "0.0", "--seed", "3")
    shown = voxflate("prepare", scan, out, "--plan", "--shape", "8,8,8", *given, *several)
    (line,) = [one for one in shown.stdout.splitlines() if one.startswith("next: ")]
    words = shlex.split(line.removeprefix("next: "))
    assert words[:4] == ["voxflate", "prepare", str(scan), str(out)]
    assert words[-2:] == ["--shape", "128,128,128"]
    assert sorted(words[4:-2]) == sorted((*given, *several))
    assert "--plan" not in words
    assert words.index("t1=a*") == words.index("--channel") + 1
    assert voxflate(*words[1:], "--dry-run").exit_code == 0


def test_a_plan_names_what_it_leaves_out(scan: Path, tmp_path: Path, machine: Any) -> None:
    machine(64.0)
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "a.nii").symlink_to(scan / "a.nii")
    (folder / "bad.nii").write_text("junk")
    shown = voxflate("prepare", folder, tmp_path / "set", "--skip-bad", "--plan")
    (left,) = [one for one in shown.stderr.splitlines() if one.startswith("left out: ")]
    assert "scans/bad.nii: cannot be read as NIfTI" in left
    assert "note: 1 file is read through links that lead outside the folder of scans" in shown.stderr


def test_options_that_are_not_given_are_not_repeated(scan: Path, tmp_path: Path, machine: Any) -> None:
    machine(64.0)
    shown = voxflate("prepare", scan, tmp_path / "set", "--plan").stdout.splitlines()
    assert f"next: voxflate prepare {scan} {tmp_path / 'set'} --shape 128,128,128" in shown


def test_the_cost_of_data_that_does_not_exist_is_not_planned(tmp_path: Path, machine: Any) -> None:
    machine(64.0)
    missing = tmp_path / "nonexistent"
    line = refused("train", missing, "--plan")
    assert line == (
        f"voxflate: {missing}: no such folder; name a prepared set, or make one with voxflate prepare"
    )
    assert refused("train", missing, "--out", tmp_path / "run") == line


def test_a_measurement_that_does_not_fit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(config: RunConfig) -> Machine:
        raise MemoryError

    monkeypatch.setattr("voxflate.training.planner.measure_machine", measured)
    assert refused("train", "--plan") == (
        "voxflate: out of memory: even the plan's own measurement, at 32x32x32 and 48x48x48, does not fit; "
        "train with fewer network.channels or a smaller training.batch"
    )
