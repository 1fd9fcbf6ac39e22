"""Random numbers of a batch that do not depend on how the batch is split.

A step may process its batch in parts: micro-batches one after the other, or shares in several processes.
Every sample has its own seed, so that the parts draw the same numbers as the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from voxflate._system.devices import send
from voxflate.nn import counted

Device = torch.device | str

_OTHERS = 0x9E3779B9
"""XORed with a seed to get a different one."""


class Draws:
    """Draws for each of `count` samples.

    On the CPU each sample has a PyTorch generator. Elsewhere, where a generator per sample would cost a
    launch per sample, numbers are counter-based (`nn.counted`).

    Args:
        count: Number of samples.
        device: Device of the numbers.
        seeds: One per sample, 32 bits (PyTorch's CPU generator uses no more); None draws from the
            global random state.
        is_counted: Whether numbers are counter-based; None decides by the device.

    Raises:
        ValueError: If the numbers of seeds and samples differ.
    """

    def __init__(
        self,
        count: int,
        device: Device,
        seeds: Sequence[int] | None = None,
        is_counted: bool | None = None,
    ) -> None:
        if seeds is not None and len(seeds) != count:
            raise ValueError(f"{len(seeds)} seeds for {count} samples")
        self.count = count
        self.device = torch.device(device)
        self.is_counted = self.device.type != "cpu" if is_counted is None else is_counted
        self._seeds = seeds
        self._calls = 0

    # Made on first use: a batch is mostly drawn from in its parts.
    @cached_property
    def _generators(self) -> list[torch.Generator]:
        return [torch.Generator(self.device).manual_seed(seed) for seed in self._seeds or ()]

    @cached_property
    def _own(self) -> Tensor:
        return send(torch.tensor(self._seeds, dtype=torch.int64), self.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, [count, *shape]."""
        if self._seeds is None:
            return torch.randn(self.count, *shape, device=self.device)
        if self.is_counted:
            return counted.normal(self._own, self._next(), shape)
        drawn = [torch.randn(shape, generator=one, device=self.device) for one in self._generators]
        return torch.stack(drawn)

    def normals(
        self, shapes: Sequence[Sequence[int]], compute: Callable[..., list[Tensor]] = counted.normals
    ) -> list[Tensor]:
        """The results of as many calls of `normal`, one per shape.

        Args:
            shapes: Shapes of a sample's numbers, one per draw.
            compute: Computes counted numbers: `counted.normals`, or its compiled form.
        """
        if self._seeds is None or not self.is_counted:
            return [self.normal(*shape) for shape in shapes]
        first, self._calls = self._calls, self._calls + len(shapes)
        return compute(self._own, first, shapes)

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in [0, 1), [count, *shape]."""
        if self._seeds is None:
            return torch.rand(self.count, *shape, device=self.device)
        if self.is_counted:
            return counted.uniform(self._own, self._next(), shape)
        return torch.stack([torch.rand(shape, generator=one, device=self.device) for one in self._generators])

    def part(self, first: int, last: int) -> Draws:
        """Draws of the samples `first` to `last` - 1, from the start, the same as in the whole batch."""
        seeds = None if self._seeds is None else self._seeds[first:last]
        return Draws(last - first, self.device, seeds, self.is_counted)

    def like(self, samples: Sequence[int]) -> Draws:
        """New draws in which samples made from the same sample here get the same numbers.

        Args:
            samples: For each new sample, the index of the sample here whose seed it shares; its numbers
                differ from those drawn here.
        """
        seeds = self._seeds or torch.randint(2**32, (self.count,)).tolist()
        return Draws(
            len(samples), self.device, [seeds[sample] ^ _OTHERS for sample in samples], self.is_counted
        )

    def _next(self) -> int:
        self._calls += 1
        return self._calls - 1
