"""The files of one generated volume: an image per modality, and the mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voxflate.data.prepared import PreparedSet
from voxflate.data.views import one_channel
from voxflate.data.volume import Float32
from voxflate.data.writers.nifti import SYNTHETIC, write_array

Writer = Callable[[Path, Float32, PreparedSet], None]

MASK = "_seg"
"""Behind a volume's name: its mask."""
MASK_SUFFIX = ".nii.gz"


def image_names(stem: str, prepared: PreparedSet, suffix: str) -> list[str]:
    """Names of a volume's images: the stem, with the modality's name where there are several."""
    layout = prepared.layout
    tags = [f"_{channel.name}" for channel in layout.channels[: layout.images]]
    return [stem + tag + suffix for tag in (tags if len(tags) > 1 else [""])]


def mask_name(stem: str, suffix: str = MASK_SUFFIX) -> str:
    """Name of a volume's mask."""
    return stem + MASK + suffix


def write_images(
    folder: Path, stem: str, images: Float32, prepared: PreparedSet, suffix: str, write: Writer
) -> Iterator[Path]:
    """Write a volume's images [M, D, H, W], each in its own units.

    Yields:
        Every path, once it is written.
    """
    for index, name in enumerate(image_names(stem, prepared, suffix)):
        write(folder / name, images[index], one_channel(prepared, index))
        yield folder / name


def write_mask(path: Path, mask: npt.NDArray[np.int16], prepared: PreparedSet) -> None:
    """Write a mask [D, H, W] with the source's label values, on the images' grid."""
    write_array(path, mask, prepared.affine, SYNTHETIC)
