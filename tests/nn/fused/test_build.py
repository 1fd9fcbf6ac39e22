"""Kernels build with old and new compilers; without one, plain PyTorch runs and one line says why."""

import logging
import os
import shutil
import stat
import subprocess
import sys

import pytest
import torch

from voxflate.nn.fused import build, ops
from voxflate.nn.run_stage import kernels_in_use, use_kernels

needs_kernels = pytest.mark.skipif(bool(build.kernels().problem), reason="no C++ compiler here")
COST = "1.2 to 1.9 times as long in float32, 1.8 to 3.1 times in bfloat16"


QUICK = tuple("-O0" if flag == "-O3" else flag for flag in build.FLAGS)
"""What is compiled here is compiled once more: five times as fast without optimisation."""


@pytest.fixture(autouse=True)
def _afresh(monkeypatch):
    """Each test looks for the kernels anew."""
    monkeypatch.delenv("CXX", raising=False)
    build.kernels.cache_clear()
    use_kernels("auto")
    yield
    build.kernels.cache_clear()


@pytest.fixture
def _empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("VOXFLATE_CACHE", str(tmp_path / "cache"))


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def warnings_of(caplog):
    with caplog.at_level(logging.INFO, "voxflate"):
        assert kernels_in_use() == "plain"
        assert kernels_in_use() == "plain"
    return [record.getMessage() for record in caplog.records]


@pytest.mark.skipif(not any(map(shutil.which, build.USUAL_COMPILERS)), reason="no C++ compiler here")
def test_with_a_compiler_there_are_kernels(monkeypatch):
    """A source that does not compile would otherwise skip every other test of the kernels."""
    monkeypatch.delenv(build.SWITCH, raising=False)
    assert build.kernels().problem == ""


@pytest.mark.usefixtures("_empty_cache")
def test_without_a_compiler_one_line_says_so(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    (line,) = warnings_of(caplog)
    assert line == (
        f"no compiled kernels, training on the CPU takes {COST} (docs/performance.md): there is no C++ "
        "compiler; install one (on Debian and Ubuntu: apt install g++)"
    )


@pytest.mark.usefixtures("_empty_cache")
def test_a_failing_compiler_is_named_with_the_first_line_of_its_error(monkeypatch, tmp_path, caplog):
    fake = program(
        tmp_path / "g++-9",
        'case "$*" in\n'
        '*--version*) echo "g++-9 (Ubuntu 9.4.0) 9.4.0"; echo "Copyright"; exit 0;;\n'
        "esac\n"
        'echo "kernels.cpp: In function total:" >&2\n'
        "echo \"kernels.cpp:159:12: error: '__builtin_shuffle' was not declared\" >&2\n"
        'echo "kernels.cpp:160:12: error: another" >&2\n'
        "exit 1\n",
    )
    monkeypatch.setenv("CXX", fake)
    (line,) = warnings_of(caplog)
    assert line.endswith(
        f"{fake} (g++-9 (Ubuntu 9.4.0) 9.4.0) failed: kernels.cpp:159:12: error: '__builtin_shuffle' was not "
        "declared"
    )
    assert COST in line
    assert not list((tmp_path / "cache").rglob("*.so"))


@pytest.mark.usefixtures("_empty_cache")
def test_a_compiler_that_says_nothing_and_one_that_does_not_exist_are_named_too(
    monkeypatch, tmp_path, caplog
):
    fake = program(tmp_path / "silent", "exit 1\n")
    monkeypatch.setenv("CXX", fake)
    (line,) = warnings_of(caplog)
    assert line.endswith(f"{fake} failed: it gave no reason")
    build.kernels.cache_clear()
    caplog.clear()
    monkeypatch.setenv("CXX", "no-such-c++ -O1")
    (line,) = warnings_of(caplog)
    assert line.endswith("CXX=no-such-c++ -O1 is not a program; unset it or name a C++ compiler")


@pytest.mark.usefixtures("_empty_cache")
def test_a_compiler_that_hangs_is_stopped(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(build, "BUILD_SECONDS", 0.2)
    fake = program(tmp_path / "slow", "exec sleep 60\n")
    monkeypatch.setenv("CXX", fake)
    (line,) = warnings_of(caplog)
    assert line.endswith(f"{fake} was stopped after 0.2 s")


def test_a_cache_that_cannot_be_written_is_no_error(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("VOXFLATE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").write_text("in the way")
    fake = program(tmp_path / "c++", "exit 0\n")
    monkeypatch.setenv("CXX", fake)
    (line,) = warnings_of(caplog)
    assert "cache" in line


@needs_kernels
@pytest.mark.usefixtures("_empty_cache")
def test_a_source_that_is_not_cpp_is_no_error(monkeypatch, tmp_path, caplog):
    broken = tmp_path / "kernels.cpp"
    broken.write_text("this is not C++")
    monkeypatch.setattr(build, "SOURCES", (broken,))
    (line,) = warnings_of(caplog)
    assert "failed: " in line
    assert "error" in line
    assert not list((tmp_path / "cache").rglob("*.so"))


def test_the_environment_can_forbid_them_without_a_warning(monkeypatch, caplog):
    monkeypatch.setenv("VOXFLATE_KERNELS", "plain")
    assert warnings_of(caplog) == []


def shuffled_everywhere():
    """What all the kernels that shuffle lanes give."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, 5, 96, generator=rng)
    style, bias = torch.randn(2, 96, generator=rng), torch.randn(96, generator=rng)
    tables = ops.make_tables([None] * 3, (3, 4, 5))
    dealt = ops.resample([x], tables, 2)
    done = ops.finish(dealt, tables, ops.Epilogue(style, bias), mix=style)
    parts, sums = ops.finish_backward([x], [-x], style, branches=2)
    return [*dealt, *done.features, done.image, *parts, sums, ops.to_image(x, style)]


def is_gcc():
    said = subprocess.run(["c++", "--version"], capture_output=True, text=True, check=False).stdout
    return "clang" not in said


@needs_kernels
@pytest.mark.skipif(not is_gcc(), reason="Clang has had the newer builtin for long")
def test_they_build_without_the_shuffle_that_came_with_gcc_12(monkeypatch):
    results = [shuffled_everywhere()]
    build.kernels.cache_clear()
    # As GCC 11 has it: whatever else names the builtin fails to compile.
    old = ("-DVOXFLATE_OLD_SHUFFLE", "-D__builtin_shufflevector=not_there_yet")
    monkeypatch.setattr(build, "FLAGS", (*QUICK, *old))
    assert build.kernels().problem == ""
    results.append(shuffled_everywhere())
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two)


@needs_kernels
@pytest.mark.parametrize("compiler", ["g++-11", "g++-12", "g++-13", "clang++-14", "clang++"])
def test_they_build_with_every_compiler_that_is_installed(monkeypatch, compiler):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    expected = shuffled_everywhere()
    build.kernels.cache_clear()
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr(build, "FLAGS", QUICK)
    assert build.kernels().problem == ""
    for one, two in zip(expected, shuffled_everywhere(), strict=True):
        torch.testing.assert_close(one, two)


@needs_kernels
def test_a_compiler_without_openmp_builds_them_for_one_thread(monkeypatch, tmp_path):
    assert build.has_openmp()
    build.kernels.cache_clear()
    monkeypatch.setattr(build, "FLAGS", QUICK)
    fake = program(tmp_path / "plain-c++", 'case "$*" in *-fopenmp*) exit 1;; esac\nexec c++ "$@"\n')
    monkeypatch.setenv("CXX", fake)
    assert build.kernels().problem == ""
    assert not build.has_openmp()


FULL_DISK = """
import resource
from pathlib import Path
from voxflate.nn.fused.build import kernels
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # of one file, as on a disk that is full
print(kernels().problem)
"""


@needs_kernels
def test_a_full_disk_leaves_no_file_in_the_cache(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK],
        capture_output=True,
        text=True,
        env={**os.environ, "VOXFLATE_CACHE": str(tmp_path / "cache")},
        check=True,
    )
    assert "failed" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


@needs_kernels
@pytest.mark.usefixtures("_empty_cache")
@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_file_in_the_cache_that_was_cut_short_is_built_again(monkeypatch, tmp_path, kept):
    monkeypatch.setattr(build, "FLAGS", QUICK)
    assert build.kernels().problem == ""
    (whole,) = (tmp_path / "cache").rglob("*.so")
    # Elsewhere, because the system does not open a library again that this process has loaded.
    monkeypatch.setenv("VOXFLATE_CACHE", str(tmp_path / "other"))
    cut = tmp_path / "other" / "kernels" / whole.name
    shutil.copytree(whole.parent, cut.parent)
    content = whole.read_bytes()
    cut.write_bytes(content[: int(kept * len(content))])
    build.kernels.cache_clear()
    assert build.kernels().problem == ""
    assert cut.stat().st_size == len(content)
