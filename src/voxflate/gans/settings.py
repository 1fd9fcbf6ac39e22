"""Plain settings of networks and steps, made from a configuration by `config.build`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkPlan:
    """Plain settings of the networks; `config.schema.NetworkConfig` explains them.

    Attributes:
        spatial_dims: 3, or 2 for a twin.
        planar: Whether the twin is planar.
        mbstd_group: Samples per group of the minibatch standard deviation.
    """

    base: tuple[int, int, int]
    stages: int
    channels: int
    z_dim: int
    image_channels: int = 1
    label_width: int = 0
    w_dim: int = 64
    mapping_layers: int = 8
    architecture: str = "baseline"
    symmetric_d: bool = False
    position: bool = False
    low_pass_d: bool = True
    critic_norm: str = "batch"
    finest_channels: int = 0
    spatial_dims: int = 3
    planar: bool = False
    mbstd_group: int = 4

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of the volume, [D, H, W]."""
        return tuple(side * 2 ** (self.stages - 1) for side in self.base)


@dataclass(frozen=True)
class SliceSettings:
    """Plain settings of the slice discriminator; `config.schema.SliceConfig` explains them."""

    weight: float = 1.0
    per_volume: int = 1
    side: int = 64
    lr: float = 0.001
    ramp_images: int = 0
    channels: str = "colours"
    group: int = 4
    features: str = "efficientnet-lite0"


@dataclass(frozen=True)
class Settings:
    """Plain settings of the steps; `config.schema`'s `TrainingConfig` and `ComparisonConfig` explain them."""

    lr_g: float = 0.0025
    lr_d: float = 0.0025
    r1_gamma: float = 0.0512
    r1_every: int = 16
    augmentations: Sequence[str] = ()
    augment_p: float = 1.0
    reuse_fakes: bool = False
    train_noise: bool = True
    autocast: bool = False
    betas: tuple[float, float] = (0.0, 0.9)
    critic_steps: int = 1
    gp_lambda: float = 10.0
    reconstruction: float = 10.0
    kl: float = 1.0
    seed: int = 0
    micro_batch: int = 0
    compile: str = "off"
    slices: SliceSettings | None = None
