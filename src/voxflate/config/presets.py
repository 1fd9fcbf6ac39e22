"""Presets: our reading of the rows of the paper's Tables 1 to 7, as settings.

`NAME` is the row as printed; `NAME@bench` is the same row with one stage fewer and a much shorter
run, for two CPU cores. A row names every setting that changes results, so its meaning stays the same
when a default improves. The numbers printed in the paper are in `paper_rows`.

To add a row: write it with `coca64`, `coca128`, `adni64` or `comparison`, add one line to `_ROWS` and its
numbers to `PAPER_ROWS`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from voxflate._system.errors import VoxflateError
from voxflate.config.identity import NOT_OF_THE_ROW
from voxflate.config.paper_rows import (
    ADNI_VOLUMES,
    BATCH,
    COCA_VOLUMES,
    KIMG_2D,
    KIMG_3D,
    LR_FROM_SCRATCH,
    LR_INFLATED,
    PAPER_ROWS,
    R1_GAMMA,
    PaperRow,
)
from voxflate.config.values import Values

Phase = Literal["2d", "3d"]

SCALES = ("paper", "bench")

LEFT_OPEN = (
    *NOT_OF_THE_ROW,
    "slice_discriminator.per_volume",
    "slice_discriminator.side",
    "slice_discriminator.lr_s",
    "slice_discriminator.spectral_norm",
    "slice_discriminator.ramp_kimg",
    "slice_discriminator.channels",
    "slice_discriminator.features",
    "evaluation.every",
    "evaluation.diversity_floor",
)
"""Settings that a row leaves open: folders, devices, what is kept and reported, and the settings of the slice
discriminator, which no row uses."""

# "StyleGAN2 configuration, with the following exceptions" (Sec. 4.2.3). Decision 0010: what that leaves open.
_PAPER: Values = {
    "model": "stylegan2",
    "network.finest_channels": 0,
    "network.image_channels": 1,
    "network.label_width": 0,
    "network.z_dim": 64,
    "network.w_dim": 64,
    "network.mapping_layers": 8,
    "network.symmetric_d": False,
    "network.position": False,
    "network.low_pass_d": True,
    "network.critic_norm": "batch",
    "training.phase": "3d",
    "training.twin": "plain",
    "training.min_content": 0.0,
    "training.kimg": KIMG_3D,
    "training.batch": BATCH,
    "training.lr_decay": 1.0,
    "training.r1_gamma": R1_GAMMA,
    "training.r1_every": 16,
    "training.mbstd_group": 4,
    "training.ema_halflife_fraction": 0.05,
    "training.ema_kimg": 10.0,
    "training.freeze_g_kimg": 0.0,
    "training.train_noise": True,
    "training.flip": False,
    "training.augment": "",
    "training.augment_p": 1.0,
    "training.precision": "auto",
    "training.snapshot_kimg": 200,
    "training.seed": 0,
    "training.reuse_fakes": False,
    "training.restores": 0,
    "training.restore_lr": 0.5,
    "slice_discriminator.weight": 0.0,
    "comparison.critic_steps": 1,
    "comparison.gp_lambda": 10.0,
    "comparison.reconstruction": 10.0,
    "comparison.kl": 1.0,
    "comparison.beta1": 0.0,
    "comparison.beta2": 0.9,
    "evaluation.extractor": "mobilenetv2",
}
_PAPER_2D: Values = {
    "training.phase": "2d",
    "training.kimg": KIMG_2D,
    "training.lr_g": LR_FROM_SCRATCH,
    "training.lr_d": LR_FROM_SCRATCH,
    "start.strategy": "none",
    "start.modules": "gd",
}
_BENCH: Values = {
    "training.kimg": 60,
    "training.batch": 8,
    "training.snapshot_kimg": 5,
    "evaluation.samples": 192,
}
_BENCH_2D: Values = {"training.kimg": 200, "training.snapshot_kimg": 20}
_BENCH_CHANNELS: Values = {"network.channels": 32}

_COMPARISON: Values = {
    "network.architecture": "baseline",
    "network.channels": 128,
    "network.z_dim": 100,
    "start.strategy": "none",
    "training.lr_g": 0.0002,
    "training.lr_d": 0.0002,
}
# Decision 0051 says which weights of losses are from the models' own papers; rates and betas are our choice.
COMPARISON_MODELS: Mapping[str, Values] = {
    "wgan-gp": {
        **_COMPARISON,
        "training.lr_g": 0.0001,
        "training.lr_d": 0.0001,
        "comparison.critic_steps": 5,
        "comparison.beta1": 0.0,
    },
    "vae-gan": {**_COMPARISON, "comparison.beta1": 0.5, "comparison.beta2": 0.999},
    "alpha-gan": {**_COMPARISON, "comparison.beta1": 0.5},
    "alpha-wgan-gp": {**_COMPARISON, "comparison.beta1": 0.5},
}
"""Networks, rates and losses of the comparison models, by name."""


def coca64(architecture: str = "baseline", strategy: str = "none", modules: str = "gd") -> dict[str, Any]:
    """Heart CT at 32x64x64, the setting of Tables 1 to 4 (Sec. 4.2)."""
    lr = LR_FROM_SCRATCH if strategy == "none" else LR_INFLATED
    return {
        **_PAPER,
        "network.architecture": architecture,
        "network.base": (2, 4, 4),
        "network.stages": 5,
        "network.channels": 32,
        "start.strategy": strategy,
        "start.modules": modules,
        "training.lr_g": lr,
        "training.lr_d": lr,
        "evaluation.samples": COCA_VOLUMES,
    }


def coca128(architecture: str, strategy: str = "none", symmetric_d: bool = False) -> dict[str, Any]:
    """Heart CT at 32x128x128 with 64 channels, the setting of Table 5 (Sec. 4.3.3)."""
    return {
        **coca64(architecture, strategy),
        "network.base": (1, 4, 4),
        "network.stages": 6,
        "network.channels": 64,
        "network.symmetric_d": symmetric_d,
    }


def adni64(architecture: str, strategy: str = "none") -> dict[str, Any]:
    """Brain MRI at 64x64x64, the setting of Table 7."""
    return {
        **coca64(architecture, strategy),
        "network.base": (4, 4, 4),
        "evaluation.samples": ADNI_VOLUMES,
    }


def comparison(model: str, row: Values) -> dict[str, Any]:
    """A comparison model of Tables 6 and 7, on the data of `row`."""
    return {**row, "model": model, **COMPARISON_MODELS[model]}


_ROWS: Mapping[str, Values] = {
    # Table 1: strategies on the baseline.
    "coca64-baseline": coca64(),
    "coca64-baseline-inflate-1": coca64(strategy="inflate-1"),
    "coca64-baseline-inflate-2": coca64(strategy="inflate-2"),
    "coca64-baseline-inflate-3": coca64(strategy="inflate-3"),
    "coca64-baseline-inflate-asc": coca64(strategy="inflate-asc"),
    "coca64-baseline-inflate-nwi": coca64(strategy="inflate-nwi"),
    # Table 2: the generator or the discriminator alone.
    "coca64-baseline-inflate-1-g": coca64(strategy="inflate-1", modules="g"),
    "coca64-baseline-inflate-1-d": coca64(strategy="inflate-1", modules="d"),
    "coca64-baseline-inflate-asc-g": coca64(strategy="inflate-asc", modules="g"),
    "coca64-baseline-inflate-asc-d": coca64(strategy="inflate-asc", modules="d"),
    "coca64-baseline-inflate-nwi-g": coca64(strategy="inflate-nwi", modules="g"),
    "coca64-baseline-inflate-nwi-d": coca64(strategy="inflate-nwi", modules="d"),
    # Table 3: architectures from scratch.
    "coca64-group-d": coca64("group-d"),
    "coca64-depthwise-d": coca64("depthwise-d"),
    "coca64-split-shuffle-d": coca64("split-shuffle-d"),
    "coca64-split": coca64("split"),
    "coca64-split-shuffle": coca64("split-shuffle"),
    # Table 4: architectures with inflate-1.
    "coca64-group-d-inflate-1": coca64("group-d", "inflate-1"),
    "coca64-depthwise-d-inflate-1": coca64("depthwise-d", "inflate-1"),
    "coca64-split-shuffle-d-inflate-1": coca64("split-shuffle-d", "inflate-1"),
    "coca64-split-inflate-1": coca64("split", "inflate-1"),
    "coca64-split-shuffle-inflate-1": coca64("split-shuffle", "inflate-1"),
    # Table 5: 128x128. The paper does not say how its Split&Shuffle starts (decision 0010).
    "coca128-baseline": coca128("baseline"),
    "coca128-split-shuffle-inflate-1": coca128("split-shuffle", "inflate-1", symmetric_d=True),
    "coca128-split-shuffle-text-inflate-1": coca128("split-shuffle", "inflate-1"),
    # Table 7: brains.
    "adni64-baseline": adni64("baseline"),
    "adni64-split-shuffle-inflate-1": adni64("split-shuffle", "inflate-1"),
    # Tables 6 and 7: the comparison models.
    "coca64-wgan-gp": comparison("wgan-gp", coca64()),
    "coca64-vae-gan": comparison("vae-gan", coca64()),
    "coca64-alpha-gan": comparison("alpha-gan", coca64()),
    "coca64-alpha-wgan-gp": comparison("alpha-wgan-gp", coca64()),
    "adni64-wgan-gp": comparison("wgan-gp", adni64("baseline")),
    "adni64-vae-gan": comparison("vae-gan", adni64("baseline")),
    "adni64-alpha-gan": comparison("alpha-gan", adni64("baseline")),
    "adni64-alpha-wgan-gp": comparison("alpha-wgan-gp", adni64("baseline")),
}


@dataclass(frozen=True)
class Preset:
    """Our reading of a row of the paper.

    Attributes:
        values: The 3D run at paper scale: every setting but `LEFT_OPEN`, by dotted key.
        row: The row as printed in the paper.
        reading: Where our reading had to choose, if anywhere.
        exact: Whether its parameter count must equal the paper's; false for a second reading of a row.
    """

    values: Values
    row: PaperRow
    reading: str = ""
    exact: bool = True


# Two presets read the same row (decision 0015).
_SECOND_READINGS: Mapping[str, str] = {
    "coca128-split-shuffle-text-inflate-1": "coca128-split-shuffle-inflate-1",
}
_READINGS: Mapping[str, str] = {
    "coca128-split-shuffle-inflate-1": "3x3x3 in both branches of D",
    "coca128-split-shuffle-text-inflate-1": "3x3x3 and 1x1x1 in D, as in the text",
}
PRESETS: Mapping[str, Preset] = {
    name: Preset(
        values,
        PAPER_ROWS[_SECOND_READINGS.get(name, name)],
        _READINGS.get(name, ""),
        name not in _SECOND_READINGS,
    )
    for name, values in _ROWS.items()
}

_IS_THE_ROW = (
    "model",
    "network.architecture",
    "network.finest_channels",
    "network.image_channels",
    "network.label_width",
    "network.mapping_layers",
    "network.symmetric_d",
    "network.low_pass_d",
    "network.position",
    "start.strategy",
    "start.modules",
    "training.augment",
    "slice_discriminator.weight",
)
"""Settings that make another method, or networks of another kind, of a row if they change."""


def preset_values(name: str, phase: str = "3d") -> dict[str, Any]:
    """Settings of a preset by dotted key, for its 3D run or for the 2D run before it.

    Args:
        name: A key of `PRESETS`, with `@bench` for two CPU cores: one stage fewer (half of every side),
            32 channels (the comparison models keep theirs), batch 8, 200 kimg in 2D and 60 kimg in 3D.
        phase: "2d" gives the twin's pre-training: the same networks, from scratch.

    Raises:
        ValueError: If there is no such preset; suggests the nearest.
    """
    preset, bench = _find(name)
    values = dict(preset.values)
    if bench:
        values |= {**_BENCH, "network.stages": values["network.stages"] - 1}
    if bench and values["model"] not in COMPARISON_MODELS:
        values |= _BENCH_CHANNELS
    if phase == "2d":
        values |= {**_PAPER_2D, **(_BENCH_2D if bench else {})}
    return values


def rows_of(names: Sequence[str]) -> list[PaperRow]:
    """The paper's rows of presets.

    Raises:
        VoxflateError: If there is no such preset; suggests the nearest.
    """
    try:
        return [_find(name)[0].row for name in names]
    except ValueError as error:
        raise VoxflateError(str(error)) from error


def _find(name: str) -> tuple[Preset, bool]:
    """Split a preset's name into the preset and whether `@bench` was given."""
    row, at, scale = name.partition("@")
    if row not in PRESETS or (at and scale not in SCALES):
        known = [*PRESETS, *(f"{row}@bench" for row in PRESETS)]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else "`voxflate presets` lists them"
        raise ValueError(f"preset = {name}: no such preset; {hint}")
    return PRESETS[row], scale == "bench"


def paper_row(values: Values) -> PaperRow | None:
    """The row of the paper that a run reproduces, or None.

    It is the row of the run's preset, unless a setting of `_IS_THE_ROW` was changed. A shorter run, a smaller
    volume or another seed does not change the row.

    Args:
        values: All settings of the run by dotted key.
    """
    found = PRESETS.get(values["preset"].partition("@")[0])
    if found is None or any(values[key] != found.values[key] for key in _IS_THE_ROW):
        return None
    return found.row
