"""What there is to do: the scans of a source, whose they are, and on which side of the split they lie."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sized
from dataclasses import dataclass
from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate._system.files import check_new_folder, whole_file
from voxflate._system.parallel import Progress
from voxflate.data.prepared import SPLITS, LeftOut
from voxflate.data.preparing.recipes import CT_RECIPES, RecipeOptions, find_recipe
from voxflate.data.readers.refusals import ScanError
from voxflate.data.shapes import Shape, split_shape
from voxflate.data.sources.found import Reading, Refuse, Source, find_sources
from voxflate.data.sources.names import Pseudonyms
from voxflate.data.sources.split import check_share, fixed_split, split_subjects
from voxflate.data.volume import assumed_affine


@dataclass(frozen=True)
class Plan:
    """What to make of what; the attributes are the arguments of `prepare.prepare`."""

    source: Path
    out: Path
    recipe: str
    shape: Shape
    held_out: float
    seed: int
    reading: Reading
    options: RecipeOptions

    def check(self) -> None:
        """Refuse settings that are wrong by themselves.

        Raises:
            VoxflateError: Names the setting.
        """
        split_shape(self.shape)
        find_recipe(self.recipe)
        self.options.check(self.recipe)
        check_share(self.held_out)
        check_new_folder(self.out)
        if self.reading.assume:
            assumed_affine(self.reading.assume, (1.0, 1.0, 1.0))  # refuses what is no orientation


@dataclass(frozen=True)
class Job:
    """One scan to prepare."""

    source: Source
    split: str


class Refusals:
    """Passes refusals on, and keeps what may be written of them.

    Args:
        plan: Says below which folder paths are.
        refuse: Is told of every error; raises to end with it.
    """

    def __init__(self, plan: Plan, refuse: Refuse | None) -> None:
        self._folder = plan.source if plan.source.is_dir() else plan.source.parent
        self._refuse = refuse
        self.errors: list[ScanError] = []

    def __call__(self, error: VoxflateError) -> None:
        """Take note of a scan that cannot be used."""
        if self._refuse is None:
            raise error
        self._refuse(error)
        if isinstance(error, ScanError):
            self.errors.append(error)

    def name(self, path: Path) -> str:
        """How `Source.name` calls a path."""
        return (path.relative_to(self._folder) if path.is_relative_to(self._folder) else path).as_posix()

    def left_out(self, names: Pseudonyms) -> list[LeftOut]:
        """What may be written."""
        return [LeftOut(names.scan(self.name(error.path)), error.reason) for error in self.errors]


def find_jobs(plan: Plan, refuse: Refuse, progress: Progress | None = None) -> list[Job]:
    """Refuse all that can be refused before a voxel is read.

    Returns:
        The scans to prepare, those of `train` first.

    Raises:
        VoxflateError: If a setting is wrong, there is no scan, or `out` holds something.
    """
    plan.check()
    sources = {one.path: one for one in find_scans(plan, refuse, progress)}
    subjects = {path: one.subject for path, one in sources.items()}
    fixed = {path: one.split for path, one in sources.items() if one.split}
    if fixed:
        splits = fixed_split(subjects, fixed, plan.seed)
    else:
        splits = split_subjects(subjects, plan.held_out, plan.seed)
    return [Job(sources[path], split) for split in SPLITS for path in splits[split]]


def find_scans(plan: Plan, refuse: Refuse, progress: Progress | None = None) -> list[Source]:
    """The scans of a source that the recipe can be for; of the plan, only source, reading and recipe count.

    Raises:
        VoxflateError: If there is none; what `refuse` raises.
    """
    sources = []
    for found in find_sources(plan.source, refuse, plan.reading, progress):
        if plan.recipe in CT_RECIPES and found.modality not in ("", "CT"):
            refuse(
                ScanError(
                    found.path,
                    f"is {found.modality}, not CT, and --recipe {plan.recipe} reads Hounsfield units; "
                    "prepare it apart with --recipe mr, or remove it",
                )
            )
        else:
            sources.append(found)
    check_some(sources, plan.source)
    return sources


def check_some(scans: Sized, source: Path) -> None:
    """Refuse to go on without a scan."""
    if not len(scans):
        raise VoxflateError(f"{source}: none of its scans can be used; the refusals say why")


def write_names(path: Path, jobs: Iterable[Job], refusals: Refusals, names: Pseudonyms) -> None:
    """Write which pseudonym is whose: a CSV table of scan, subject, path and the source's name for them.

    It undoes the pseudonyms, so it belongs beside the scans and not into the set.
    """
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["scan", "subject", "path", "name"])
        for job in jobs:
            one = job.source
            table.writerow([names.scan(one.name), names.subject(one.subject), one.path, one.subject])
        for error in refusals.errors:
            table.writerow([names.scan(refusals.name(error.path)), "", error.path, ""])
