"""From a folder of scans to a prepared set: whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from voxflate.data.parallel import Progress, counted, in_order, workers
from voxflate.data.prepared import SPLITS, Int16, Manifest, PreparedSet, Scan, open_prepared, to_stored
from voxflate.data.recipes import CT_RECIPES, find_recipe
from voxflate.data.shapes import Shape, split_shape
from voxflate.data.sources import Refuse, Source, find_sources
from voxflate.data.split import split_subjects
from voxflate.data.steps import Step
from voxflate.data.volume import Float64, Geometry, assumed_affine, to_ras
from voxflate.errors import VoxflateError
from voxflate.files import check_new_folder, whole_folder


@dataclass(frozen=True)
class Job:
    """One scan to prepare."""

    source: Source
    subject: str
    split: str


@dataclass(frozen=True)
class _Result:
    """One prepared scan: its voxels and its line of the manifest."""

    array: Int16
    scan: Scan


def prepare(
    source: str | Path,
    out: str | Path,
    recipe: str,
    shape: Shape,
    held_out: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
    refuse: Refuse | None = None,
    assume: str = "",
) -> PreparedSet:
    """Turn a folder of scans into a prepared set.

    Args:
        source: Folder with the scans, subfolders included: DICOM series and files that `READERS` knows.
        out: Folder to write; must be missing or empty.
        recipe: A name in `recipes.RECIPES`.
        shape: (D, H, W) of the prepared volumes, a small base times a power of two.
        held_out: Share of the subjects to keep from training, 0 or more and less than 1.
        seed: Of the random split by subject.
        progress: Called with (volumes done, volumes in all) after each.
        refuse: Called with the error of every scan that cannot be used, which is then left out; None ends
            with the first such error.
        assume: Where the axes of files that do not say it point to, such as "RAS"; empty refuses such files.

    Returns:
        The new set, opened.

    Raises:
        VoxflateError: If a setting or a scan is refused, or no scan is left; `out` is then as it was before.
    """
    refuse = refuse or _stop
    jobs = check(source, out, recipe, shape, held_out, seed, refuse, assume)
    with workers() as pool:
        found = list(pool.map(_grid, sorted(jobs, key=lambda job: job.source.path)))
    grids = {job.source.path: grid for job, grid in found if isinstance(grid, Geometry)}
    for _, error in found:
        if isinstance(error, VoxflateError):
            refuse(error)
    jobs = [job for job in jobs if job.source.path in grids]
    _check_some(jobs, source)
    steps = find_recipe(recipe)(list(grids.values()), shape)
    counts = [sum(job.split == split for job in jobs) for split in SPLITS]
    with workers() as pool, whole_folder(out) as folder:
        results = counted(
            in_order(pool, lambda job: _prepare_scan(job, steps, shape), jobs), len(jobs), progress
        )
        scans, content_sha256 = _write_arrays(folder, shape, counts, results, refuse)
        _check_some([scan for scan in scans if scan.split == "train"], source)
        _manifest(recipe, _records(steps, assume), shape, scans, held_out, seed, content_sha256).write(folder)
    return open_prepared(out)


def check(
    source: str | Path,
    out: str | Path,
    recipe: str,
    shape: Shape,
    held_out: float = 0.1,
    seed: int = 0,
    refuse: Refuse | None = None,
    assume: str = "",
) -> list[Job]:
    """Refuse all that can be refused before a voxel is read; the arguments are those of `prepare`.

    Returns:
        The scans to prepare, those of `train` first.

    Raises:
        VoxflateError: If a setting is wrong, there is no scan, or `out` holds something.
    """
    refuse = refuse or _stop
    split_shape(shape)
    find_recipe(recipe)
    check_new_folder(out)
    if assume:
        assumed_affine(assume, (1.0, 1.0, 1.0))  # refuses what is no orientation
    sources = {}
    for found in find_sources(Path(source), refuse, assume):
        if recipe in CT_RECIPES and found.modality not in ("", "CT"):
            refuse(
                VoxflateError(
                    f"{found.path}: is {found.modality}, not CT, and --recipe {recipe} reads Hounsfield "
                    "units; prepare it apart with --recipe mr, or remove it"
                )
            )
        else:
            sources[found.path] = found
    _check_some(sources, source)
    splits = split_subjects({path: one.subject for path, one in sources.items()}, held_out, seed)
    return [Job(sources[path], subject, split) for split in SPLITS for subject, path in splits[split]]


def _stop(error: VoxflateError) -> None:
    raise error


def _check_some(scans: Sized, source: str | Path) -> None:
    if not len(scans):
        raise VoxflateError(f"{source}: none of its scans can be used; the refusals say why")


def _grid(job: Job) -> tuple[Job, Geometry | VoxflateError]:
    try:
        return job, job.source.geometry().to_ras()
    except VoxflateError as error:
        return job, error


def _prepare_scan(job: Job, steps: Sequence[Step], shape: Shape) -> _Result | VoxflateError:
    """Read one scan and take it through the steps; an error is a result, so that it ends only its scan."""
    try:
        volume = to_ras(job.source.volume())
    except VoxflateError as error:
        return error
    try:
        for step in steps:
            volume = step(volume)
    except VoxflateError as error:
        return VoxflateError(f"{job.source.path}: {error}")
    if volume.array.shape != shape or volume.intensity is None:
        raise ValueError(f"a recipe must rescale, and resize to {shape}; this one made {volume.array.shape}")
    scan = Scan(job.subject, job.split, job.source.sha256(), volume.affine.tolist(), volume.intensity)
    return _Result(to_stored(volume.array), scan)


def _write_arrays(
    folder: Path,
    shape: Shape,
    counts: Sequence[int],
    results: Iterator[_Result | VoxflateError],
    refuse: Refuse,
) -> tuple[list[Scan], str]:
    """Write one array file per split as the results come in.

    Plain writes and not a memory map: on a full disk a write is an error, a memory map is a killed process.

    Returns:
        The records of the scans, and the SHA-256 of all values.
    """
    scans: list[Scan] = []
    digest = hashlib.sha256()
    for split, count in zip(SPLITS, counts, strict=True):
        written = 0
        with open(folder / f"{split}.npy", "wb") as file:
            _write_header(file, (count, *shape))
            for result in islice(results, count):
                if isinstance(result, VoxflateError):
                    refuse(result)
                    continue
                content = result.array.tobytes()
                file.write(content)
                digest.update(content)
                scans.append(result.scan)
                written += 1
            if written < count:  # the header is padded, so that a smaller count takes the same room
                file.seek(0)
                _write_header(file, (written, *shape))
            file.flush()
            os.fsync(file.fileno())
    return scans, digest.hexdigest()


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<i2", "fortran_order": False, "shape": shape})


def _records(steps: Sequence[Step], assume: str) -> list[dict[str, Any]]:
    """What was done to every scan; an orientation that was assumed comes first."""
    assumed = [{"step": "assume", "orientation": assume}] if assume else []
    return assumed + [step.record() for step in steps]


def _manifest(
    recipe: str,
    steps: list[dict[str, Any]],
    shape: Shape,
    scans: list[Scan],
    held_out: float,
    seed: int,
    content_sha256: str,
) -> Manifest:
    """Sum the set up: medians over the scans where it needs one figure for all."""
    grids = [Geometry(shape, np.array(scan.affine)) for scan in scans]
    depth, height, width = np.median([grid.spacing for grid in grids], axis=0).tolist()
    low, high = np.median([scan.intensity for scan in scans], axis=0).tolist()
    return Manifest(
        recipe=recipe,
        steps=steps,
        shape=shape,
        spacing=(depth, height, width),
        affine=_common_affine(grids, (depth, height, width)).tolist(),
        intensity=(low, high),
        scans=scans,
        held_out=held_out,
        seed=seed,
        content_sha256=content_sha256,
        libraries={name: _version(name) for name in ("voxflate", "numpy", "nibabel", "pydicom", "SimpleITK")},
    )


def _common_affine(grids: Sequence[Geometry], spacing: tuple[float, float, float]) -> Float64:
    """An affine for volumes of nobody: the scans' own where they agree on directions, else straight axes.

    The middle of the volume lies at the median of the scans' middles.
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
