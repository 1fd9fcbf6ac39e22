"""Radiomic features of a volume: the distribution and the spatial arrangement of its grey values.

They need no network and no weights. [-1, 1] is divided into `LEVELS` equal grey levels; all voxels count,
including air. Directional matrices (GLCM, GLRLM) are computed over the 13 directions to a voxel's 26
neighbours, and their features are averaged.

Source: Zwanenburg et al. 2020, "The Image Biomarker Standardization Initiative" (definitions of the matrices
and features); Galloway 1975 (runs); Thibault et al. 2009 (zones); Amadasun and King 1989 (neighbourhood
differences).

Shape letters: D, H, W voxels; L levels.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LEVELS = 32
DIRECTIONS = [(a, b, c) for a, b, c in product((-1, 0, 1), repeat=3) if (a, b, c) > (0, 0, 0)]
"""One of every pair of opposite steps to a neighbour; the first non-zero component is 1."""

Levels = NDArray[np.intp]
Array = NDArray[np.float64]
Features = dict[str, float]

_TINY = 1e-12


def radiomic_features(volume: NDArray[np.floating]) -> Features:
    """All features of one volume.

    Args:
        volume: [D, H, W] in [-1, 1].

    Returns:
        Finite numbers by name, always with the same names in the same order.
    """
    values = np.asarray(volume, np.float64)
    levels = np.clip((values + 1) * (LEVELS / 2), 0, LEVELS - 1).astype(np.intp)
    return {
        **first_order(values, levels),
        **_mean_over_directions("glcm", [cooccurrence(levels, step) for step in DIRECTIONS]),
        **_mean_over_directions("glrlm", [size_features(*runs(levels, step)) for step in DIRECTIONS]),
        **_named("glszm", size_features(*zones(levels))),
        **_named("ngtdm", neighbourhood_differences(levels)),
    }


def first_order(values: Array, levels: Levels) -> Features:
    """Moments and quantiles of the values, and entropy and uniformity of the levels."""
    mean, deviation = values.mean(), values.std()
    centred = values - mean
    low, quarter, median, three_quarters, high = np.percentile(values, (10, 25, 50, 75, 90))
    middle = values[(values >= low) & (values <= high)]
    shares = np.bincount(levels.ravel(), minlength=LEVELS) / levels.size
    return {
        "mean": float(mean),
        "variance": float(deviation**2),
        "skewness": float((centred**3).mean() / max(deviation, _TINY) ** 3),
        "kurtosis": float((centred**4).mean() / max(deviation, _TINY) ** 4),
        "energy": float((values**2).mean()),
        "p10": float(low),
        "median": float(median),
        "p90": float(high),
        "interquartile-range": float(three_quarters - quarter),
        "mean-absolute-deviation": float(np.abs(centred).mean()),
        "robust-deviation": float(np.abs(middle - middle.mean()).mean()),
        "entropy": _entropy(shares),
        "uniformity": float((shares**2).sum()),
    }


def cooccurrence(levels: Levels, step: tuple[int, int, int]) -> Features:
    """Features of the grey level co-occurrence matrix (GLCM) of one direction, symmetric.

    Args:
        levels: [D, H, W], from 0 to L - 1.
        step: From a voxel to its neighbour.
    """
    first, second = _neighbours(levels, step)
    counts = np.bincount((first * LEVELS + second).ravel(), minlength=LEVELS**2).reshape(LEVELS, LEVELS)
    p: Array = (counts + counts.T) / max(1, 2 * first.size)
    i = np.arange(1, LEVELS + 1)
    row, column = i[:, None], i[None, :]
    marginal = p.sum(1)
    mean = float((marginal * i).sum())
    variance = float((marginal * (i - mean) ** 2).sum())
    gap = np.abs(row - column)
    sums = np.bincount((row + column).ravel(), p.ravel()).astype(np.float64)
    gaps = np.bincount(gap.ravel(), p.ravel()).astype(np.float64)
    far = row + column - 2 * mean
    difference = float((gaps * np.arange(LEVELS)).sum())
    joint, single = _entropy(p), _entropy(marginal)
    product_of_marginals = marginal[:, None] * marginal[None, :]
    cross = -float((p * np.log2(product_of_marginals + _TINY)).sum())
    independent = _entropy(product_of_marginals)
    return {
        "joint-average": mean,
        "joint-variance": variance,
        "joint-entropy": joint,
        "joint-energy": float((p**2).sum()),
        "largest": float(p.max()),
        "contrast": float((p * gap**2).sum()),
        "difference-average": difference,
        "difference-variance": float((gaps * (np.arange(LEVELS) - difference) ** 2).sum()),
        "difference-entropy": _entropy(gaps),
        "sum-entropy": _entropy(sums),
        "inverse-difference": float((p / (1 + gap)).sum()),
        "inverse-difference-moment": float((p / (1 + gap**2)).sum()),
        "correlation": float((p * (row - mean) * (column - mean)).sum()) / variance if variance else 1.0,
        "autocorrelation": float((p * row * column).sum()),
        "cluster-tendency": float((p * far**2).sum()),
        "cluster-shade": float((p * far**3).sum()),
        "cluster-prominence": float((p * far**4).sum()),
        "information-1": (joint - cross) / single if single else 0.0,
        "information-2": float(np.sqrt(max(0.0, 1 - np.exp(-2 * (independent - joint))))),
    }


def runs(levels: Levels, step: tuple[int, int, int]) -> tuple[Levels, Levels]:
    """Runs of equal levels along one direction.

    Args:
        levels: [D, H, W].
        step: Its first non-zero component must be 1.

    Returns:
        Level and length of every run.
    """
    axis = next(axis for axis, size in enumerate(step) if size)
    planes = np.moveaxis(levels, axis, 0)  # a run crosses each plane at most once
    shift = tuple(size for other, size in enumerate(step) if other != axis)
    lengths = np.ones_like(planes)
    ends = np.ones(planes.shape, bool)
    here, before = _overlap(planes.shape[1:], shift)
    for plane in range(1, len(planes)):
        same = planes[plane][here] == planes[plane - 1][before]
        lengths[plane][here] += same * lengths[plane - 1][before]
        ends[plane - 1][before] &= ~same
    return planes[ends], lengths[ends]


def zones(levels: Levels) -> tuple[Levels, Levels]:
    """Connected zones of equal levels; neighbours share a face, edge or corner.

    Args:
        levels: [D, H, W].

    Returns:
        Level and number of voxels of every zone.
    """
    found_levels, found_sizes = [], []
    for level in np.unique(levels):
        labelled, count = ndimage.label(levels == level, np.ones((3, 3, 3), bool))
        found_sizes.append(np.bincount(labelled.ravel(), minlength=count + 1)[1:])
        found_levels.append(np.full(count, level))
    return np.concatenate(found_levels), np.concatenate(found_sizes)


def size_features(levels: Levels, sizes: Levels) -> Features:
    """Features of a matrix that counts runs (GLRLM) or zones (GLSZM) by level and size.

    Args:
        levels: Level of every run or zone, from 0.
        sizes: Size of every run or zone in voxels, 1 or more.
    """
    i, j = levels.astype(np.float64) + 1, sizes.astype(np.float64)
    n = len(i)
    by_level, by_size = np.bincount(levels) / n, np.unique(sizes, return_counts=True)[1] / n
    cells = np.unique(levels * (int(sizes.max()) + 1) + sizes, return_counts=True)[1] / n
    return {
        "short": float((1 / j**2).mean()),
        "long": float((j**2).mean()),
        "low-level": float((1 / i**2).mean()),
        "high-level": float((i**2).mean()),
        "short-low": float((1 / (i**2 * j**2)).mean()),
        "short-high": float((i**2 / j**2).mean()),
        "long-low": float((j**2 / i**2).mean()),
        "long-high": float((i**2 * j**2).mean()),
        "level-non-uniformity": float((by_level**2).sum()),
        "size-non-uniformity": float((by_size**2).sum()),
        "pieces-per-voxel": n / float(j.sum()),
        "level-variance": float(i.var()),
        "size-variance": float(j.var()),
        "entropy": _entropy(cells),
    }


def neighbourhood_differences(levels: Levels) -> Features:
    """Features of the neighbourhood grey tone difference matrix (NGTDM), 26 neighbours, fewer at the border.

    Args:
        levels: [D, H, W], from 0.
    """
    i = levels.astype(np.float64) + 1
    around = np.ones((3, 3, 3))
    around[1, 1, 1] = 0
    total = ndimage.convolve(i, around, mode="constant")
    count = ndimage.convolve(np.ones_like(i), around, mode="constant")
    difference = np.abs(i - total / np.maximum(count, 1))
    s = np.bincount(levels.ravel(), difference.ravel(), minlength=LEVELS)
    p = np.bincount(levels.ravel(), minlength=LEVELS) / levels.size
    present = np.flatnonzero(p)
    p, s, grey = p[present], s[present], present + 1.0
    pi, pj, si, sj = p[:, None], p[None, :], s[:, None], s[None, :]
    gap = grey[:, None] - grey[None, :]
    pairs = len(present) * (len(present) - 1)
    weighted = float(np.abs(grey[:, None] * pi - grey[None, :] * pj).sum())
    rough = float((p * s).sum())
    return {
        "coarseness": min(1 / rough, 1e6) if rough else 1e6,
        "contrast": float((pi * pj * gap**2).sum()) / pairs * float(s.sum()) / levels.size if pairs else 0.0,
        "busyness": rough / weighted if weighted else 0.0,
        "complexity": float((np.abs(gap) * (pi * si + pj * sj) / (pi + pj)).sum()) / levels.size,
        "strength": float(((pi + pj) * gap**2).sum()) / float(s.sum()) if s.sum() else 0.0,
    }


def _neighbours(levels: Levels, step: tuple[int, int, int]) -> tuple[Levels, Levels]:
    """The level of every voxel with a neighbour in a direction, and the neighbour's level."""
    there, here = _overlap(levels.shape, step)
    return levels[here], levels[there]


def _overlap(shape: tuple[int, ...], step: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of the neighbours one step away, and of the voxels that have one."""
    sizes = list(zip(shape, step, strict=True))
    there = tuple(slice(max(0, s), n + min(0, s)) for n, s in sizes)
    here = tuple(slice(max(0, -s), n + min(0, -s)) for n, s in sizes)
    return there, here


def _mean_over_directions(family: str, found: list[Features]) -> Features:
    return {f"{family}-{name}": float(np.mean([one[name] for one in found])) for name in found[0]}


def _named(family: str, found: Features) -> Features:
    return {f"{family}-{name}": value for name, value in found.items()}


def _entropy(shares: Array) -> float:
    """In bits."""
    return max(0.0, -float((shares * np.log2(shares + _TINY)).sum()))
