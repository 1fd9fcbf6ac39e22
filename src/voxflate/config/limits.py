"""Allowed values of single settings, and limits that several settings share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxflate.config.schema import RunConfig

SPLIT_ARCHITECTURES = ("split-shuffle-d", "split", "split-shuffle")
"""Architectures whose discriminator has split convolutions."""
LONGEST_KIMG = 1e9
"""So that images fit into the names of snapshots."""
LARGEST_SEED = 2**63 - 1
SIDES_OF_COMPARISON = 16
WIDTHS_OF_COMPARISON = 8


def limits_of_phases(config: RunConfig) -> Iterator[tuple[bool, str]]:
    """Limits that depend on the phase and on where the run starts.

    Yields:
        For every limit: whether the settings break it, and the message.
    """
    strategy, position = config.start.strategy, config.network.position
    two_d = config.training.phase == "2d"
    planar = config.training.twin == "planar" if two_d else strategy == "planar"
    yield two_d and strategy != "none", f"start.strategy = {strategy}: only a 3d run can start from a 2D run"
    yield (
        planar and not position,
        "network.position = false: a planar twin and its start need it to be true",
    )
    yield (
        two_d and position and not planar,
        "network.position = true: a plain twin does not know positions; set false, or training.twin=planar",
    )


def limits_of_stylegan2(config: RunConfig) -> Iterator[tuple[bool, str]]:
    """Limits of the paper's own models; see `limits_of_phases`."""
    training, architecture = config.training, config.network.architecture
    yield (
        config.network.symmetric_d and architecture not in SPLIT_ARCHITECTURES,
        f"network.symmetric_d = true: the discriminator of {architecture} is not split; set false, "
        f"or network.architecture to one of {', '.join(SPLIT_ARCHITECTURES)}",
    )
    group = min(training.mbstd_group, training.batch)
    for name, value in (("batch", training.batch), ("micro_batch", training.micro_batch)):
        yield (
            value % group > 0,
            f"training.{name} = {value}: must be a multiple of mbstd_group = {training.mbstd_group}",
        )


def limits_of_comparison(config: RunConfig) -> Iterator[tuple[bool, str]]:
    """Limits of the comparison models; see `limits_of_phases`."""
    return ((bad, f"model = {config.model}: {problem}") for bad, problem in _limits_of_comparison(config))


def _limits_of_comparison(config: RunConfig) -> Iterator[tuple[bool, str]]:
    shape, training = config.network.shape, config.training
    sides = "x".join(map(str, shape))
    yield (
        any(side % SIDES_OF_COMPARISON for side in shape),
        f"every side must be a multiple of {SIDES_OF_COMPARISON}, the volume is {sides}; change network.base",
    )
    yield (
        config.network.channels % WIDTHS_OF_COMPARISON > 0,
        f"network.channels = {config.network.channels} must be a multiple of {WIDTHS_OF_COMPARISON}",
    )
    yield training.phase == "2d", "has no 2D twin; it trains on volumes (voxflate train)"
    yield (
        config.network.label_width > 0,
        "takes no labels; set network.label_width=0 to train without them",
    )
    yield config.start.strategy != "none", f"has no start.strategy = {config.start.strategy}, only none"
    yield training.batch < 2, "training.batch = 1 is too small for its normalisation; set 2 or more"
    for bad, wrong, value in (
        (config.network.finest_channels > 0, "network.finest_channels", "0"),
        (training.augment != "", "training.augment", '""'),
        (training.precision == "bf16", "training.precision = bf16", "fp32"),
        (training.micro_batch > 0, "training.micro_batch", "0"),
        (training.activation_checkpointing, "training.activation_checkpointing", "false"),
    ):
        yield bad, f"{wrong} is for stylegan2; set {value}"


def some_samples(samples: int) -> int:
    """Refuse a measurement of one sample.

    Raises:
        ValueError: Says what to give.
    """
    if samples == 1:
        raise ValueError("1 sample cannot be measured; give at least 2, or 0 for as many as real volumes")
    return samples


def numbers(value: Any) -> Any:
    """Read "2,4,4" or "2x4x4" as numbers, so that a command line needs no brackets."""
    if isinstance(value, str):
        return [part.strip() for part in value.replace("x", ",").split(",")]
    return value


def known_device(value: str) -> str:
    """Check the name of a device.

    Raises:
        ValueError: If it is not the name of a device.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", value):
        raise ValueError("is not auto, cpu, cuda or cuda:N")
    return value


def no_half(value: object) -> object:
    """Check a precision.

    Raises:
        ValueError: If it is half precision; gives the reason.
    """
    if value in ("fp16", "float16", "half"):
        raise ValueError(
            "has too small a range for the gradients of R1 and is not supported; use bf16 or fp32"
        )
    return value
