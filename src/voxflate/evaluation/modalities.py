"""The image channels of a prepared set, each measured by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from voxflate.data.prepared import PreparedSet
from voxflate.data.views import one_channel
from voxflate.evaluation.real import RealSet
from voxflate.metrics import FeatureExtractor
from voxflate.metrics.extractors.base import VolumeExtractor


@dataclass(frozen=True)
class Modality:
    """One image channel, and what extracts features from it.

    Attributes:
        index: Number of the channel.
        suffix: Behind an extractor's name in the names of metrics: "" for the first channel, else "-NAME".
        real: The channel's real volumes.
        extractors: Of slices.
        volume_extractors: Of whole volumes.
    """

    index: int
    suffix: str
    real: RealSet
    extractors: Sequence[FeatureExtractor]
    volume_extractors: Sequence[VolumeExtractor]

    def name(self, extractor: FeatureExtractor | VolumeExtractor) -> str:
        """What an extractor is called in the names of this channel's metrics."""
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
    """The first `count` image channels of a set; the arguments are those of `RealSet` and `Modality`.

    Raises:
        VoxflateError: If there are fewer than 4 volumes.
    """
    found = []
    for index in range(count):
        real = RealSet(one_channel(prepared, index), seed, cache, min_content)
        suffix = f"-{prepared.layout.channels[index].name}" if index else ""
        whole = [real.components, *([network] if network else [])]
        found.append(Modality(index, suffix, real, extractors, whole))
    return found
