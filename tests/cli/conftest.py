from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from tests.cli.calls import voxflate
from voxflate.config.schema import RunConfig


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    for subject in range(5):
        voxels = rng.random((16, 16, 8), dtype=np.float32)
        nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 4.0, 1.0])), folder / f"subject{subject}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def prepared(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "set"
    result = voxflate("prepare", scans, out, "--shape", "8,16,16", "--held-out", "0.2")
    assert result.exit_code == 0, result.output
    assert "4 training volumes, 1 held out" in result.stdout
    return out


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RunConfig, Path, bool]]:
    """Replace the training; gives the calls that were made."""
    calls: list[tuple[RunConfig, Path, bool]] = []

    def train_run(config: RunConfig, out: Path, resume: bool = False, *_: object, **__: object) -> None:
        calls.append((config, out, resume))

    fake = SimpleNamespace(train_run=train_run)
    monkeypatch.setitem(sys.modules, "voxflate.training.run", fake)  # type: ignore[arg-type]
    return calls
