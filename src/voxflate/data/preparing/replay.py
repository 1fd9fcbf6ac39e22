"""Prepares one more subject with the steps of a prepared set, for a generator trained on that set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from voxflate._system.errors import VoxflateError
from voxflate.data.channels import OTHER
from voxflate.data.prepared import Manifest
from voxflate.data.preparing.masks import labels_of, read_mask
from voxflate.data.preparing.steps import (
    Step,
    crop_foreground,
    fit_depth,
    resample_box,
    rescale_percentiles,
    resize_in_plane,
    window_hu,
)
from voxflate.data.preparing.volumes import check_places, make_channels
from voxflate.data.readers.refusals import ScanError
from voxflate.data.readers.table import reader_of, scan_files
from voxflate.data.sources.found import find_sources
from voxflate.data.sources.source import Reading, Source
from voxflate.data.volume import Float32, Volume

STEPS = {
    function.__name__: function
    for function in (
        crop_foreground,
        fit_depth,
        resample_box,
        rescale_percentiles,
        resize_in_plane,
        window_hu,
    )
}
_OF_READING = ("modality", "min_slices", "assume", "regrid", "nan", "hu_offset")
"""Records of how scans were read, which precede the steps."""


@dataclass(frozen=True)
class Prepared:
    """One subject's files, prepared like those of a set.

    Attributes:
        images: One per image channel, of the set's shape, in [-1, 1]; their `intensity` gives the values that
            became -1 and 1, and their affine the position.
        masks: One per class, in [-1, 1]; empty without a mask.
    """

    images: tuple[Volume, ...]
    masks: tuple[Volume, ...] = ()

    @property
    def channels(self) -> Float32:
        """Images and masks, [c, D, H, W]."""
        return np.stack([np.asarray(one.array, np.float32) for one in (*self.images, *self.masks)])


NO_FILES: Mapping[str, Path] = MappingProxyType({})


def prepare_like(
    path: Path, manifest: Manifest, others: Mapping[str, Path] = NO_FILES, mask: Path | None = None
) -> Prepared:
    """Read a subject's files and prepare them like those of a set.

    Args:
        path: The first image channel: a file that `READERS` knows, or a folder with one DICOM series.
        manifest: Manifest of the set; its scans are not needed.
        others: All other image channels by name.
        mask: The mask's file; None for none.

    Raises:
        VoxflateError: If a path is not one scan, a file is refused, a channel is missing, the mask does not
            match the scan or has other classes, or the set was made by steps that this version does not know.
    """
    layout = manifest.layout
    steps = [_step(record) for record in manifest.steps if record["step"] not in _OF_READING]
    source = _whole_subject(path, manifest, others, mask)
    classes = tuple(channel.label for channel in layout.channels[layout.images :])
    check_places(source)
    if source.mask is not None:
        _check_classes(source.mask, classes)
    made = make_channels(source, steps, classes)
    shape = made.images[0].array.shape
    if shape != manifest.shape or any(one.intensity is None for one in made.images):
        raise VoxflateError(
            f"{path}: has the shape {shape} after the recorded steps, expected {manifest.shape}; the set was "
            "prepared by another version: prepare it again and train on it"
        )
    return Prepared(tuple(made.images), tuple(made.masks))


def _whole_subject(path: Path, manifest: Manifest, others: Mapping[str, Path], mask: Path | None) -> Source:
    """The first image with its other channels and its mask."""
    layout, reading = manifest.layout, _reading(manifest)
    names = [channel.name for channel in layout.channels[1 : layout.images]]
    if sorted(others) != sorted(names):
        wanted = ", ".join(f"{name}=FILE" for name in names) or "no further channels"
        raise VoxflateError(f"{path}: the generator needs {wanted}, got {', '.join(others) or 'none'}")
    if mask is not None and not layout.masks:
        raise VoxflateError(f"{mask}: the generator has no masks; leave the mask out")
    scans = [_one_scan(others[name], reading) for name in names]
    drawn = None if mask is None else _one_scan(mask, reading)
    first = _one_scan(path, reading)
    for scan in (first, *scans):
        _check_modality(scan, manifest)
        if scan.lacks_units and reading.hounsfield and not reading.hu_offset:
            raise ScanError(
                scan.path,
                "is CT without a RescaleIntercept, so its values are not in Hounsfield units, but the "
                "generator's are; export it again with one",
            )
    return replace(first, others=tuple(scans), mask=drawn)


def _check_modality(scan: Source, manifest: Manifest) -> None:
    """Refuse a DICOM series of another modality; other files do not name theirs."""
    own, known = scan.series.modality if scan.series else "", manifest.modality.split(", ")
    if own and manifest.modality and OTHER not in known and own not in known:
        raise ScanError(
            scan.path,
            f"is {own}, and the generator was trained on {manifest.modality}; give a scan of that modality",
        )


def _check_classes(mask: Source, classes: tuple[int, ...]) -> None:
    if unknown := sorted(labels_of(read_mask(mask)) - set(classes)):
        raise ScanError(
            mask.path,
            f"has the classes {', '.join(map(str, unknown[:5]))}, which the generator's masks lack; they "
            f"have {', '.join(map(str, classes))}",
        )


def _step(record: Mapping[str, Any]) -> Step:
    """Make a step from what `Step.record` returned."""
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    name = settings.pop("step")
    if name not in STEPS:
        raise VoxflateError(
            f"the scans were prepared with the step {name}, which this version does not know; update voxflate"
        )
    return Step(STEPS[name], settings)


def _reading(manifest: Manifest) -> Reading:
    """How the set's scans were read; every kind of scan is accepted, because the user names the file."""
    records = {record["step"]: record for record in manifest.steps}
    return Reading(
        modality=records.get("modality", {}).get("given", ""),
        min_slices=records.get("min_slices", {}).get("at_least", Reading.min_slices),
        mixed=True,
        assume=records.get("assume", {}).get("orientation", ""),
        regrid="regrid" in records,
        nan=records.get("nan", {}).get("as", ""),
        hu_offset=records.get("hu_offset", {}).get("added", 0.0),
        hounsfield="window_hu" in records,
    )


def _one_scan(path: Path, reading: Reading) -> Source:
    if path.is_file():
        if reader_of(path) is None:
            raise VoxflateError(f"{path}: is not a scan by itself; give the folder of its DICOM series")
        parts = scan_files(path)
        return Source(path, path.name, "", reading=reading, parts=parts if len(parts) > 1 else ())

    def refuse(error: VoxflateError) -> None:
        raise error

    # --modality selects among the series of a folder; here it only says what a series without one is.
    found = find_sources(path, refuse, replace(reading, modality=""))
    if len(found) != 1:
        raise VoxflateError(f"{path}: has {len(found)} scans; give one of them")
    return replace(found[0], reading=reading)
