"""Samples of fixed latent codes: they show whether a run was repeated exactly, and whether it collapsed."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxflate.config.build import is_planar_twin
from voxflate.config.schema import RunConfig
from voxflate.data.labels import JointLabels
from voxflate.data.prepared import PreparedSet, from_stored
from voxflate.gans.samples import sample
from voxflate.metrics import pairwise_l2

SAMPLES = 8
SEED = 0
ROUNDING = 1e-3
"""Largest difference of a voxel in [-1, 1] that another processor or version may cause."""

_PROBES = 16
_REAL = 64

Images = NDArray[np.float32]


def fixed_samples(config: RunConfig, generator: Any, labels: JointLabels | None = None) -> Images:
    """Samples 0 to 7 of seed 0, [8, C, *shape]: those of the sample sheets.

    Args:
        config: Settings of the run.
        generator: The generator.
        labels: Joint distribution of the training set's labels; only used if the networks know labels.
    """
    told = label_vectors(config, labels, SEED, 0, SAMPLES)
    slices = is_planar_twin(config)
    batches = sample(generator, SAMPLES, seed=SEED, batch=SAMPLES, slices=slices, labels=told)
    return np.concatenate([batch.numpy() for batch in batches])


def label_vectors(
    config: RunConfig, labels: JointLabels | None, seed: int, first: int, count: int
) -> Images | None:
    """Label vectors of samples `first` to `first + count - 1` of a seed; None for networks without labels."""
    if not config.network.label_width:
        return None
    assert labels is not None  # networks and set are checked against each other when loaded
    return labels.vectors(seed, first, count)


def fingerprint(images: Images) -> dict[str, Any]:
    """SHA-256 of the values, and a few of the values for machines whose rounding differs."""
    digest = hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()
    return {"sample-sha256": digest, "probes": _probes(images)}


def difference(images: Images, probes: list[float]) -> float:
    """Largest difference from the values kept by `fingerprint`; infinite if their number differs."""
    found = _probes(images)
    if len(found) != len(probes):
        return float("inf")
    return float(np.max(np.abs(np.subtract(found, probes))))


def real_diversity(config: RunConfig, prepared: PreparedSet) -> float:
    """Mean distance between real training images (slices in a 2D run): the scale of `diversity`."""
    stored = prepared.stored("train")
    rng = np.random.default_rng(SEED)
    if config.training.phase == "3d":
        chosen = from_stored(stored[np.sort(rng.permutation(len(stored))[:_REAL])])
    else:
        picked = rng.permutation(stored.shape[0] * stored.shape[2])[:_REAL]
        volumes, positions = np.divmod(np.sort(picked), stored.shape[2])
        chosen = from_stored(stored[volumes, :, positions])
    return pairwise_l2(chosen) if len(chosen) > 1 else 0.0


def diversity(images: Images, real: float) -> float:
    """Mean distance between samples relative to that between real images; 1 if the latter is unknown."""
    return pairwise_l2(images) / real if real else 1.0


def _probes(images: Images) -> list[float]:
    flat = images.ravel()
    return [float(value) for value in flat[np.linspace(0, flat.size - 1, _PROBES).astype(np.int64)]]
