"""Sums up a set beyond its first image in a few lines: channels, classes of the mask, labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from voxflate.data.prepared import FULL_SCALE, PreparedSet
from voxflate.data.preparing.labels import label_lines


def summary_lines(prepared: PreparedSet) -> Iterator[str]:
    """One line for the image channels, one for the classes with their share of voxels, one per label.

    Lines without content are left out: a single image channel, no mask, no labels.
    """
    layout = prepared.layout
    if len(layout.channels) > 1:
        images = [f"{one.name} ({_range(one.intensity)})" for one in layout.channels[: layout.images]]
        yield f"image channels: {', '.join(images)}"
    if layout.masks:
        yield f"mask, share of the voxels: {', '.join(_shares(prepared))}"
    for line in label_lines(layout.labels, prepared.manifest.scans):
        yield f"label {line}"


def _range(intensity: tuple[float, float]) -> str:
    return f"-1 and 1 are {intensity[0]:.5g} and {intensity[1]:.5g} in the source, median"


def _shares(prepared: PreparedSet) -> Iterator[str]:
    stored = prepared.stored("train")
    for index, channel in enumerate(prepared.layout.channels):
        if channel.kind == "mask":
            share = (float(np.mean(stored[:, index], dtype=np.float64)) / FULL_SCALE + 1) / 2
            yield f"{channel.name} {share:.2%}"
