"""One training: the same number of steps, volumes per step and small turns, whatever it learns from."""

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
"""Of Adam at the first step; it falls to 0 along a cosine."""

TURN, SCALE, SHIFT = math.radians(10), 0.1, 0.05
"""Largest changes of a volume: turn about each axis, relative change of size, shift as a share of a side."""

MOVED = 0.5
"""Share of the volumes that are changed. Interpolation blurs, and networks must see sharp volumes too."""

_MODEL, _ORDER, _CHANGES = range(3)  # streams of random numbers, apart so that one does not move another


def fit(
    task: Task,
    sides: Sequence[Examples],
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
        task: What it learns.
        sides: What it learns from: real examples, generated ones, or both, each then half of every batch.
        spacing: Voxel sides, mm, in the order D, H, W.
        steps: Of the optimiser.
        batch: Volumes per step.
        augment: Whether volumes are turned, scaled and shifted a little, each time anew.
        seed: Of the weights, the order and the changes.
        device: Where to compute.
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
    batches = [
        _batches(len(side), size, np.random.default_rng([seed, _ORDER, number]))
        for number, (side, size) in enumerate(zip(sides, _sizes(batch, len(sides)), strict=True))
    ]
    for step in range(steps):
        shown = Examples.joined(
            side.chosen(next(indices)) for side, indices in zip(sides, batches, strict=True)
        )
        images, targets = torch.from_numpy(shown.values(range(len(shown)))), task.targets(shown)
        if augment:
            images, targets = changed(images, targets, spacing, changes)
        loss = task.loss(network(images.to(device)), targets.to(device))
        if not torch.isfinite(loss):
            raise VoxflateError(f"the training for {task.name} has diverged at step {step + 1} of {steps}")
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
    """Turn, scale and shift some of the volumes by random amounts, and a mask with its scan.

    Args:
        images: [n, M, D, H, W].
        targets: Classes of voxels [n, 1, D, H, W], which move too, or anything else, which stays.
        spacing: Voxel sides, mm, in the order D, H, W.
        rng: Source of the choice and of the amounts.
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
    """A 3x4 matrix between places in [-1, 1], axes W, H, D: a turn in millimetres, then scale and shift."""
    reach = np.multiply(shape, spacing)[::-1] / 2  # mm from the middle to the sides, W, H, D
    turn = np.eye(3)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        angle = rng.uniform(-TURN, TURN)
        plane = np.eye(3)
        plane[[first, second], [first, second]] = math.cos(angle)
        plane[first, second], plane[second, first] = -math.sin(angle), math.sin(angle)
        turn = turn @ plane
    scaled = turn * rng.uniform(1 - SCALE, 1 + SCALE)
    return np.column_stack([scaled * reach[None] / reach[:, None], rng.uniform(-2 * SHIFT, 2 * SHIFT, 3)])


def _sizes(batch: int, sides: int) -> list[int]:
    """How many volumes of a batch each side gives: halves, the first with the odd one."""
    return [batch] if sides == 1 else [batch - batch // 2, batch // 2]


def _batches(count: int, size: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Numbers of examples for ever, every example equally often."""
    waiting: list[int] = []
    while True:
        while len(waiting) < size:
            waiting += rng.permutation(count).tolist()
        yield waiting[:size]
        waiting = waiting[size:]
