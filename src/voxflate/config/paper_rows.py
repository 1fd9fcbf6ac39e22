"""The paper's figures of Tables 6 to 8, for printing beside ours; nothing is ever asserted against them.

They come from other data, other budgets and the Inception network: compare the order of the rows only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from voxflate.config.schema import RunConfig

DATA_SETS = ("COCA", "ADNI")
_BRAIN_RECIPES = ("adni", "mr")


@dataclass(frozen=True)
class PaperFigures:
    """A row of Table 6 (COCA, heart CT) or 7 (ADNI, brain MR), with its part of Table 8.

    Attributes:
        millions: Trainable parameters, millions.
        fid: FID-ax, -sag, -cor and -avg.
        psnr: dB.
        ms_ssim: Over pairs of generated volumes.
    """

    millions: float
    fid: tuple[float, float, float, float]
    psnr: float
    ms_ssim: float


PAPER_FIGURES: Mapping[str, Mapping[str, PaperFigures]] = {
    "COCA": {
        "3D-WGAN-GP": PaperFigures(1.399, (191, 223, 191, 201.7), 16.22, 0.9988),
        "3D-VAE-GAN": PaperFigures(6.389, (196, 281, 272, 249.7), 16.38, 0.8436),
        "3D-alpha-GAN": PaperFigures(2.811, (91, 88, 80, 86.3), 16.19, 0.8288),
        "3D-alpha-WGAN-GP": PaperFigures(2.811, (70, 86, 69, 75.0), 15.82, 0.7916),
        "3D-StyleGAN2": PaperFigures(0.600, (104, 92, 112, 102.7), 16.04, 0.8362),
        "Split&Shuffle": PaperFigures(0.291, (46, 66, 63, 58.3), 16.56, 0.7513),
    },
    "ADNI": {
        "3D-WGAN-GP": PaperFigures(1.817, (161, 161, 231, 184.3), 27.11, 0.9945),
        "3D-VAE-GAN": PaperFigures(11.001, (167, 122, 224, 171.0), 27.03, 0.9719),
        "3D-alpha-GAN": PaperFigures(3.635, (73, 77, 99, 83.0), 27.42, 0.8750),
        "3D-alpha-WGAN-GP": PaperFigures(3.635, (74, 72, 87, 77.7), 27.71, 0.8678),
        "3D-StyleGAN2": PaperFigures(0.633, (114, 89, 99, 100.7), 27.80, 0.8999),
        "Split&Shuffle": PaperFigures(0.325, (65, 67, 82, 71.3), 28.57, 0.8488),
    },
}


def paper_model(config: RunConfig) -> str | None:
    """The row of Tables 6 and 7 that a run's model belongs to, or None.

    The baseline is 3D-StyleGAN2 only from scratch, Split&Shuffle the paper's method only when inflated.
    """
    model = getattr(config, "model", "stylegan2")
    if model != "stylegan2":
        name = "3D-" + model.upper().replace("ALPHA", "alpha")
        return name if name in PAPER_FIGURES["COCA"] else None
    inflated = config.start.strategy != "none"
    if config.network.architecture == "baseline" and not inflated:
        return "3D-StyleGAN2"
    return "Split&Shuffle" if config.network.architecture == "split-shuffle" and inflated else None


def paper_figures(config: RunConfig, recipe: str) -> PaperFigures | None:
    """The paper's row beside which a run's figures are printed.

    Args:
        config: The run's settings.
        recipe: Recipe that its data were prepared with; MR stands beside ADNI, CT beside COCA.
    """
    model = paper_model(config)
    rows = PAPER_FIGURES["ADNI" if recipe in _BRAIN_RECIPES else "COCA"]
    return rows.get(model) if model else None
