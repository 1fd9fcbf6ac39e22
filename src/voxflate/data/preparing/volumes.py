"""Turns one subject's files into one volume: read, aligned to one grid, processed by the steps, stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import Int16, Scan, to_stored, voxels_sha256
from voxflate.data.preparing.alignment import apply_steps, class_volumes, on_grid, uncovered
from voxflate.data.preparing.intensities import check_intensities
from voxflate.data.preparing.jobs import Job
from voxflate.data.preparing.masks import check_place, labels_of, read_mask
from voxflate.data.preparing.quality import Look, look
from voxflate.data.preparing.steps import Step, window_hu
from voxflate.data.readers.refusals import ScanError
from voxflate.data.shapes import Shape
from voxflate.data.sources.names import Pseudonyms
from voxflate.data.sources.source import Source
from voxflate.data.volume import Geometry, Volume, to_ras

_MOST_UNCOVERED = 0.5
"""Largest share of the first image's grid that another image may leave uncovered."""


@dataclass(frozen=True)
class Result:
    """One prepared volume: its record, its data for the report, and its voxels if not yet written.

    Attributes:
        scan: Record for the manifest.
        look: Data for the report.
        clipped: As `Volume.clipped`, the mean over its images.
        array: int16 [D, H, W], or [C, D, H, W] with several channels.
    """

    scan: Scan
    look: Look
    clipped: tuple[float, float] | None = None
    array: Int16 | None = None


@dataclass(frozen=True)
class Found:
    """The result of a first look at a job's files.

    Attributes:
        grid: Grid for the recipe: the header's, or the grid after the steps before the recipe's own.
        uncovered: Share of the first image's grid that each further image does not cover.
        labels: Values in its mask.
    """

    grid: Geometry
    uncovered: tuple[float, ...] = ()
    labels: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Making:
    """Settings for making all volumes of a set.

    Attributes:
        steps: The steps in order.
        shape: (D, H, W) of the result.
        names: Makes the pseudonyms.
        classes: Values of the masks' classes, one channel each.
    """

    steps: Sequence[Step]
    shape: Shape
    names: Pseudonyms
    classes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Made:
    """The channels of one subject.

    Attributes:
        images: Its images after the steps.
        masks: Its mask's classes after the steps, in [-1, 1].
        source_grid: Grid of the first image's file.
        hu_offset: As `Scan.hu_offset`.
    """

    images: list[Volume]
    masks: list[Volume]
    source_grid: Geometry
    hu_offset: float


def first_look(job: Job, steps: Sequence[Step]) -> Found | VoxflateError:
    """Find the grid of a job; voxels are read only of masks, and for steps before the recipe's own.

    Returns:
        What was found, or the error, which is not raised so that it affects only its scan.
    """
    source = job.source
    try:
        header = source.geometry()
        grid = header.to_ras()
        if steps:
            cropped, _ = _applied(source, [to_ras(source.volume())], [], steps)
            grid = cropped[0].geometry
        grid = replace(grid, note=header.note)
        shares = check_places(source)
        return Found(grid, shares, labels_of(read_mask(source.mask)) if source.mask else frozenset())
    except VoxflateError as error:
        return error
    except OSError as error:
        return _lost(source, error)


def _lost(source: Source, error: OSError) -> ScanError:
    """The error for a file that was there when it was found, and cannot be read any more."""
    return ScanError(
        source.path,
        f"cannot be read any more, or a file that belongs to it ({error.strerror or type(error).__name__}); "
        "check the disk or the connection, and run the same command again",
    )


def check_places(source: Source) -> tuple[float, ...]:
    """Refuse images and masks that do not lie where the first image does, from their headers.

    Args:
        source: The first image, with the others and the mask.

    Returns:
        `Found.uncovered`.

    Raises:
        ScanError: Gives the share or the distance.
    """
    grid = source.geometry()
    shares = []
    for other in source.others:
        shares.append(uncovered(grid, other.geometry()))
        if shares[-1] > _MOST_UNCOVERED:
            raise ScanError(
                other.path,
                f"covers only {1 - shares[-1]:.0%} of the first image's field of view, at least "
                f"{1 - _MOST_UNCOVERED:.0%} is needed; pair it with the right image, or make the channel "
                "with the smallest field of view the first --channel",
            )
    if source.mask is not None:
        check_place(source.own_geometry(), source.mask.own_geometry(), source.mask.path)
    return tuple(shares)


def prepare_volume(job: Job, making: Making) -> Result | VoxflateError:
    """Make one volume; an error is returned, so that it affects only its scan."""
    try:
        made = make_channels(job.source, making.steps, making.classes)
        source_sha256 = job.source.sha256()
    except VoxflateError as error:
        return error
    except OSError as error:  # else it would count as an error of writing the set
        return _lost(job.source, error)
    images = made.images
    stored = _stored([*images, *made.masks], making.shape)
    ranges = [one.intensity for one in images if one.intensity is not None]
    if len(ranges) < len(images):
        raise ValueError("a recipe must rescale; this one left intensities unchanged")
    scan = Scan(
        making.names.subject(job.source.subject),
        job.split,
        source_sha256,
        images[0].affine.tolist(),
        ranges[0],
        making.names.scan(job.source.name),
        voxels_sha256(stored),
        made.source_grid.shape,
        made.source_grid.spacing,
        job.labels,
        tuple(ranges[1:]),
        made.hu_offset,
    )
    return Result(scan, look(stored, images[0].geometry.spacing, len(images)), _clipped(images), stored)


def _clipped(images: Sequence[Volume]) -> tuple[float, float] | None:
    """`Volume.clipped`, the mean over some images."""
    known = [one.clipped for one in images if one.clipped is not None]
    if not known:
        return None
    below, above = np.mean(known, axis=0).tolist()
    return below, above


def make_channels(source: Source, steps: Sequence[Step], classes: tuple[int, ...]) -> Made:
    """Read one subject's files on one grid, and apply the steps.

    Args:
        source: The first image, with the others and the mask.
        steps: The steps in order.
        classes: Values of the masks' classes, one channel each.

    Raises:
        VoxflateError: If a file is refused.
    """
    images, shifted = _read_images(source, steps)
    grid = images[0].geometry
    masks = _read_masks(source, grid, classes)
    images, masks = _applied(source, images, masks, steps)
    return Made(images, masks, grid, source.reading.hu_offset if shifted else 0.0)


def _read_images(scan: Source, steps: Sequence[Step]) -> tuple[list[Volume], bool]:
    """The images on the grid of the first one, in the sources' units; whether an offset was added to any."""
    highs = [step.settings["high"] for step in steps if step.function is window_hu]
    images: list[Volume] = []
    shifted = False
    for source in scan.images:
        read = to_ras(source.volume())
        checked = check_intensities(source, read, bool(highs), highs[0] if highs else 0.0)
        shifted |= checked is not read
        grid = images[0].geometry if images else checked.geometry
        images.append(on_grid(checked, grid, float(checked.array.min())) if images else checked)
    return images, shifted


def _read_masks(scan: Source, grid: Geometry, classes: tuple[int, ...]) -> list[Volume]:
    if scan.mask is None:
        return []
    shown = class_volumes(read_mask(scan.mask), classes)
    return [on_grid(volume, grid, -1.0) for volume in shown]


def _applied(
    scan: Source, images: Sequence[Volume], masks: Sequence[Volume], steps: Sequence[Step]
) -> tuple[list[Volume], list[Volume]]:
    try:
        return apply_steps(images, masks, steps)
    except VoxflateError as error:
        raise ScanError(scan.path, str(error)) from error


def _stored(channels: Sequence[Volume], shape: Shape) -> Int16:
    """Channels as stored on disk; a single channel has no channel axis."""
    for channel in channels:
        if channel.array.shape != shape:
            raise ValueError(f"a recipe must resize to {shape}; this one made {channel.array.shape}")
    arrays = [np.asarray(channel.array, np.float32) for channel in channels]
    if len(arrays) == 1:
        return to_stored(arrays[0])
    return to_stored(np.clip(np.stack(arrays), -1, 1))
