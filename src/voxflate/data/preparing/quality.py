"""Examines a prepared cohort before training: statistics, copies, outliers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log

import numpy as np
import numpy.typing as npt

from voxflate.data.channels import Channel
from voxflate.data.prepared import FULL_SCALE, SPLITS, Int16, PreparedSet, Scan
from voxflate.data.preparing.pictures import picture
from voxflate.data.volume import Float32, Float64, Triple

BINS = 64
FEWEST = 8
"""Fewest scans for estimating their variation and finding outliers."""
SAME = 0.002
"""Largest difference between copies in the mean of any block, as a share of the volume's range. Rounding
makes 0.0001 at most; between the brains of 148 people the smallest is 0.13."""
FAR = 6.0
"""Robust standard deviations from the median that make an outlier."""

_COARSE = 8
_SAMPLED = 32
"""Number of voxels along an axis that suffices for a volume's mean, deviation and histogram."""
_APART = 2.0
"""Factor from the median that makes a side or voxel size odd with fewer than `FEWEST` scans."""


@dataclass(frozen=True)
class Look:
    """The data of a prepared volume for the report.

    Attributes:
        histogram: Share of the non-air voxels in each of `BINS` equal bins of [-1, 1].
        mean: Mean of the values in [-1, 1].
        deviation: Their standard deviation.
        air: Share of the voxels that are exactly -1.
        top: Share of the voxels that are exactly 1, mostly clipped.
        coarse: The volume at a few voxels per side, flattened.
        picture: Slices in three planes of every image, and of the first one with its mask, JPEG.
        means: Mean values of the other images, in [-1, 1].
        shares: Share of the voxels in each class of the mask.
        drawn: For each class whether a voxel has more of it than of any other, background included.
    """

    histogram: Float64
    mean: float
    deviation: float
    air: float
    top: float
    coarse: Float32
    picture: bytes
    means: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    drawn: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Outlier:
    """A scan that differs from the others in one respect.

    Attributes:
        index: Index of the scan.
        respect: The respect, in words.
        value: Its value.
        median: The cohort's median.
        deviations: Distance between the two, in robust standard deviations.
    """

    index: int
    respect: str
    value: float
    median: float
    deviations: float


def look(stored: Int16, spacing: Triple, images: int = 1) -> Look:
    """Examine one volume.

    Args:
        stored: int16 [D, H, W], or [C, D, H, W] with several channels.
        spacing: Voxel sides, mm, D, H, W.
        images: Number of channels that are images; the others are classes of a mask.
    """
    channels = stored if stored.ndim == 4 else stored[None]
    stored, further, masks = channels[0], channels[1:images], channels[images:]
    sample = _sampled(stored)
    scanned = sample[sample > -FULL_SCALE]
    bins = (scanned + FULL_SCALE) * BINS // (2 * FULL_SCALE + 1)
    values = _values(sample)
    return Look(
        np.bincount(bins, minlength=BINS) / max(1, scanned.size),
        float(values.mean()),
        float(values.std()),
        1 - scanned.size / sample.size,
        float((sample == FULL_SCALE).mean()),
        _shrink(values),
        picture(channels, spacing, images),
        tuple(float(one.mean()) / FULL_SCALE for one in further),
        tuple((float(one.mean()) / FULL_SCALE + 1) / 2 for one in masks),
        _drawn(masks),
    )


def _drawn(masks: Int16) -> tuple[bool, ...]:
    """`Look.drawn` of the classes' channels, which hold shares from -FULL_SCALE to FULL_SCALE."""
    tops = [int(one.max()) for one in masks]
    if all(top > 0 or top == -FULL_SCALE for top in tops):
        return tuple(top > 0 for top in tops)
    shares = masks.astype(np.int32) + FULL_SCALE
    background = 2 * FULL_SCALE - shares.sum(axis=0, keepdims=True)
    most = np.concatenate([background, shares]).argmax(axis=0)
    return tuple(bool((most == place).any()) for place in range(1, len(masks) + 1))


def duplicates(coarse: Sequence[Float32]) -> list[list[int]]:
    """Groups of volumes that differ by no more than rounding: one scan under several names.

    Formats round affines, slopes and intensities differently, so copies need not be equal bit for bit
    (decision 0193).

    Args:
        coarse: `Look.coarse` of each volume.
    """
    if len(coarse) < 2:
        return []
    volumes = np.stack(coarse)
    limits, means = SAME * np.ptp(volumes, axis=1), volumes.mean(axis=1)
    order = np.argsort(means, kind="stable")
    ends = np.searchsorted(means[order], means + limits, side="right")
    groups = np.arange(len(volumes))
    for place, index in enumerate(order):
        others = order[place + 1 : ends[index]]  # only volumes of close means can be equal
        equal = others[np.abs(volumes[others] - volumes[index]).max(axis=1, initial=0) <= limits[index]]
        groups[np.isin(groups, groups[equal])] = groups[index]
    found: dict[int, list[int]] = {}
    for index, group in enumerate(groups.tolist()):
        found.setdefault(group, []).append(index)
    return [members for members in found.values() if len(members) > 1]


def copies_in(prepared: PreparedSet) -> list[list[int]]:
    """`duplicates` of a set, as indices of its manifest's scans."""
    return duplicates(
        [_shrink(_values(_sampled(volume[0]))) for split in SPLITS for volume in prepared.stored(split)]
    )


def several_scans(scans: Sequence[Scan]) -> dict[str, list[int]]:
    """Subjects with more than one scan."""
    subjects: dict[str, list[int]] = {}
    for index, scan in enumerate(scans):
        subjects.setdefault(scan.subject, []).append(index)
    return {subject: members for subject, members in subjects.items() if len(members) > 1}


def outliers(
    scans: Sequence[Scan],
    looks: Sequence[Look],
    channels: Sequence[Channel] = (),
    *,
    normalised: bool = False,
) -> list[Outlier]:
    """Scans more than `FAR` robust deviations from the median in one respect, the farthest first.

    The deviation is 1.48 times the median distance from the median, but at least the respect's minimum, so
    that a homogeneous cohort does not turn trifles into outliers.

    Args:
        scans: Scans of the cohort.
        looks: Data of their volumes.
        channels: Channels of the set; other images are judged by their mean, mask classes by their volume.
        normalised: Whether every scan was scaled by its own range, so that the source's range means nothing.
    """
    if len(scans) < FEWEST:
        return []
    found = []
    similarity = _similarity(looks)
    for respect, (measure, floor, logarithmic) in _RESPECTS.items():
        if normalised and respect == _RANGE:
            continue
        values = np.array([measure(scan, one) for scan, one in zip(scans, looks, strict=True)])
        found += _far(respect, values, floor, logarithmic)
    for respect, values, floor in _of_channels(looks, channels):
        found += _far(respect, values, floor)
    found += [one for one in _far("likeness to the mean volume", similarity, 0.03) if one.value < one.median]
    return sorted(found, key=lambda one: -one.deviations)


def apart(scans: Sequence[Scan]) -> dict[str, list[int]]:
    """Respect -> scans of a small cohort whose field of view or voxels are far from the median.

    With so few scans their variation is unknown, but a factor of `_APART` is odd in any case.
    """
    if len(scans) < 3:
        return {}
    found = {}
    for respect in _SIDES:
        measure = _RESPECTS[respect][0]
        values = np.array([measure(scan, _NOTHING) for scan in scans])
        ratios = np.abs(np.log(values / np.median(values)))
        if (far := np.flatnonzero(ratios > log(_APART))).size:
            found[respect] = far.tolist()
    return found


def _far(respect: str, values: Float64, floor: float, logarithmic: bool = False) -> list[Outlier]:
    scale = np.log(values) if logarithmic else values
    middle = np.median(scale)
    distance = np.abs(scale - middle)
    deviations = distance / max(1.4826 * float(np.median(distance)), floor)
    return [
        Outlier(int(i), respect, float(values[i]), float(np.median(values)), float(deviations[i]))
        for i in np.flatnonzero(deviations > FAR)
    ]


def _of_channels(looks: Sequence[Look], channels: Sequence[Channel]) -> Iterator[tuple[str, Float64, float]]:
    """(respect, values, smallest deviation) for all channels but the first."""
    images = [channel for channel in channels if channel.kind == "image"]
    for index, channel in enumerate(images[1:]):
        yield f"mean intensity of {channel.name}", np.array([one.means[index] for one in looks]), 0.02
    for index, channel in enumerate(channels[len(images) :]):
        shares = np.array([one.shares[index] for one in looks])
        yield (
            f"size of {channel.name}, share of voxels",
            shares,
            max(0.1 * float(np.median(shares)), 1e-6),
        )


def _side(axis: int) -> Callable[[Scan, Look], float]:
    return lambda scan, _: max(scan.source_shape[axis] * scan.source_spacing[axis], 1e-9)


_RANGE = "intensity range of the source"
_NOTHING = Look(np.zeros(BINS), 0.0, 0.0, 0.0, 0.0, np.zeros(1, np.float32), b"")

_RESPECTS: dict[str, tuple[Callable[[Scan, Look], float], float, bool]] = {
    "mean intensity": (lambda _, one: one.mean, 0.02, False),
    "contrast (standard deviation)": (lambda _, one: one.deviation, 0.02, False),
    "share of air": (lambda _, one: one.air, 0.02, False),
    "share at the upper end": (lambda _, one: one.top, 0.01, False),
    _RANGE: (lambda scan, _: scan.intensity[1] - scan.intensity[0], log(1.3), True),
    "field of view, feet to head, mm": (_side(0), log(1.1), True),
    "field of view, back to front, mm": (_side(1), log(1.1), True),
    "field of view, left to right, mm": (_side(2), log(1.1), True),
    "voxel volume, mm³": (lambda scan, _: max(float(np.prod(scan.source_spacing)), 1e-9), log(1.2), True),
}
"""Respect -> (function, smallest deviation, whether it is compared by ratio)."""

_SIDES = [respect for respect in _RESPECTS if respect.startswith(("field of view", "voxel"))]


def _similarity(looks: Sequence[Look]) -> Float64:
    """Correlation of each volume with the mean of all, both at a few voxels per side."""
    coarse = np.stack([one.coarse for one in looks]).astype(np.float64)
    mean = coarse.mean(axis=0)
    centred, mean = coarse - coarse.mean(axis=1, keepdims=True), mean - mean.mean()
    lengths = np.linalg.norm(centred, axis=1) * np.linalg.norm(mean)
    return np.asarray(centred @ mean / np.maximum(lengths, 1e-12))


def _sampled(stored: Int16) -> npt.NDArray[np.int32]:
    """At most about `_SAMPLED` voxels along each axis of a volume."""
    depth, height, width = (max(1, n // _SAMPLED) for n in stored.shape)
    return stored[::depth, ::height, ::width].astype(np.int32)


def _values(sample: npt.NDArray[np.int32]) -> Float32:
    return np.asarray(sample, np.float32) / np.float32(FULL_SCALE)


def _shrink(array: Float32) -> Float32:
    """Means of blocks, at most `_COARSE` along each axis, flattened."""
    for axis, size in enumerate(array.shape):
        edges, counts = _blocks(size)
        sums = np.add.reduceat(array, edges, axis)
        array = np.asarray(sums / counts.reshape([-1 if a == axis else 1 for a in range(3)]), np.float32)
    return array.ravel()


@lru_cache
def _blocks(size: int) -> tuple[npt.NDArray[np.intp], Float32]:
    """Starts and lengths of the blocks along an axis."""
    edges = np.linspace(0, size, min(size, _COARSE), endpoint=False).astype(np.intp)
    return edges, np.diff(np.append(edges, size)).astype(np.float32)
