"""Parameter counts of the paper's tables beside ours.

A count is every trainable parameter of all of a model's networks, once; low-pass filters, noise buffers and
moving averages are not trained and do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from voxflate.config.paper_rows import PaperRow
from voxflate.config.presets import PRESETS, Preset
from voxflate.config.schema import DEFAULT_MODEL, NetworkConfig, RunConfig


@dataclass(frozen=True)
class Comparison:
    """A count of the paper beside ours: trainable parameters by network."""

    preset: Preset
    ours: Mapping[str, int]

    @property
    def row(self) -> PaperRow:
        """What the paper prints."""
        return self.preset.row

    @property
    def total(self) -> int:
        """Trainable parameters of all networks."""
        return sum(self.ours.values())

    @property
    def agrees(self) -> bool:
        """Whether ours, in millions to three decimals, is the printed count."""
        return f"{self.total / 1e6:.3f}" == f"{self.row.millions:.3f}"

    @property
    def remark(self) -> str:
        """A word for a table, equal or differs; and the reading."""
        verdict = "equal" if self.agrees else "differs"
        return f"{verdict}; {self.preset.reading}" if self.preset.reading else verdict


def counted_presets() -> list[str]:
    """Presets whose parameters the paper prints, without those that differ from another only in training."""
    found: dict[str, str] = {}
    for name, preset in PRESETS.items():
        if preset.row.millions is not None:
            config = RunConfig(preset=name)
            found.setdefault(f"{preset.row.setting} {config.model} {config.network!r}", name)
    return list(found.values())


def compare_counts() -> list[Comparison]:
    """Build every row's networks and count their trainable parameters."""
    found = []
    for name in counted_presets():
        config = RunConfig(preset=name)
        found.append(Comparison(PRESETS[name], count_parameters(config.network, model=config.model)))
    return found


def differences(comparisons: list[Comparison]) -> list[Comparison]:
    """The rows that should equal the paper and do not."""
    return [each for each in comparisons if each.preset.exact and not each.agrees]


def count_parameters(
    network: NetworkConfig, spatial_dims: int = 3, model: str = DEFAULT_MODEL
) -> dict[str, int]:
    """Trainable parameters by network: generator, discriminator and what else the model has.

    Args:
        network: Which networks to build.
        spatial_dims: 2 for the twin, 3 for the volume networks.
        model: Whose networks.
    """
    # PyTorch takes a second to load: only where something is counted.
    from voxflate.config.build import build_networks

    return {
        name: sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
        for name, module in build_networks(network, spatial_dims, model=model).items()
    }
