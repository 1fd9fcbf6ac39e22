"""The study through a real SLURM of one node: its jobs, a failed one, and one that is asked to stop.

Needs root, Debian's SLURM packages and an environment with snakemake-executor-plugin-slurm, so it runs with
`make bench`.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.strategies import write_prepared
from tests.studies.calls import NEEDS_SNAKEMAKE, PYTHON, ROOT, ROWS, command, environment
from tests.studies.local_slurm import LocalSlurm
from voxflate.runs.log import LOG_NAME, read_rows

SECONDS = 1800  # a training alone takes seconds, but a job loads PyTorch and Snakemake
PROFILE = ROOT / "studies" / "profiles" / "slurm" / "config.yaml"
pytestmark = [pytest.mark.slow, NEEDS_SNAKEMAKE]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """The profile, asking for the state of its jobs sooner and trying a failed one once more only."""
    words = [str(PYTHON), "-c", "import snakemake_executor_plugin_slurm"]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip(f"{PYTHON} has no snakemake-executor-plugin-slurm")
    text = PROFILE.read_text().replace("retries: 3", "retries: 1")
    (tmp_path / "profile").mkdir()
    content = f"{text}\nslurm-init-seconds-before-status-checks: 2\nslurm-keep-successful-logs: true\n"
    (tmp_path / "profile" / "config.yaml").write_text(content)
    return tmp_path / "profile"


@contextlib.contextmanager
def started(slurm: LocalSlurm, data: Path, out: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A study that runs; if the test fails, it and Snakemake are killed."""
    words = command(data, out, "--memory", "2500", *more)
    variables = {**environment(), "SLURM_CONF": slurm.environment["SLURM_CONF"]}
    with subprocess.Popen(
        words, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + SECONDS
    while not there():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.2)


def jobs(slurm: LocalSlurm) -> dict[str, list[str]]:
    """The jobs of every rule and run, by the comment that the plugin gives them."""
    found: dict[str, list[str]] = {}
    for line in slurm.ask("squeue", "--noheader", "--states=all", "--sort=i", "--format=%i %k").splitlines():
        number, comment = line.split()
        found.setdefault(comment, []).append(number)
    return found


def test_a_study_is_jobs_and_a_failed_one_leaves_the_others(
    slurm: LocalSlurm, scans: Path, profile: Path, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    broken = out / "runs" / f"{ROWS[0]}-s0"
    broken.mkdir(parents=True)
    (broken / "snapshots").write_text("no folder")
    with started(slurm, scans, out, "--profile", str(profile), "--gpus", "1") as process:
        said = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 1, said
    assert f"no result: {ROWS[0]}-s0: voxflate: " in said
    assert "2 of 3 runs have a result" in said
    assert "Inflate-1" in (out / "tables" / "tables.md").read_text()
    assert (out / "figures" / "figures.json").is_file()
    submitted = jobs(slurm)
    assert len(submitted[f"rule_train_wildcards_{ROWS[0]}-s0"]) == 2  # the failed one, tried twice
    for rule in (
        "prepare_wildcards_coca64",
        f"twin_wildcards_twin-{ROWS[0]}",
        f"evaluate_wildcards_{ROWS[1]}-s0",
    ):
        (job,) = submitted[f"rule_{rule}"]
        assert slurm.field(job, "JobState") == "COMPLETED"
        assert slurm.field(job, "Requeue") == "1"
        assert slurm.field(job, "NumCPUs") == "1"
        assert slurm.field(job, "MinMemoryNode") == "2500M"
        assert slurm.field(job, "TimeLimit") == "1-00:00:00"
        assert ("gpu:1" in slurm.field(job, "TresPerJob")) == (not rule.startswith("prepare"))


def test_a_training_that_nears_its_time_limit_is_submitted_again_and_continues(
    slurm: LocalSlurm, profile: Path, tmp_path: Path
) -> None:
    out, name = tmp_path / "study", f"{ROWS[0]}-s0"
    data = write_prepared(tmp_path / "set", shape=(16, 32, 32)).root
    values = ["training.kimg=0.4", "training.snapshot_kimg=0.1"]
    snapshots, log = out / "runs" / name / "snapshots", out / "logs" / f"{name}.log"
    options = ["--profile", str(profile), "--rows", ROWS[0], "--set", *values]
    with started(slurm, data, out, *options) as process:
        wait_for(lambda: any(snapshots.glob("snapshot-000000[1-9]*")), process)
        (job,) = jobs(slurm)[f"rule_train_wildcards_{name}"]
        # As --signal=TERM@120 does 120 seconds before the limit: SIGTERM to the step, not to the batch shell.
        slurm.ask("scancel", "--signal=TERM", job)
        wait_for(lambda: "images; the same command continues" in log.read_text(), process)
        rows = read_rows(out / "runs" / name / LOG_NAME)
        said = process.communicate(timeout=SECONDS)[0]
    (stopped,) = re.findall(r"stopped after (\d+) of 400 images", log.read_text())
    assert rows[-1]["n_images"] == int(stopped)
    assert 100 <= int(stopped) < 400
    assert process.returncode == 0, said
    assert "1 of 1 runs have a result" in said
    first, second = jobs(slurm)[f"rule_train_wildcards_{name}"]
    assert [slurm.field(each, "JobState") for each in (first, second)] == ["FAILED", "COMPLETED"]
    continued = read_rows(out / "runs" / name / LOG_NAME)
    assert continued[: len(rows)] == rows  # a training from the start would have written them anew
    assert continued[len(rows)]["since"] == int(stopped)
    assert continued[-1]["n_images"] == 400
