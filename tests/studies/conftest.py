from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.studies.calls import write_scans
from tests.studies.local_slurm import LocalSlurm, local_slurm, missing


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSlurm]:
    """A SLURM of one node and two CPUs."""
    if reason := missing():
        pytest.skip(reason)
    with local_slurm(tmp_path_factory.mktemp("slurm")) as started:
        yield started


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scans(tmp_path_factory.mktemp("scans"))
