"""What all tests share."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before anything imports PyTorch: small tensors are quicker on one thread, and sums come out in one order.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

# The same cases at every run: a red check is then about the change, not about luck.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=30)
settings.load_profile("repeatable")


ROOT = Path(__file__).parents[1]
KERNELS = Path.home() / ".cache" / "voxflate-tests" / "kernels"
"""Where compiled kernels stay from one test run to the next: building them takes a minute.

Their names hold a hash of the source, the compiler and the processor.
"""


def with_kernels(cache: Path) -> Path:
    """A cache folder that shares the compiled kernels."""
    KERNELS.mkdir(parents=True, exist_ok=True)
    (cache / "kernels").symlink_to(KERNELS, target_is_directory=True)
    return cache


# What runs outside a test, at collection or for a whole module, keeps away from the user's cache too.
os.environ["VOXFLATE_CACHE"] = str(with_kernels(Path(tempfile.mkdtemp(prefix="voxflate-tests-"))))
atexit.register(shutil.rmtree, os.environ["VOXFLATE_CACHE"], ignore_errors=True)


@pytest.fixture(autouse=True, scope="session")
def _clean_clone() -> Iterator[None]:
    """Fail if a test leaves something at the clone's root: the next run would find it there."""
    before = set(os.listdir(ROOT))
    yield
    left = {name for name in os.listdir(ROOT) if name not in before and not name.startswith(".")}
    assert not left, f"tests left {sorted(left)} in {ROOT}"


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Start every test from one state of PyTorch's generator, whichever tests ran before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test an empty cache, but for the compiled kernels."""
    monkeypatch.setenv("VOXFLATE_CACHE", str(with_kernels(tmp_path_factory.mktemp("cache"))))


@pytest.fixture(autouse=True, scope="session")
def _own_salt(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep tests away from the user's salt."""
    os.environ["VOXFLATE_SALT_FILE"] = str(tmp_path_factory.mktemp("user") / "salt")
