"""Trains one network: the number of steps, the batch and the augmentation are the same for all data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from voxflate._system.errors import VoxflateError
from voxflate.evaluation.utility.examples import Examples
from voxflate.evaluation.utility.tasks import Task

LEARNING_RATE = 2e-3
"""Adam's learning rate at the first step; it falls to 0 along a cosine."""

TURN, SCALE, SHIFT = math.radians(10), 0.1, 0.05
"""Largest rotation about each axis, relative change of size, and shift as a fraction of a side."""

MOVED = 0.5
"""Share of volumes that are changed. Interpolation blurs, and networks must also see sharp volumes."""

Phases = Sequence[Sequence[Examples]]
"""Training data: for every phase, one or two sets."""

_MODEL, _ORDER, _CHANGES = range(3)  # separate streams, so that one does not shift another


def fit(
    task: Task,
    phases: Phases,
    spacing: Sequence[float],
    *,
    steps: int,
    batch: int,
    augment: bool,
    seed: int,
    device: torch.device,
    progress: Callable[[], None] | None = None,
) -> nn.Module:
    """Train a network; equal arguments give equal weights.

    Args:
        task: The task to learn.
        phases: Training data of the phases, which share the steps equally, the first ones getting the odd
            ones. With two sets in a phase, each is half of every batch.
        spacing: Voxel sides, mm, in the order D, H, W.
        steps: Optimiser steps.
        batch: Volumes per step.
        augment: Whether volumes are slightly rotated, scaled and shifted, differently each time.
        seed: Seed of weights, order and augmentation.
        device: Device for training.
        progress: Called after each step.

    Returns:
        The network, in evaluation mode.

    Raises:
        VoxflateError: If the loss becomes NaN or infinite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.default_rng([seed, _MODEL]).integers(2**31)))
        network = task.network().to(device)
    adam = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    changes = np.random.default_rng([seed, _CHANGES])
    for step, shown in enumerate(_shown(phases, steps, batch, seed)):
        images, targets = torch.from_numpy(shown.values(range(len(shown)))), task.targets(shown)
        if augment:
            images, targets = changed(images, targets, spacing, changes)
        loss = task.loss(network(images.to(device)), targets.to(device))
        if not torch.isfinite(loss):
            raise VoxflateError(f"training for {task.name} diverged at step {step + 1} of {steps}")
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
        if progress is not None:
            progress()
    return network.eval()


def changed(
    images: Tensor, targets: Tensor, spacing: Sequence[float], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Rotate, scale and shift some of the volumes randomly, masks together with their scans.

    Args:
        images: [n, M, D, H, W].
        targets: Classes of voxels [n, 1, D, H, W], which are moved too, or anything else, which is not.
        spacing: Voxel sides, mm, in the order D, H, W.
        rng: Random number generator.
    """
    shape = images.shape[2:]
    moves = np.stack([_move(shape, spacing, rng) if rng.random() < MOVED else np.eye(3, 4) for _ in images])
    grid = functional.affine_grid(
        torch.from_numpy(moves).float(), [len(images), 1, *shape], align_corners=False
    )
    moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    if targets.ndim < images.ndim:
        return moved, targets
    shares = functional.one_hot(targets[:, 0]).movedim(-1, 1).float()
    turned = functional.grid_sample(shares, grid, padding_mode="border", align_corners=False)
    return moved, turned.argmax(dim=1, keepdim=True)


def _move(shape: Sequence[int], spacing: Sequence[float], rng: np.random.Generator) -> NDArray[np.float64]:
    """A 3x4 matrix for positions in [-1, 1], axes W, H, D: rotation in millimetres, then scale and shift."""
    reach = np.multiply(shape, spacing)[::-1] / 2  # mm from the centre to the sides, W, H, D
    turn = np.eye(3)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        angle = rng.uniform(-TURN, TURN)
        plane = np.eye(3)
        plane[[first, second], [first, second]] = math.cos(angle)
        plane[first, second], plane[second, first] = -math.sin(angle), math.sin(angle)
        turn = turn @ plane
    scaled = turn * rng.uniform(1 - SCALE, 1 + SCALE)
    return np.column_stack([scaled * reach[None] / reach[:, None], rng.uniform(-2 * SHIFT, 2 * SHIFT, 3)])


def _shown(phases: Phases, steps: int, batch: int, seed: int) -> Iterator[Examples]:
    """The batch of every step."""
    number = 0  # of the set: each has its own order
    for left, sides in zip(range(len(phases), 0, -1), phases, strict=True):
        own = -(-steps // left)
        steps -= own
        batches = []
        for side, size in zip(sides, _sizes(batch, len(sides)), strict=True):
            batches.append(_batches(len(side), size, np.random.default_rng([seed, _ORDER, number])))
            number += 1
        for _ in range(own):
            yield Examples.joined(
                side.chosen(next(indices)) for side, indices in zip(sides, batches, strict=True)
            )


def _sizes(batch: int, sides: int) -> list[int]:
    """Number of volumes per side in a batch: halves; the first side gets the odd one."""
    return [batch] if sides == 1 else [batch - batch // 2, batch // 2]


def _batches(count: int, size: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Endless indices of examples, every example equally often."""
    waiting: list[int] = []
    while True:
        while len(waiting) < size:
            waiting += rng.permutation(count).tolist()
        yield waiting[:size]
        waiting = waiting[size:]
