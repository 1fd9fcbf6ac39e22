"""Allowed values of single settings, and the limits of the comparison models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxflate.config.schema import RunConfig

SIDES_OF_COMPARISON = 16
WIDTHS_OF_COMPARISON = 8


def limits_of_comparison(config: RunConfig) -> Iterator[tuple[bool, str]]:
    """Limits of the comparison models.

    Yields:
        For every limit: whether the settings break it, and the message.
    """
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
    yield config.network.finest_channels > 0, "network.finest_channels is for stylegan2; set 0"
    yield training.phase == "2d", "has no 2D twin; it trains on volumes (voxflate train)"
    yield (
        config.network.label_width > 0,
        "takes no labels; set network.label_width=0 to train without them",
    )
    yield config.start.strategy != "none", f"has no start.strategy = {config.start.strategy}, only none"
    yield training.batch < 2, "training.batch = 1 is too small for its normalisation; set 2 or more"
    yield training.augment != "", "training.augment is for stylegan2; leave it empty"
    yield training.precision == "bf16", "training.precision = bf16 is for stylegan2; set fp32"
    yield training.micro_batch > 0, "training.micro_batch is for stylegan2; set 0"
    yield training.activation_checkpointing, "training.activation_checkpointing is for stylegan2; set false"


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
