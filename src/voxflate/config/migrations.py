"""Migrations: turn settings of older versions into settings of the current version.

A run's `config.toml` names every setting of its version, and its meaning must not change. So a migration also
says what runs did before a setting existed, and which value a missing setting stood for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from voxflate.config.schema import VERSION
from voxflate.config.values import Values, nested, overlay

UNNAMED_IN_1: Mapping[str, Any] = nested(
    {
        "preset": "",
        "data": "",
        "model": "stylegan2",
        "network.architecture": "split-shuffle",
        "network.base": (2, 4, 4),
        "network.stages": 4,
        "network.channels": 32,
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
        "start.strategy": "none",
        "start.modules": "gd",
        "start.twin": "",
        "training.phase": "3d",
        "training.twin": "plain",
        "training.min_content": 0.0,
        "training.kimg": 60.0,
        "training.batch": 8,
        "training.micro_batch": 0,
        "training.activation_checkpointing": False,
        "training.lr_g": 0.0025,
        "training.lr_d": 0.0025,
        "training.lr_decay": 1.0,
        "training.r1_gamma": 0.0512,
        "training.r1_every": 16,
        "training.mbstd_group": 4,
        "training.ema_halflife_fraction": 0.05,
        "training.ema_kimg": 0.0,
        "training.freeze_g_kimg": 0.0,
        "training.train_noise": True,
        "training.flip": False,
        "training.augment": "",
        "training.augment_p": 1.0,
        "training.precision": "auto",
        "training.tf32": True,
        "training.autotune": True,
        "training.kernels": "auto",
        "training.compile": "off",
        "training.device": "auto",
        "training.threads": 0,
        "training.snapshot_kimg": 5.0,
        "training.keep": 2,
        "training.seed": 0,
        "training.reuse_fakes": False,
        "training.restores": 0,
        "training.restore_lr": 0.5,
        "slice_discriminator.weight": 0.0,
        "slice_discriminator.per_volume": 1,
        "slice_discriminator.side": 64,
        "slice_discriminator.lr_s": 0.001,
        "slice_discriminator.spectral_norm": False,
        "slice_discriminator.ramp_kimg": 0.0,
        "slice_discriminator.channels": "colours",
        "slice_discriminator.features": "efficientnet-lite0",
        "comparison.critic_steps": 1,
        "comparison.gp_lambda": 10.0,
        "comparison.reconstruction": 10.0,
        "comparison.kl": 1.0,
        "comparison.beta1": 0.0,
        "comparison.beta2": 0.9,
        "evaluation.samples": 192,
        "evaluation.extractor": "mobilenetv2",
        "evaluation.every": 1,
        "evaluation.diversity_floor": 0.1,
    }
)
"""Defaults of version 1, the same for every phase, start and preset."""


def migrate(content: Values) -> dict[str, Any]:
    """Migrate settings, as TOML gives them, to the current version.

    Args:
        content: Nested settings; without a `version`, they come from a run made before versions existed.

    Raises:
        ValueError: If the version is unknown.
    """
    version = content.get("version", 0)
    if not isinstance(version, int) or (version != VERSION and version not in MIGRATIONS):
        raise ValueError(
            f"has version = {version!r}, this voxflate reads {min(MIGRATIONS)} to {VERSION}; update voxflate"
        )
    settings = dict(content)
    for older in range(version, VERSION):
        settings = MIGRATIONS[older](settings) | {"version": older + 1}
    return settings


def _from_0(content: dict[str, Any]) -> dict[str, Any]:
    """From runs made before versions existed: names and meanings are the same."""
    return content


def _from_1(content: dict[str, Any]) -> dict[str, Any]:
    """In version 1, missing settings had fixed defaults, and a preset was only a label."""
    return overlay(UNNAMED_IN_1, content)


def _from_2(content: dict[str, Any]) -> dict[str, Any]:
    """In version 2, the heads of the slice discriminator were never kept at their norm (decision 0198)."""
    return overlay(nested({"slice_discriminator.spectral_norm": False}), content)


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {0: _from_0, 1: _from_1, 2: _from_2}
"""By version: the function that turns its settings into those of the next version."""
