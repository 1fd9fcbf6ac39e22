"""The image channels of a prepared set, each measured separately."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from voxflate.data.prepared import PreparedSet
from voxflate.data.views import one_channel
from voxflate.evaluation.distances import Refit
from voxflate.evaluation.real import RealSet
from voxflate.metrics import FeatureExtractor
from voxflate.metrics.extractors.base import Extractor, VolumeExtractor
from voxflate.metrics.extractors.voxels import VoxelComponents


@dataclass(frozen=True)
class Modality:
    """One image channel with its feature extractors.

    Attributes:
        index: Index of the channel.
        suffix: Follows the extractor's name in metric names: "" for the first channel, else "-NAME".
        real: The channel's real volumes.
        extractors: Extractors for slices.
        network: The network for whole volumes; None if there is none.
    """

    index: int
    suffix: str
    real: RealSet
    extractors: Sequence[FeatureExtractor]
    network: VolumeExtractor | None = None

    @property
    def volume_extractors(self) -> list[VolumeExtractor]:
        """Extractors for whole volumes: the voxels' principal components, and the network."""
        return [self.real.components, *([self.network] if self.network else [])]

    def refit(self, extractor: Extractor) -> Refit | None:
        """How to fit an extractor to half of the real volumes; None if it does not depend on them."""
        return self.real.refitted if isinstance(extractor, VoxelComponents) else None

    def name(self, extractor: Extractor) -> str:
        """An extractor's name in the names of this channel's metrics."""
        return f"{extractor.name}{self.suffix}"


def modalities_of(
    prepared: PreparedSet,
    count: int,
    extractors: Sequence[FeatureExtractor],
    network: VolumeExtractor | None,
    seed: int,
    cache: Path | None,
    min_content: float,
) -> list[Modality]:
    """The first `count` image channels of a set; arguments as in `RealSet` and `Modality`.

    Raises:
        VoxflateError: If there are fewer than 4 volumes.
    """
    found: list[Modality] = []
    for index in range(count):
        first = found[0].real if found else None
        real = RealSet(one_channel(prepared, index), seed, cache, min_content, first)
        suffix = f"-{prepared.layout.channels[index].name}" if index else ""
        found.append(Modality(index, suffix, real, extractors, network))
    return found
