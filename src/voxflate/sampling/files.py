"""The files of one generated volume: an image per modality, and the mask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voxflate.data.prepared import PreparedSet
from voxflate.data.views import one_channel
from voxflate.data.volume import Float32
from voxflate.data.writers.nifti import write_array
from voxflate.data.writers.synthetic import PLAIN, Look

Writer = Callable[..., None]
"""Called with (path, volume, prepared, look=)."""

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
    folder: Path,
    stem: str,
    images: Float32,
    prepared: PreparedSet,
    suffix: str,
    write: Writer,
    look: Look = PLAIN,
) -> list[Path]:
    """Write a generated volume's images [M, D, H, W], each in its own units; gives their paths."""
    paths = [folder / name for name in image_names(stem, prepared, suffix)]
    for index, path in enumerate(paths):
        write(path, images[index], one_channel(prepared, index), look=look)
    return paths


def write_mask(path: Path, mask: npt.NDArray[np.int16], prepared: PreparedSet, look: Look = PLAIN) -> None:
    """Write a generated mask [D, H, W] with the source's label values, on the images' grid."""
    write_array(path, mask, prepared.affine, look.description)
