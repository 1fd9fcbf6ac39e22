"""Generators that come with the package: whole, small, licensed, and taken by their names."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

import voxflate
from tests.sharing.generators import an_export
from voxflate.cli import app
from voxflate.runs.shipped import ROOT, locate, shipped
from voxflate.runs.verify import verify_folder

NAMES = sorted(path.name for path in ROOT.iterdir() if path.is_dir())


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without any of their names."""
    monkeypatch.chdir(tmp_path)


def test_all_folders_are_generators_and_are_small() -> None:
    assert list(shipped()) == NAMES
    assert "brains-16" in NAMES
    assert sum(path.stat().st_size for path in ROOT.rglob("*") if path.is_file()) < 5e6


@pytest.mark.parametrize("name", NAMES)
def test_each_is_what_was_exported_and_says_what_it_is(name: str) -> None:
    folder = shipped()[name]
    checks = verify_folder(Path(name))
    assert all(check.matches in (True, None) for check in checks)
    assert sum(check.matches is True for check in checks) >= 2
    generator = voxflate.load(name)
    scans = np.asarray(generator.sample(2, truncation=0.7))
    assert np.isfinite(scans).all()
    assert scans.std() > 0.1
    card = (folder / "README.md").read_text(encoding="utf-8")
    for heading in ("Where it comes from", "Copies of training scans", "Limits", "Provenance"):
        assert f"## {heading}\n" in card
    assert "creativecommons.org/licenses/" in (folder / "LICENSE.txt").read_text(encoding="utf-8")
    texts = [path.read_text() for path in folder.iterdir() if path.suffix in (".json", ".md", ".txt")]
    assert str(Path.home()) not in "".join(texts)


def test_the_command_takes_a_name(tmp_path: Path) -> None:
    words = ["generate", "brains-16", "-n", "2", "--out", "new", "--device", "cpu"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert nib.load("new/sample-0001.nii.gz").shape == (32, 32, 16)
    assert json.loads(Path("new/generation.json").read_text())["run"] == "brains-16"
    result = CliRunner().invoke(app, ["generate", "brains-17", "--out", "other"])
    assert result.exit_code == 2
    assert "brains-17: no such file or run folder" in result.output
    assert "included are: brains-16" in " ".join(result.output.split())


def test_the_user_s_own_folder_goes_first(tmp_path: Path) -> None:
    assert locate(Path("brains-16")) == ROOT / "brains-16"
    an_export(tmp_path / "brains-16")
    assert locate(Path("brains-16")) == Path("brains-16")
    assert voxflate.load("brains-16").shape == (4, 8, 8)
