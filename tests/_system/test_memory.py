import subprocess
import sys

import numpy as np
import pytest
import torch

from voxflate._system.errors import VoxflateError
from voxflate._system.memory import is_out_of_memory, memory_said, peak_bytes

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
        (np.exceptions.AxisError("memory"), False),
        (RuntimeError("shapes do not fit"), False),
        (OSError("can't allocate memory"), False),
    ],
)
def test_other_errors_are_not_taken_for_it(error: BaseException, answer: bool) -> None:
    assert is_out_of_memory(error) is answer
    with pytest.raises(VoxflateError if answer else type(error)), memory_said(lambda: "take less"):
        raise error


def test_the_advice_is_asked_only_when_it_is_needed() -> None:
    with memory_said(lambda: pytest.fail("asked")):
        pass
    with (
        pytest.raises(VoxflateError, match=r"^out of memory: lower the batch$"),
        memory_said(lambda: "lower the batch"),
    ):
        raise MemoryError
