"""Predicts memory and time of a training on this machine, from a small measurement.

All stages but the finest have the same channels, so the cost of an image is nearly a fixed part plus a part
per voxel (decision 0174). Two small shapes are measured: the times of both give the parts of the time; the
memory before the first step and the peak at the larger one give those of the memory. `python -m
benchmarks.plan_check` compares the prediction with measurements at larger shapes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import inf, lcm, prod
from typing import Any

import torch

from voxflate._system.devices import available_gib, peak_gib, use_gpu, wait_for
from voxflate.config.build import build_gan, build_run_networks, choose_device
from voxflate.config.schema import DEFAULT_MODEL, RunConfig
from voxflate.config.toml import with_values
from voxflate.gans.gan import Gan
from voxflate.gans.samples import sample
from voxflate.gans.slice_features import values_per_slice
from voxflate.nn.run_stage import use_kernels

_SMALL = {"network.base": [4, 4, 4], "network.stages": 4}
_LARGE = {"network.base": [3, 3, 3], "network.stages": 5}
MEASURED_AT = "32x32x32 and 48x48x48"
"""The measured shapes. The peak at smaller ones is that of the slice discriminator, not of the volumes."""

MARGIN = 0.15
"""Share of the memory left that stays in reserve; also the aim that `benchmarks.plan_check` checks."""

_BYTES = 2**30
_BYTES_PER_VALUE = 4
_ROUNDS = 3
_SECONDS = 6.0
_SAMPLES = 8
_IMAGES = 4


@dataclass(frozen=True)
class Measured:
    """The cost of training at one shape.

    Attributes:
        device: The measured device.
        seconds: Time per image, seconds, averaged over batches, including steps that are not due at every
            one.
        gib: Peak memory of the process so far, GiB.
        gib_at_rest: The same before the first step, GiB.
    """

    device: str
    seconds: float
    gib: float
    gib_at_rest: float = 0.0


@dataclass(frozen=True)
class Machine:
    """The cost of a run on this machine.

    Attributes:
        device: The measured device.
        seconds_per_voxel: Time per voxel of an image, seconds, averaged over batches, including steps that
            are not due at every one.
        gib_per_voxel: Peak memory per voxel of the images computed at a time, GiB.
        gib_at_rest: Memory that does not depend on the shape, GiB.
        seconds_per_image: Time per image that does not depend on the shape, seconds.
        gib_available: Memory of the device that was left before the measurement, GiB.
    """

    device: str
    seconds_per_voxel: float
    gib_per_voxel: float
    gib_at_rest: float
    seconds_per_image: float = 0.0
    gib_available: float = inf

    def images_per_second(self, shape: tuple[int, int, int]) -> float:
        """Predicted speed of 3D training."""
        return 1 / (self.seconds_per_image + self.seconds_per_voxel * prod(shape))

    def gib(self, shape: tuple[int, int, int], at_once: int, waiting: int = 0) -> float:
        """Predicted peak memory of 3D training, GiB.

        Args:
            shape: Voxels, [D, H, W].
            at_once: Images computed at a time, see `images_at_once`.
            waiting: Values that the other images of the batch keep meanwhile, see `values_waiting`.
        """
        kept = waiting * _BYTES_PER_VALUE / _BYTES
        return self.gib_at_rest + self.gib_per_voxel * at_once * prod(shape) + kept

    def fits(self, gib: float) -> bool:
        """Whether a run fits into the memory left, even if the prediction is `MARGIN` too low."""
        return gib <= (1 - MARGIN) * self.gib_available


def images_at_once(config: RunConfig) -> int:
    """Images that go through the networks at a time: the micro-batch, or the whole batch."""
    batch = config.training.batch
    return min(config.training.micro_batch or batch, batch)


def values_waiting(config: RunConfig) -> int:
    """Values kept of images outside the micro-batch: reals, reused fakes, features of the fakes' slices."""
    kinds, slices = 2 if config.training.reuse_fakes else 1, config.slice_discriminator
    values = kinds * config.network.image_channels * prod(config.network.shape)
    if slices.weight:
        values += slices.per_volume * values_per_slice(slices.side)
    return values * (config.training.batch - images_at_once(config))


def predict(config: RunConfig, machine: Machine) -> tuple[float, float]:
    """Peak memory in GiB and images/s of 3D training with the settings that the machine was measured with."""
    shape = config.network.shape
    return machine.gib(shape, images_at_once(config), values_waiting(config)), machine.images_per_second(
        shape
    )


def micro_batches(config: RunConfig) -> list[int]:
    """Allowed micro-batches below the images computed at a time, largest first; none in comparison models."""
    if config.model != DEFAULT_MODEL:
        return []
    group = min(config.training.mbstd_group, config.training.batch)
    return list(range(images_at_once(config) - group, 0, -group))


def settings_that_fit(config: RunConfig, machine: Machine, checkpointed: Machine | None) -> dict[str, Any]:
    """The changes of settings with which a run fits; empty if none do.

    Micro-batches come first, because checkpointing takes a third more time.

    Args:
        config: Settings that do not fit.
        machine: Measured with them.
        checkpointed: Measured with them and activation checkpointing; None if that cannot be changed.
    """
    parts: list[dict[str, Any]] = [{"training.micro_batch": size} for size in micro_batches(config)]
    recomputed = {"training.activation_checkpointing": True}
    tried = [(part, machine) for part in parts]
    if checkpointed is not None:
        tried += [(part | recomputed, checkpointed) for part in ({}, *parts)]
    fitting = (part for part, one in tried if machine.fits(predict(with_values(config, part), one)[0]))
    return next(fitting, {})


def measure_machine(config: RunConfig, rounds: int = _ROUNDS) -> Machine:
    """Measure the cost of a step with a run's settings at two small shapes; takes some seconds.

    Call it before other large work of the process, because the system reports only the peak memory.

    Args:
        config: The settings; one micro-batch is measured, or a part of it if it is large.
        rounds: Number of batches of each kind, such as with and without R1; one is enough for the memory.
    """
    available = available_gib(choose_device(config.training.device))
    use_kernels(config.training.kernels)
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    images = _images_measured(config)
    part = with_values(config, {"training.batch": images, "training.micro_batch": 0})
    small, large = with_values(part, _SMALL), with_values(part, _LARGE)
    voxels = prod(small.network.shape), prod(large.network.shape)
    first, second = measure_shape(small, rounds), measure_shape(large, rounds)  # the peak can only grow
    per_voxel = max(0.0, second.gib - first.gib_at_rest) / (voxels[1] * images)
    per_image, seconds = _line(voxels, (first.seconds, second.seconds))
    return Machine(first.device, seconds, per_voxel, first.gib_at_rest, per_image, available)


def _images_measured(config: RunConfig) -> int:
    """Whole groups of the minibatch standard deviation, about four images; more would only take longer."""
    at_once = images_at_once(config)
    group = min(config.training.mbstd_group, at_once)
    return min(at_once, max(group, _IMAGES // group * group))


def measure_shape(config: RunConfig, rounds: int = _ROUNDS) -> Measured:
    """Train some batches on noise with a run's settings, at its shape; the fastest of each kind counts.

    Other load on the machine slows down single steps, so the fastest time is the most reproducible. After the
    first round, no new one begins when the time is up.
    """
    gan = build_gan(config, build_run_networks(config))
    use_gpu(gan.device, tf32=config.training.tf32, autotune=config.training.autotune)
    at_rest = peak_gib(gan.device)
    batch, network = config.training.batch, config.network
    reals = torch.rand(batch, network.image_channels, *network.shape, device=gan.device) * 2 - 1
    labels = torch.zeros(batch, network.label_width, device=gan.device) if network.label_width else None
    shares = _kinds_of_batches(gan)
    times: dict[int, list[float]] = {number: [] for number in shares}
    began = time.perf_counter()
    for done in range(rounds):
        if done and time.perf_counter() - began > _SECONDS:
            break
        for number in times:  # the first of each kind allocates the buffers
            started = time.perf_counter()
            gan.step(reals, None, labels, number=number)
            wait_for(gan.device)
            times[number].append(time.perf_counter() - started)
    seconds = sum(share * min(times[number][1:] or times[number]) for number, share in shares.items())
    _sample_once(gan, config)
    return Measured(str(gan.device), seconds / batch, peak_gib(gan.device), at_rest)


def _kinds_of_batches(gan: Gan) -> dict[int, float]:
    """Batches by the steps that are due: the number of the first one of each kind, and the kind's share."""
    period = lcm(*(step.every for step in gan.steps))
    kinds: dict[tuple[bool, ...], list[int]] = {}
    for number in range(period):
        kinds.setdefault(tuple(step.is_due(number) for step in gan.steps), []).append(number)
    return {numbers[0]: len(numbers) / period for numbers in kinds.values()}


def _sample_once(gan: Gan, config: RunConfig) -> None:
    """Draw the samples of a snapshot: with very small micro-batches they need more memory than a step."""
    width = config.network.label_width
    labels = torch.zeros(_SAMPLES, width).numpy() if width else None
    list(sample(gan.generator, _SAMPLES, seed=0, batch=_SAMPLES, labels=labels))


def _line(x: tuple[int, int], y: tuple[float, float]) -> tuple[float, float]:
    """Fixed part and slope of a cost that grows with x; neither is below zero."""
    slope = max(0.0, y[1] - y[0]) / (x[1] - x[0])
    fixed = y[1] - slope * x[1]
    return (fixed, slope) if fixed >= 0 else (0.0, y[1] / x[1])
