"""The numbers printed in the paper, once: every row of its Tables 1 to 8.

Presets, parameter counts and the rows printed next to ours read them from here. No test asserts the
distances: they come from other data, other budgets and the Inception network. Parameter counts are asserted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

COCA_64, COCA_128, ADNI_64 = "COCA 32x64x64", "COCA 32x128x128", "ADNI 64x64x64"

KIMG_2D, KIMG_3D, BATCH = 25_000, 5_000, 128
"""Length of a 2D and a 3D run in thousands of images, and images per step (Sec. 4.2.3)."""
LR_FROM_SCRATCH, LR_INFLATED, R1_GAMMA = 0.0025, 0.002, 0.0512
"""Learning rates by start, and the weight of the R1 penalty (Sec. 4.2.3)."""
COCA_VOLUMES, ADNI_VOLUMES = 787, 991
"""Number of volumes in the data sets (Sec. 4.1.1)."""


@dataclass(frozen=True)
class PaperRow:
    """One trained model of the paper; it may be printed in several tables.

    Attributes:
        setting: Data set and shape.
        labels: The row's name by table number. Rows with a PSNR are also in Table 8.
        fid: FID-ax, -sag, -cor and -avg.
        millions: Trainable parameters in millions; None if no table prints them.
        psnr: PSNR in dB (Table 8).
        ms_ssim: MS-SSIM over pairs of generated volumes (Table 8).
        fid_2d: FID of the 2D network that the model starts from (Table 4).
    """

    setting: str
    labels: Mapping[int, str]
    fid: tuple[float, float, float, float]
    millions: float | None = None
    psnr: float | None = None
    ms_ssim: float | None = None
    fid_2d: float | None = None

    @property
    def tables(self) -> str:
        """The numbers of the tables that print the row, separated by commas."""
        return ", ".join(map(str, self.labels))

    @property
    def label(self) -> str:
        """Every name of the row in the tables."""
        return " / ".join(dict.fromkeys(self.labels.values()))


PAPER_ROWS: Mapping[str, PaperRow] = {
    # Table 1: strategies on the baseline. Table 2: the generator or the discriminator alone.
    "coca64-baseline": PaperRow(
        COCA_64,
        {1: "No Inflate", 3: "Baseline", 6: "3D-StyleGAN2"},
        (104, 92, 112, 102.7),
        0.600,
        16.04,
        0.8362,
    ),
    "coca64-baseline-inflate-1": PaperRow(
        COCA_64, {1: "Inflate-1", 2: "Inflate-1, G&D", 4: "Baseline"}, (60, 83, 76, 73.0), 0.600, fid_2d=7.7
    ),
    "coca64-baseline-inflate-2": PaperRow(COCA_64, {1: "Inflate-2"}, (68, 133, 110, 103.7)),
    "coca64-baseline-inflate-3": PaperRow(COCA_64, {1: "Inflate-3"}, (89, 119, 110, 106.0)),
    "coca64-baseline-inflate-asc": PaperRow(
        COCA_64, {1: "Inflate-ASC", 2: "Inflate-ASC, G&D"}, (79, 108, 83, 90.0)
    ),
    "coca64-baseline-inflate-nwi": PaperRow(
        COCA_64, {1: "Inflate-NWI", 2: "Inflate-NWI, G&D"}, (85, 87, 83, 85.0)
    ),
    "coca64-baseline-inflate-1-g": PaperRow(COCA_64, {2: "Inflate-1, G"}, (105, 82, 88, 91.7)),
    "coca64-baseline-inflate-1-d": PaperRow(COCA_64, {2: "Inflate-1, D"}, (85, 94, 104, 94.3)),
    "coca64-baseline-inflate-asc-g": PaperRow(COCA_64, {2: "Inflate-ASC, G"}, (93, 96, 94, 94.3)),
    "coca64-baseline-inflate-asc-d": PaperRow(COCA_64, {2: "Inflate-ASC, D"}, (123, 113, 127, 121.0)),
    "coca64-baseline-inflate-nwi-g": PaperRow(COCA_64, {2: "Inflate-NWI, G"}, (85, 91, 94, 90.0)),
    "coca64-baseline-inflate-nwi-d": PaperRow(COCA_64, {2: "Inflate-NWI, D"}, (90, 92, 98, 93.3)),
    # Table 3: architectures from scratch.
    "coca64-group-d": PaperRow(COCA_64, {3: "Group-D"}, (80, 130, 105, 105.0), 0.434),
    "coca64-depthwise-d": PaperRow(COCA_64, {3: "Depthwise-D"}, (67, 136, 117, 106.7), 0.367),
    "coca64-split-shuffle-d": PaperRow(COCA_64, {3: "Split&Shuffle-D"}, (84, 121, 118, 107.7), 0.416),
    "coca64-split": PaperRow(COCA_64, {3: "Split"}, (109, 151, 146, 135.3), 0.291),
    "coca64-split-shuffle": PaperRow(COCA_64, {3: "Split&Shuffle"}, (85, 113, 91, 96.3), 0.291),
    # Table 4: architectures with inflate-1.
    "coca64-group-d-inflate-1": PaperRow(COCA_64, {4: "Group-D"}, (78, 76, 76, 76.7), 0.434, fid_2d=10.9),
    "coca64-depthwise-d-inflate-1": PaperRow(
        COCA_64, {4: "Depthwise-D"}, (87, 129, 84, 100.0), 0.367, fid_2d=14.0
    ),
    "coca64-split-shuffle-d-inflate-1": PaperRow(
        COCA_64, {4: "Split&Shuffle-D"}, (95, 112, 101, 102.7), 0.416, fid_2d=10.6
    ),
    "coca64-split-inflate-1": PaperRow(COCA_64, {4: "Split"}, (120, 144, 106, 123.3), 0.291, fid_2d=12.2),
    "coca64-split-shuffle-inflate-1": PaperRow(
        COCA_64,
        {4: "Split&Shuffle", 6: "Split&Shuffle (Ours)"},
        (46, 66, 63, 58.3),
        0.291,
        16.56,
        0.7513,
        fid_2d=11.6,
    ),
    # Table 5: 128x128.
    "coca128-baseline": PaperRow(COCA_128, {5: "Baseline"}, (92, 103, 81, 92.0), 2.628),
    "coca128-split-shuffle-inflate-1": PaperRow(COCA_128, {5: "Split&Shuffle"}, (55, 67, 34, 52.0), 1.414),
    # Table 6: comparison models on hearts.
    "coca64-wgan-gp": PaperRow(COCA_64, {6: "3D-WGAN-GP"}, (191, 223, 191, 201.7), 1.399, 16.22, 0.9988),
    "coca64-vae-gan": PaperRow(COCA_64, {6: "3D-VAE-GAN"}, (196, 281, 272, 249.7), 6.389, 16.38, 0.8436),
    "coca64-alpha-gan": PaperRow(COCA_64, {6: "3D-alpha-GAN"}, (91, 88, 80, 86.3), 2.811, 16.19, 0.8288),
    "coca64-alpha-wgan-gp": PaperRow(
        COCA_64, {6: "3D-alpha-WGAN-GP"}, (70, 86, 69, 75.0), 2.811, 15.82, 0.7916
    ),
    # Table 7: brains.
    "adni64-baseline": PaperRow(ADNI_64, {7: "3D-StyleGAN2"}, (114, 89, 99, 100.7), 0.633, 27.80, 0.8999),
    "adni64-split-shuffle-inflate-1": PaperRow(
        ADNI_64, {7: "Split&Shuffle (Ours)"}, (65, 67, 82, 71.3), 0.325, 28.57, 0.8488
    ),
    "adni64-wgan-gp": PaperRow(ADNI_64, {7: "3D-WGAN-GP"}, (161, 161, 231, 184.3), 1.817, 27.11, 0.9945),
    "adni64-vae-gan": PaperRow(ADNI_64, {7: "3D-VAE-GAN"}, (167, 122, 224, 171.0), 11.001, 27.03, 0.9719),
    "adni64-alpha-gan": PaperRow(ADNI_64, {7: "3D-alpha-GAN"}, (73, 77, 99, 83.0), 3.635, 27.42, 0.8750),
    "adni64-alpha-wgan-gp": PaperRow(
        ADNI_64, {7: "3D-alpha-WGAN-GP"}, (74, 72, 87, 77.7), 3.635, 27.71, 0.8678
    ),
}
"""By preset name; `presets` says which settings we read from a row."""
