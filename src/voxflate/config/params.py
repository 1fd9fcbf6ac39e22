"""Our parameter counts next to those printed in the paper.

A count includes every trainable parameter of all networks of a model once; low-pass filters, noise buffers
and moving averages are not trained and do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from voxflate.config.paper_rows import PaperRow
from voxflate.config.presets import PRESETS, Preset
from voxflate.config.schema import DEFAULT_MODEL, NetworkConfig, RunConfig


@dataclass(frozen=True)
class PrintedCount:
    """A printed parameter count next to ours, which is given by network."""

    preset: Preset
    ours: Mapping[str, int]

    @property
    def row(self) -> PaperRow:
        """The row as printed in the paper."""
        return self.preset.row

    @property
    def total(self) -> int:
        """Number of trainable parameters of all networks together."""
        return sum(self.ours.values())

    @property
    def agrees(self) -> bool:
        """Whether our count, rounded to 0.001 million, equals the printed one."""
        return f"{self.total / 1e6:.3f}" == f"{self.row.millions:.3f}"

    @property
    def remark(self) -> str:
        """The verdict for a table, "equal" or "differs", and the preset's reading."""
        verdict = "equal" if self.agrees else "differs"
        return f"{verdict}; {self.preset.reading}" if self.preset.reading else verdict


def counted_presets() -> list[str]:
    """Presets whose parameter counts the paper prints; of those that differ only in training, the first."""
    found: dict[str, str] = {}
    for name, preset in PRESETS.items():
        if preset.row.millions is not None:
            config = RunConfig(preset=name)
            found.setdefault(f"{preset.row.setting} {config.model} {config.network!r}", name)
    return list(found.values())


def compare_counts() -> list[PrintedCount]:
    """Build every row's networks and count their trainable parameters."""
    found = []
    for name in counted_presets():
        config = RunConfig(preset=name)
        found.append(PrintedCount(PRESETS[name], count_parameters(config.network, model=config.model)))
    return found


def differences(comparisons: list[PrintedCount]) -> list[PrintedCount]:
    """The rows whose counts should equal the paper's but do not."""
    return [each for each in comparisons if each.preset.exact and not each.agrees]


def count_parameters(
    network: NetworkConfig, spatial_dims: int = 3, model: str = DEFAULT_MODEL
) -> dict[str, int]:
    """Count trainable parameters by network: generator, discriminator and any others of the model.

    Args:
        network: Settings of the networks to build.
        spatial_dims: 2 for the twin, 3 for the volume networks.
        model: Name in `MODELS`.
    """
    # PyTorch takes a second to load, so it is loaded only where something is counted.
    from voxflate.config.build import build_networks

    return {
        name: sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
        for name, module in build_networks(network, spatial_dims, model=model).items()
    }
