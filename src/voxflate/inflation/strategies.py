"""Strategies for inflating a 2D kernel to a 3D one (Eqs. 3-7), and two beyond the paper.

Kernels are as in PyTorch, output channel first: w2 [O, I, h, w], w3 [O, I, d, h, w] (the paper has the input
channel first). Strategies act on stored kernels, before the equalised learning rate's gain (decision 0004).

To add a strategy: write a function (kernel2d, start) -> kernel3d and add a line to `STRATEGIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

KernelRule = Callable[[Tensor, Tensor], Tensor]


def into_slices(slices: Sequence[int]) -> KernelRule:
    """Eqs. 3-5: write the 2D kernel into the given depth slices of the start; keep the others."""

    def rule(kernel2d: Tensor, start: Tensor) -> Tensor:
        kernel3d = start.clone()
        for index in slices:
            kernel3d[:, :, index] = kernel2d
        return kernel3d

    return rule


def asc(kernel2d: Tensor, start: Tensor) -> Tensor:
    """Eq. 6: write it into the middle slice along D, then H, then W; where they cross, the last wins."""
    kernel3d = start.clone()
    kernel3d[:, :, 1, :, :] = kernel2d
    kernel3d[:, :, :, 1, :] = kernel2d
    kernel3d[:, :, :, :, 1] = kernel2d
    return kernel3d


def nwi(kernel2d: Tensor, start: Tensor) -> Tensor:
    """Eq. 7: (2T - 1) / T times the kernel in the middle, -1 / T times elsewhere; the factors sum to 1."""
    depth = start.shape[2]
    weights = kernel2d.new_full((depth,), -1.0 / depth)
    weights[depth // 2] = (2 * depth - 1) / depth
    return kernel2d[:, :, None] * weights.view(1, 1, -1, 1, 1)


class Strategy(NamedTuple):
    """One inflation strategy.

    Attributes:
        kernel: Writes a 2D kernel into a fresh 3D one.
        start_std: Standard deviation of the fresh 3D kernel; the paper's N(0, 0.1).
        preserve_response: Scale the kernels that are not demodulated, so that the larger fan-in of the
            equalised learning rate does not weaken them (by 1 / sqrt(3) for a 3x3x3 kernel).
    """

    kernel: KernelRule
    start_std: float = 0.1
    preserve_response: bool = False


STRATEGIES: dict[str, Strategy] = {
    "inflate-1": Strategy(into_slices([1])),
    "inflate-2": Strategy(into_slices([0, 1])),
    "inflate-3": Strategy(into_slices([0, 1, 2])),
    "inflate-asc": Strategy(asc),
    "inflate-nwi": Strategy(nwi),
    # Beyond the paper (decision 0009): a depth-constant volume gets the response of its slice.
    "preserving": Strategy(into_slices([1]), start_std=0.0, preserve_response=True),
    # The same kernels from a planar twin: the inflated volume is the stack of the twin's slices.
    "planar": Strategy(into_slices([1]), start_std=0.0, preserve_response=True),
}
"""Strategies by name; "none" is not one of them and leaves the 3D network as initialised."""
