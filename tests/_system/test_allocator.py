import ctypes
import platform
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import voxflate
from voxflate._system.allocator import keep_freed_memory
from voxflate.cli import app


def test_glibc_listens():
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("another C library")
    assert keep_freed_memory()
    assert keep_freed_memory()  # again does no harm


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("asked a library that is not glibc"))
    assert keep_freed_memory() is False


def test_a_c_library_without_mallopt_is_no_error(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.0"))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False


def test_every_command_keeps_freed_memory(monkeypatch):
    """Runs that the demo starts are commands too, and so are the processes of torchrun."""
    calls = []
    monkeypatch.setattr(sys.modules["voxflate.cli.app"], "keep_freed_memory", lambda: calls.append(1))
    assert CliRunner().invoke(app, ["presets"]).exit_code == 0
    assert calls == [1]


def test_no_library_call_changes_the_allocator_of_its_caller():
    source = Path(voxflate.__file__).parent
    users = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if "keep_freed_memory" in path.read_text(encoding="utf-8")
    }
    # `training.memory.measure` is the whole of another process, which measures as a command would.
    assert users == {"_system/allocator.py", "cli/app.py", "training/memory.py"}
