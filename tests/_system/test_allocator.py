import ctypes
import platform

import pytest

from voxflate._system.allocator import keep_freed_memory


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
