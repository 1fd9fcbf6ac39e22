"""Named settings: every row of the paper's Tables 1 to 7, and what we recommend ourselves.

A row is a function of the rows it differs from, plus one line in `PRESETS`. `NAME` is the row as printed;
`NAME@bench` is the same row one stage smaller and much shorter, for two CPU cores. The paper's rows set
every value they depend on, so that a better default never changes what they mean.

To add a row: write it with `coca64`, `coca128`, `adni64` or `comparison` and add one line to `PRESETS`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from voxflate._system.errors import VoxflateError
from voxflate.config.schema import DEFAULT_MODEL, STRATEGIES, RunConfig
from voxflate.config.toml import with_values

Phase = Literal["2d", "3d"]

SCALES = ("paper", "bench")
DEFAULT_STRATEGY = "preserving"
"""How `voxflate train --start RUN` inflates a plain twin when nobody says how."""


@dataclass(frozen=True)
class Preset:
    """One row of one or more of the paper's tables.

    Attributes:
        run: The 3D run at paper scale.
        tables: The tables that print the row.
        label: The row's name there.
        fid: FID-ax, -sag, -cor and -avg as printed. They are shown beside ours and never asserted.
        psnr: PSNR in dB, as printed in Table 8; None where it has no such row.
        ms_ssim: MS-SSIM, likewise.
    """

    run: RunConfig
    tables: str
    label: str
    fid: tuple[float, float, float, float]
    psnr: float | None = None
    ms_ssim: float | None = None


# What every row of the paper shares; "StyleGAN2 configuration, with the following exceptions" (Sec. 4.2.3).
_PAPER_TRAINING: Mapping[str, Any] = {
    "training.kimg": 5000,
    "training.batch": 128,
    "training.lr_decay": 1.0,
    "training.r1_gamma": 0.0512,
    "training.r1_every": 16,
    "training.mbstd_group": 4,
    "training.ema_halflife_fraction": 0.05,
    "training.ema_kimg": 10.0,
    "training.freeze_g_kimg": 0.0,
    "training.train_noise": True,
    "training.flip": False,
    "training.augment": "",
    "training.reuse_fakes": False,
    "training.min_content": 0.0,
    "training.snapshot_kimg": 200,
}
_PAPER_2D_KIMG = 25000

_BENCH_TRAINING: Mapping[str, Any] = {
    "training.kimg": 60,
    "training.batch": 8,
    "training.snapshot_kimg": 5,
    "evaluation.samples": 192,
}
_BENCH_CHANNELS = 32
_BENCH_2D: Mapping[str, Any] = {"training.kimg": 200, "training.snapshot_kimg": 20}
_FROM_SCRATCH_2D: Mapping[str, Any] = {
    "training.phase": "2d",
    "training.lr_g": 0.0025,
    "training.lr_d": 0.0025,
    "start.strategy": "none",
    "start.modules": "gd",
}
_INFLATED: Mapping[str, Any] = {"training.lr_g": 0.002, "training.lr_d": 0.002}
_RECIPES: Mapping[str, Mapping[str, Any]] = {
    **{name: _INFLATED for name in STRATEGIES if name != "none"},
    "preserving": {**_INFLATED, "training.train_noise": False},
    "planar": {
        "network.position": True,
        "network.low_pass_d": True,
        "training.lr_g": 0.001,
        "training.lr_d": 0.001,
        "training.freeze_g_kimg": 0.5,
        "training.train_noise": False,
    },
}

# A discriminator that sees the finest textures (decision 0072); in 2D it also learns faster than G.
_OURS: Mapping[str, Any] = {"network.low_pass_d": False}
# A planar twin gained nothing from it (decision 0072).
PLANAR_2D: Mapping[str, Any] = {"network.position": True, "network.low_pass_d": True, "training.lr_d": 0.0025}
_OURS_2D: Mapping[str, Any] = {
    **_FROM_SCRATCH_2D,
    **_BENCH_2D,
    **_OURS,
    "training.lr_d": 0.01,
    "training.min_content": 0.02,
}

_COMPARISON: Mapping[str, Any] = {
    "network.architecture": "baseline",
    "network.channels": 128,
    "network.z_dim": 100,
    "start.strategy": "none",
    "training.lr_g": 0.0002,
    "training.lr_d": 0.0002,
}
# The losses' weights and Adam's betas are those of the models' own papers (decision 0051).
_MODELS: Mapping[str, Mapping[str, Any]] = {
    "wgan-gp": {
        "training.lr_g": 0.0001,
        "training.lr_d": 0.0001,
        "comparison.critic_steps": 5,
        "comparison.beta1": 0.0,
    },
    "vae-gan": {"comparison.beta1": 0.5, "comparison.beta2": 0.999},
    "alpha-gan": {"comparison.beta1": 0.5},
    "alpha-wgan-gp": {"comparison.beta1": 0.5},
}


def coca64(architecture: str = "baseline", strategy: str = "none", modules: str = "gd") -> RunConfig:
    """Heart CT at 32x64x64, the setting of Tables 1 to 4 (Sec. 4.2)."""
    lr = 0.0025 if strategy == "none" else 0.002
    return with_values(
        RunConfig(),
        {
            "network.architecture": architecture,
            "network.base": (2, 4, 4),
            "network.stages": 5,
            "network.channels": 32,
            "network.low_pass_d": True,
            "start.strategy": strategy,
            "start.modules": modules,
            **_PAPER_TRAINING,
            "training.lr_g": lr,
            "training.lr_d": lr,
            "evaluation.samples": 787,
        },
    )


def coca128(architecture: str, strategy: str = "none", symmetric_d: bool = False) -> RunConfig:
    """Heart CT at 32x128x128 with 64 channels, the setting of Table 5 (Sec. 4.3.3)."""
    return with_values(
        coca64(architecture, strategy),
        {
            "network.base": (1, 4, 4),
            "network.stages": 6,
            "network.channels": 64,
            "network.symmetric_d": symmetric_d,
        },
    )


def adni64(architecture: str, strategy: str = "none") -> RunConfig:
    """Brain MRI at 64x64x64, the setting of Table 7."""
    return with_values(coca64(architecture, strategy), {"network.base": (4, 4, 4), "evaluation.samples": 991})


def comparison(model: str, row: RunConfig) -> RunConfig:
    """One of the models of Tables 6 and 7 that the paper compares with, on the data of `row`."""
    return with_values(row, {"model": model, **_COMPARISON, **_MODELS[model]})


PRESETS: dict[str, Preset] = {
    # Table 1: strategies on the baseline.
    "coca64-baseline": Preset(
        coca64(), "1, 3, 6", "No Inflate / Baseline", (104, 92, 112, 102.7), 16.04, 0.8362
    ),
    "coca64-baseline-inflate-1": Preset(
        coca64(strategy="inflate-1"), "1, 2, 4", "Inflate-1", (60, 83, 76, 73.0)
    ),
    "coca64-baseline-inflate-2": Preset(
        coca64(strategy="inflate-2"), "1", "Inflate-2", (68, 133, 110, 103.7)
    ),
    "coca64-baseline-inflate-3": Preset(
        coca64(strategy="inflate-3"), "1", "Inflate-3", (89, 119, 110, 106.0)
    ),
    "coca64-baseline-inflate-asc": Preset(
        coca64(strategy="inflate-asc"), "1, 2", "Inflate-ASC", (79, 108, 83, 90.0)
    ),
    "coca64-baseline-inflate-nwi": Preset(
        coca64(strategy="inflate-nwi"), "1, 2", "Inflate-NWI", (85, 87, 83, 85.0)
    ),
    # Table 2: the generator or the discriminator alone.
    "coca64-baseline-inflate-1-g": Preset(
        coca64(strategy="inflate-1", modules="g"), "2", "Inflate-1, G", (105, 82, 88, 91.7)
    ),
    "coca64-baseline-inflate-1-d": Preset(
        coca64(strategy="inflate-1", modules="d"), "2", "Inflate-1, D", (85, 94, 104, 94.3)
    ),
    "coca64-baseline-inflate-asc-g": Preset(
        coca64(strategy="inflate-asc", modules="g"), "2", "Inflate-ASC, G", (93, 96, 94, 94.3)
    ),
    "coca64-baseline-inflate-asc-d": Preset(
        coca64(strategy="inflate-asc", modules="d"), "2", "Inflate-ASC, D", (123, 113, 127, 121.0)
    ),
    "coca64-baseline-inflate-nwi-g": Preset(
        coca64(strategy="inflate-nwi", modules="g"), "2", "Inflate-NWI, G", (85, 91, 94, 90.0)
    ),
    "coca64-baseline-inflate-nwi-d": Preset(
        coca64(strategy="inflate-nwi", modules="d"), "2", "Inflate-NWI, D", (90, 92, 98, 93.3)
    ),
    # Table 3: architectures from scratch.
    "coca64-group-d": Preset(coca64("group-d"), "3", "Group-D", (80, 130, 105, 105.0)),
    "coca64-depthwise-d": Preset(coca64("depthwise-d"), "3", "Depthwise-D", (67, 136, 117, 106.7)),
    "coca64-split-shuffle-d": Preset(
        coca64("split-shuffle-d"), "3", "Split&Shuffle-D", (84, 121, 118, 107.7)
    ),
    "coca64-split": Preset(coca64("split"), "3", "Split", (109, 151, 146, 135.3)),
    "coca64-split-shuffle": Preset(coca64("split-shuffle"), "3", "Split&Shuffle", (85, 113, 91, 96.3)),
    # Table 4: architectures with inflate-1.
    "coca64-group-d-inflate-1": Preset(coca64("group-d", "inflate-1"), "4", "Group-D", (78, 76, 76, 76.7)),
    "coca64-depthwise-d-inflate-1": Preset(
        coca64("depthwise-d", "inflate-1"), "4", "Depthwise-D", (87, 129, 84, 100.0)
    ),
    "coca64-split-shuffle-d-inflate-1": Preset(
        coca64("split-shuffle-d", "inflate-1"), "4", "Split&Shuffle-D", (95, 112, 101, 102.7)
    ),
    "coca64-split-inflate-1": Preset(coca64("split", "inflate-1"), "4", "Split", (120, 144, 106, 123.3)),
    "coca64-split-shuffle-inflate-1": Preset(
        coca64("split-shuffle", "inflate-1"), "4, 6", "Split&Shuffle", (46, 66, 63, 58.3), 16.56, 0.7513
    ),
    # Table 5: 128x128. The paper does not say how its Split&Shuffle starts (decision 0010).
    "coca128-baseline": Preset(coca128("baseline"), "5", "Baseline", (92, 103, 81, 92.0)),
    "coca128-split-shuffle-inflate-1": Preset(
        coca128("split-shuffle", "inflate-1", symmetric_d=True), "5", "Split&Shuffle", (55, 67, 34, 52.0)
    ),
    "coca128-split-shuffle-text-inflate-1": Preset(
        coca128("split-shuffle", "inflate-1"), "5", "Split&Shuffle, D as in the text", (55, 67, 34, 52.0)
    ),
    # Table 7: brains.
    "adni64-baseline": Preset(adni64("baseline"), "7", "3D-StyleGAN2", (114, 89, 99, 100.7), 27.80, 0.8999),
    "adni64-split-shuffle-inflate-1": Preset(
        adni64("split-shuffle", "inflate-1"), "7", "Split&Shuffle (Ours)", (65, 67, 82, 71.3), 28.57, 0.8488
    ),
    # Tables 6 and 7: models of others.
    "coca64-wgan-gp": Preset(
        comparison("wgan-gp", coca64()), "6", "3D-WGAN-GP", (191, 223, 191, 201.7), 16.22, 0.9988
    ),
    "coca64-vae-gan": Preset(
        comparison("vae-gan", coca64()), "6", "3D-VAE-GAN", (196, 281, 272, 249.7), 16.38, 0.8436
    ),
    "coca64-alpha-gan": Preset(
        comparison("alpha-gan", coca64()), "6", "3D-alpha-GAN", (91, 88, 80, 86.3), 16.19, 0.8288
    ),
    "coca64-alpha-wgan-gp": Preset(
        comparison("alpha-wgan-gp", coca64()), "6", "3D-alpha-WGAN-GP", (70, 86, 69, 75.0), 15.82, 0.7916
    ),
    "adni64-wgan-gp": Preset(
        comparison("wgan-gp", adni64("baseline")), "7", "3D-WGAN-GP", (161, 161, 231, 184.3), 27.11, 0.9945
    ),
    "adni64-vae-gan": Preset(
        comparison("vae-gan", adni64("baseline")), "7", "3D-VAE-GAN", (167, 122, 224, 171.0), 27.03, 0.9719
    ),
    "adni64-alpha-gan": Preset(
        comparison("alpha-gan", adni64("baseline")), "7", "3D-alpha-GAN", (73, 77, 99, 83.0), 27.42, 0.8750
    ),
    "adni64-alpha-wgan-gp": Preset(
        comparison("alpha-wgan-gp", adni64("baseline")),
        "7",
        "3D-alpha-WGAN-GP",
        (74, 72, 87, 77.7),
        27.71,
        0.8678,
    ),
}


def preset(name: str, phase: Phase = "3d") -> RunConfig:
    """Settings of a preset, for its 3D run or for the 2D run that precedes it.

    Args:
        name: A key of `PRESETS`, with `@bench` for two CPU cores: one stage fewer (half of every side),
            32 channels (the comparison models keep theirs), batch 8, 200 kimg in 2D and 60 kimg in 3D.
        phase: "2d" gives the twin's pre-training: the same networks, from scratch.

    Raises:
        VoxflateError: If there is no such preset (the nearest is proposed), or it has no twin.
    """
    row, at, scale = name.partition("@")
    if row not in PRESETS or (at and scale not in SCALES):
        known = [*PRESETS, *(f"{row}@bench" for row in PRESETS)]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else "`voxflate presets` lists them"
        raise VoxflateError(f"--preset {name}: no such preset; {hint}")
    config = with_values(PRESETS[row].run, {"preset": name})
    bench = scale == "bench"
    if bench:
        stages = config.network.stages - 1
        config = with_values(config, {"network.stages": stages, **_BENCH_TRAINING})
        if config.model == DEFAULT_MODEL:
            config = with_values(config, {"network.channels": _BENCH_CHANNELS})
    if phase == "2d":
        budget = _BENCH_2D if bench else {"training.kimg": _PAPER_2D_KIMG}
        return with_values(config, {**_FROM_SCRATCH_2D, **budget})
    return config


def recommended(phase: Phase, strategy: str = "none", model: str = DEFAULT_MODEL) -> RunConfig:
    """Our own settings, used where no preset is named (decisions 0017 and 0072 have the evidence).

    Args:
        phase: "2d" or "3d".
        strategy: How the 3D run starts; the learning rates depend on it.
        model: A comparison model brings its own networks and rates.
    """
    if model in _MODELS:
        return comparison(model, RunConfig())
    if phase == "2d":
        return with_values(RunConfig(), _OURS_2D)
    return with_values(RunConfig(), {**_OURS, "start.strategy": strategy, **_RECIPES.get(strategy, {})})
