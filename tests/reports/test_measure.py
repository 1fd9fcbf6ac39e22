"""Which snapshot was evaluated, audited, compared and shared: the same one, or it is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.test_suite import a_set
from tests.reports.test_evaluations import SET, evaluation, voxflate

QUICK = ("--replicates", 0, "--volume-extractor", "none", "--no-tsne")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 3D run with snapshots at 0, 4 and 8 images, its data, and an export of the one at 4."""
    folder = tmp_path_factory.mktemp("home")
    a_set(folder / "set", 16, 4)
    voxflate("train", folder / "set", "--out", folder / "run", *SET, "--set", "training.keep=9")
    voxflate("export", folder / "run", "--snapshot", 0.004, "--out", folder / "export")
    return folder


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Path:
    shutil.copytree(home / "run", tmp_path / "run")
    return tmp_path / "run"


def written(folder: Path, name: str) -> Any:
    content = json.loads((folder / name).read_text())
    return content["facts"] if name == "metrics.json" else content


def test_every_command_uses_the_snapshot_that_is_asked_for(home: Path, run: Path, tmp_path: Path) -> None:
    shown = voxflate("evaluate", run, "--snapshot", 0.004, *QUICK)
    assert "using the generator after 0.004 kimg (weights " in shown
    shown = voxflate("audit", run, "--snapshot", 0.004, "--allow", 1)
    assert "using the generator after 0.004 kimg (weights " in shown
    voxflate("generate", run, "--snapshot", 0.004, "-n", 1, "--out", tmp_path / "new")
    shared = json.loads((home / "export" / "config.json").read_text())
    for facts in (
        written(evaluation(run), "metrics.json"),
        written(evaluation(run), "audit.json"),
        written(tmp_path / "new", "generation.json"),
    ):
        assert (facts["snapshot"], facts["n_images"], facts["kimg"]) == ("0.004", 4, 0.004)
        assert facts["generator_sha256"] == shared["weights_sha256"]
    assert "has no snapshot 3" in voxflate("evaluate", run, "--snapshot", 3, "--dry-run", status=2)
    assert "has no snapshot 3" in voxflate("audit", run, "--snapshot", 3, "--dry-run", status=2)
    out = tmp_path / "out"
    assert "has no snapshot 3" in voxflate(
        "generate", run, "--snapshot", 3, "--out", out, "--dry-run", status=2
    )


def test_compare_says_which_snapshots_and_refuses_others(home: Path, run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(home / "run", other)
    voxflate("evaluate", run, *QUICK)
    voxflate("evaluate", other, "--snapshot", 0.004, *QUICK)
    shown = " ".join(voxflate("compare", run, other).split())
    assert "run after 0.008 kimg (newest), weights " in shown
    assert "other after 0.004 kimg (0.004), weights " in shown
    assert "Table 2 is apart from table 1" in shown
    assert "other snapshot (after 0.008 kimg and after 0.004 kimg)" in shown
    assert "apart" not in voxflate("compare", run, "--snapshot", "newest")
    line = voxflate("compare", run, other, "--snapshot", "newest", status=2)
    assert "other: was evaluated after 0.004 kimg, which is not its snapshot newest" in line
    assert f"voxflate evaluate {other} --snapshot newest" in line
    voxflate("compare", other, "--snapshot", 0.004)


def test_a_run_that_has_trained_since_is_named(run: Path) -> None:
    voxflate("evaluate", run, *QUICK)
    assert "trained to" not in voxflate("compare", run)
    voxflate("train", "--out", run, "--resume", "--set", "training.kimg=0.012")
    shown = " ".join(voxflate("compare", run).split())
    assert "Warning: run was evaluated after 0.008 kimg and has trained to 0.012 kimg since" in shown


def test_a_report_leaves_out_the_audit_of_another_snapshot(run: Path) -> None:
    named = ("--out", run / "named")
    voxflate("audit", run, "--snapshot", 0.004, "--allow", 1, *named)
    voxflate("evaluate", run, *QUICK, *named)
    page = " ".join((run / "named" / "report.html").read_text().split())
    assert "the audit in its folder is of another snapshot, after 0.004 kimg, and is left out" in page
    assert "generated volumes (" not in page
    assert "the evaluated snapshot, 0.008 kimg" in page
    voxflate("audit", run, "--snapshot", 0.004, "--allow", 1)
    voxflate("evaluate", run, *QUICK)
    voxflate("audit", run, "--allow", 1)
    page = " ".join((evaluation(run) / "report.html").read_text().split())
    assert "another snapshot" not in page
    assert "generated volumes (" in page


def test_an_export_is_measured_outside_itself(home: Path, run: Path, tmp_path: Path) -> None:
    export, data, out = home / "export", home / "set", tmp_path / "checked"
    before = sorted(export.iterdir())
    for command in ("evaluate", "audit"):
        assert "--data FOLDER" in voxflate(command, export, "--out", out, status=2)
        assert "--out FOLDER" in voxflate(command, export, "--data", data, status=2)
        inside = export / "evaluation"
        assert "--out FOLDER" in voxflate(command, export, "--data", data, "--out", inside, status=2)
    settings = ("--set", "evaluation.samples=12", "--set", "evaluation.extractor=random")
    voxflate("audit", export, "--data", data, "--out", out, "--allow", 1, *settings)
    voxflate("evaluate", export, "--data", data, "--out", out, *QUICK, *settings)
    assert sorted(export.iterdir()) == before
    voxflate("evaluate", run, "--snapshot", 0.004, *QUICK)
    ours, theirs = (json.loads((f / "metrics.json").read_text()) for f in (evaluation(run), out))
    assert ours["facts"]["generator_sha256"] == theirs["facts"]["generator_sha256"]
    assert {name: each["value"] for name, each in ours["metrics"].items()} == pytest.approx(
        {name: each["value"] for name, each in theirs["metrics"].items()}, rel=1e-4
    )
    assert (out / "report.html").is_file()
    shown = voxflate("compare", run, out, "--out", tmp_path / "comparison")
    assert "checked after 0.004 kimg (0.004), weights " in " ".join(shown.split())
    assert "--data FOLDER" in voxflate("compare", out, "--out", tmp_path / "alone", status=2)
    voxflate("compare", out, "--out", tmp_path / "alone", "--data", data, "--snapshot", 0.004)
    assert "not its snapshot 9" in voxflate("compare", out, "--snapshot", 9, status=2)


def test_other_data_is_refused_by_the_audit_and_said_by_the_evaluation(
    home: Path, run: Path, tmp_path: Path
) -> None:
    other = a_set(tmp_path / "other", 12, 4).root
    line = voxflate("audit", run, "--data", other, status=2)
    assert "is not the data that" in line
    assert "no copy would be found" in line
    shown = " ".join(voxflate("evaluate", run, "--data", other, *QUICK).split())
    assert f"warning: {other}: is not the data that {run} was trained on" in shown
    line = voxflate("compare", run, "--out", tmp_path / "page", status=2)
    assert "is not the data that" in line
    voxflate("compare", run, "--out", tmp_path / "page", "--data", other)


def test_several_runs_do_not_share_a_folder(home: Path, tmp_path: Path) -> None:
    line = voxflate("evaluate", home / "run", home / "run", "--out", tmp_path / "out", status=2)
    assert "takes the evaluation of one run, got 2" in line
