"""SLURM jobs of an earlier call: they work on even if the process that submitted them was lost."""

from __future__ import annotations

import subprocess
from pathlib import Path

from voxflate._system.errors import VoxflateError

_QUEUE = ("squeue", "--me", "--noheader", "--Format=JobID:20,STDOUT:4096")
_SECONDS = 60


def check_no_jobs(out: Path) -> None:
    """Refuse to begin while jobs of an earlier call work on the study: two would train in one folder.

    Without SLURM, or if it does not answer, nothing is checked.

    Args:
        out: Folder of the study.

    Raises:
        VoxflateError: Names the jobs.
    """
    try:
        listed = subprocess.run(_QUEUE, capture_output=True, text=True, check=True, timeout=_SECONDS).stdout
    except (OSError, subprocess.SubprocessError):
        return
    logs = f"{out}/.snakemake/slurm_logs/"  # where Snakemake's plugin lets its jobs write
    jobs = [line[:20].strip() for line in listed.splitlines() if line[20:].startswith(logs)]
    if jobs:
        raise VoxflateError(
            f"{out}: {len(jobs)} SLURM jobs of an earlier call still work on this study; wait for them, or "
            f"end them (their trainings are saved): scancel {' '.join(jobs)}"
        )
