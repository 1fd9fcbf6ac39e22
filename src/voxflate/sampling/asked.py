"""What is asked of a generator: labels, and whether it can be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from voxflate._system.errors import VoxflateError
from voxflate.data.channels import LabelValue
from voxflate.data.labels import JointLabels, Labels, chosen_labels
from voxflate.data.prepared import PreparedSet
from voxflate.data.volume import Float32


def memory_advice(prepared: PreparedSet, batch: int) -> str:
    """How to generate with less memory."""
    shape = "x".join(map(str, prepared.shape))
    return f"volumes of {shape} voxels, {batch} at a time; lower the batch (--batch 1 takes least)"


def draw_labels(
    joint: JointLabels | None, asked: Mapping[str, LabelValue] | None, seed: int, first: int, count: int
) -> tuple[Labels, list[Labels], list[str]]:
    """Labels of the samples `first` to `first + count - 1` of a seed.

    Args:
        joint: How the labels of the training set occur together; None if the generator knows none.
        asked: What the user asks for.
        seed: Of the series.
        first: Number of the first sample.
        count: How many.

    Returns:
        What was asked for, checked; the labels of every sample, none if the generator knows none; warnings.

    Raises:
        VoxflateError: If something is asked for that the generator does not know.
    """
    given, lines = chosen_labels(joint.layout.labels if joint else (), asked or {})
    return given, joint.draw(seed, first, count, given) if joint else [], lines


def encoded(joint: JointLabels | None, drawn: Sequence[Labels]) -> Float32 | None:
    """Labels as the generator takes them, [n, label_width]; None if it knows none."""
    return joint.layout.encode(drawn) if joint else None


def check_plain(prepared: PreparedSet, joint: JointLabels | None, what: str) -> None:
    """Refuse what is not there yet for generators of several channels or with labels.

    Raises:
        VoxflateError: Says what they are.
    """
    channels = len(prepared.layout.channels)
    if channels > 1 or joint is not None:
        has = "labels" if joint is not None else f"{channels} channels"
        raise VoxflateError(
            f"{what}: for generators of one channel without labels so far; this one has {has}"
        )
