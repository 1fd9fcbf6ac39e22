"""The SLURM script of docs/scaling.md on one node: it saves its work, returns to the queue, and continues."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.strategies import run_config, write_prepared
from tests.studies.calls import ROOT
from tests.studies.local_slurm import LocalSlurm
from voxflate.config.toml import save_config
from voxflate.runs.log import LOG_NAME, read_rows
from voxflate.runs.snapshots import images_of, list_snapshots
from voxflate.training.run import train_run

SECONDS = 600
SHORTER = {  # the script of the docs -> one small node
    "--nodes=2": "--nodes=1",
    "--cpus-per-task=32 --gpus-per-node=4": "--cpus-per-task=1",
    "--nproc-per-node 4": "--nproc-per-node 1",
    "--start runs/2d --out": "--start runs/2d --config config.toml --out",
}


def script() -> str:
    found = re.search(
        r"```sh\n(#!/bin/bash\n#SBATCH --nodes.*?)```", (ROOT / "docs" / "scaling.md").read_text(), re.S
    )
    assert found is not None
    text = found[1]
    for old, new in SHORTER.items():
        assert old in text
        text = text.replace(old, new)
    return text


def wait_for(there: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not there():
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.mark.slow
def test_the_script_saves_its_work_and_returns_to_the_queue(slurm: LocalSlurm, tmp_path: Path) -> None:
    prepared = write_prepared(tmp_path / "data" / "hearts")
    train_run(run_config(prepared, training__phase="2d"), tmp_path / "runs" / "2d")
    lengths = {"training__kimg": 2.0, "training__snapshot_kimg": 0.2}
    save_config(run_config(prepared, start__strategy="preserving", **lengths), tmp_path)
    (tmp_path / "job.sh").write_text(script())
    run = tmp_path / "runs" / "3d"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    paths = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    variables = f"--export=ALL,PATH={path},PYTHONPATH={paths}"
    job = slurm.ask("sbatch", "--parsable", variables, f"--chdir={tmp_path}", str(tmp_path / "job.sh"))
    wait_for(lambda: bool(list_snapshots(run)) and images_of(list_snapshots(run)[-1]) >= 200)
    slurm.ask("scancel", "--signal=USR1", "--batch", job)  # as SLURM does 120 seconds before the time limit
    wait_for(lambda: slurm.field(job, "JobState") == "PENDING")
    stopped = images_of(list_snapshots(run)[-1])
    rows = read_rows(run / LOG_NAME)
    assert 200 <= stopped < 2000
    assert rows[-1]["n_images"] == stopped
    slurm.ask("scontrol", "update", f"JobId={job}", "StartTime=now")  # instead of after two minutes
    wait_for(lambda: slurm.field(job, "JobState") == "COMPLETED")
    assert slurm.field(job, "Restarts") == "1"
    continued = read_rows(run / LOG_NAME)
    assert continued[: len(rows)] == rows  # a training from the start would have written them anew
    assert continued[len(rows)]["since"] == stopped
    assert continued[-1]["n_images"] == 2000
