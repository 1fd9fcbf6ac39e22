"""Turns scans into a prepared set, whole or not at all; an interrupted preparation continues."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from voxflate._system.errors import VoxflateError
from voxflate._system.files import continued_folder
from voxflate._system.parallel import Progress, counted, in_order, workers
from voxflate.data.channels import Channel
from voxflate.data.prepared import VERSION, PreparedSet, Scan, open_prepared
from voxflate.data.preparing.jobs import Job, Plan, Refusals, check_some, find_jobs, find_scans, write_names
from voxflate.data.preparing.manifest import make_layout, make_manifest, records
from voxflate.data.preparing.masks import MaskClasses, agreed_classes, remark_on_classes
from voxflate.data.preparing.quality import look
from voxflate.data.preparing.quality_report import REPORT, write_quality_report
from voxflate.data.preparing.recipes import RecipeOptions, cropping, find_recipe
from voxflate.data.preparing.remarks import remark_on_grids, remark_on_set, remark_on_sources
from voxflate.data.preparing.rows import Rows
from voxflate.data.preparing.steps import Step
from voxflate.data.preparing.volumes import Found, Making, Result, first_look, prepare_volume
from voxflate.data.readers.refusals import ScanError
from voxflate.data.shapes import Shape
from voxflate.data.sources.account import Account
from voxflate.data.sources.names import Pseudonyms, load_salt
from voxflate.data.sources.pairing import channel_names
from voxflate.data.sources.source import Reading, Refuse, Source
from voxflate.data.volume import Geometry

READING = Reading()
OPTIONS = RecipeOptions()


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
    names_file: Path | None = None,
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
    plan = Plan(Path(source), Path(out), recipe, shape, held_out, seed, reading, options)
    refusals = Refusals(plan, refuse, account)
    all_jobs = find_jobs(plan, refusals, looking)
    _check_names_file(plan, names_file)
    names = Pseudonyms(load_salt() if salt is None else salt)
    jobs, grids, classes = _first_looks(all_jobs, plan, refusals, looking)
    channels = _channels(jobs[0].source, reading, classes)
    steps = [*cropping(options), *find_recipe(recipe)(grids, shape, options)]
    remark_on_sources(refusals.account, [job.source for job in jobs])
    remark_on_grids(refusals.account, grids, steps)
    remark_on_classes(refusals.account, classes, len(jobs))
    make = partial(prepare_volume, making=Making(steps, shape, names, classes.values))
    row = shape if len(channels) == 1 else (len(channels), *shape)
    images = len(jobs[0].source.images)
    with continued_folder(plan.out) as folder:
        with Rows(folder, _key(plan, jobs, steps, names, classes), row) as rows:
            done = {
                job: Result(scan, look(array, _spacing(scan), images)) for job, scan, array in rows.restore()
            }
            results = _add_all(rows, jobs, make, done, refusals, progress)
            scans, looks = [one.scan for one in results], [one.look for one in results]
            check_some([scan for scan in scans if scan.split == "train"], plan.source)
            with workers() as pool:
                on_disk = pool.submit(rows.finish)  # the disk takes as long as the report
                recorded = records(steps, reading)
                remark_on_set(refusals.account, scans, looks, recorded, held_out, channels)
                layout = make_layout(channels, plan, scans)
                manifest = make_manifest(plan, recorded, scans, refusals, names, rows.content_hash, layout)
                write_quality_report(folder / REPORT, manifest, looks)
                on_disk.result()
        manifest.write(folder)
    if names_file is not None:
        write_names(names_file, all_jobs, refusals, names)
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
    plan = Plan(Path(source), Path(out), recipe, shape, held_out, seed, reading, options)
    return find_jobs(plan, Refusals(plan, refuse))


def cohort_grids(
    source: str | Path,
    recipe: str,
    refuse: Refuse | None = None,
    reading: Reading = READING,
    options: RecipeOptions = OPTIONS,
    progress: Progress | None = None,
    account: Account | None = None,
) -> list[Geometry]:
    """The grids that a recipe would get, reoriented to RAS; voxels are read only for a crop.

    Raises:
        VoxflateError: If a setting is wrong or there are no scans; anything that `refuse` raises.
    """
    find_recipe(recipe)
    options.check(recipe)
    plan = Plan(Path(source), Path(), recipe, (1, 1, 1), 0.0, 0, reading, options)
    refusals = Refusals(plan, refuse, account)
    jobs = [Job(one, "train") for one in find_scans(plan, refusals)]
    return _first_looks(jobs, plan, refusals, progress)[1]


def _check_names_file(plan: Plan, path: Path | None) -> None:
    if path is None:
        return
    if path.exists():
        raise VoxflateError(f"{path}: already exists; choose another --names file, or delete it first")
    if path.resolve().is_relative_to(plan.out.resolve()):
        raise VoxflateError(f"{path}: would name people inside the prepared set; put --names elsewhere")


def _first_looks(
    jobs: Sequence[Job], plan: Plan, refusals: Refusals, progress: Progress | None
) -> tuple[list[Job], list[Geometry], MaskClasses]:
    """The usable jobs in order; their grids in the order of the paths; the classes of their masks."""
    ordered = sorted(jobs, key=lambda job: job.source.key)
    with workers() as pool:
        looks = in_order(pool, partial(first_look, steps=cropping(plan.options)), ordered)
        results = list(counted(looks, len(ordered), progress))
    found: dict[int, Found] = {}
    for index, result in enumerate(results):
        if isinstance(result, VoxflateError):
            refusals.of(ordered[index].source, result)
        else:
            found[index] = result
    masks = {index: one.labels for index, one in found.items() if one.labels}
    classes, unfit = agreed_classes(masks, mixed=plan.reading.mixed)
    classes.check(plan.source)
    for index, reason in unfit.items():
        refusals.of(ordered[index].source, ScanError(ordered[index].source.path, reason))
        del found[index]
    kept = {ordered[index].source.key for index in found}
    check_some(kept, plan.source)
    grids = [one.grid for one in found.values()]
    _note_odd_grids(refusals.account, grids)
    return (
        [job for job in jobs if job.source.key in kept],
        [replace(grid, note="") for grid in grids],
        classes,
    )


def _channels(first: Source, reading: Reading, classes: MaskClasses) -> tuple[Channel, ...]:
    images = tuple(Channel(name) for name in channel_names(reading, len(first.images)))
    return images + classes.channels(reading.mask_name)


def _note_odd_grids(account: Account, grids: Iterable[Geometry]) -> None:
    """Note what readers remarked on positions and orientations."""
    for note, count in Counter(grid.note for grid in grids if grid.note).items():
        account.note(f"{count} {'scan' if count == 1 else 'scans'}: {note}")


def _add_all(
    rows: Rows,
    jobs: Sequence[Job],
    make: Any,
    done: dict[int, Result],
    refusals: Refusals,
    progress: Progress | None,
) -> list[Result]:
    """Write the rows as they arrive, keeping those of earlier calls; return the jobs not refused."""
    last = max(done, default=-1)

    def one(index: int) -> Result | VoxflateError:
        return done[index] if index in done else make(jobs[index])

    results: list[Result] = []
    with workers() as pool:
        found: Iterator[Any] = counted(in_order(pool, one, range(len(jobs))), len(jobs), progress)
        for index, result in enumerate(found):
            if isinstance(result, VoxflateError):
                refusals.of(jobs[index].source, result)
                continue
            refusals.account.used.update(jobs[index].source.files)
            if result.array is not None:
                if index < last:  # its row would come after those of later scans
                    path = jobs[index].source.path
                    raise VoxflateError(
                        f"{path}: could not be read before, but can now; run the same command again"
                    )
                rows.add(index, result.scan, result.array)
            results.append(Result(result.scan, result.look))
    return results


def _key(
    plan: Plan, jobs: Sequence[Job], steps: Sequence[Step], names: Pseudonyms, classes: MaskClasses
) -> str:
    """A key that is equal for calls with the same files, steps, split, names and labels."""
    files = [
        [names.scan(job.source.name), names.subject(job.source.subject), job.split, job.labels]
        + [[stat.st_size, stat.st_mtime_ns] for stat in (path.stat() for path in job.source.files)]
        for job in jobs
    ]
    made = [VERSION, records(steps, plan.reading), plan.shape, classes.values, files]
    return hashlib.sha256(json.dumps(made).encode()).hexdigest()


def _spacing(scan: Scan) -> tuple[float, float, float]:
    return Geometry((1, 1, 1), np.array(scan.affine)).spacing
