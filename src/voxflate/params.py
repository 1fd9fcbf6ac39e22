"""Parameter counts of the paper's tables beside ours.

A count is every trainable number of the generator (mapping and synthesis) and the discriminator, once;
low-pass filters, noise buffers and moving averages are not trained and do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

from voxflate.config import NetworkConfig
from voxflate.presets import adni64, coca64, coca128


@dataclass(frozen=True)
class PaperCount:
    """One `#param` figure of the paper.

    Attributes:
        setting: Data set and shape.
        model: The row's name in the paper.
        millions: The figure as printed, in millions.
        network: Our reading of the row; None where the model is not built yet.
        reading: What is peculiar about our reading, if anything.
        counts: Whether a difference is an error; false for a reading that is shown for comparison.
    """

    setting: str
    model: str
    millions: float
    network: NetworkConfig | None = None
    reading: str = ""
    counts: bool = True


@dataclass(frozen=True)
class Comparison:
    """A figure of the paper beside ours; `generator` and `discriminator` are None if nothing is built."""

    paper: PaperCount
    generator: int | None
    discriminator: int | None

    @property
    def total(self) -> int | None:
        """Trainable parameters of both networks."""
        if self.generator is None or self.discriminator is None:
            return None
        return self.generator + self.discriminator

    @property
    def agrees(self) -> bool:
        """Whether ours, in millions to three decimals, is the printed figure."""
        return self.total is not None and f"{self.total / 1e6:.3f}" == f"{self.paper.millions:.3f}"

    @property
    def remark(self) -> str:
        """One or two words for a table: equal, differs or not built yet; and the reading."""
        verdict = "not built yet" if self.total is None else "equal" if self.agrees else "differs"
        return f"{verdict}; {self.paper.reading}" if self.paper.reading else verdict


_COCA64, _COCA128, _ADNI64 = "COCA 32x64x64", "COCA 32x128x128", "ADNI 64x64x64"

PAPER_COUNTS: tuple[PaperCount, ...] = (
    # Table 3
    PaperCount(_COCA64, "Baseline", 0.600, coca64("baseline").network),
    PaperCount(_COCA64, "Group-D", 0.434, coca64("group-d").network),
    PaperCount(_COCA64, "Depthwise-D", 0.367, coca64("depthwise-d").network),
    PaperCount(_COCA64, "Split&Shuffle-D", 0.416, coca64("split-shuffle-d").network),
    PaperCount(_COCA64, "Split", 0.291, coca64("split").network),
    PaperCount(_COCA64, "Split&Shuffle", 0.291, coca64("split-shuffle").network),
    # Table 5
    PaperCount(_COCA128, "Baseline", 2.628, coca128("baseline").network),
    PaperCount(
        _COCA128,
        "Split&Shuffle",
        1.414,
        coca128("split-shuffle", symmetric_d=True).network,
        "3x3x3 in both branches of D",
    ),
    PaperCount(
        _COCA128,
        "Split&Shuffle",
        1.414,
        coca128("split-shuffle").network,
        "3x3x3 and 1x1x1, as in the text (1.121)",
        counts=False,
    ),
    # Tables 6 and 7
    PaperCount(_ADNI64, "3D-StyleGAN2", 0.633, adni64("baseline").network),
    PaperCount(_ADNI64, "Split&Shuffle", 0.325, adni64("split-shuffle").network),
    PaperCount(_COCA64, "3D-WGAN-GP", 1.399),
    PaperCount(_COCA64, "3D-VAE-GAN", 6.389),
    PaperCount(_COCA64, "3D-alpha-GAN", 2.811),
    PaperCount(_COCA64, "3D-alpha-WGAN-GP", 2.811),
    PaperCount(_ADNI64, "3D-WGAN-GP", 1.817),
    PaperCount(_ADNI64, "3D-VAE-GAN", 11.001),
    PaperCount(_ADNI64, "3D-alpha-GAN", 3.635),
    PaperCount(_ADNI64, "3D-alpha-WGAN-GP", 3.635),
)


def compare_counts() -> list[Comparison]:
    """Build every row's networks and count their trainable parameters."""
    return [Comparison(row, *_count(row.network)) for row in PAPER_COUNTS]


def differences(comparisons: list[Comparison]) -> list[Comparison]:
    """The rows that should equal the paper and do not; rows that are not built yet are among them."""
    return [row for row in comparisons if row.paper.counts and not row.agrees]


def count_parameters(network: NetworkConfig, spatial_dims: int = 3) -> tuple[int, int]:
    """Trainable parameters of the generator and of the discriminator.

    Args:
        network: Which networks to build.
        spatial_dims: 2 for the twin, 3 for the volume networks.
    """
    # PyTorch takes a second to load: only for those who count.
    from voxflate.build import build_networks

    generator, discriminator = (
        sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
        for module in build_networks(network, spatial_dims)
    )
    return generator, discriminator


def _count(network: NetworkConfig | None) -> tuple[int | None, int | None]:
    return (None, None) if network is None else count_parameters(network)
