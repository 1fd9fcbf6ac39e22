"""Endless, stateless shuffled streams of training images: the image counter is the position in the stream.

Image n of a stream depends on the seed and on n alone. A training that resumes at n images therefore sees
what it would have seen without the break, and no state of the data has to be saved.

Every sampler takes the stored volumes, int16 [N, C, D, H, W] (`PreparedSet.stored`), and returns float32
in [-1, 1].
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
"""About how many volumes are read for a mean."""

BACKGROUND_BELOW = -0.8
"""Values below count as background, as in the evaluation."""


class Shuffle:
    """An endless sequence of items, epoch after epoch, each epoch in a new order.

    Args:
        order: Makes the order of one epoch, [items] or [items, k], from a random generator. Every epoch must
            have the same length.
        seed: Seed of the sequence.
    """

    def __init__(self, order: Callable[[np.random.Generator], Indices], seed: int) -> None:
        self._order = order
        self._seed = seed
        self._epochs = {0: self._make(0)}
        self._length = len(self._epochs[0])

    def __len__(self) -> int:
        """Number of items in an epoch."""
        return self._length

    def take(self, first: int, count: int) -> Indices:
        """Items `first` to `first + count - 1` of the sequence, [count] or [count, k]."""
        epochs, within = np.divmod(np.arange(first, first + count), len(self))
        return np.stack([self._at(int(epoch))[item] for epoch, item in zip(epochs, within, strict=True)])

    def _at(self, epoch: int) -> Indices:
        if epoch not in self._epochs:
            while len(self._epochs) > 1:  # a batch and its read-ahead can span two epochs
                self._epochs.pop(min(self._epochs))
            self._epochs[epoch] = self._make(epoch)
        return self._epochs[epoch]

    def _make(self, epoch: int) -> Indices:
        return self._order(np.random.default_rng([self._seed, epoch]))


class VolumeSampler:
    """Samples whole volumes, each once per epoch.

    Args:
        stored: int16 [N, C, D, H, W].
        seed: Seed of the order.

    Raises:
        VoxflateError: If there are no volumes.
    """

    def __init__(self, stored: Int16, seed: int) -> None:
        self._stored = _check(stored)
        self._shuffle = Shuffle(lambda rng: rng.permutation(len(stored)), seed)
        self._ahead = Readahead(stored)

    def batch(self, n_images: int, size: int, stride: int = 0) -> Float32:
        """Volumes n_images to n_images + size - 1 of the stream, float32 [size, C, D, H, W].

        `stride`: images from this call to the next, for reading ahead, if other processes take a share.
        """
        chosen = self._shuffle.take(n_images, size)
        self._ahead.want(self._shuffle.take(n_images + BATCHES * (stride or size), size))
        return from_stored(self._stored[chosen])

    def volumes(self, n_images: int, size: int) -> Indices:
        """Indices of the volumes in the same batch, [size]."""
        return self._shuffle.take(n_images, size)


def slices_with_content(stored: Int16, min_content: float) -> Indices:
    """Find the axial slices that are not nearly empty.

    In a brain volume, a quarter of the slices lie above or below the brain. A plain twin learns to generate
    them too, and inflation then makes whole volumes of them (decision 0023).

    Args:
        stored: int16 [N, C, D, H, W].
        min_content: Smallest share of a slice's pixels above `BACKGROUND_BELOW` in the first channel; 0 keeps
            every slice.

    Returns:
        Indices v * D + d of the slices that are kept, ascending, int64.
    """
    if min_content <= 0:
        return np.arange(stored.shape[0] * stored.shape[2])
    # Volume by volume: the set may be larger than memory.
    shares = [(volume[0] > BACKGROUND_BELOW * FULL_SCALE).mean(axis=(1, 2)) for volume in stored]
    return np.flatnonzero(np.concatenate(shares) >= min_content)


class SliceSampler:
    """Samples axial slices of all volumes, each once per epoch.

    Args:
        stored: int16 [N, C, D, H, W].
        seed: Seed of the order.
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
        """Indices of the volumes whose slices are in the same batch, [size]."""
        slices = self._shuffle.take(n_images, size)
        return np.asarray(slices // self._stored.shape[2])


class PositionedSliceSampler:
    """Samples axial slices in groups: same position along the axis, different volumes.

    The discriminator's minibatch standard deviation compares the samples of a group. If their positions
    differed, it would measure the position instead of the diversity.

    An epoch visits every position equally often and every slice at least once. Where the group does not
    divide the number of volumes, the last group of a position is filled with volumes seen before; where
    the group is larger than the number of volumes, they repeat within the group.

    Args:
        stored: int16 [N, C, D, H, W].
        seed: Seed of the order.
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
        """The groups of an epoch in order, [groups, 1 + group]: position, then volumes."""
        volumes, _, depth = self._stored.shape[:3]
        per_position = -(-volumes // self._group)
        # Circular: the last group of a position continues with the first volumes of the same order.
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
            stride: Images from this call to the next, for reading ahead; more than `size` if other
                processes take a share.

        Returns:
            Slices, float32 [size, C, H, W], and their positions along the axis, int64 [size].

        Raises:
            VoxflateError: If n_images or size is not a multiple of the group.
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
        """Indices of the volumes whose slices are in the same batch, [size]."""
        groups = self._shuffle.take(n_images // self._group, size // self._group)
        return groups[:, 1:].ravel()


def _check(stored: Int16) -> Int16:
    if stored.ndim != 5 or not len(stored):
        raise VoxflateError(
            f"nothing to train on: need volumes [N, C, D, H, W] with N of 1 or more, got {stored.shape}"
        )
    return stored


def likeness_to_mirror(stored: Int16) -> float:
    """Measure how similar the mean volume is to its mirror image (left and right swapped).

    Args:
        stored: As `PreparedSet.stored` gives it; only the first image of some of the volumes is read.

    Returns:
        Correlation of the two: near 1 for whole brains, 0.4 for hippocampi of one side; 1 for a mean without
        contrast.
    """
    chosen = stored[:: max(1, len(stored) // _FOR_THE_MEAN)][:, 0]
    mean = np.mean(chosen, axis=0, dtype=np.float64)
    mean -= mean.mean()
    power = float((mean * mean).sum())
    return float((mean * mean[..., ::-1]).sum()) / power if power else 1.0
