import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from voxflate._system import memory
from voxflate._system.devices import available_gib, peak_gib
from voxflate._system.errors import VoxflateError
from voxflate._system.memory import available_bytes, explain_out_of_memory, is_out_of_memory, peak_bytes

GIB = 2**30

REAL = """
import resource
import numpy as np
import torch
from voxflate._system.memory import is_out_of_memory
resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
for take in (lambda: torch.empty(2**36), lambda: np.ones(2**36), lambda: bytearray(2**38)):
    try:
        take()
    except BaseException as error:
        print(is_out_of_memory(error))
"""


def test_what_pytorch_numpy_and_python_raise_is_known() -> None:
    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 3


def test_the_peak_is_that_of_the_process_and_not_of_its_parent() -> None:
    large = np.ones(2**27)  # 1 GiB
    code = "from voxflate._system.memory import peak_bytes; print(peak_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert peak_bytes() > large.nbytes
    assert 2**22 < int(done.stdout) < 2**29


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False),
        (np.exceptions.AxisError("memory"), False),
        (RuntimeError("shapes do not fit"), False),
        (OSError("can't allocate memory"), False),
    ],
)
def test_other_errors_are_not_taken_for_it(error: BaseException, answer: bool) -> None:
    assert is_out_of_memory(error) is answer
    with pytest.raises(VoxflateError if answer else type(error)), explain_out_of_memory(lambda: "take less"):
        raise error


def files(folder: Path, **contents: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GiB free and no cgroups."""
    monkeypatch.setattr(memory, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "cgroup")
    files(tmp_path / "proc", meminfo=f"MemTotal: 9 kB\nMemAvailable:   {8 * GIB // 1024} kB\nBuffers: 1 kB")
    return tmp_path


def test_what_the_machine_has_free_is_available(machine: Path) -> None:
    assert available_bytes() == 8 * GIB
    files(machine / "proc" / "self", cgroup="0::/")
    assert available_bytes() == 8 * GIB
    (machine / "proc" / "meminfo").unlink()  # as on macOS
    assert available_bytes() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_the_limit_of_a_job_or_a_container_counts_if_it_leaves_less(machine: Path) -> None:
    """The tightest of all groups above, and what the page cache would give back is free."""
    files(machine / "proc" / "self", cgroup="0::/slurm/job/step")
    job = machine / "cgroup" / "slurm" / "job"
    files(job / "step", memory__max="max", memory__current=GIB)
    files(job, memory__max=4 * GIB, memory__current=3 * GIB, memory__stat=f"anon 5\ninactive_file {GIB}")
    assert available_bytes() == 2 * GIB
    files(job.parent, memory__max=GIB, memory__current=2 * GIB)
    assert available_bytes() == 0
    files(job.parent, memory__max=100 * GIB, memory__current=GIB)
    files(job, memory__max=50 * GIB)
    assert available_bytes() == 8 * GIB


def test_the_older_kind_of_limit_counts_too(machine: Path) -> None:
    files(machine / "proc" / "self", cgroup="5:cpu:/a\n4:cpuset,memory:/docker/x\n0::/")
    root = machine / "cgroup" / "memory"  # in a container, its own group is mounted as the root
    stat = f"inactive_file 7\ntotal_inactive_file {GIB // 2}"
    files(root, memory__limit_in_bytes=3 * GIB, memory__usage_in_bytes=2 * GIB, memory__stat=stat)
    assert available_bytes() == 3 * GIB // 2
    files(root, memory__limit_in_bytes=9223372036854771712)
    assert available_bytes() == 8 * GIB


def test_a_limit_of_the_address_space_counts_too(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of `ulimit -v`, what the process uses already is gone."""
    limits = {resource.RLIMIT_AS: (5 * GIB, resource.RLIM_INFINITY)}
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    files(machine / "proc" / "self", status=f"VmPeak:\t{4 * GIB // 1024} kB\nVmSize:\t{3 * GIB // 1024} kB")
    assert available_bytes() == 2 * GIB
    limits[resource.RLIMIT_AS] = (2 * GIB, resource.RLIM_INFINITY)
    assert available_bytes() == 0
    limits[resource.RLIMIT_AS] = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert available_bytes() == 8 * GIB


def test_the_shell_s_limit_is_seen() -> None:
    code = "from voxflate._system.memory import available_bytes; print(available_bytes())"
    command = f"ulimit -v {GIB // 1024}; exec '{sys.executable}' -c '{code}'"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < GIB


def test_a_gpu_has_its_own_memory(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", {gpu: (3 * GIB, 24 * GIB)}.__getitem__)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", {gpu: 2 * GIB}.__getitem__)
    assert available_gib(gpu) == 3
    assert peak_gib(gpu) == 2
    assert available_gib(torch.device("cpu")) == 8


def test_this_machine_has_some_memory_left() -> None:
    assert 2**24 < available_bytes() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_the_advice_is_asked_only_when_it_is_needed() -> None:
    with explain_out_of_memory(lambda: pytest.fail("asked")):
        pass
    with (
        pytest.raises(VoxflateError, match=r"^out of memory: lower the batch$"),
        explain_out_of_memory(lambda: "lower the batch"),
    ):
        raise MemoryError
