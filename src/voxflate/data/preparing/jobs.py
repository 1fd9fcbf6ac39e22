"""Plans a preparation: the scans of a source, their subjects and their split."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate._system.files import check_new_folder, whole_file
from voxflate._system.parallel import Progress
from voxflate.data.channels import OTHER, LabelValue
from voxflate.data.outside import check_outside_sets
from voxflate.data.prepared import SPLITS, LeftOut
from voxflate.data.preparing.labels import labelled, typed, with_labels
from voxflate.data.preparing.recipes import CT_RECIPES, RecipeOptions, find_recipe
from voxflate.data.readers.refusals import ScanError
from voxflate.data.shapes import Shape, split_shape
from voxflate.data.sources.account import Account
from voxflate.data.sources.found import find_sources
from voxflate.data.sources.names import Pseudonyms
from voxflate.data.sources.pairing import channel_names
from voxflate.data.sources.source import Reading, Refuse, Source
from voxflate.data.sources.split import check_share, fixed_split, split_subjects
from voxflate.data.volume import assumed_affine


@dataclass(frozen=True)
class Plan:
    """A planned preparation; the attributes are the arguments of `prepare.prepare`."""

    source: Path
    out: Path
    recipe: str
    shape: Shape
    held_out: float
    seed: int
    reading: Reading
    options: RecipeOptions

    @property
    def is_ct(self) -> bool:
        """Whether the recipe reads Hounsfield units."""
        return self.recipe in CT_RECIPES

    def check(self) -> None:
        """Refuse invalid settings.

        Raises:
            VoxflateError: Names the setting.
        """
        split_shape(self.shape)
        find_recipe(self.recipe)
        self.options.check(self.recipe)
        self.reading.check()
        check_share(self.held_out)
        if self.seed < 0:
            raise VoxflateError(f"seed is a whole number from 0 on, got {self.seed}")
        check_new_folder(self.out)
        self._check_place()
        if self.reading.assume:
            assumed_affine(self.reading.assume, (1.0, 1.0, 1.0))  # refuses an invalid orientation
        if self.is_ct and self.reading.modality.upper() not in ("", "CT"):
            raise VoxflateError(
                f"--modality {self.reading.modality}: --recipe {self.recipe} is for CT; use --recipe mr"
            )
        if self.reading.hu_offset and not self.is_ct:
            raise VoxflateError(f"--hu-offset is for --recipe ct or coca, not for {self.recipe}")

    def _check_place(self) -> None:
        """Refuse to write into a set, or among the scans, where the next preparation would search."""
        check_outside_sets(self.out)
        if self.source.is_dir() and self.out.resolve().is_relative_to(self.source.resolve()):
            raise VoxflateError(
                f"{self.out}: is inside the folder of scans, {self.source}; choose a folder outside it"
            )


@dataclass(frozen=True)
class Job:
    """One volume to prepare.

    Attributes:
        source: Its scan, with its other channels and its mask.
        split: One of `prepared.SPLITS`.
        labels: Labels of the subject.
    """

    source: Source
    split: str
    labels: dict[str, LabelValue] = field(default_factory=dict)


class Refusals:
    """Passes refusals on, and keeps the parts that may be written to files.

    Args:
        plan: Gives the folder that paths are relative to.
        refuse: Called with every error; raises it to stop.
        account: Receives the files that are left out.
    """

    def __init__(self, plan: Plan, refuse: Refuse | None, account: Account | None = None) -> None:
        self._folder = plan.source if plan.source.is_dir() else plan.source.parent
        self._refuse = refuse
        self.account = Account() if account is None else account
        self.errors: list[ScanError] = []

    @property
    def leaves_out(self) -> bool:
        """Whether unusable scans are left out; otherwise the first error ends the preparation."""
        return self._refuse is not None

    def __call__(self, error: VoxflateError) -> None:
        """Record a scan that cannot be used."""
        if self._refuse is None:
            raise error
        self._refuse(error)
        if isinstance(error, ScanError):
            error.name = error.name or self._name(error.path)
            self.errors.append(error)
            self.account.leave(error.files, error.reason)

    def of(self, source: Source, error: VoxflateError) -> None:
        """Record a scan that was found but cannot be used; all its files are left out."""
        if isinstance(error, ScanError):
            error.files, error.name = source.files, source.name
        self(error)

    def _name(self, path: Path) -> str:
        """A path's name as in `Source.name`."""
        return (path.relative_to(self._folder) if path.is_relative_to(self._folder) else path).as_posix()

    def left_out(self, names: Pseudonyms) -> list[LeftOut]:
        """The refusals, as they may be written to files."""
        return [LeftOut(names.scan(error.name), error.reason) for error in self.errors]


def find_jobs(plan: Plan, refuse: Refusals, progress: Progress | None = None) -> list[Job]:
    """Check everything that can be checked before voxels are read.

    Returns:
        The scans to prepare, those of `train` first.

    Raises:
        VoxflateError: If a setting is wrong, there are no scans, or `out` is not empty.
    """
    plan.check()
    found = find_scans(plan, refuse, progress)
    sources, known = with_labels(plan, found, refuse.account)
    split_of = _split(plan, sources)
    by_key = {one.key: one for one in sources}
    # After the split, so that a missing label moves nobody to the other split.
    kept = labelled(plan, [by_key[key] for key in split_of], known, refuse)
    check_some(kept, plan.source, refuse.errors)
    return _jobs(plan, kept, split_of)


def split_jobs(plan: Plan, sources: Sequence[Source]) -> list[Job]:
    """Draw the split again for scans that were found before and have the requested labels.

    Raises:
        VoxflateError: If a list holds out all of them.
    """
    split_of = _split(plan, sources)
    by_key = {one.key: one for one in sources}
    return _jobs(plan, [by_key[key] for key in split_of], split_of)


def _split(plan: Plan, sources: Sequence[Source]) -> dict[tuple[Path, int], str]:
    """The split of every scan, in the order of the rows."""
    subjects = {one.key: one.subject for one in sources}
    fixed = {one.key: one.split for one in sources if one.split}
    if fixed:
        splits = _listed_split(plan, subjects, fixed)
    else:
        splits = split_subjects(subjects, plan.held_out, plan.seed)
    return {key: split for split in SPLITS for key in splits[split]}


def _jobs(plan: Plan, scans: Sequence[Source], split_of: Mapping[tuple[Path, int], str]) -> list[Job]:
    labels = typed(plan.reading.labels, [one.labels for one in scans], [one.name for one in scans])
    return [Job(one, split_of[one.key], known) for one, known in zip(scans, labels, strict=True)]


def _listed_split(
    plan: Plan, subjects: dict[tuple[Path, int], str], fixed: dict[tuple[Path, int], str]
) -> dict[str, list[tuple[Path, int]]]:
    try:
        return fixed_split(subjects, fixed, plan.seed)
    except VoxflateError as error:
        raise VoxflateError(f"{plan.source}: {error}") from error


def find_scans(plan: Plan, refuse: Refusals, progress: Progress | None = None) -> list[Source]:
    """The scans of a source that suit the recipe; only the plan's source, reading and recipe are used.

    Raises:
        VoxflateError: If there are none; anything that `refuse` raises.
    """
    sources = []
    found = find_sources(plan.source, refuse, _reading(plan), progress, refuse.account)
    for one in found:
        error = next(filter(None, (_unfit(one, number, plan) for number in range(len(one.images)))), None)
        if error:
            refuse.of(one, error)
        else:
            sources.append(one)
    check_some(sources, plan.source, refuse.errors)
    _note_unknown(plan, sources, refuse.account)
    return sources


def _note_unknown(plan: Plan, sources: Iterable[Source], account: Account) -> None:
    """Note images that do not tell their modality beside others that do."""
    told = [image.modality for one in sources for image in one.images]
    if any(told) and not all(told) and not plan.is_ct:
        account.note(
            f"{told.count('')} of {len(told)} images do not tell their modality, so that of the set is "
            f"{', '.join(sorted({one or OTHER for one in told}))}, and it is not written as DICOM"
        )


def _unfit(one: Source, number: int, plan: Plan) -> ScanError | None:
    """Why an image of a volume does not suit the plan's recipe, according to its header; None if it does."""
    image = one.images[number]
    if plan.is_ct and image.modality not in ("", "CT"):
        names = channel_names(plan.reading, len(one.images))
        return _not_ct(image, plan.recipe, names[number] if len(names) > 1 else "")
    if plan.is_ct and image.lacks_units and not plan.reading.hu_offset:
        return _without_units(image)
    return None


def _reading(plan: Plan) -> Reading:
    """How scans are read for the plan's recipe."""
    if not plan.is_ct:
        return plan.reading
    return replace(plan.reading, hounsfield=True)


def _not_ct(image: Source, recipe: str, channel: str) -> ScanError:
    advice = "leave it out with --modality CT, or prepare it separately with --recipe mr"
    if channel:
        advice = "use --recipe mr for all channels, or drop the channel {channel}"
    return ScanError(
        image.path,
        f"is {image.modality}, not CT, and --recipe {recipe} reads Hounsfield units; {advice}",
        channel=channel,
    )


def _without_units(one: Source) -> ScanError:
    return ScanError(
        one.path,
        "is CT without a RescaleIntercept, so its values are not in Hounsfield units; give the value to "
        "add with --hu-offset, such as --hu-offset -1024, or remove it",
    )


def check_some(scans: Sized, source: Path, errors: Sequence[ScanError]) -> None:
    """Refuse to continue without scans, with the first reason."""
    if not len(scans):
        why = f": {len(errors)} refused, first {errors[0]}" if errors else ""
        raise VoxflateError(f"{source}: none of its scans can be used{why}")


def write_names(path: Path, sources: Iterable[Source], refusals: Refusals, names: Pseudonyms) -> None:
    """Write whose pseudonyms they are: a CSV table of scan, subject, path and the source's name.

    Every scan has one line, whether it was used or left out. The table reverses the pseudonyms, so it belongs
    beside the scans and not in the set, and only the user may read it.
    """
    with (
        whole_file(path) as temporary,
        open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="", opener=_private) as file,
    ):
        table = csv.writer(file)
        table.writerow(["scan", "subject", "path", "name"])
        rows = {one.name: (names.subject(one.subject), one.path, one.subject) for one in sources}
        for error in refusals.errors:
            rows.setdefault(error.name, ("", error.path, ""))
        table.writerows([names.scan(name), *row] for name, row in rows.items())


def _private(path: str, flags: int) -> int:
    """Open a file that only the user may read."""
    return os.open(path, flags, 0o600)
