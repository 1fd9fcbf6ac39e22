"""The workflow, where Snakemake is installed: what runs, what does not run again, a kill in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from studies.plan import Study, plan_of, result_path
from tests.studies.calls import NEEDS_SNAKEMAKE, PYTHON, ROOT, ROWS, command, environment
from tests.studies.fakes import a_result
from voxflate.config.values import flat
from voxflate.reports.results import read_results, write_result

pytestmark = [pytest.mark.slow, NEEDS_SNAKEMAKE]


def on_two_cores(scans: Path, out: Path, *more: str) -> list[str]:
    return command(scans, out, "--cores", "2", *more)


def call(scans: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(scans, out, "--cores", "2", *more),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def jobs(study: Study) -> set[str]:
    """Targets that Snakemake would make for the results of a study."""
    study.save()
    words = [str(PYTHON.with_name("snakemake")), "runs", "--snakefile", str(ROOT / "studies" / "Snakefile")]
    words += ["--directory", str(study.out), "--cores", "1", "--dry-run", "--config", f"out={study.out}"]
    words += ["--profile", str(ROOT / "studies" / "profiles" / "local"), "--summary"]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines() if line.startswith(str(study.out))]
    return {str(Path(line[0]).relative_to(study.out)) for line in lines if line[-1] != "no update"}


def test_a_run_with_a_result_is_not_run_again_even_without_its_folder(scans: Path, tmp_path: Path) -> None:
    study = Study(tmp_path, "toy", {"coca64": str(scans)}, 1, presets=ROWS)
    twin, none, inflated = plan_of(study)
    assert jobs(study) == {
        "data/coca64/manifest.json",
        *(f"runs/{run.name}/trained" for run in (twin, none, inflated)),
        *(f"results/{run.name}.json" for run in (twin, none, inflated)),
    }
    write_result(a_result(ROWS[0], 0, 5), result_path(study, none))
    write_result(a_result(ROWS[1], 0, 5), result_path(study, twin))
    # The 2D run has a result, but its weights are needed once more.
    assert jobs(study) == {
        "data/coca64/manifest.json",
        *(f"runs/{run.name}/trained" for run in (twin, inflated)),
        f"results/{inflated.name}.json",
    }
    write_result(a_result(ROWS[1], 0, 5), result_path(study, inflated))
    assert jobs(study) == set()


def test_results_of_other_settings_are_refused(scans: Path, tmp_path: Path) -> None:
    study = Study(tmp_path, "toy", {"coca64": str(scans)}, 1, presets=ROWS)
    write_result(a_result(ROWS[0], 0, 5), result_path(study, plan_of(study)[1]))
    done = call(scans, tmp_path, "--dry-run")
    assert done.returncode == 2
    assert "was made with training.kimg = 60" in done.stderr


def test_a_dry_run_prints_the_plan_and_writes_nothing(scans: Path, tmp_path: Path) -> None:
    done = call(scans, tmp_path / "study", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "3 runs, 0 of them done" in done.stdout
    assert "coca64-baseline-inflate-1-s0: 3d, coca64, 0.016 kimg from twin-coca64-baseline" in done.stdout
    assert "core hours" in done.stdout
    assert "MB of disk" in done.stdout
    assert not (tmp_path / "study").exists()


def comparable(folder: Path) -> dict[str, Any]:
    """Results without what differs between two calls: times, and which process did what."""
    found = {}
    for result in read_results(folder):
        content = result.as_dict()
        content["snapshots"].pop("seconds")
        content["settings"] = {k: v for k, v in content["settings"].items() if k != "data"}
        for each in content["evaluations"]:
            each.pop("seconds")
            each["facts"].pop("training_seconds")
        found[result.name] = flat({k: v for k, v in content.items() if k not in ("seconds", "machine")})
    return found


def test_a_kill_in_the_middle_and_a_second_call_give_equal_results(scans: Path, tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with subprocess.Popen(
        command(scans, killed, "--cores", "2"),
        cwd=ROOT,
        env=environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    ) as process:
        until = time.monotonic() + 300
        while not any(killed.glob("runs/*/snapshots/*.safetensors")) and time.monotonic() < until:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
    assert any(killed.glob("runs/*/snapshots/*.safetensors"))
    assert not any(killed.glob("tables/*"))
    for folder in (killed, whole):
        done = call(scans, folder)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "3 of 3 runs have a result" in done.stdout
    assert comparable(killed / "results") == comparable(whole / "results")
    for name in ("tables.md", "tables.tex", "tables.html"):
        assert (killed / "tables" / name).is_file()
    assert (killed / "figures" / "figure-4.png").is_file()
    assert json.loads((killed / "figures" / "figures.json").read_text())["figure-5.png"] == ""


def test_a_failed_run_leaves_the_others_and_one_line(scans: Path, tmp_path: Path) -> None:
    broken = tmp_path / "runs" / f"{ROWS[0]}-s0"
    broken.mkdir(parents=True)
    (broken / "snapshots").write_text("no folder")
    done = call(scans, tmp_path)
    assert done.returncode == 1
    assert f"no result: {ROWS[0]}-s0: voxflate: " in done.stdout
    assert "2 of 3 runs have a result" in done.stdout
    assert "Inflate-1" in (tmp_path / "tables" / "tables.md").read_text()
