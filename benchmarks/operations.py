"""Time the choices behind some decisions.

0007 (low-pass), 0008 (allocator), 0013 (shuffle), 0178 (convolutions) and 0185 (depthwise convolutions).

Run: python -m benchmarks.operations [--threads 1]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from voxflate._system.allocator import keep_freed_memory
from voxflate.gans.gan import Gan
from voxflate.gans.settings import Settings
from voxflate.gans.stylegan2 import STYLEGAN2
from voxflate.nn import Discriminator, Generator
from voxflate.nn.functional import channel_shuffle, channels_last
from voxflate.nn.fused import winograd
from voxflate.nn.resample import SMOOTH_DOWN, TAPS, resample

SIZES = ((8, 32, 16, 32, 32), (2, 32, 32, 64, 64))
CONVOLUTIONS = ((8, 64), (16, 64), (16, 32), (32, 32), (16, 16), (32, 16), (16, 8), (16, 4))
"""Channels, and side of a cube."""
DEPTHWISE = ((96, 33, 3), (144, 19, 5), (240, 9, 3))
"""Channels, side of the input, side of the kernel: EfficientNet-Lite0's, for slices of 64 pixels."""


def milliseconds(function: Callable[[], object], repeats: int = 7) -> float:
    """Median time of a call, after a warm-up call."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:]) * 1000


def processor_milliseconds(function: Callable[[], object], repeats: int = 5) -> float:
    """Least processor time of a call: it depends little on other work on the machine."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return min(times) * 1000


def forward_backward(function: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], object]:
    """A call that runs `function` forward and backward."""
    gradient = torch.randn_like(function(x))

    def call() -> object:
        return torch.autograd.grad(function(x), x, gradient)

    return call


def separable(x: Tensor) -> Tensor:
    """The [1, 3, 3, 1] low-pass as three depthwise convolutions of PyTorch."""
    channels = x.shape[1]
    for axis in range(3):
        size, padding = [1, 1, 1], [0, 0, 0]
        size[axis], padding[axis] = 4, 2
        taps = torch.tensor(TAPS).view(1, 1, *size).expand(channels, 1, *size)
        x = F.conv3d(x, taps, padding=padding, groups=channels)
    return x


def operations() -> None:
    """Low-pass and shuffle, forward and backward, float32."""
    for size in SIZES:
        x = channels_last(torch.randn(size)).requires_grad_()
        quick = milliseconds(forward_backward(lambda v: resample(v, [SMOOTH_DOWN] * 3), x))
        slow = milliseconds(forward_backward(separable, x), 3)
        print(f"low-pass {size}: ours {quick:.1f} ms, separable depthwise convolutions {slow:.1f} ms")
        halves = [channels_last(half).detach() for half in x.chunk(2, dim=1)]
        ours = milliseconds(lambda halves=halves: channel_shuffle(halves))
        stack = milliseconds(lambda halves=halves: torch.stack(halves, dim=2).flatten(1, 2))
        print(f"shuffle  {size}: ours {ours:.1f} ms, stack and flatten {stack:.1f} ms")


def convolutions() -> None:
    """Convolutions and their gradients, float32: PyTorch's and those with half of the multiplications."""
    for channels, side in CONVOLUTIONS:
        x = channels_last(torch.randn(4, channels, side, side, side))
        kernel = torch.randn(channels, channels, 3, 3, 3)
        old = convolution_times(lambda x, kernel: F.conv3d(x, kernel, padding=1), x, kernel)
        new = convolution_times(winograd.convolve, x, kernel)
        ratios = ", ".join(f"{a / b:.2f}" for a, b in zip(old, new, strict=True))
        print(
            f"{channels} channels, {side}^3: forward, data gradient, kernel gradient {ratios} times as fast"
        )


def depthwise() -> None:
    """Strided depthwise convolutions of twelve slices, forward and data gradient, by precision."""
    for channels, side, kernel_side in DEPTHWISE:
        times = []
        for kind in (torch.bfloat16, torch.float32):
            x = torch.randn(12, channels, side, side, dtype=kind).to(memory_format=torch.channels_last)
            kernel = torch.randn(channels, 1, kernel_side, kernel_side, dtype=kind)
            forward, gradient, _ = convolution_times(
                lambda x, kernel: F.conv2d(x, kernel, stride=2, groups=len(kernel)), x, kernel
            )
            times.append(f"{forward:.2f} and {gradient:.2f} ms in {str(kind).removeprefix('torch.')}")
        print(
            f"depthwise, {channels} channels of {side}^2, kernel {kernel_side}, stride 2: {', '.join(times)}"
        )


def convolution_times(
    convolve: Callable[[Tensor, Tensor], Tensor], x: Tensor, kernel: Tensor
) -> tuple[float, float, float]:
    """Forward pass, gradient of x, gradient of the kernel."""

    def gradient(index: int) -> Callable[[], object]:
        inputs = [value.detach().requires_grad_(at == index) for at, value in enumerate((x, kernel))]
        y = convolve(*inputs)
        grad = torch.randn_like(y)
        return lambda: torch.autograd.grad(y, inputs[index], grad, retain_graph=True)

    forward = processor_milliseconds(lambda: convolve(x, kernel))
    return forward, processor_milliseconds(gradient(0)), processor_milliseconds(gradient(1))


def step(keep: bool) -> None:
    """Steps of Split&Shuffle at 16x32x32, with their page faults."""
    if keep:
        keep_freed_memory()
    networks = {"generator": Generator((2, 4, 4), 4), "discriminator": Discriminator((2, 4, 4), 4)}
    gan = Gan(STYLEGAN2, networks, Settings())
    reals = torch.randn(8, 1, 16, 32, 32)
    for number in range(1, 4):
        gan.step(reals, None, number=number)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    milli = milliseconds(lambda: gan.step(reals, None, number=1), 5)
    faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults) // 6
    print(
        f"step, memory {'kept' if keep else 'given back'}: {milli:.0f} ms, {faults} page faults", flush=True
    )


def main() -> None:
    """Print all numbers; the allocator's two settings need one process each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--step", choices=("keep", "give"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.step:
        step(arguments.step == "keep")
        return
    for choice in ("give", "keep"):
        command = [sys.executable, "-m", "benchmarks.operations", "--step", choice]
        subprocess.run([*command, "--threads", str(arguments.threads)], check=True)
    keep_freed_memory()
    operations()
    depthwise()
    convolutions()


if __name__ == "__main__":
    main()
