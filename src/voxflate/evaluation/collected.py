"""Collects the features of generated samples as they stream by."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voxflate.evaluation.classes import Labels
from voxflate.evaluation.real import Features, Images


@dataclass
class Collected:
    """What is kept of the generated samples: features by network and view, the first few samples, counts."""

    features: dict[str, dict[str, list[NDArray[np.float32]]]] = field(default_factory=dict)
    first: list[Images] = field(default_factory=list)
    structures: list[NDArray[np.float64]] = field(default_factory=list)
    labels: Labels = ()
    count: int = 0
    constant: int = 0

    def add(self, network: str, view: str, features: NDArray[np.float32]) -> None:
        """Add the features of a batch."""
        self.features.setdefault(network, {}).setdefault(view, []).append(features)

    def views(self, network: str) -> Features:
        """All features of a network, by view."""
        return {view: np.concatenate(parts) for view, parts in self.features[network].items()}
