"""Makes the manifest of a new set; values that need one number for all scans are medians."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from voxflate.data.channels import OTHER, Channel, Layout
from voxflate.data.prepared import Manifest, Scan
from voxflate.data.preparing.jobs import Plan, Refusals
from voxflate.data.preparing.labels import label_columns
from voxflate.data.preparing.steps import Step
from voxflate.data.sources.labels import wanted_labels
from voxflate.data.sources.names import Pseudonyms
from voxflate.data.sources.source import Reading, Source
from voxflate.data.volume import Float64, Geometry

LIBRARIES = ("voxflate", "numpy", "scipy", "nibabel", "pydicom", "SimpleITK")


def make_manifest(
    plan: Plan,
    steps: list[dict[str, Any]],
    scans: list[Scan],
    refusals: Refusals,
    names: Pseudonyms,
    content_sha256: str,
    layout: Layout,
    modality: str,
) -> Manifest:
    """Make the manifest of a set.

    Args:
        plan: The planned preparation.
        steps: The steps done, as `records` returns them.
        scans: In the order of the arrays, at least one.
        refusals: Unusable scans, and the account of all files.
        names: Makes their pseudonyms.
        content_sha256: Hash of the arrays.
        layout: Channels and labels.
        modality: Result of `modality_of` for their sources.
    """
    grids = [Geometry(plan.shape, np.array(scan.affine)) for scan in scans]
    depth, height, width = np.median([grid.spacing for grid in grids], axis=0).tolist()
    low, high = np.median([scan.intensity for scan in scans], axis=0).tolist()
    return Manifest(
        recipe=plan.recipe,
        steps=steps,
        shape=plan.shape,
        spacing=(depth, height, width),
        affine=_common_affine(grids, (depth, height, width)).tolist(),
        intensity=(low, high),
        scans=scans,
        held_out=plan.held_out,
        seed=plan.seed,
        content_sha256=content_sha256,
        libraries={name: _version(name) for name in LIBRARIES},
        left_out=refusals.left_out(names),
        files=refusals.account.record(),
        layout=layout,
        modality=modality,
    )


def make_layout(channels: Sequence[Channel], plan: Plan, scans: Sequence[Scan]) -> Layout:
    """The channels with the median intensity ranges of the images, and the label columns."""
    images = sum(channel.kind == "image" for channel in channels)
    ranges = np.array([(scan.intensity, *scan.other_intensities) for scan in scans], np.float64)
    medians = np.median(ranges, axis=0).tolist()
    named = [
        replace(channel, intensity=(low, high))
        for channel, (low, high) in zip(channels[:images], medians, strict=True)
    ]
    columns = label_columns([one.name for one in wanted_labels(plan.reading.labels)], scans)
    return Layout((*named, *channels[images:]), columns)


def modality_of(sources: Iterable[Source], plan: Plan) -> str:
    """The modality of the images as `Manifest.modality`; recipes that read Hounsfield units take only CT."""
    if plan.is_ct:
        return "CT"
    told = {image.modality for source in sources for image in source.images}
    if told == {""}:
        return ""
    return ", ".join(sorted(one or OTHER for one in told))


def records(steps: Sequence[Step], reading: Reading) -> list[dict[str, Any]]:
    """The steps done to every scan, first those done on reading."""
    done: list[dict[str, Any]] = []
    if reading.modality:
        done.append({"step": "modality", "given": reading.modality.upper()})
    if reading.min_slices != Reading.min_slices:
        done.append({"step": "min_slices", "at_least": reading.min_slices})
    if reading.assume:
        done.append({"step": "assume", "orientation": reading.assume})
    if reading.regrid:
        done.append({"step": "regrid"})
    if reading.nan:
        done.append({"step": "nan", "as": reading.nan})
    if reading.hu_offset:
        done.append({"step": "hu_offset", "added": reading.hu_offset, "to": "scans not in Hounsfield units"})
    return done + [step.record() for step in steps]


def _common_affine(grids: Sequence[Geometry], spacing: tuple[float, float, float]) -> Float64:
    """An affine for volumes without a scan: directions of the scans if they agree, otherwise straight axes.

    The centre of the volume is at the median of the scans' centres.
    """
    directions = np.array([grid.affine[:3, :3] / np.array(grid.spacing[::-1]) for grid in grids])
    straight = np.ptp(directions, axis=0).max() > 1e-3
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if straight else directions[0]) * np.array(spacing[::-1])
    middle = np.median([grid.centre for grid in grids], axis=0)
    affine[:3, 3] += middle - Geometry(grids[0].shape, affine).centre
    return affine


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
