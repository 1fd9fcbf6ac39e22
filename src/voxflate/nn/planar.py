"""The slices that a planar twin needs at each stage to render one slice of the volume.

A 3D generator whose kernels are one voxel deep mixes depth only in the low-pass doubling between stages, so
slice d of the final volume depends on one to four neighbouring slices of every coarser stage. A window has
their indices, and the small matrices that map each stage's slices to the next stage's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from voxflate.nn.resample import DOUBLE, lowpass_matrix


@dataclass(frozen=True)
class SliceWindow:
    """The slices to compute for a batch of positions.

    Attributes:
        slices: Per stage, the indices of the slices along depth, [N, S_stage]; S is 1 at the last.
        mixing: Per stage but the first, the rows of the doubling matrix, [N, S_stage, S_stage-1].
    """

    slices: tuple[Tensor, ...]
    mixing: tuple[Tensor, ...]

    def gather(self, x: Tensor, stage: int) -> Tensor:
        """Select a stage's slices from a full-depth tensor, [N, C, D, H, W] -> [N, C, S, H, W]."""
        index = self.slices[stage].to(x.device)[:, None, :, None, None]
        return x.gather(2, index.expand(-1, x.shape[1], -1, *x.shape[3:]))


def slice_window(base_depth: int, stages: int, positions: Tensor) -> SliceWindow:
    """Plan the rendering of one slice per sample.

    Args:
        base_depth: Depth D0 of the learned constant.
        stages: Number of stages of the network including the base.
        positions: Slice to render, [N] integers in [0, D0 2^(stages - 1)).

    Returns:
        The window, on the device of `positions`.
    """
    slices, mixing = _tables_on(base_depth, stages, positions.device)
    return SliceWindow(
        slices=tuple(table[positions] for table in slices),
        mixing=tuple(table[positions] for table in mixing),
    )


@lru_cache(maxsize=16)
def _tables_on(base_depth: int, stages: int, device: torch.device) -> tuple[list[Tensor], list[Tensor]]:
    """The tables where the positions are, so that a step on a GPU waits for nothing."""
    slices, mixing = _window_tables(base_depth, stages)
    return [table.to(device) for table in slices], [table.to(device) for table in mixing]


@lru_cache(maxsize=16)
def _window_tables(base_depth: int, stages: int) -> tuple[list[Tensor], list[Tensor]]:
    """The windows of all D positions: indices [D, S_stage] and mixing matrices [D, S_stage, S_stage-1]."""
    depths = [base_depth * 2**stage for stage in range(stages)]
    needed = [[[position] for position in range(depths[-1])]]
    for depth in reversed(depths[:-1]):
        matrix = lowpass_matrix(DOUBLE, depth)
        below = [sorted(set(matrix[rows].sum(0).nonzero().flatten().tolist())) for rows in needed[0]]
        needed.insert(0, below)
    slices = []
    for depth, sets in zip(depths, needed, strict=True):
        size = max(len(s) for s in sets)
        # An extra slice does no harm: the mixing matrices give it zero weight.
        starts = torch.tensor([min(s[0], depth - size) for s in sets])
        slices.append(starts[:, None] + torch.arange(size))
    mixing = []
    for stage in range(1, stages):
        rows = lowpass_matrix(DOUBLE, depths[stage - 1])[slices[stage]]  # [D, S, depth below]
        columns = slices[stage - 1][:, None, :].expand(-1, rows.shape[1], -1)
        mixing.append(rows.gather(2, columns))
    return slices, mixing
