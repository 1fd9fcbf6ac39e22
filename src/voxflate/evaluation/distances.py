"""Feature metrics over the views of one extractor: values, halvings of the real set, replicates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from voxflate.metrics import PLANES, kernel_distance
from voxflate.metrics.bootstrap import Replicated, owners_drawn
from voxflate.metrics.gram import Gram
from voxflate.metrics.kid import ONE_EACH, Owners, weighted_kernel_distance
from voxflate.metrics.table import FEATURE_METRICS, FeatureMetric

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Views = Mapping[str, NDArray[np.floating]]  # view -> [n, f]
Refit = Callable[[Mask], Views]
"""Features of all real volumes, from axes that are fitted to the chosen ones [n]."""


def compare_features(
    name: str,
    generated: Views,
    real: Views,
    slices: int = 1,
    owners: Owners = ONE_EACH,
    *,
    fitted: bool = False,
) -> dict[str, float]:
    """Compute every feature metric for which there are enough samples.

    Args:
        name: Name of the extractor.
        generated: View -> [n x slices, f].
        real: View -> [m x slices, f], the same views.
        slices: Samples per volume.
        owners: The people of the volumes.
        fitted: Whether the features' axes are fitted to the real volumes.

    Returns:
        Metric name -> value; with planes, also their mean as "-avg" (and "-avg-cut").
    """
    metrics: dict[str, float] = {}
    for metric, views in _applicable(generated, real, owners, fitted):
        values = {view: metric.direct(generated[view], real[view], slices, owners) for view in views}
        metrics |= _named(metric, name, values)
    return metrics


def replicated_features(
    name: str,
    generated: Views,
    real: Views,
    slices: int = 1,
    owners: Owners = ONE_EACH,
    *,
    fitted: bool = False,
) -> list[Replicated]:
    """The same metrics as functions of the volumes' weights (how often each counts), one per metric.

    Args:
        name: Name of the extractor.
        generated: View -> [n x slices, f].
        real: View -> [m x slices, f].
        slices: Samples per volume; they are drawn together.
        owners: The people of the volumes.
        fitted: Whether the features' axes are fitted to the real volumes.
    """
    grams = {view: Gram.of(generated[view], real[view]) for view in generated}

    def replicated(metric: FeatureMetric, views: Sequence[str]) -> Replicated:
        functions = {view: metric.weighted(grams[view], slices, owners) for view in views}

        def metrics(a: Array, b: Array) -> dict[str, float]:
            a, b = a.repeat(slices), b.repeat(slices)
            return _named(metric, name, {view: function(a, b) for view, function in functions.items()})

        return metrics

    return [replicated(metric, views) for metric, views in _applicable(generated, real, owners, fitted)]


def halves(subjects: Sequence[str], splits: int, seed: int) -> list[Mask]:
    """Split the subjects into random halves, repeatedly.

    Args:
        subjects: Subject of each volume, [n].
        splits: Number of halvings.
        seed: Seed of the halvings.

    Returns:
        The volumes that stand for generated ones, [n], for each halving; the others stand for the real ones.
    """
    people, owner = np.unique(np.asarray(subjects), return_inverse=True)
    rng = np.random.default_rng(seed)
    return [np.isin(owner, rng.permutation(len(people))[: (len(people) + 1) // 2]) for _ in range(splits)]


def half_sizes(subjects: Sequence[str], splits: int, seed: int) -> dict[str, int]:
    """Volumes on both sides of a floor, the means over its halvings; arguments as for `halves`."""
    generated = round(float(np.mean([here.sum() for here in halves(subjects, splits, seed)])))
    return {"n-real": len(subjects) - generated, "n-generated": generated}


def halvings(
    name: str,
    real: Views,
    subjects: Sequence[str],
    splits: int,
    seed: int,
    slices: int = 1,
    refit: Refit | None = None,
) -> list[dict[str, float]]:
    """Compare random halves of the real set, split by subject, repeatedly.

    Args:
        name: Name of the extractor.
        real: View -> [n x slices, f].
        subjects: Subject of each volume, [n].
        splits: Number of halvings.
        seed: Seed of the halvings.
        slices: Samples per volume.
        refit: For features whose axes are fitted to real volumes: fits them to the half that stands for the
            real ones, because generated volumes never take part in the fit (decision 0199).

    Returns:
        The metrics of each halving; none unless both sides have at least two volumes.
    """
    who = np.asarray(subjects)
    rounds: list[dict[str, float]] = []
    for here in halves(subjects, splits, seed):
        if min(here.sum(), (~here).sum()) < 2:
            return []
        views = real if refit is None else refit(~here)
        a, b = ({view: x[chosen.repeat(slices)] for view, x in views.items()} for chosen in (here, ~here))
        owners = who[here].tolist(), who[~here].tolist()
        rounds.append(compare_features(name, a, b, slices, owners, fitted=refit is not None))
    shared = set.intersection(*(set(each) for each in rounds)) if rounds else set()
    return [{key: value for key, value in each.items() if key in shared} for each in rounds]


def means(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means of the metrics over the halvings; none without halvings."""
    return {key: float(np.mean([each[key] for each in rounds])) for key in (rounds or [{}])[0]}


def heldout_kid(
    name: str, generated: Views, real: Views, n_train: int, slices: int = 1, owners: Owners = ONE_EACH
) -> dict[str, float]:
    """The kernel distance for choosing a snapshot: to volumes that training has not seen.

    Args:
        name: Name of the extractor.
        generated: Features by view.
        real: Features by view, training volumes first.
        n_train: Number of training volumes.
        slices: Slices per volume.
        owners: The people of the generated and of all real volumes.

    Returns:
        The mean over the planes by its name; nothing with volumes of fewer than two people on a side.
    """
    n_heldout = len(real["ax"]) // slices - n_train
    owners = _heldout_owners(owners, n_train)
    if min(n_heldout, _fewest_owners(owners)) < 2:
        return {}
    planes = [
        kernel_distance(generated[plane], real[plane][n_train * slices :], slices, owners) for plane in PLANES
    ]
    return {heldout_name(name): float(np.mean(planes))}


def replicated_heldout_kid(
    name: str, generated: Views, real: Views, n_train: int, slices: int = 1, owners: Owners = ONE_EACH
) -> Replicated:
    """`heldout_kid` as a function of the volumes' weights; nothing if too few people are drawn."""
    owners = _heldout_owners(owners, n_train)
    functions = [
        weighted_kernel_distance(Gram.of(generated[plane], real[plane][n_train * slices :]), slices, owners)
        for plane in PLANES
    ]

    def metrics(a: Array, b: Array) -> dict[str, float]:
        heldout = b[n_train:]
        if owners_drawn(range(len(heldout)) if owners[1] is None else owners[1], heldout) < 2:
            return {}
        counts = a.repeat(slices), heldout.repeat(slices)
        return {heldout_name(name): float(np.mean([function(*counts)[""] for function in functions]))}

    return metrics


def heldout_name(name: str) -> str:
    """Name of the held-out kernel distance for an extractor."""
    return f"kid-{name}-heldout-avg"


def _heldout_owners(owners: Owners, n_train: int) -> Owners:
    ours, theirs = owners
    return ours, None if theirs is None else theirs[n_train:]


def _fewest_owners(owners: Owners) -> float:
    """People on the side with fewer; infinite where no two volumes are of one person."""
    return min((len(set(each)) for each in owners if each is not None), default=np.inf)


def _applicable(
    generated: Views, real: Views, owners: Owners, fitted: bool
) -> list[tuple[FeatureMetric, list[str]]]:
    """Metrics that mean something for these features, samples and people, with their views."""
    fewest = min(len(x) for views in (generated, real) for x in views.values())
    return [
        (metric, [view for view in generated if metric.after_cut or not view.endswith("-cut")])
        for metric in FEATURE_METRICS.values()
        if fewest >= metric.fewest
        and _fewest_owners(owners) >= metric.fewest_owners
        and (metric.fitted or not fitted)
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
