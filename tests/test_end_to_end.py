"""The README's five commands on a handful of tiny volumes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from voxflate.cli import app

TINY = [
    word
    for setting in (
        "training.batch=4",
        "training.snapshot_kimg=0.008",
        "training.precision=fp32",
        "network.channels=8",
        "network.mapping_layers=2",
        "evaluation.samples=6",
        "evaluation.extractor=random",
    )
    for word in ("--set", setting)
]


def voxflate(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    affine = np.array([[2.0, 0, 0, -5], [0, 2, 0, 7], [0, 0, 4, 11], [0, 0, 0, 1]])
    (folder / "scans").mkdir()
    for subject in range(6):
        voxels = rng.random((16, 16, 8), dtype=np.float32)
        nib.save(nib.Nifti1Image(voxels, affine), folder / "scans" / f"subject{subject}.nii.gz")
    voxflate("prepare", folder / "scans", folder / "set", "--shape", "8,16,16")
    return folder / "set"


@pytest.mark.parametrize("twin", ["plain", pytest.param("planar", marks=pytest.mark.slow)])
def test_scans_become_new_scans(data: Path, tmp_path: Path, twin: str) -> None:
    flat, deep, new = tmp_path / "2d", tmp_path / "3d", tmp_path / "new"
    voxflate("pretrain", data, "--out", flat, "--twin", twin, *TINY, "--set", "training.kimg=0.016")
    voxflate("train", data, "--start", flat, "--out", deep, *TINY, "--set", "training.kimg=0.008")
    voxflate("train", "--out", deep, "--resume", "--set", "training.kimg=0.016")
    voxflate("generate", deep, "-n", 3, "--truncation", 0.7, "--out", new)
    shown = voxflate("evaluate", deep)
    again = CliRunner().invoke(app, ["train", str(data), "--out", str(deep), *TINY])
    assert again.exit_code == 2
    assert "--resume" in again.output

    volumes = [nib.load(path) for path in sorted(new.glob("*.nii.gz"))]
    assert [volume.shape for volume in volumes] == [(16, 16, 8)] * 3
    np.testing.assert_allclose(volumes[0].header.get_zooms(), (2, 2, 4), rtol=1e-3)
    assert "frechet-random-avg" in shown
    facts = json.loads((deep / "evaluation" / "001-newest" / "metrics.json").read_text())["facts"]
    assert (facts["n-generated"], facts["n_images"]) == (6, 16)
    assert "rows of the paper" not in voxflate("compare", deep)
    assert "rows of the paper" in voxflate("compare", deep, "--paper", "coca64-baseline")
    assert json.loads((deep / "inflation.json").read_text())["inflated"]


def test_the_data_may_move(data: Path, tmp_path: Path) -> None:
    first, moved, run = tmp_path / "set", tmp_path / "moved", tmp_path / "3d"
    shutil.copytree(data, first)
    voxflate("train", first, "--out", run, *TINY, "--set", "training.kimg=0.004")
    first.rename(moved)
    voxflate("generate", run, "-n", 1, "--out", tmp_path / "new", "--data", moved)
    assert "frechet-random-avg" in voxflate("evaluate", run, "--data", moved, "--device", "auto")
    voxflate("train", moved, "--out", run, "--resume", "--set", "training.kimg=0.008")


def test_inflate_leaves_a_run_that_can_be_sampled_and_trained(data: Path, tmp_path: Path) -> None:
    flat, inflated = tmp_path / "2d", tmp_path / "inflated"
    voxflate("pretrain", data, "--out", flat, *TINY, "--set", "training.kimg=0.008")
    assert "inflated" in voxflate("inflate", flat, "--strategy", "inflate-1", "--out", inflated, *TINY)
    voxflate("generate", inflated, "-n", 1, "--out", tmp_path / "at-kimg-0")
    voxflate("train", "--out", inflated, "--resume", "--set", "training.kimg=0.008")
    assert "frechet-random-2d" in voxflate("evaluate", flat)
