"""Similarity of a volume to those of a set: correlation after the best small shift and flip.

Only differences from the mean volume are compared: any two brains correlate, and a blurred one correlates
with all of them, but only a copy shares the features of one subject. All channels have the same weight,
regardless of contrast.

Shape letters: n volumes of the set; C channels; D, H, W voxels; v voxels of all channels after pooling.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

FLIPS: tuple[tuple[int, ...], ...] = ((), (1,), (2,), (3,))
"""Axes of [C, D, H, W] to flip: none, or one of the three."""

SHIFT = 2
"""Shifts tried along each axis: up to this many voxels in both directions; one more on one side where voxels
are pooled by 2, and -4 to 7 where they are pooled by 4 (from 69x69x69 on)."""

SMOOTHING = 0.7
"""Standard deviation, in voxels, of the Gaussian that smooths both sides: a noisy copy is a copy."""

_MOST_VOXELS = 40_000  # larger volumes are pooled by 2 until they have at most this many


class Neighbours:
    """Finds the nearest volume of a set.

    Args:
        volumes: [n, C, D, H, W] in [-1, 1], n >= 1.
    """

    def __init__(self, volumes: Tensor) -> None:
        self._factor = 1
        while volumes[0, 0].numel() // self._factor**3 > _MOST_VOXELS:
            self._factor *= 2
        pooled = _pooled(smoothed(volumes), self._factor)
        self._mean = pooled.mean(dim=0, keepdim=True)  # [1, v]
        self._weights = _alike(pooled - self._mean, volumes.shape[1])  # [v]
        self._directions = functional.normalize((pooled - self._mean) * self._weights, dim=1)  # [n, v]

    def correlations(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Correlation of a volume with every volume of the set, at the best shift and flip.

        Args:
            volume: [C, D, H, W].

        Returns:
            Correlations [n], at most 1; indices of the flips in `FLIPS`, [n].
        """
        volume = smoothed(volume[None])[0]
        rows = []
        for flip in FLIPS:
            turned = volume.flip(flip) if flip else volume
            best = torch.full((len(self._directions),), -torch.inf)
            for shifted in self._shifted(turned):
                residuals = functional.normalize((shifted - self._mean) * self._weights, dim=1)
                best = torch.maximum(best, (residuals @ self._directions.T).amax(dim=0))
            rows.append(best)
        found = torch.stack(rows).max(dim=0)
        return found.values, found.indices

    def _shifted(self, volume: Tensor) -> Iterator[Tensor]:
        """The volume shifted along each axis and pooled, [shifts, v], a few shifts at a time.

        Shifts by whole pooled voxels are done after pooling, finer ones before. Voxels that leave on one side
        enter on the other.
        """
        factor = self._factor
        reach = max(1, SHIFT // factor)
        for phase in itertools.product(range(factor), repeat=3):
            moved = _pooled(volume.roll(phase, (1, 2, 3))[None], factor, flat=False)[0]
            moves = [
                moved.roll(move, (1, 2, 3)).flatten()
                for move in itertools.product(range(-reach, reach + 1), repeat=3)
            ]
            yield torch.stack(moves)


def smoothed(volumes: Tensor) -> Tensor:
    """Smooth volumes [n, C, D, H, W] with a Gaussian, which removes noise and keeps anatomy."""
    channels = volumes.shape[1]
    places = torch.arange(-2.0, 3.0)
    taps = torch.exp(-places.square() / (2 * SMOOTHING**2))
    taps = taps / taps.sum()
    for axis in range(3):
        size, padding = [1, 1, 1], [0] * 6
        size[axis] = len(taps)
        padding[4 - 2 * axis] = padding[5 - 2 * axis] = len(taps) // 2
        padded = functional.pad(volumes, padding, mode="replicate")
        kernel = taps.view(1, 1, *size).repeat(channels, 1, 1, 1, 1)
        volumes = functional.conv3d(padded, kernel, groups=channels)
    return volumes


def _alike(residuals: Tensor, channels: int) -> Tensor:
    """Weights [v] that give every channel's residuals [n, v] the same energy; ones for a single channel."""
    energy = residuals.square().mean(dim=0).view(channels, -1).mean(dim=1)  # [C]
    weights = torch.ones_like(energy) if channels == 1 else energy.clamp(min=1e-12).rsqrt()
    return weights.repeat_interleave(residuals.shape[1] // channels)


def _pooled(volumes: Tensor, factor: int, flat: bool = True) -> Tensor:
    """Means of blocks of [n, C, D, H, W], as rows [n, v] or as volumes."""
    kernel = tuple(min(factor, size) for size in volumes.shape[2:])
    pooled = functional.avg_pool3d(volumes, kernel)
    return pooled.flatten(1) if flat else pooled
