"""The one place where a configuration becomes objects: names are looked up in the tables here."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from voxflate._system.devices import send
from voxflate._system.distributed import ALONE, World
from voxflate._system.errors import VoxflateError
from voxflate.config.schema import DEFAULT_MODEL, NetworkConfig, RunConfig, SliceConfig, TrainingConfig
from voxflate.data.datasets import PositionedSliceSampler, SliceSampler, VolumeSampler
from voxflate.data.prepared import PreparedSet
from voxflate.gans import GANS
from voxflate.gans.gan import Gan, Model, Networks
from voxflate.gans.settings import NetworkPlan, Settings, SliceSettings
from voxflate.gans.slice_discriminator import with_slices
from voxflate.nn import Discriminator
from voxflate.nn.generator import Synthesis


def build_networks(
    network: NetworkConfig,
    spatial_dims: int,
    *,
    model: str = DEFAULT_MODEL,
    planar: bool = False,
    mbstd_group: int = 4,
    slices: SliceConfig | None = None,
) -> Networks:
    """Build a model's networks with fresh weights from PyTorch's global random state.

    Args:
        network: The networks' settings; `base` is the 3D base.
        spatial_dims: 3, or 2 for the twin (the same settings without the first axis).
        model: Name in `GANS`.
        planar: With `spatial_dims` 2: build the planar twin, whose generator is given the depth.
        mbstd_group: Samples per group of the minibatch standard deviation.
        slices: Adds a slice discriminator where its weight is not 0.
    """
    plan = NetworkPlan(
        **network.model_dump(), spatial_dims=spatial_dims, planar=planar, mbstd_group=mbstd_group
    )
    return choose_model(model, slices or SliceConfig()).networks(plan)


def choose_model(name: str, slices: SliceConfig) -> Model:
    """Look up a model, and add a slice discriminator where its weight is not 0."""
    if not slices.weight:
        return GANS[name]
    return with_slices(GANS[name], slices.side, spectral_norm=slices.spectral_norm)


def is_planar_twin(config: RunConfig) -> bool:
    """Say whether the run trains a planar twin."""
    return config.training.phase == "2d" and config.training.twin == "planar"


def least_content(config: RunConfig) -> float:
    """Smallest content of slices in a 2D run's training and metrics; a planar twin takes all slices."""
    return 0.0 if is_planar_twin(config) else config.training.min_content


def build_run_networks(config: RunConfig) -> Networks:
    """Build the networks of a run, with fresh weights."""
    return build_networks(
        config.network,
        2 if config.training.phase == "2d" else 3,
        model=config.model,
        planar=is_planar_twin(config),
        # With a batch smaller than the group, one group would mix a step's fakes with its reals.
        mbstd_group=min(config.training.mbstd_group, config.training.batch),
        slices=config.slice_discriminator,
    )


def build_gan(config: RunConfig, networks: Networks, world: World = ALONE) -> Gan:
    """Put networks on the run's device and give them their training steps.

    Raises:
        VoxflateError: If the device does not exist, or the batch cannot be split between the processes.
    """
    t, c = config.training, config.comparison
    model = choose_model(config.model, config.slice_discriminator)
    _check_shares(config, world)
    device = choose_device(t.device, world.local_rank)
    settings = Settings(
        lr_g=t.lr_g,
        lr_d=t.lr_d,
        betas=(c.beta1, c.beta2),
        r1_gamma=t.r1_gamma,
        r1_every=t.r1_every,
        augmentations=tuple(name for name in t.augment.split(",") if name),
        augment_p=t.augment_p,
        reuse_fakes=t.reuse_fakes,
        train_noise=t.train_noise,
        autocast=model.mixed_precision and use_bfloat16(t.precision, device),
        critic_steps=c.critic_steps,
        gp_lambda=c.gp_lambda,
        reconstruction=c.reconstruction,
        kl=c.kl,
        compile="off",  # gans.compiled changes it once it has tried
        seed=t.seed,
        micro_batch=t.micro_batch,
        slices=_slice_settings(config.slice_discriminator, t.mbstd_group),
    )
    for module in (module for network in networks.values() for module in network.modules()):
        if isinstance(module, (Synthesis, Discriminator)):
            module.recompute = t.activation_checkpointing
    return Gan(model, {name: network.to(device) for name, network in networks.items()}, settings, world)


def _slice_settings(slices: SliceConfig, mbstd_group: int) -> SliceSettings | None:
    if not slices.weight:
        return None
    return SliceSettings(
        weight=slices.weight,
        per_volume=slices.per_volume,
        side=slices.side,
        lr=slices.lr_s,
        ramp_images=round(slices.ramp_kimg * 1000),
        channels=slices.channels,
        group=mbstd_group,
        features=slices.features,
    )


def _check_shares(config: RunConfig, world: World) -> None:
    if world.size == 1:
        return
    if not GANS[config.model].divisible:
        raise VoxflateError(f"model = {config.model}: trains in one process only; start it without torchrun")
    t = config.training
    group = min(t.mbstd_group, t.batch)
    if t.batch % (world.size * group):
        whole = world.size * t.mbstd_group
        raise VoxflateError(
            f"training.batch = {t.batch}: {world.size} processes need a multiple of {whole}, so that each "
            f"has whole groups of training.mbstd_group = {t.mbstd_group}; set training.batch="
            f"{-(-t.batch // whole) * whole}"
        )


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """Turn "auto", "cpu", "cuda" or "cuda:N" into a device.

    Args:
        name: One of these; "cuda" without a number is the process's own GPU.
        local_rank: Number of the process on its machine.

    Raises:
        VoxflateError: If the device does not exist.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and local_rank:
        name = f"cuda:{local_rank}"
    device = torch.device(name)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        seen = f"{count} CUDA device{'s' if count > 1 else ''}, counted from 0" if count else "no CUDA device"
        raise VoxflateError(f"training.device = {name}: PyTorch sees {seen}; use cpu or auto")
    return device


def use_bfloat16(precision: str, device: torch.device) -> bool:
    """Decide whether convolutions run in bfloat16.

    "auto" does so only where the processor has bfloat16 instructions (NVIDIA's have them since Ampere): if it
    emulates them, one convolution takes longer than a whole step in float32 (decision 0006).
    """
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.get_device_properties(device).major >= 8)
    return device.type == "cpu" and bool(
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


class Batch(NamedTuple):
    """One process's share of a batch of real images.

    Attributes:
        reals: [n, C, *shape].
        positions: Axial positions of the slices, for a planar twin; [n] integers.
        labels: Label vectors, [n, label_width], for networks that take labels.
    """

    reals: Tensor
    positions: Tensor | None = None
    labels: Tensor | None = None


class Stream:
    """The real images of a run: an endless shuffled stream that depends only on the image counter.

    Args:
        prepared: The data set; only its training split is shown.
        training: Phase, twin, seed, flip, group.
        device: Where the images go.
        world: Every process gets its own share of each batch.
        labels: Whether the networks take labels.
    """

    def __init__(
        self,
        prepared: PreparedSet,
        training: TrainingConfig,
        device: torch.device,
        world: World = ALONE,
        *,
        labels: bool = False,
    ) -> None:
        stored, seed = prepared.stored("train"), training.seed
        self.sampler: VolumeSampler | SliceSampler | PositionedSliceSampler
        if training.phase == "3d":
            self.sampler = VolumeSampler(stored, seed)
        elif training.twin == "planar":
            group = min(training.mbstd_group, training.batch)
            self.sampler = PositionedSliceSampler(stored, seed, group)
        else:
            self.sampler = SliceSampler(stored, seed, training.min_content)
        self.labels = torch.from_numpy(prepared.labels("train")) if labels else None
        self.flip = training.flip
        self.seed = seed
        self.device = device
        self.world = world

    def __call__(self, n_images: int, size: int) -> Batch:
        """This process's share of images n_images .. n_images + size - 1."""
        positions = labels = None
        share = self.world.share(size)
        first, count = n_images + share.start, len(share)
        if isinstance(self.sampler, PositionedSliceSampler):
            images, where = self.sampler.batch(first, count, size)
            positions = send(torch.from_numpy(where), self.device)
        else:
            images = self.sampler.batch(first, count, size)
        if self.labels is not None:
            labels = send(self.labels[self.sampler.volumes(first, count)], self.device)
        if self.flip:
            # The last axis runs from left to right, in slices and in volumes.
            chosen = (
                np.random.default_rng([self.seed, n_images, 1]).random(size)[share.start : share.stop] < 0.5
            )
            images[chosen] = images[chosen, ..., ::-1]
        return Batch(send(torch.from_numpy(images), self.device), positions, labels)
