"""Take one more scan through the steps that made a prepared set: for a generator that was trained on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import Manifest
from voxflate.data.preparing.intensities import check_intensities
from voxflate.data.preparing.steps import (
    Step,
    crop_foreground,
    fit_depth,
    resample_box,
    rescale_percentiles,
    resize_in_plane,
    window_hu,
)
from voxflate.data.readers.refusals import ScanError
from voxflate.data.readers.table import reader_of, scan_files
from voxflate.data.sources.found import find_sources
from voxflate.data.sources.source import Reading, Source
from voxflate.data.volume import Volume, to_ras

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
_OF_READING = ("assume", "regrid", "nan", "hu_offset")
"""Records of how scans were read, which come before the steps."""


def prepare_like(path: Path, manifest: Manifest) -> Volume:
    """Read a scan and prepare it as the scans of a set were prepared.

    Args:
        path: A file that `READERS` knows, or a folder with one DICOM series.
        manifest: Of the set; its scans are not needed.

    Returns:
        The volume of the set's shape in [-1, 1]; its `intensity` says which values became -1 and 1, and its
        affine where it lies.

    Raises:
        VoxflateError: If there is not one scan, it is refused, or the set was made by steps that this version
            does not know.
    """
    steps = [_step(record) for record in manifest.steps if record["step"] not in _OF_READING]
    source = _one_scan(path, _reading(manifest))
    windows = [step.settings["high"] for step in steps if step.function is window_hu]
    volume = check_intensities(source, to_ras(source.volume()), bool(windows), windows[0] if windows else 0.0)
    try:
        for step in steps:
            volume = step(volume)
    except VoxflateError as error:
        raise ScanError(path, str(error)) from error
    if volume.array.shape != manifest.shape or volume.intensity is None:
        raise VoxflateError(
            f"{path}: became {volume.array.shape} by the recorded steps, {manifest.shape} is expected; the "
            "set was prepared by another version"
        )
    return volume


def _step(record: Mapping[str, Any]) -> Step:
    """A step back from what `Step.record` gave."""
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    name = settings.pop("step")
    if name not in STEPS:
        raise VoxflateError(f"the scans were prepared with the step {name}, which this version does not know")
    return Step(STEPS[name], settings)


def _reading(manifest: Manifest) -> Reading:
    records = {record["step"]: record for record in manifest.steps}
    return Reading(
        assume=records.get("assume", {}).get("orientation", ""),
        regrid="regrid" in records,
        nan=records.get("nan", {}).get("as", ""),
        hu_offset=records.get("hu_offset", {}).get("added", 0.0),
        hounsfield="window_hu" in records,
    )


def _one_scan(path: Path, reading: Reading) -> Source:
    if path.is_file():
        if reader_of(path) is None:
            raise VoxflateError(f"{path}: is not a scan by itself; name the folder of its DICOM series")
        parts = scan_files(path)
        return Source(path, path.name, "", reading=reading, parts=parts if len(parts) > 1 else ())

    def refuse(error: VoxflateError) -> None:
        raise error

    found = find_sources(path, refuse, reading)
    if len(found) != 1:
        raise VoxflateError(f"{path}: holds {len(found)} scans; name one of them")
    return found[0]
