"""The channels of a prepared set, and the labels of its subjects.

A volume has one or more channels: first the images (one per modality), then one per class of a mask. A mask
channel holds the class's share of each voxel, scaled from [0, 1] to [-1, 1]; the rest is background.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from voxflate._system.errors import VoxflateError
from voxflate.data.volume import Float32

LabelValue = str | float

MODALITIES = ("CT", "MR", "PT", "NM", "US", "CR", "DX", "MG", "XA", "RF", "OT")
"""DICOM's names of modalities that may be shown; any other value in a header could be private."""
OTHER = "OTHER"
"""Stands for any other modality, and for an unknown one beside known ones."""


def check_modality(text: object) -> None:
    """Refuse what is not a set's modality: empty, or known names joined by ", ".

    Raises:
        ValueError: If it is anything else.
    """
    if not isinstance(text, str) or (text and not {*text.split(", ")} <= {*MODALITIES, OTHER}):
        raise ValueError(f"modality is not one of {', '.join((*MODALITIES, OTHER))}")


@dataclass(frozen=True)
class Channel:
    """One channel of every volume.

    Attributes:
        name: The user's name for it, such as "t1"; for a mask class a name such as "hippocampus-1".
        kind: "image", or "mask" for the share of one class.
        intensity: Images only: source values of -1 and 1, the median over the scans.
        label: Masks only: the class's value in the source.
    """

    name: str
    kind: Literal["image", "mask"] = "image"
    intensity: tuple[float, float] = (-1.0, 1.0)
    label: int = 0


@dataclass(frozen=True)
class LabelColumn:
    """One label column: a property known for every subject, such as age or sex.

    Attributes:
        name: The column's name in the list of scans.
        values: Categorical columns only: the classes that occur in the set, held-out volumes included, in
            alphabetical order.
        low: Continuous columns only: lower end of the training set's range, in the source's unit; rounded
            outwards, except in sets of earlier versions.
        high: Its upper end.
        mean: Mean over the training set's volumes.
        deviation: Standard deviation; 1 where all are equal.
    """

    name: str
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    deviation: float = 1.0

    @property
    def categorical(self) -> bool:
        """Whether the column is categorical, not numeric."""
        return bool(self.values)

    @property
    def width(self) -> int:
        """How many numbers `encode` gives for one value."""
        return len(self.values) or 1

    def encode(self, value: LabelValue) -> list[float]:
        """Encode a class one-hot, and a number as (value - mean) / deviation.

        Raises:
            VoxflateError: If the class does not occur, or the value is not a number.
        """
        if self.categorical:
            if str(value) not in self.values:
                near = difflib.get_close_matches(str(value), self.values, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise VoxflateError(
                    f"label {self.name} = {value}: the prepared set has {', '.join(self.values)}{hint}"
                )
            return [float(str(value) == each) for each in self.values]
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not np.isfinite(number):
            raise VoxflateError(
                f"label {self.name} = {value}: is not a number; the training set has "
                f"{self.low:g} to {self.high:g}"
            )
        return [(number - self.mean) / self.deviation]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LabelColumn:
        """Make a column from JSON, which turned the tuple into a list."""
        return cls(**{**content, "values": tuple(content["values"])})


@dataclass(frozen=True)
class Layout:
    """The channels and labels of a prepared set, and so of a generator trained on it.

    Attributes:
        channels: In the order of the arrays, images first.
        labels: In the order of the encoded vector.
    """

    channels: tuple[Channel, ...] = (Channel("image"),)
    labels: tuple[LabelColumn, ...] = field(default=())

    @property
    def images(self) -> int:
        """How many channels are images."""
        return sum(channel.kind == "image" for channel in self.channels)

    @property
    def masks(self) -> int:
        """How many channels are classes of a mask."""
        return len(self.channels) - self.images

    @property
    def label_width(self) -> int:
        """Length of an encoded label vector."""
        return sum(column.width for column in self.labels)

    def encode(self, values: Sequence[Mapping[str, LabelValue]]) -> Float32:
        """Label vectors of some subjects, float32 [n, label_width].

        Args:
            values: For each subject, a value per column.

        Raises:
            VoxflateError: If a column is missing, or a value cannot be encoded.
        """
        rows = []
        for subject in values:
            missing = [column.name for column in self.labels if column.name not in subject]
            if missing:
                raise VoxflateError(f"no value for label {missing[0]}; name all of {self._names()}")
            rows.append([x for column in self.labels for x in column.encode(subject[column.name])])
        return np.array(rows, np.float32).reshape(len(rows), self.label_width)

    def check_networks(self, image_channels: int, label_width: int) -> None:
        """Refuse networks with other channels or labels.

        Args:
            image_channels: Channels of the generated images.
            label_width: Length of the label vectors that they take; 0 for none.

        Raises:
            VoxflateError: Says what to set. The caller puts the data's name before the message.
        """
        if image_channels != len(self.channels):
            names = ", ".join(channel.name for channel in self.channels)
            raise VoxflateError(
                f"its volumes have {len(self.channels)} channels ({names}), the network {image_channels}; "
                f"set network.image_channels={len(self.channels)}"
            )
        if label_width not in (0, self.label_width):
            names = self._names() or "none"
            raise VoxflateError(
                f"its labels ({names}) make vectors of {self.label_width}, the network takes {label_width}; "
                f"set network.label_width={self.label_width}{', or 0 for none' if self.labels else ''}"
            )

    def _names(self) -> str:
        return ", ".join(column.name for column in self.labels)

    def as_json(self) -> dict[str, Any]:
        """For manifests, runs and exports."""
        return {
            "channels": [vars(channel) for channel in self.channels],
            "labels": [vars(column) for column in self.labels],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Layout:
        """Read what `as_json` gave, back from JSON; without a layout, one image channel and no labels.

        Raises:
            KeyError, TypeError, ValueError: If it is something else.
        """
        channels = tuple(
            Channel(**{**channel, "intensity": tuple(channel["intensity"])})
            for channel in content.get("channels", [])
        )
        labels = tuple(LabelColumn.from_json(column) for column in content.get("labels", []))
        return cls(channels or Layout().channels, labels)


def mask_classes(shares: Float32, layout: Layout, spatial_dims: int = 3) -> npt.NDArray[np.int64]:
    """Each voxel's class: the one with the largest share, background included.

    Args:
        shares: All channels, volumes [N, C, D, H, W] or [C, D, H, W], or images [N, C, H, W]; in [-1, 1].
        layout: Tells which channels are masks.
        spatial_dims: 2 for images.

    Returns:
        The same without C: 0 is background, k the k-th mask channel.
    """
    axis = shares.ndim - spatial_dims - 1
    classes = (np.take(shares, range(layout.images, len(layout.channels)), axis) + 1) / 2
    background = 1 - classes.sum(axis, keepdims=True)
    found: npt.NDArray[np.int64] = np.concatenate([background, classes], axis).argmax(axis)
    return found


def mask_labels(shares: Float32, layout: Layout) -> npt.NDArray[np.int16]:
    """Label maps of whole volumes, as `mask_classes` but with the source's values; int16."""
    values = [0, *(channel.label for channel in layout.channels if channel.kind == "mask")]
    found: npt.NDArray[np.int16] = np.array(values, np.int16)[mask_classes(shares, layout)]
    return found


def mask_shares(labels: npt.NDArray[Any], layout: Layout) -> Float32:
    """Mask channels [N, K, D, H, W] of label maps [N, D, H, W]: what `mask_labels` undoes.

    Raises:
        VoxflateError: If a map holds a value that is not a class of the layout.
    """
    values = [channel.label for channel in layout.channels[layout.images :]]
    if unknown := sorted(set(np.unique(labels).tolist()) - {0, *values}):
        raise VoxflateError(
            f"the mask holds {', '.join(f'{value:g}' for value in unknown[:5])}; its classes are "
            f"0 (background), {', '.join(map(str, values))}"
        )
    return np.stack([np.where(labels == value, 1, -1) for value in values], 1).astype(np.float32)


def numbered(labels: npt.NDArray[np.int16], layout: Layout) -> npt.NDArray[np.int16]:
    """Replace the source's values in label maps by 1, 2, 3, ..., in the order of the channels."""
    numbers = np.zeros_like(labels)
    for number, channel in enumerate(layout.channels[layout.images :], 1):
        numbers[labels == channel.label] = number
    return numbers


def pictured(
    values: Float32, layout: Layout, spatial_dims: int = 3
) -> tuple[Float32, npt.NDArray[np.int64] | None]:
    """Split volumes [N, C, D, H, W] for a sheet: the images [N, M, D, H, W], and the masks' classes."""
    classes = mask_classes(values, layout, spatial_dims) if layout.masks else None
    return values[:, : layout.images], classes
