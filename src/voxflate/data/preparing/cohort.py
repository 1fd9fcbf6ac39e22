"""The scans of a set, and what they decide together: voxel size, split, classes of masks, kinds of labels.

A scan may be refused only when its voxels are read. Then it must not have decided anything (decision 0193).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from voxflate._system.errors import VoxflateError
from voxflate._system.parallel import Progress, counted, in_order, workers
from voxflate.data.preparing.jobs import Job, Plan, Refusals, check_some, split_jobs
from voxflate.data.preparing.labels import typed
from voxflate.data.preparing.masks import MaskClasses, agreed_classes
from voxflate.data.preparing.recipes import cropping, find_recipe
from voxflate.data.preparing.steps import Step
from voxflate.data.preparing.volumes import Found, Result, first_look
from voxflate.data.readers.refusals import ScanError
from voxflate.data.volume import Geometry

BEGUN_AGAIN = "again.jsonl"
"""Which scans made an unfinished preparation begin again: a line for each time."""


@dataclass(frozen=True)
class Cohort:
    """The scans that are left, and what follows from all of them.

    Attributes:
        jobs: The scans, those of `train` first.
        found: The results of the first look, by `Source.key`; also of scans refused since.
        classes: The classes of their masks.
        steps: The steps of the recipe.
    """

    jobs: list[Job]
    found: Mapping[tuple[Path, int], Found]
    classes: MaskClasses
    steps: list[Step]

    @property
    def grids(self) -> list[Geometry]:
        """Their grids, in the order of the paths."""
        return [self.found[key].grid for key in sorted(job.source.key for job in self.jobs)]


def first_cohort(
    jobs: Sequence[Job], plan: Plan, refusals: Refusals, progress: Progress | None = None
) -> Cohort:
    """Look at the files of some jobs, and find what the usable ones decide.

    Raises:
        VoxflateError: If none is usable, or a setting does not fit; anything that `refusals` raises.
    """
    ordered = sorted(jobs, key=lambda job: job.source.key)
    with workers() as pool:
        looks = in_order(pool, partial(first_look, steps=cropping(plan.options)), ordered)
        results = list(counted(looks, len(ordered), progress))
    found: dict[tuple[Path, int], Found] = {}
    for job, result in zip(ordered, results, strict=True):
        if isinstance(result, VoxflateError):
            refusals.of(job.source, result)
        else:
            found[job.source.key] = result
    return _cohort([job for job in jobs if job.source.key in found], found, plan, refusals)


def left_of(cohort: Cohort, jobs: list[Job], plan: Plan, refusals: Refusals) -> tuple[Cohort, bool]:
    """The cohort after refusals.

    As long as the refused scans decided nothing, the others keep their steps and their split.

    Args:
        cohort: The cohort before.
        jobs: Those of its jobs that were not refused.
        plan: The planned preparation.
        refusals: Receives masks that do not match the others any more.

    Returns:
        The cohort, and whether volumes that were made for the old one must be made again.

    Raises:
        VoxflateError: If nobody is left to train on; anything that `refusals` raises.
    """
    left = _cohort(jobs, cohort.found, plan, refusals)
    changed = left.steps != cohort.steps or left.classes.values != cohort.classes.values
    if not (changed or len(left.jobs) < len(jobs) or _is_unsettled(left.jobs, plan)):
        return left, False
    return replace(left, jobs=split_jobs(plan, [job.source for job in left.jobs])), True


def _cohort(
    jobs: list[Job], found: Mapping[tuple[Path, int], Found], plan: Plan, refusals: Refusals
) -> Cohort:
    """The cohort of some jobs, without those whose masks do not match."""
    ordered = sorted(jobs, key=lambda job: job.source.key)
    labels = {index: found[job.source.key].labels for index, job in enumerate(ordered)}
    classes, unfit = agreed_classes({i: one for i, one in labels.items() if one}, mixed=plan.reading.mixed)
    classes.check(plan.source)
    for index, reason in unfit.items():
        refusals.of(ordered[index].source, ScanError(ordered[index].source.path, reason))
    refused = {ordered[index].source.key for index in unfit}
    cohort = Cohort([job for job in jobs if job.source.key not in refused], found, classes, [])
    check_some(cohort.jobs, plan.source, refusals.errors)
    grids = [replace(grid, note="") for grid in cohort.grids]
    steps = [*cropping(plan.options), *find_recipe(plan.recipe)(grids, plan.shape, plan.options)]
    return replace(cohort, steps=steps)


def _is_unsettled(jobs: Sequence[Job], plan: Plan) -> bool:
    """Whether a split is empty, or labels have a kind, only because of scans that are not there any more."""
    splits = {job.split for job in jobs}
    if any(job.source.split for job in jobs):  # a list decides
        if "train" not in splits:
            raise VoxflateError(
                f"{plan.source}: every scan that it lists for training was left out; repair them, or list "
                "others"
            )
    elif "train" not in splits or (
        plan.held_out and "heldout" not in splits and len({job.source.subject for job in jobs}) > 1
    ):
        return True
    return typed(plan.reading.labels, [job.source.labels for job in jobs]) != [job.labels for job in jobs]


def remember(folder: Path, key: str, refused: Sequence[int]) -> None:
    """Record that volumes are made again because of some refused jobs, for a call after an interruption.

    Args:
        folder: Folder of the unfinished set.
        key: Identifies the jobs.
        refused: Indices of the refused ones.
    """
    with (folder / BEGUN_AGAIN).open("a", encoding="ascii") as file:
        file.write(json.dumps({"key": key, "refused": list(refused)}) + "\n")


def refused_before(
    folder: Path, key: str, jobs: Sequence[Job], make: Callable[[Job], Result | VoxflateError]
) -> dict[int, VoxflateError]:
    """Jobs because of which an earlier call began again, with their errors; empty if they are usable now.

    Args:
        folder: Folder of the unfinished set.
        key: Identifies the jobs.
        jobs: All jobs.
        make: Makes a volume; tells again why it is refused.
    """
    path = folder / BEGUN_AGAIN
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            entry: dict[str, Any] = json.loads(line)
        except ValueError:  # cut off by the interruption
            continue
        if entry["key"] == key:
            made = {index: make(jobs[index]) for index in entry["refused"]}
            errors = {index: one for index, one in made.items() if isinstance(one, VoxflateError)}
            return errors if len(errors) == len(made) else {}
    return {}
