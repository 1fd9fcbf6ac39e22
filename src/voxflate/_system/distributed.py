"""One training run in several processes, on one machine or many (torch.distributed).

Every process has all networks and takes the same steps on its own share of each batch; gradients and scalars
are summed over the processes before each step. Random numbers belong to the samples (`nn.draws`), so any
number of processes gives the same run, up to the rounding of a sum.

`torchrun` starts the processes and tells each its rank; `joined_world` reads it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor

from voxflate._system.errors import VoxflateError

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others, for example while the first one measures."""


class LostProcessError(VoxflateError):
    """Another process of the run has ended."""


@dataclass(frozen=True)
class World:
    """The processes of a run, seen from one of them; a single one by default.

    Attributes:
        rank: Index of this process.
        size: Number of processes.
        local_rank: Index of this process on its machine; selects its GPU.
        local_size: Number of processes on its machine; they share its cores.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """The samples of this process, out of `count`, which is a multiple of the size."""
        own = count // self.size
        return range(self.rank * own, (self.rank + 1) * own)

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor with its sum over the processes, in one message."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        with _peers():
            torch.distributed.all_reduce(flat)
        for tensor, total in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.detach().copy_(total.view_as(tensor))

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        raised = torch.tensor([float(flag)], device=device)
        self.sum_([raised])
        return bool(raised.item())

    def of_the_first(self, flag: bool, device: torch.device) -> bool:
        """The first process's flag, in all processes."""
        return self.any(flag and self.is_first, device)

    def agree_on(self, numbers: Sequence[float], device: torch.device) -> bool:
        """Whether all processes hold the same numbers."""
        if self.size == 1:
            return True
        own = torch.tensor(numbers, dtype=torch.float64, device=device)
        low, high = own.clone(), own.clone()
        with _peers():
            torch.distributed.all_reduce(low, torch.distributed.ReduceOp.MIN)
            torch.distributed.all_reduce(high, torch.distributed.ReduceOp.MAX)
        return torch.equal(low, high)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Every process's tensor, in the order of ranks; all have the same size."""
        if self.size == 1:
            return [tensor]
        gathered = [torch.empty_like(tensor) for _ in range(self.size)]
        with _peers():
            torch.distributed.all_gather(gathered, tensor.contiguous())
        return gathered

    def wait(self) -> None:
        """Wait until every process has reached this point."""
        if self.size > 1:
            with _peers():
                torch.distributed.barrier()


ALONE = World()
"""A run in only this process."""


@contextmanager
def _peers() -> Iterator[None]:
    """Report in one line that another process is gone; the library's own message is about sockets."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            "another process of this run was lost or hangs; see its message, then start "
            f"again with --resume, with any number of processes ({str(error).splitlines()[0][:120]})"
        ) from error


@contextmanager
def joined_world(device: str, environment: Mapping[str, str] = os.environ) -> Iterator[World]:
    """Join the processes that torchrun started, and leave them at the end; without torchrun there is one.

    Args:
        device: `training.device`; decides between gloo and NCCL.
        environment: The variables that torchrun sets.

    Raises:
        VoxflateError: If the others cannot be reached.
    """
    size = int(environment.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    world = World(
        rank=int(environment["RANK"]),
        size=size,
        local_rank=int(environment.get("LOCAL_RANK", "0")),
        local_size=int(environment.get("LOCAL_WORLD_SIZE", "1")),
    )
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if on_gpu and world.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(world.local_rank)  # otherwise every process would use the first GPU
    with _peers():
        torch.distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
    try:
        yield world
        world.wait()  # so that none takes the connections down while another still uses them
    finally:
        torch.distributed.destroy_process_group()
