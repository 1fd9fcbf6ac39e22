"""Feature metrics over the views of one extractor: values, halvings of the real set, replicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from voxflate.metrics import PLANES, kernel_distance
from voxflate.metrics.bootstrap import Replicated
from voxflate.metrics.gram import Gram
from voxflate.metrics.kid import weighted_kernel_distance
from voxflate.metrics.table import FEATURE_METRICS, FeatureMetric

Array = NDArray[np.float64]
Views = Mapping[str, NDArray[np.floating]]  # view -> [n, f]


def compare_features(name: str, generated: Views, real: Views, slices: int = 1) -> dict[str, float]:
    """Compute every feature metric for which there are enough samples.

    Args:
        name: Name of the extractor.
        generated: View -> [n x slices, f].
        real: View -> [m x slices, f], the same views.
        slices: Samples per volume.

    Returns:
        Metric name -> value; with planes, also their mean as "-avg" (and "-avg-cut").
    """
    metrics: dict[str, float] = {}
    for metric, views in _applicable(generated, real):
        values = {view: metric.direct(generated[view], real[view], slices) for view in views}
        metrics |= _named(metric, name, values)
    return metrics


def replicated_features(name: str, generated: Views, real: Views, slices: int = 1) -> list[Replicated]:
    """The same metrics as functions of the volumes' weights (how often each counts), one per metric.

    Args:
        name: Name of the extractor.
        generated: View -> [n x slices, f].
        real: View -> [m x slices, f].
        slices: Samples per volume; they are drawn together.
    """
    grams = {view: Gram.of(generated[view], real[view]) for view in generated}

    def replicated(metric: FeatureMetric, views: Sequence[str]) -> Replicated:
        functions = {view: metric.weighted(grams[view], slices) for view in views}

        def metrics(a: Array, b: Array) -> dict[str, float]:
            a, b = a.repeat(slices), b.repeat(slices)
            return _named(metric, name, {view: function(a, b) for view, function in functions.items()})

        return metrics

    return [replicated(metric, views) for metric, views in _applicable(generated, real)]


def halvings(
    name: str, real: Views, subjects: Sequence[str], splits: int, seed: int, slices: int = 1
) -> list[dict[str, float]]:
    """Compare random halves of the real set, split by subject, repeatedly.

    Args:
        name: Name of the extractor.
        real: View -> [n x slices, f].
        subjects: Subject of each volume, [n].
        splits: Number of halvings.
        seed: Seed of the halvings.
        slices: Samples per volume.

    Returns:
        The metrics of each halving; none unless both sides have at least two volumes.
    """
    people, owner = np.unique(np.asarray(subjects), return_inverse=True)
    rng = np.random.default_rng(seed)
    rounds: list[dict[str, float]] = []
    for _ in range(splits):
        first = rng.permutation(len(people))[: (len(people) + 1) // 2]
        here = np.isin(owner, first)
        if min(here.sum(), (~here).sum()) < 2:
            return []
        a, b = ({view: x[chosen.repeat(slices)] for view, x in real.items()} for chosen in (here, ~here))
        rounds.append(compare_features(name, a, b, slices))
    shared = set.intersection(*(set(each) for each in rounds)) if rounds else set()
    return [{key: value for key, value in each.items() if key in shared} for each in rounds]


def heldout_kid(name: str, generated: Views, real: Views, n_train: int, slices: int = 1) -> dict[str, float]:
    """The kernel distance for choosing a snapshot: to volumes that training has not seen.

    Args:
        name: Name of the extractor.
        generated: Features by view.
        real: Features by view, training volumes first.
        n_train: Number of training volumes.
        slices: Slices per volume.

    Returns:
        The mean over the planes by its name; nothing if fewer than two volumes are held out.
    """
    if len(real["ax"]) < (n_train + 2) * slices:
        return {}
    planes = [kernel_distance(generated[plane], real[plane][n_train * slices :], slices) for plane in PLANES]
    return {heldout_name(name): float(np.mean(planes))}


def replicated_heldout_kid(
    name: str, generated: Views, real: Views, n_train: int, slices: int = 1
) -> Replicated:
    """`heldout_kid` as a function of the volumes' weights; nothing if too few are drawn."""
    functions = [
        weighted_kernel_distance(Gram.of(generated[plane], real[plane][n_train * slices :]), slices)
        for plane in PLANES
    ]

    def metrics(a: Array, b: Array) -> dict[str, float]:
        heldout = b[n_train:]
        if (heldout > 0).sum() < 2:
            return {}
        counts = a.repeat(slices), heldout.repeat(slices)
        return {heldout_name(name): float(np.mean([function(*counts)[""] for function in functions]))}

    return metrics


def heldout_name(name: str) -> str:
    """Name of the held-out kernel distance for an extractor."""
    return f"kid-{name}-heldout-avg"


def _applicable(generated: Views, real: Views) -> list[tuple[FeatureMetric, list[str]]]:
    """Metrics for which there are enough samples, with their views."""
    fewest = min(len(x) for views in (generated, real) for x in views.values())
    return [
        (metric, [view for view in generated if metric.after_cut or not view.endswith("-cut")])
        for metric in FEATURE_METRICS.values()
        if fewest >= metric.fewest
    ]


def _named(metric: FeatureMetric, name: str, values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Metrics of all views by name, and the means over planes."""
    metrics: dict[str, float] = {}
    by_plane = "ax" in values
    for key in metric.names:
        stem = metric.named(key, name)
        if metric.per_plane or not by_plane:
            metrics |= {f"{stem}-{view}": found[key] for view, found in values.items()}
        for cut in ("", "-cut"):
            planes = [values[f"{plane}{cut}"][key] for plane in PLANES if f"{plane}{cut}" in values]
            if planes:
                metrics[f"{stem}-avg{cut}"] = float(np.mean(planes))
    return metrics
