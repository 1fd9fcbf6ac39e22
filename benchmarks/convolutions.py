"""Bounds of a training step: its convolutions alone, and the bytes that it must move.

Used by `benchmarks.step`. Both give bounds of a step's speed: no step that runs these convolutions can be
faster than they are alone, or than the memory moves their inputs and outputs.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from benchmarks.timing import take_turns

from voxflate.nn import functional

COPIED = 2**28
"""Bytes of the copy that measures the memory: far more than the caches hold."""


class Call(NamedTuple):
    """A convolution as it was called.

    Attributes:
        x_size: Size of the input.
        kernel_size: Size of the kernel.
        options: Strides, padding and groups, as JSON.
        transposed: Whether it is a transposed convolution.
        dtype: Precision in which it ran.
        x_learns: Whether the gradient of the input is needed.
        kernel_learns: Whether the gradient of the kernel is needed.
    """

    x_size: tuple[int, ...]
    kernel_size: tuple[int, ...]
    options: str
    transposed: bool
    dtype: torch.dtype
    x_learns: bool
    kernel_learns: bool

    def run(self, x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        """Run the convolution."""
        table = functional._CONV_TRANSPOSE if self.transposed else functional._CONV
        y: torch.Tensor = table[len(self.x_size) - 2](x, kernel, **json.loads(self.options))
        return y


@contextmanager
def recorded(calls: Counter[Call]) -> Iterator[None]:
    """Count the convolutions that run in the block."""
    tables: tuple[dict[int, Any], ...] = (functional._CONV, functional._CONV_TRANSPOSE)
    before = [dict(table) for table in tables]

    def counting(run: Callable[..., Any], transposed: bool) -> Callable[..., Any]:
        def wrapper(x: torch.Tensor, kernel: torch.Tensor, **options: Any) -> Any:
            learns = torch.is_grad_enabled()
            # Autocast casts inside the convolution; the arguments here may still be float32.
            dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else x.dtype
            sizes = tuple(x.shape), tuple(kernel.shape)
            needed = x.requires_grad and learns, kernel.requires_grad and learns
            calls[Call(*sizes, json.dumps(options), transposed, dtype, *needed)] += 1
            return run(x, kernel, **options)

        return wrapper

    for table, transposed in zip(tables, (False, True), strict=True):
        table.update({dims: counting(run, transposed) for dims, run in table.items()})
    try:
        yield
    finally:
        for table, old in zip(tables, before, strict=True):
            table.update(old)


def seconds_alone(calls: Mapping[Call, int], rounds: int) -> float:
    """Seconds of the convolutions alone, with the gradients that each needs."""
    return sum(count * _seconds(call, rounds) for call, count in calls.items())


def _seconds(call: Call, rounds: int) -> float:
    """Median time of one convolution, forward and the needed gradients."""
    x = functional.channels_last(torch.randn(call.x_size, dtype=call.dtype)).requires_grad_(call.x_learns)
    kernel = torch.randn(call.kernel_size, dtype=call.dtype).requires_grad_(call.kernel_learns)
    wanted = [tensor for tensor in (x, kernel) if tensor.requires_grad]
    grad = torch.ones_like(call.run(x, kernel))

    def convolve() -> None:
        y = call.run(x, kernel)
        if wanted:
            torch.autograd.grad(y, wanted, grad)

    return take_turns({"convolution": convolve}, rounds)["convolution"]


def bytes_moved(calls: Mapping[Call, int]) -> int:
    """Bytes that a step with these convolutions reads and writes if nothing stays in the caches.

    Between two convolutions stands one pass over the features: style, noise, bias, nonlinearity, low-pass,
    shuffle. So every input is written by a pass and read by a convolution, and every output the other way
    round; backward the same holds for their gradients, and the pass also reads the output itself. The kernels
    are small and do not count, nor do the 1x1x1 convolutions that a pass
    computes itself (in float32). So the figure is a lower bound.
    """
    return sum(count * _bytes(call) for call, count in calls.items())


def _bytes(call: Call) -> int:
    """Bytes of one convolution and of its share of the passes around it."""
    with torch.device("meta"):
        y = call.run(torch.empty(call.x_size), torch.empty(call.kernel_size))
    x_values, y_values = math.prod(call.x_size), y.numel()
    values = 2 * (x_values + y_values)  # forward: each is written once and read once
    if call.x_learns or call.kernel_learns:
        values += 2 * y_values  # the pass reads y and writes its gradient
    if call.x_learns:
        values += y_values + 2 * x_values  # read y's gradient; x's gradient is written, then read by a pass
    if call.kernel_learns:
        values += x_values + y_values  # read both
    return values * call.dtype.itemsize


def bytes_per_second(rounds: int) -> float:
    """Bytes that a copy reads and writes in a second, with all threads."""
    source = torch.ones(COPIED, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * COPIED / take_turns({"copy": lambda: target.copy_(source)}, rounds)["copy"]
