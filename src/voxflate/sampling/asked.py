"""Checks what is requested from a generator: numbers and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from voxflate._system.errors import VoxflateError
from voxflate.data.channels import LabelValue
from voxflate.data.labels import JointLabels, Labels, chosen_labels
from voxflate.data.prepared import PreparedSet
from voxflate.data.volume import Float32

Asked = Mapping[str, LabelValue] | None
"""Labels by name, the same for all volumes; other labels are drawn as in the training set."""


def memory_advice(prepared: PreparedSet, batch: int) -> str:
    """How to generate with less memory."""
    shape = "x".join(map(str, prepared.shape))
    return f"volumes of {shape} voxels, {batch} at a time; lower the batch (--batch 1 takes least)"


def draw_labels(
    joint: JointLabels | None, asked: Asked, seed: int, first: int, count: int
) -> tuple[Labels, list[Labels], list[str]]:
    """Labels of the samples `first` to `first + count - 1` of a seed.

    Args:
        joint: Joint distribution of the training set's labels; None if the generator knows none.
        asked: The user's labels.
        seed: Seed of the series.
        first: Index of the first sample.
        count: Number of samples.

    Returns:
        The user's labels, checked; the labels of every sample (none if the generator knows none); warnings.

    Raises:
        VoxflateError: If the generator does not know a label or class.
    """
    given, lines = chosen_labels(joint, asked or {})
    return given, joint.draw(seed, first, count, given) if joint else [], lines


def encoded(joint: JointLabels | None, drawn: Sequence[Labels]) -> Float32 | None:
    """Label vectors for the generator, [n, label_width]; None if it knows none."""
    return joint.layout.encode(drawn) if joint else None


def check_numbers(n: int, seed: int, truncation: float, batch: int, first: int = 0) -> None:
    """Refuse invalid numbers.

    Raises:
        VoxflateError: Names the number and its limit.
    """
    if n < 1 or batch < 1:
        raise VoxflateError(f"n and batch must be at least 1, got {n} and {batch}")
    if seed < 0 or first < 0:
        raise VoxflateError(f"seed and first must be at least 0, got {seed} and {first}")
    if not 0 <= truncation <= 1:
        raise VoxflateError(f"truncation must be from 0 to 1, got {truncation}")
