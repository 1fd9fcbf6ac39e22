"""Differentiable augmentation of the discriminator's input, in 2D and 3D (Zhao et al. 2020, DiffAugment).

Real and generated images get the same kind of random changes, so the generator cannot learn the changes
themselves. Voxels that leave the field of view are lost, and background (-1) enters.

To add one: write a function (images, draws) -> images, and add a line to `AUGMENTATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from voxflate.nn.draws import Draws

BACKGROUND = -1.0

SHIFT = 1 / 8
"""Largest translation, as a fraction of each axis."""

CUTOUT = 1 / 2
"""Side of the cut-out box, as a fraction of each axis."""


def translation(images: Tensor, draws: Draws) -> Tensor:
    """Shift every image by a random whole number of voxels, up to an eighth of each axis."""
    moved = images - BACKGROUND
    for axis in range(2, images.ndim):
        size = images.shape[axis]
        limit = round(size * SHIFT)
        shift = (draws.uniform(1) * (2 * limit + 1)).long() - limit
        source = torch.arange(size, device=images.device) - shift  # [N, size]
        view = (len(images), *(1,) * (axis - 1), size, *(1,) * (images.ndim - axis - 1))
        inside = ((source >= 0) & (source < size)).view(view)
        moved = moved.gather(axis, source.clamp(0, size - 1).view(view).expand_as(moved)) * inside
    return moved + BACKGROUND


def cutout(images: Tensor, draws: Draws) -> Tensor:
    """Erase a box of half of every axis around a random point of every image.

    What lies outside the image is cut off.
    """
    outside = torch.zeros(1, dtype=torch.bool, device=images.device)
    for axis in range(2, images.ndim):
        size = images.shape[axis]
        half = size * CUTOUT / 2
        centre = draws.uniform(1) * size
        far = (torch.arange(size, device=images.device) + 0.5 - centre).abs() > half  # [N, size]
        view = (len(images), *(1,) * (axis - 1), size, *(1,) * (images.ndim - axis - 1))
        outside = outside | far.view(view)
    return torch.where(outside, images, torch.full_like(images, BACKGROUND))


def intensity(images: Tensor, draws: Draws) -> Tensor:
    """Scale intensities above the background by 0.8 to 1.2, and also a mask's shares.

    This changes the meaning of Hounsfield units.
    """
    factor = draws.uniform(*(1,) * (images.ndim - 1)) * 0.4 + 0.8
    return (images - BACKGROUND) * factor + BACKGROUND


AUGMENTATIONS: dict[str, Callable[[Tensor, Draws], Tensor]] = {
    "translation": translation,
    "cutout": cutout,
    "intensity": intensity,
}


def augment(
    images: Tensor, names: Sequence[str], probability: float = 1.0, draws: Draws | None = None
) -> Tensor:
    """Apply augmentations in turn, each to a random share of the images.

    Args:
        images: [N, C, *spatial] in [-1, 1].
        names: Keys of `AUGMENTATIONS`.
        probability: Share of the images that each augmentation changes.
        draws: Source of random numbers; by default the global random state.
    """
    draws = draws or Draws(len(images), images.device)
    for name in names:
        changed = AUGMENTATIONS[name](images, draws)
        chosen = draws.uniform(*(1,) * (images.ndim - 1)) < probability
        images = torch.where(chosen, changed, images)
    return images
