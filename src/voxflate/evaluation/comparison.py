"""Feature metrics over the views of one extractor: figures, halvings of the real set, replicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from voxflate.metrics import PLANES
from voxflate.metrics.bootstrap import Replicated
from voxflate.metrics.gram import Gram
from voxflate.metrics.tables import FEATURE_METRICS, FeatureMetric

Array = NDArray[np.float64]
Views = Mapping[str, NDArray[np.floating]]  # view -> [n, f]


def compare_features(name: str, generated: Views, real: Views) -> dict[str, float]:
    """Every feature metric that there are enough samples for.

    Args:
        name: The extractor's.
        generated: View -> [n, f].
        real: View -> [m, f], the same views.

    Returns:
        Figure name -> value; with planes, their mean as "-avg" (and "-avg-cut").
    """
    figures: dict[str, float] = {}
    for metric, views in _applicable(generated, real):
        values = {view: metric.direct(generated[view], real[view]) for view in views}
        figures |= _named(metric, name, values)
    return figures


def replicated_features(name: str, generated: Views, real: Views, slices: int = 1) -> list[Replicated]:
    """The same figures as functions of how often each volume counts, one function a metric.

    Args:
        name: The extractor's.
        generated: View -> [n x slices, f].
        real: View -> [m x slices, f].
        slices: Samples that a volume gives; they are drawn together.
    """
    grams = {view: Gram.of(generated[view], real[view]) for view in generated}

    def replicated(metric: FeatureMetric, views: Sequence[str]) -> Replicated:
        functions = {view: metric.weighted(grams[view]) for view in views}

        def figures(a: Array, b: Array) -> dict[str, float]:
            a, b = a.repeat(slices), b.repeat(slices)
            return _named(metric, name, {view: function(a, b) for view, function in functions.items()})

        return figures

    return [replicated(metric, views) for metric, views in _applicable(generated, real)]


def halvings(
    name: str, real: Views, subjects: Sequence[str], splits: int, seed: int, slices: int = 1
) -> list[dict[str, float]]:
    """One half of the real set against the other, split by subject, again and again.

    Args:
        name: The extractor's.
        real: View -> [n x slices, f].
        subjects: Whose each volume is, [n].
        splits: How often.
        seed: Of the splits.
        slices: Samples that a volume gives.

    Returns:
        The figures of each halving; none if there are not two subjects with two samples on each side.
    """
    people, owner = np.unique(np.asarray(subjects), return_inverse=True)
    rng = np.random.default_rng(seed)
    rounds: list[dict[str, float]] = []
    for _ in range(splits):
        first = rng.permutation(len(people))[: (len(people) + 1) // 2]
        here = np.isin(owner, first).repeat(slices)
        if min(here.sum(), (~here).sum()) < 2:
            return []
        halves = [{view: x[chosen] for view, x in real.items()} for chosen in (here, ~here)]
        rounds.append(compare_features(name, *halves))
    shared = set.intersection(*(set(each) for each in rounds)) if rounds else set()
    return [{key: value for key, value in each.items() if key in shared} for each in rounds]


def _applicable(generated: Views, real: Views) -> list[tuple[FeatureMetric, list[str]]]:
    """Metrics that there are enough samples for, with their views."""
    fewest = min(len(x) for views in (generated, real) for x in views.values())
    return [
        (metric, [view for view in generated if metric.after_cut or not view.endswith("-cut")])
        for metric in FEATURE_METRICS.values()
        if fewest >= metric.fewest
    ]


def _named(metric: FeatureMetric, name: str, values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Figures of all views under their names, and the means over planes."""
    figures: dict[str, float] = {}
    by_plane = "ax" in values
    for key in metric.names:
        stem = metric.named(key, name)
        if metric.per_plane or not by_plane:
            figures |= {f"{stem}-{view}": found[key] for view, found in values.items()}
        for cut in ("", "-cut"):
            planes = [values[f"{plane}{cut}"][key] for plane in PLANES if f"{plane}{cut}" in values]
            if planes:
                figures[f"{stem}-avg{cut}"] = float(np.mean(planes))
    return figures
