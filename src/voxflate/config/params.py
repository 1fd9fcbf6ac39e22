"""Parameter counts of the paper's tables beside ours.

A count is every trainable number of all of a model's networks, once; low-pass filters, noise buffers and
moving averages are not trained and do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from voxflate.config.presets import PRESETS
from voxflate.config.schema import DEFAULT_MODEL, NetworkConfig, RunConfig


@dataclass(frozen=True)
class PaperCount:
    """One `#param` figure of the paper.

    Attributes:
        setting: Data set and shape.
        model: The row's name in the paper.
        millions: The figure as printed, in millions.
        run: Our reading of the row.
        reading: What is peculiar about our reading, if anything.
        counts: Whether a difference is an error; false for a reading that is shown for comparison.
    """

    setting: str
    model: str
    millions: float
    run: RunConfig
    reading: str = ""
    counts: bool = True


@dataclass(frozen=True)
class Comparison:
    """A figure of the paper beside ours: trainable parameters by network."""

    paper: PaperCount
    ours: Mapping[str, int]

    @property
    def total(self) -> int:
        """Trainable parameters of all networks."""
        return sum(self.ours.values())

    @property
    def agrees(self) -> bool:
        """Whether ours, in millions to three decimals, is the printed figure."""
        return f"{self.total / 1e6:.3f}" == f"{self.paper.millions:.3f}"

    @property
    def remark(self) -> str:
        """A word for a table, equal or differs; and the reading."""
        verdict = "equal" if self.agrees else "differs"
        return f"{verdict}; {self.paper.reading}" if self.paper.reading else verdict


_COCA64, _COCA128, _ADNI64 = "COCA 32x64x64", "COCA 32x128x128", "ADNI 64x64x64"


def _row(
    setting: str, model: str, millions: float, preset: str, reading: str = "", counts: bool = True
) -> PaperCount:
    return PaperCount(setting, model, millions, PRESETS[preset].run, reading, counts)


PAPER_COUNTS: tuple[PaperCount, ...] = (
    # Table 3
    _row(_COCA64, "Baseline", 0.600, "coca64-baseline"),
    _row(_COCA64, "Group-D", 0.434, "coca64-group-d"),
    _row(_COCA64, "Depthwise-D", 0.367, "coca64-depthwise-d"),
    _row(_COCA64, "Split&Shuffle-D", 0.416, "coca64-split-shuffle-d"),
    _row(_COCA64, "Split", 0.291, "coca64-split"),
    _row(_COCA64, "Split&Shuffle", 0.291, "coca64-split-shuffle"),
    # Table 5
    _row(_COCA128, "Baseline", 2.628, "coca128-baseline"),
    _row(
        _COCA128,
        "Split&Shuffle",
        1.414,
        "coca128-split-shuffle-inflate-1",
        "3x3x3 in both branches of D",
    ),
    _row(
        _COCA128,
        "Split&Shuffle",
        1.414,
        "coca128-split-shuffle-text-inflate-1",
        "3x3x3 and 1x1x1, as in the text (1.121)",
        counts=False,
    ),
    # Tables 6 and 7
    _row(_ADNI64, "3D-StyleGAN2", 0.633, "adni64-baseline"),
    _row(_ADNI64, "Split&Shuffle", 0.325, "adni64-split-shuffle-inflate-1"),
    _row(_COCA64, "3D-WGAN-GP", 1.399, "coca64-wgan-gp"),
    _row(_COCA64, "3D-VAE-GAN", 6.389, "coca64-vae-gan"),
    _row(_COCA64, "3D-alpha-GAN", 2.811, "coca64-alpha-gan"),
    _row(_COCA64, "3D-alpha-WGAN-GP", 2.811, "coca64-alpha-wgan-gp"),
    _row(_ADNI64, "3D-WGAN-GP", 1.817, "adni64-wgan-gp"),
    _row(_ADNI64, "3D-VAE-GAN", 11.001, "adni64-vae-gan"),
    _row(_ADNI64, "3D-alpha-GAN", 3.635, "adni64-alpha-gan"),
    _row(_ADNI64, "3D-alpha-WGAN-GP", 3.635, "adni64-alpha-wgan-gp"),
)


def compare_counts() -> list[Comparison]:
    """Build every row's networks and count their trainable parameters."""
    return [Comparison(row, count_parameters(row.run.network, model=row.run.model)) for row in PAPER_COUNTS]


def differences(comparisons: list[Comparison]) -> list[Comparison]:
    """The rows that should equal the paper and do not."""
    return [row for row in comparisons if row.paper.counts and not row.agrees]


def count_parameters(
    network: NetworkConfig, spatial_dims: int = 3, model: str = DEFAULT_MODEL
) -> dict[str, int]:
    """Trainable parameters by network: generator, discriminator and what else the model has.

    Args:
        network: Which networks to build.
        spatial_dims: 2 for the twin, 3 for the volume networks.
        model: Whose networks.
    """
    # PyTorch takes a second to load: only for those who count.
    from voxflate.config.build import build_networks

    return {
        name: sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
        for name, module in build_networks(network, spatial_dims, model=model).items()
    }
