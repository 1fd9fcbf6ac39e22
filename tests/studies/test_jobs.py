"""Jobs of an earlier call, as a stand-in for `squeue` lists them."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.jobs import check_no_jobs
from voxflate._system.errors import VoxflateError


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only one with programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder / "squeue"


def write(queue: Path, lines: list[str], status: int = 0) -> None:
    listed = "".join(f"echo '{line}'\n" for line in lines)
    queue.write_text(f"#!/bin/sh\n{listed}exit {status}\n")
    queue.chmod(0o755)


def job(number: int, study: Path) -> str:
    return f"{number:<20}{study}/.snakemake/slurm_logs/rule_train/a/{number}.log"


def test_a_study_with_jobs_waits(queue: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    write(
        queue, [job(41, study), job(42, tmp_path / "study-2"), job(43, study), f"{44:<20}{study}/other.log"]
    )
    with pytest.raises(VoxflateError, match=r"2 SLURM jobs of an earlier call .*: scancel 41 43$"):
        check_no_jobs(study)


def test_jobs_of_other_studies_do_not_matter(queue: Path, tmp_path: Path) -> None:
    write(queue, [job(42, tmp_path / "study-2")])
    check_no_jobs(tmp_path / "study")


def test_without_slurm_nothing_is_checked(queue: Path, tmp_path: Path) -> None:
    check_no_jobs(tmp_path)
    write(queue, [job(41, tmp_path)], status=1)  # as if its controller did not answer
    check_no_jobs(tmp_path)
