"""Warnings that a reader must know before quoting a metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voxflate.evaluation.assessment import Metric
from voxflate.evaluation.real import RealSet
from voxflate.gans.slice_features import WEIGHTS
from voxflate.metrics import NEIGHBOURS
from voxflate.metrics.bootstrap import FEWEST
from voxflate.metrics.extractors.table import VOLUME_EXTRACTORS
from voxflate.metrics.extractors.voxels import VOXELS

_ALIKE = 0.01  # of the real volumes' distance from each other


def warnings_of(
    metrics: Mapping[str, Metric], facts: Mapping[str, Any], real: RealSet, left_out: Sequence[str]
) -> list[str]:
    """List the warnings, one sentence each.

    Args:
        metrics: The metrics.
        facts: What they depend on.
        real: The real volumes.
        left_out: Metrics of pairs for which the volumes are too small.
    """
    found = []
    n_generated, n_real = facts["n-generated"], facts["n-real"]
    of_volumes = "psnr" in metrics  # not of images of the 2D stage
    for network in facts["extractors"]:
        whole = not of_volumes or network["name"] in (VOXELS, *VOLUME_EXTRACTORS)
        count = min(n_generated, n_real) * (1 if whole else facts["slices"])
        if count < network["features"]:
            found.append(
                f"{network['name']}: {n_generated} generated and {n_real} real samples are fewer than its "
                f"{network['features']} features; Frechet distances are biased upwards, compare them at "
                "equal numbers only and read the KID beside them"
            )
    if n_generated > n_real > NEIGHBOURS:
        share = 1 - (n_real / (n_real + n_generated)) ** NEIGHBOURS
        found.append(
            f"coverage rises with the number of generated samples: if both sets are alike, {n_generated} "
            f"against {n_real} real ones reach {share:.3f} and equal numbers {1 - 0.5**NEIGHBOURS:.3f}; "
            "compare it at equal numbers only"
        )
    if not any(name.startswith("precision-") for name in metrics):
        found.append(f"no precision and recall: they need more than {NEIGHBOURS} samples in each set")
    people = len(set(real.subjects if of_volumes else real.slice_subjects))
    if of_volumes:
        found += _too_few_people(facts["n-heldout"], real)
    if facts["replicates"] and people > 1 and min(n_generated, people) < FEWEST:
        found.append(f"no intervals: they need {FEWEST} generated samples and real ones of {FEWEST} subjects")
    if left_out:
        found.append(f"{', '.join(left_out)} left out: the volumes are too small")
    diversity = metrics.get("pairwise-l2")
    if diversity is not None and diversity.real and diversity.value < _ALIKE * diversity.real:
        found.append("the generated volumes are all alike: the generator has collapsed")
    return found


def same_network(facts: Mapping[str, Any], features: str) -> list[str]:
    """The warning that a run is measured by the network that its slice discriminator saw.

    Args:
        facts: What the metrics depend on.
        features: Name of the slice discriminator's frozen network.
    """
    return [
        f"{network['name']}: the run's slice discriminator learned from features of this network, so its "
        "metrics flatter the run; judge it by another --extractor"
        for network in facts["extractors"]
        if network["weights-sha256"] == WEIGHTS.get(features)
    ]


def _too_few_people(n_heldout: int, real: RealSet) -> list[str]:
    """What is missing because the real volumes come from too few people."""
    found = []
    if n_heldout < 2:
        found.append(f"no held-out KID: it needs 2 held-out volumes, there are {n_heldout}")
    elif len(set(real.subjects[real.n_train :])) < 2:
        found.append("no held-out KID: all held-out volumes come from one subject, it needs 2")
    if len(set(real.subjects)) < 2:
        found.append("no intervals, no floor and no KID: all real volumes come from one subject")
    return found
