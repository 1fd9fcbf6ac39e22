"""Turns scans into a prepared set, whole or not at all; an interrupted preparation continues."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from voxflate._system.errors import VoxflateError
from voxflate._system.files import check_writable, continued_folder
from voxflate._system.parallel import Progress, counted, in_order, workers
from voxflate.data.channels import Channel
from voxflate.data.outside import check_outside_sets
from voxflate.data.prepared import VERSION, Manifest, PreparedSet, Scan, open_prepared
from voxflate.data.preparing.cohort import (
    BEGUN_AGAIN,
    Cohort,
    first_cohort,
    left_of,
    refused_before,
    remember,
)
from voxflate.data.preparing.jobs import Job, Plan, Refusals, find_jobs, write_names
from voxflate.data.preparing.label_remarks import remark_on_labels
from voxflate.data.preparing.labels import unread_table
from voxflate.data.preparing.manifest import make_layout, make_manifest, modality_of, records
from voxflate.data.preparing.masks import remark_on_classes, remark_on_lost_classes
from voxflate.data.preparing.quality import look
from voxflate.data.preparing.quality_report import REPORT, write_quality_report
from voxflate.data.preparing.recipes import RecipeOptions
from voxflate.data.preparing.remarks import (
    remark_on_cover,
    remark_on_grids,
    remark_on_offset,
    remark_on_set,
    remark_on_sources,
    remark_on_window,
)
from voxflate.data.preparing.rows import Rows
from voxflate.data.preparing.volumes import Making, Result, prepare_volume
from voxflate.data.shapes import Shape
from voxflate.data.sources.account import Account, some
from voxflate.data.sources.names import Pseudonyms, load_salt
from voxflate.data.sources.pairing import channel_names
from voxflate.data.sources.people import note_shared_patients
from voxflate.data.sources.source import Reading, Refuse
from voxflate.data.volume import Geometry

READING = Reading()
OPTIONS = RecipeOptions()
_ANY_SHAPE: Shape = (16, 32, 32)


def prepare(
    source: str | Path,
    out: str | Path,
    recipe: str,
    shape: Shape,
    held_out: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
    refuse: Refuse | None = None,
    *,
    reading: Reading = READING,
    options: RecipeOptions = OPTIONS,
    salt: bytes | None = None,
    names_file: str | Path | None = None,
    looking: Progress | None = None,
    account: Account | None = None,
) -> PreparedSet:
    """Turn scans into a prepared set.

    Args:
        source: Folder with the scans, including subfolders (DICOM series and files that `READERS` knows), or
            a list of scans (.csv, .tsv, .json).
        out: Folder to write; must be missing or empty. An interrupted call is continued.
        recipe: A name in `recipes.RECIPES`.
        shape: (D, H, W) of the prepared volumes, a small base times a power of two.
        held_out: Share of the subjects to keep out of training, 0 or more and less than 1; a list with splits
            overrides it.
        seed: Of the random split by subject.
        progress: Called with (volumes done, all volumes) after each volume.
        refuse: Called with the error of every unusable scan, which is then left out; None ends
            with the first such error.
        reading: How scans are found and read.
        options: Options of the recipe.
        salt: Key of the pseudonyms; the user's own if None (`names.load_salt`).
        names_file: CSV file to write, outside `out`, that tells whose pseudonyms they are; None for none.
        looking: Called with (files examined, all files) before that.
        account: An empty account, to receive what happened to every file, and notes.

    Returns:
        The new set, opened.

    Raises:
        VoxflateError: If a setting or a scan is refused, or no scan is left; `out` is then unchanged.
    """
    shape = _whole(shape)
    plan = Plan(Path(source), Path(out), recipe, shape, held_out, seed, reading, options)
    refusals = Refusals(plan, refuse, account)
    all_jobs = find_jobs(plan, refusals, looking)
    names_file = None if names_file is None else Path(names_file)
    _check_names_file(plan, names_file)
    names = Pseudonyms(load_salt(out=plan.out) if salt is None else salt)
    first = first_cohort(all_jobs, plan, refusals, looking)
    cohort, _ = left_of(first, first.jobs, plan, refusals)
    with continued_folder(plan.out) as folder:
        manifest: Manifest | None = None
        while manifest is None:  # a second time only if a refused scan had decided something (decision 0193)
            making = Making(cohort.steps, shape, names, cohort.classes.values)
            make = partial(prepare_volume, making=making)
            key = _key(plan, cohort, names)
            if errors := refused_before(folder, key, cohort.jobs, make):
                for index, error in errors.items():
                    refusals.of(cohort.jobs[index].source, error)
                left = [job for index, job in enumerate(cohort.jobs) if index not in errors]
                cohort, _ = left_of(cohort, left, plan, refusals)
                continue
            with Rows(folder, key, _row(plan, cohort)) as rows:
                made = _add_all(rows, cohort.jobs, make, refusals, progress)
                left = [job for index, job in enumerate(cohort.jobs) if index in made]
                settled, again = left_of(cohort, left, plan, refusals)
                if not again:
                    manifest = _finish(folder, rows, plan, settled, list(made.values()), refusals, names)
            if again:
                remember(folder, key, [index for index in range(len(cohort.jobs)) if index not in made])
                cohort = settled
        manifest.write(folder)
    if names_file is not None:
        write_names(names_file, [job.source for job in all_jobs], refusals, names)
    return open_prepared(out)


def check(
    source: str | Path,
    out: str | Path,
    recipe: str,
    shape: Shape,
    held_out: float = 0.1,
    seed: int = 0,
    refuse: Refuse | None = None,
    reading: Reading = READING,
    options: RecipeOptions = OPTIONS,
) -> list[Job]:
    """Check everything that can be checked before voxels are read; arguments as in `prepare`.

    Returns:
        The scans to prepare, those of `train` first.

    Raises:
        VoxflateError: If a setting is wrong, there are no scans, or `out` is not empty.
    """
    plan = Plan(Path(source), Path(out), recipe, _whole(shape), held_out, seed, reading, options)
    return find_jobs(plan, Refusals(plan, refuse))


def cohort_grids(
    source: str | Path,
    out: str | Path,
    recipe: str,
    held_out: float = 0.1,
    seed: int = 0,
    refuse: Refuse | None = None,
    reading: Reading = READING,
    options: RecipeOptions = OPTIONS,
    progress: Progress | None = None,
    account: Account | None = None,
) -> list[Geometry]:
    """The grids that a recipe would get, reoriented to RAS, after the same checks as in `check`.

    Arguments as in `prepare`, for any shape. Voxels are read only for a crop.

    Raises:
        VoxflateError: If a setting is wrong, there are no scans, or `out` is not empty; anything that
            `refuse` raises.
    """
    plan = Plan(Path(source), Path(out), recipe, _ANY_SHAPE, held_out, seed, reading, options)
    refusals = Refusals(plan, refuse, account)
    jobs = find_jobs(plan, refusals, progress)
    cohort = first_cohort(jobs, plan, refusals, progress)
    _note_odd_grids(refusals.account, cohort)
    return [replace(grid, note="") for grid in cohort.grids]


def _whole(shape: Iterable[int]) -> Shape:
    """A shape as a tuple of integers, whether it is a list, a tuple or an array."""
    depth, height, width = map(int, shape)
    return depth, height, width


def _check_names_file(plan: Plan, path: Path | None) -> None:
    if path is None:
        return
    if path.exists():
        raise VoxflateError(f"{path}: already exists; choose another --names file, or delete it first")
    if path.resolve().is_relative_to(plan.out.resolve()):
        raise VoxflateError(f"{path}: would name people inside the prepared set; put --names elsewhere")
    check_outside_sets(path)
    check_writable(path)


def _channels(cohort: Cohort, reading: Reading) -> tuple[Channel, ...]:
    names = channel_names(reading, len(cohort.jobs[0].source.images))
    return tuple(Channel(name) for name in names) + cohort.classes.channels(reading.mask_name)


def _row(plan: Plan, cohort: Cohort) -> tuple[int, ...]:
    """Shape of a volume in the arrays."""
    channels = len(_channels(cohort, plan.reading))
    return plan.shape if channels == 1 else (channels, *plan.shape)


def _finish(
    folder: Path,
    rows: Rows,
    plan: Plan,
    cohort: Cohort,
    results: Sequence[Result],
    refusals: Refusals,
    names: Pseudonyms,
) -> Manifest:
    """Complete the arrays, remark on the set, and write its report; returns the manifest to write."""
    scans, looks = [one.scan for one in results], [one.look for one in results]
    account, sources = refusals.account, [job.source for job in cohort.jobs]
    account.used.update(path for source in sources for path in source.files)
    account.scans = {scan.scan: source.name for scan, source in zip(scans, sources, strict=True)}
    with workers() as pool:
        on_disk = pool.submit(rows.finish)  # the disk takes as long as the report
        channels, recorded = _channels(cohort, plan.reading), records(cohort.steps, plan.reading)
        _note_odd_grids(account, cohort)
        remark_on_sources(account, sources, unread_table(plan))
        remark_on_grids(account, cohort.grids, cohort.steps)
        further = [channel.name for channel in channels if channel.kind == "image"][1:]
        found = [cohort.found[source.key] for source in sources]
        remark_on_cover(account, further, [one.uncovered for one in found])
        remark_on_classes(account, cohort.classes, len(cohort.jobs))
        labels = [one.labels for one in found]
        remark_on_lost_classes(account, cohort.classes, labels, looks, recorded)
        note_shared_patients(account, [(job.source, job.split) for job in cohort.jobs])
        listed = any(source.split for source in sources)
        remark_on_set(account, scans, looks, recorded, None if listed else plan.held_out, channels)
        remark_on_offset(account, scans, plan.reading.hu_offset)
        remark_on_window(account, recorded, [one.clipped for one in results])
        layout = make_layout(channels, plan, scans)
        remark_on_labels(account, layout.labels, scans)
        manifest = make_manifest(
            plan, recorded, scans, refusals, names, rows.content_hash, layout, modality_of(sources, plan)
        )
        write_quality_report(folder / REPORT, manifest, looks)
        on_disk.result()
    (folder / BEGUN_AGAIN).unlink(missing_ok=True)
    return manifest


def _note_odd_grids(account: Account, cohort: Cohort) -> None:
    """Note what readers remarked on headers, with the names of the files."""
    odd: dict[str, list[str]] = {}
    for source in sorted((job.source for job in cohort.jobs), key=lambda one: one.key):
        if note := cohort.found[source.key].grid.note:
            odd.setdefault(note, []).append(source.name)
    for note, names in odd.items():
        account.note(
            f"{len(names)} {'scan' if len(names) == 1 else 'scans'}: {note}{{names}}",
            written={"names": ""},
            names=f" ({some(names)})",
        )


def _add_all(
    rows: Rows,
    jobs: Sequence[Job],
    make: Callable[[Job], Result | VoxflateError],
    refusals: Refusals,
    progress: Progress | None,
) -> dict[int, Result]:
    """Write the rows as they arrive, keeping those of earlier calls; return the jobs not refused by index."""
    done = {
        job: Result(scan, look(array, _spacing(scan), len(jobs[0].source.images)), clipped)
        for job, scan, array, clipped in rows.restore()
    }
    last = max(done, default=-1)

    def one(index: int) -> Result | VoxflateError:
        return done[index] if index in done else make(jobs[index])

    results: dict[int, Result] = {}
    with workers() as pool:
        found: Iterator[Any] = counted(in_order(pool, one, range(len(jobs))), len(jobs), progress)
        for index, result in enumerate(found):
            if isinstance(result, VoxflateError):
                refusals.of(jobs[index].source, result)
                continue
            if result.array is not None:
                if index < last:  # its row would come after those of later scans
                    path = jobs[index].source.path
                    raise VoxflateError(
                        f"{path}: could not be read before, but can now; run the same command again"
                    )
                rows.add(index, result.scan, result.array, result.clipped)
            results[index] = replace(result, array=None)
    return results


def _key(plan: Plan, cohort: Cohort, names: Pseudonyms) -> str:
    """A key that is equal for calls with the same files, steps, split, names and labels."""
    files = [
        [names.scan(job.source.name), names.subject(job.source.subject), job.split, job.labels]
        + [[stat.st_size, stat.st_mtime_ns] for stat in (path.stat() for path in job.source.files)]
        for job in cohort.jobs
    ]
    made = [VERSION, records(cohort.steps, plan.reading), plan.shape, cohort.classes.values, files]
    return hashlib.sha256(json.dumps(made).encode()).hexdigest()


def _spacing(scan: Scan) -> tuple[float, float, float]:
    return Geometry((1, 1, 1), np.array(scan.affine)).spacing
