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
    bits = _bits(seeds, call, [math.prod(shape)])
    return _shifted(bits, 40).to(torch.float32).mul_(2.0**-24).reshape(-1, *shape)


def normal(seeds: Tensor, call: int, shape: Sequence[int]) -> Tensor:
    """Standard normal numbers; arguments and shape as in `uniform`."""
    return normals(seeds, call, [shape])[0]


def normals(seeds: Tensor, first_call: int, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Several consecutive draws of `normal`, one per shape, with the operations of a single one.

    Args:
        seeds: As in `uniform`.
        first_call: Number of draws before the first of these.
        shapes: Shape of the numbers of a sample, for every draw.

    Returns:
        Views of one tensor, each float32 [N, *shape].
    """
    counts = [math.prod(shape) for shape in shapes]
    bits = _bits(seeds, first_call, counts)
    # The halves of 64 bits are two uniform numbers; the first is above 0, for its logarithm.
    radius = _shifted(bits, 32).add_(1).to(torch.float32).mul_(2.0**-32).log_().mul_(-2.0).sqrt_()
    angle = bits.bitwise_and_(2**32 - 1).to(torch.float32).mul_(2.0 * math.pi * 2.0**-32)
    drawn = radius.mul_(angle.cos_()).split(counts, dim=1)
    return [numbers.view(-1, *shape) for numbers, shape in zip(drawn, shapes, strict=True)]


def _bits(seeds: Tensor, first_call: int, counts: Sequence[int]) -> Tensor:
    """64 random bits each, int64 [N, sum of `counts`]: SplitMix64, started anew for each sample and call."""
    calls = torch.arange(first_call + 1, first_call + 1 + len(counts), device=seeds.device)
    starts = _mixed(_mixed(seeds * _GOLDEN)[:, None] + calls)  # [N, calls]
    steps = torch.arange(max(counts), device=seeds.device) * _GOLDEN
    each = zip(starts.split(1, dim=1), counts, strict=True)
    bits = torch.cat([start.expand(-1, count) for start, count in each], dim=1)
    return _mixed(bits.add_(torch.cat([steps[:count] for count in counts])))


def _mixed(x: Tensor) -> Tensor:
    """SplitMix64's mixing of all bits, in place: new memory would take longer than the arithmetic."""
    x ^= _shifted(x, 30)
    x *= _FIRST
    x ^= _shifted(x, 27)
    x *= _SECOND
    x ^= _shifted(x, 31)
    return x


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift to the right, with zeros on the left."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)
