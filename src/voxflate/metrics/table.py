"""The metrics of a whole evaluation. To add one: write a function in a new module, and add a line here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from voxflate.metrics.diversity import l2
from voxflate.metrics.extractors.inception import frechet_name
from voxflate.metrics.frechet import frechet_distance, weighted_frechet
from voxflate.metrics.gram import Gram
from voxflate.metrics.kid import Owners, kernel_distance, weighted_kernel_distance
from voxflate.metrics.prdc import NEIGHBOURS, prdc, weighted_prdc
from voxflate.metrics.psnr import psnr
from voxflate.metrics.ssim import ms_ssim, ms_ssim_kwon

Array = NDArray[np.float64]
Features = NDArray[np.floating]
Better = Literal["lower", "higher", "real", "none"]
"""Which value is best: the lowest, the highest, or the one closest to real against real volumes."""


@dataclass(frozen=True)
class FeatureMetric:
    """A comparison of generated with real features, [n, f] with [m, f].

    Attributes:
        names: Names of the metrics without the extractor, by the keys that the functions return.
        direct: The metrics of generated and real features, the number of samples per volume, and the owners
            of the volumes.
        weighted: The same as a function of the samples' weights, for the bootstrap.
        fewest: Smallest number of samples on each side.
        fewest_owners: Smallest number of people on each side.
        per_plane: Whether every plane is a separate metric, or only their mean is.
        after_cut: Whether it is also computed after the background cut.
        fitted: Whether it is also computed for features whose axes are fitted to the real volumes.
        better: Which value is best.
    """

    names: Mapping[str, str]
    direct: Callable[[Features, Features, int, Owners], dict[str, float]]
    weighted: Callable[[Gram, int, Owners], Callable[[Array, Array], dict[str, float]]]
    fewest: int = 2
    fewest_owners: int = 1
    per_plane: bool = True
    after_cut: bool = False
    fitted: bool = True
    better: Better = "lower"

    def named(self, key: str, extractor: str) -> str:
        """The metric's name for an extractor, without its view."""
        name = self.names[key]
        return frechet_name(extractor) if name == "frechet" else f"{name}-{extractor}"


@dataclass(frozen=True)
class PairMetric:
    """A comparison of pairs of volumes.

    Attributes:
        function: Two times [n, 1, D, H, W] -> one value per pair, [n].
        partner: The volume that a generated volume is compared with.
        better: Which value is best.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    partner: Literal["generated", "random", "nearest", "mean"]
    better: Better


FEATURE_METRICS: dict[str, FeatureMetric] = {
    "frechet": FeatureMetric(
        {"": "frechet"},
        lambda a, b, slices, owners: {"": frechet_distance(a, b)},
        lambda gram, slices, owners: weighted_frechet(gram),
        after_cut=True,
    ),
    "kid": FeatureMetric(
        {"": "kid"},
        lambda a, b, slices, owners: {"": kernel_distance(a, b, slices, owners)},
        weighted_kernel_distance,
        fewest_owners=2,
        fitted=False,  # no longer unbiased: negative for equal sets, more so with fewer fitted volumes
    ),
    "prdc": FeatureMetric(
        {name: name for name in ("precision", "recall", "density", "coverage")},
        lambda a, b, slices, owners: prdc(b, a),
        lambda gram, slices, owners: weighted_prdc(gram),
        fewest=NEIGHBOURS + 1,
        per_plane=False,
        better="higher",
    ),
}

PAIR_METRICS: dict[str, PairMetric] = {
    "ms-ssim": PairMetric(ms_ssim, "generated", "real"),
    "ms-ssim-kwon2019": PairMetric(ms_ssim_kwon, "generated", "real"),
    "pairwise-l2": PairMetric(l2, "generated", "real"),
    "psnr": PairMetric(psnr, "random", "none"),  # blur raises it: it ranks nothing
    "psnr-nearest": PairMetric(psnr, "nearest", "real"),
    "psnr-mean": PairMetric(psnr, "mean", "real"),
}


def better(name: str) -> Better:
    """Which value of a metric is best, by its name.

    >>> better("kid-mobilenetv2-avg"), better("psnr"), better("ms-ssim")
    ('lower', 'none', 'real')
    """
    if name in PAIR_METRICS:
        return PAIR_METRICS[name].better
    stem = name.split("-")[0]
    found = (metric.better for metric in FEATURE_METRICS.values() if stem in metric.names.values())
    return next(found, "lower")  # FID is a Frechet distance with another name


def range_of(name: str) -> tuple[float, float]:
    """The lowest and the highest value that a metric can have, by its name.

    >>> range_of("recall-random-avg"), range_of("frechet-random-ax"), range_of("kid-random-avg")
    ((0.0, 1.0), (0.0, inf), (-inf, inf))
    """
    if name.startswith(("kid-", "psnr")):  # an unbiased estimate of 0 can be below it
        return -math.inf, math.inf
    return 0.0, 1.0 if name.startswith(("precision-", "recall-", "coverage-", "ms-ssim")) else math.inf
