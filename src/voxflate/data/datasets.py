"""Endless shuffled streams of training images, without state: the image counter says where the stream is.

Image n of a stream depends on the seed and on n alone. A training that resumes at n images therefore sees
what it would have seen, and nothing about the data has to be saved.

Every sampler takes the stored volumes, int16 [N, C, D, H, W] (`PreparedSet.stored`), and gives float32 in
[-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import FULL_SCALE, Int16, from_stored
from voxflate.data.readahead import BATCHES, Readahead
from voxflate.data.volume import Float32

Indices = npt.NDArray[np.int64]

_FOR_THE_MEAN = 100
"""Volumes, about, that are looked at for a mean."""

BACKGROUND = -0.8
"""Values below are taken for background, as by the background cut of the evaluation."""


class Shuffle:
    """An endless sequence of items, epoch after epoch, each epoch in an order of its own.

    Args:
        order: Makes the order of one epoch, [items] or [items, k], from a random generator. Every epoch must
            have the same length.
        seed: Of the sequence.
    """

    def __init__(self, order: Callable[[np.random.Generator], Indices], seed: int) -> None:
        self._order = order
        self._seed = seed
        self._epochs = {0: self._make(0)}
        self._length = len(self._epochs[0])

    def __len__(self) -> int:
        """Items in an epoch."""
        return self._length

    def take(self, first: int, count: int) -> Indices:
        """Items `first` to `first + count - 1` of the sequence, [count] or [count, k]."""
        epochs, within = np.divmod(np.arange(first, first + count), len(self))
        return np.stack([self._at(int(epoch))[item] for epoch, item in zip(epochs, within, strict=True)])

    def _at(self, epoch: int) -> Indices:
        if epoch not in self._epochs:
            while len(self._epochs) > 1:  # a batch and those read ahead can lie in two epochs
                self._epochs.pop(min(self._epochs))
            self._epochs[epoch] = self._make(epoch)
        return self._epochs[epoch]

    def _make(self, epoch: int) -> Indices:
        return self._order(np.random.default_rng([self._seed, epoch]))


class VolumeSampler:
    """Whole volumes; each once per epoch.

    Args:
        stored: int16 [N, C, D, H, W].
        seed: Of the order.

    Raises:
        VoxflateError: If there are no volumes.
    """

    def __init__(self, stored: Int16, seed: int) -> None:
        self._stored = _check(stored)
        self._shuffle = Shuffle(lambda rng: rng.permutation(len(stored)), seed)
        self._ahead = Readahead(stored)

    def batch(self, n_images: int, size: int, stride: int = 0) -> Float32:
        """Volumes n_images to n_images + size - 1 of the stream, float32 [size, C, D, H, W].

        `stride`: images from this call to the next, for reading ahead, where other processes take a share.
        """
        chosen = self._shuffle.take(n_images, size)
        self._ahead.want(self._shuffle.take(n_images + BATCHES * (stride or size), size))
        return from_stored(self._stored[chosen])

    def volumes(self, n_images: int, size: int) -> Indices:
        """Numbers of the volumes that the same batch shows, [size]."""
        return self._shuffle.take(n_images, size)


def slices_with_content(stored: Int16, min_content: float) -> Indices:
    """Which axial slices show something.

    A quarter of the slices of a brain lie above or below it. A plain twin learns to paint them too, and
    inflation makes whole volumes of them (decision 0023).

    Args:
        stored: int16 [N, C, D, H, W].
        min_content: Least share of a slice's pixels above `BACKGROUND` in the first channel; 0 keeps every
            slice.

    Returns:
        Numbers v * D + d of the slices that stay, ascending, int64.
    """
    if min_content <= 0:
        return np.arange(stored.shape[0] * stored.shape[2])
    # Volume by volume: the set may be larger than memory.
    shares = [(volume[0] > BACKGROUND * FULL_SCALE).mean(axis=(1, 2)) for volume in stored]
    return np.flatnonzero(np.concatenate(shares) >= min_content)


class SliceSampler:
    """Axial slices of all volumes; each once per epoch.

    Args:
        stored: int16 [N, C, D, H, W].
        seed: Of the order.
        min_content: As in `slices_with_content`.

    Raises:
        VoxflateError: If there are no volumes, or no slice has enough content.
    """

    def __init__(self, stored: Int16, seed: int, min_content: float = 0.0) -> None:
        self._stored = _check(stored)
        kept = slices_with_content(stored, min_content)
        if not len(kept):
            raise VoxflateError(
                f"training.min_content = {min_content}: no axial slice shows that much; lower it"
            )
        self._shuffle = Shuffle(lambda rng: rng.permutation(kept), seed)
        self._ahead = Readahead(stored, slices=True)

    def batch(self, n_images: int, size: int, stride: int = 0) -> Float32:
        """Slices n_images to n_images + size - 1 of the stream, float32 [size, C, H, W]."""
        volumes, positions = np.divmod(self._shuffle.take(n_images, size), self._stored.shape[2])
        self._ahead.want(self._shuffle.take(n_images + BATCHES * (stride or size), size))
        return from_stored(self._stored[volumes, :, positions])

    def volumes(self, n_images: int, size: int) -> Indices:
        """Numbers of the volumes that the same batch shows slices of, [size]."""
        slices = self._shuffle.take(n_images, size)
        return np.asarray(slices // self._stored.shape[2])


class PositionedSliceSampler:
    """Axial slices in groups that share one position along the axis and differ in the volume.

    The minibatch standard deviation of the discriminator compares the samples of a group; if they lay at
    different positions it would measure the position and not the diversity.

    An epoch visits every position equally often and every slice at least once. Where the group does not
    divide the number of volumes, the last group of a position is filled up with volumes seen before; where
    the group is larger than the number of volumes, they repeat within the group.

    Args:
        stored: int16 [N, C, D, H, W].
        seed: Of the order.
        group: Samples that share a position.

    Raises:
        VoxflateError: If there are no volumes, or if group is below 1.
    """

    def __init__(self, stored: Int16, seed: int, group: int) -> None:
        self._stored = _check(stored)
        if group < 1:
            raise VoxflateError(f"a group must have at least 1 sample, got {group}")
        self._group = group
        self._shuffle = Shuffle(self._groups, seed)
        self._ahead = Readahead(stored, slices=True)

    def _groups(self, rng: np.random.Generator) -> Indices:
        """The groups of an epoch in their order: position, then volumes, [groups, 1 + group]."""
        volumes, _, depth = self._stored.shape[:3]
        per_position = -(-volumes // self._group)
        # Read in a circle: the last group of a position goes on with the first of the same order.
        circle = np.arange(per_position * self._group) % volumes
        orders = rng.permuted(np.tile(np.arange(volumes), (depth, 1)), axis=1)[
            :, circle
        ]  # [D, per_position * group]
        members = orders.reshape(depth * per_position, self._group)
        positions = np.repeat(np.arange(depth), per_position)
        return rng.permutation(np.column_stack([positions, members]))

    def batch(self, n_images: int, size: int, stride: int = 0) -> tuple[Float32, Indices]:
        """Slices n_images to n_images + size - 1 of the stream.

        Args:
            n_images: Images taken before; a multiple of the group.
            size: Images to take; a multiple of the group.
            stride: Images from this call to the next, for reading ahead: more than `size` where other
                processes take a share.

        Returns:
            Slices, float32 [size, C, H, W], and their positions along the axis, int64 [size].

        Raises:
            VoxflateError: If n_images or size is no multiple of the group.
        """
        if n_images % self._group or size % self._group:
            raise VoxflateError(
                f"batches must be made of whole groups of {self._group}, got {size} images after {n_images}; "
                "choose a batch that is a multiple of the group"
            )
        first, count = n_images // self._group, size // self._group
        groups = self._shuffle.take(first, count)
        ahead = self._shuffle.take(first + BATCHES * max(count, stride // self._group), count)
        self._ahead.want(ahead[:, 1:] * self._stored.shape[2] + ahead[:, :1])
        positions = np.repeat(groups[:, 0], self._group)
        return from_stored(self._stored[groups[:, 1:].ravel(), :, positions]), positions

    def volumes(self, n_images: int, size: int) -> Indices:
        """Numbers of the volumes that the same batch shows slices of, [size]."""
        groups = self._shuffle.take(n_images // self._group, size // self._group)
        return groups[:, 1:].ravel()


def _check(stored: Int16) -> Int16:
    if stored.ndim != 5 or not len(stored):
        raise VoxflateError(
            f"nothing to train on: need volumes [N, C, D, H, W] with N of 1 or more, got {stored.shape}"
        )
    return stored


def likeness_to_mirror(stored: Int16) -> float:
    """How much the mean volume is like its mirror image, left and right exchanged.

    Args:
        stored: As `PreparedSet.stored` gives it; some of the volumes are looked at, of each the first image.

    Returns:
        Their correlation: near 1 for whole brains, 0.4 for hippocampi of one side; 1 for a mean without
        contrast.
    """
    chosen = stored[:: max(1, len(stored) // _FOR_THE_MEAN)][:, 0]
    mean = np.mean(chosen, axis=0, dtype=np.float64)
    mean -= mean.mean()
    power = float((mean * mean).sum())
    return float((mean * mean[..., ::-1]).sum()) / power if power else 1.0
