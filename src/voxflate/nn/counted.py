"""Counter-based random numbers: the number of kernel launches is the same for any batch.

A GPU launches one kernel per PyTorch generator, so a generator for every sample costs thousands of
launches per step. Here the numbers of all samples come from one sequence of elementwise operations.

Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators" (SplitMix64); Box and
Muller 1958, "A note on the generation of random normal deviates".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64
"""Constants of SplitMix64 as signed numbers: PyTorch multiplies signed numbers, also modulo 2^64."""


def uniform(seeds: Tensor, call: int, shape: Sequence[int]) -> Tensor:
    """Numbers in [0, 1).

    Args:
        seeds: One per sample, int64 [N], on the device of the numbers.
        call: Number of draws before; every draw gives other numbers.
        shape: Shape of the numbers of a sample.

    Returns:
        float32 [N, *shape].
    """
    bits = _bits(seeds, call, shape)
    return _shifted(bits, 40).to(torch.float32) * 2.0**-24


def normal(seeds: Tensor, call: int, shape: Sequence[int]) -> Tensor:
    """Standard normal numbers; arguments and shape as in `uniform`."""
    bits = _bits(seeds, call, shape)
    # The halves of 64 bits are two uniform numbers; the first is above 0, for its logarithm.
    radius = ((_shifted(bits, 32) + 1).to(torch.float32) * 2.0**-32).log_().mul_(-2.0).sqrt_()
    angle = (bits & (2**32 - 1)).to(torch.float32) * (2.0 * math.pi * 2.0**-32)
    return radius * angle.cos_()


def normals(seeds: Tensor, first_call: int, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Several consecutive draws of `normal`, one per shape; `first_call` draws were made before."""
    return [normal(seeds, first_call + index, shape) for index, shape in enumerate(shapes)]


def _bits(seeds: Tensor, call: int, shape: Sequence[int]) -> Tensor:
    """64 random bits each, int64 [N, *shape]: SplitMix64, started differently for each sample and call."""
    starts = _mixed(_mixed(seeds * _GOLDEN) + (call + 1))
    count = torch.arange(math.prod(shape), device=seeds.device)
    return _mixed(starts[:, None] + count * _GOLDEN).reshape(-1, *shape)


def _mixed(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift to the right, with zeros on the left."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
