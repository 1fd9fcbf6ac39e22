"""What there is to prepare: below a folder, or in a list, files that a reader knows and DICOM series."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate._system.files import sha256
from voxflate._system.parallel import Progress, counted, in_order, workers
from voxflate.data.readers import dicom
from voxflate.data.readers.dicom_slices import Slice, group, is_dicom, read_slices
from voxflate.data.readers.refusals import ScanError, check_right_angles, check_voxels
from voxflate.data.readers.regrid import upright, upright_geometry
from voxflate.data.readers.table import READERS, read_geometry, read_volume, reader_of
from voxflate.data.sources.lists import LISTS, read_list
from voxflate.data.sources.split import subject_of
from voxflate.data.volume import Geometry, Volume

Refuse = Callable[[VoxflateError], None]
"""Called with what is wrong with a scan; raises it, or notes it and so leaves the scan out."""

BIDS_MARK = "dataset_description.json"
_BIDS_NO_SCANS = ("derivatives", "sourcedata", "code", "stimuli")


@dataclass(frozen=True)
class Reading:
    """How scans are found and read.

    Attributes:
        assume: Orientation of files that have none, such as "RAS"; empty to refuse them.
        regrid: Resample tilted, sheared and unevenly spaced scans to a box of voxels; else they are refused.
        only: Pattern such as "*_T1w.nii.gz" that names or paths below the source must match; empty for all.
        allow_outside: Let a list name files outside its folder.
    """

    assume: str = ""
    regrid: bool = False
    only: str = ""
    allow_outside: bool = False


@dataclass(frozen=True)
class Source:
    """One scan on the disk.

    Attributes:
        path: Its file, or the first file of its series.
        name: The path below the source; must not be written anywhere.
        subject: Whose scan it is, as the source names the person; must not be written anywhere.
        series: The DICOM series, None for a file that is a volume by itself.
        reading: How it is read.
        split: One of `prepared.SPLITS` where a list says so, else empty.
    """

    path: Path
    name: str
    subject: str
    series: dicom.Series | None = None
    reading: Reading = Reading()
    split: str = ""

    @property
    def modality(self) -> str:
        """CT, MR, PT, ...; empty where the format does not say."""
        return self.series.modality if self.series else ""

    @property
    def files(self) -> tuple[Path, ...]:
        """All its files."""
        return self.series.files if self.series else (self.path,)

    def geometry(self) -> Geometry:
        """The grid; the voxels are not touched.

        Raises:
            ScanError: If the reader refuses the file.
        """
        grid = self.series.geometry if self.series else read_geometry(self.path, self.reading.assume)
        return upright_geometry(grid) if self._sheared(grid) else grid

    def volume(self) -> Volume:
        """The voxels, in the source's units.

        Raises:
            ScanError: If the reader refuses a file, or the voxels are of no use.
        """
        if self.series is None:
            volume = read_volume(self.path, self.reading.assume)
        else:
            volume = dicom.read_series(self.series)
            check_voxels(self.path, volume.array)
        return upright(volume) if self._sheared(volume.geometry) else volume

    def _sheared(self, grid: Geometry) -> bool:
        """Say whether the axes miss right angles, which is refused unless resampling was asked for."""
        try:
            check_right_angles(self.path, grid.affine)
        except VoxflateError:
            if not self.reading.regrid:
                raise
            return True
        return False

    def sha256(self) -> str:
        """SHA-256 of the file, or of the hashes of a series' files in their order."""
        if self.series is None:
            return sha256(self.path)
        return hashlib.sha256("".join(map(sha256, self.files)).encode()).hexdigest()


@dataclass(frozen=True)
class _File:
    """A file that may be a scan or part of one, and what a list says about it."""

    path: Path
    name: str
    subject: str = ""
    split: str = ""


def find_sources(
    source: Path, refuse: Refuse, reading: Reading = Reading(), progress: Progress | None = None
) -> list[Source]:
    """All scans below a folder or in a list, sorted by path; hidden files and other kinds are left out.

    Args:
        source: Folder to look in, subfolders included, or a list that `lists.read_list` reads.
        refuse: Called for every DICOM file or series that is no volume.
        reading: How scans are found and read.
        progress: Called with (files looked at, files in all) where files may be DICOM.

    Returns:
        At least one scan.

    Raises:
        VoxflateError: If the folder is missing, is a file, holds no scan, or is a BIDS tree with several
            kinds of scans; if the list is refused; what `refuse` raises.
    """
    found = _listed(source, refuse, reading) if _is_list(source) else _in_folder(source)
    files = sorted((file for file in found if _matches(file.name, reading.only)), key=lambda file: file.path)
    sources = [
        Source(f.path, f.name, f.subject or subject_of(Path(f.name)), reading=reading, split=f.split)
        for f in files
        if reader_of(f.path)
    ]
    others = {f.path: f for f in files if reader_of(f.path) is None}
    sources += _series(others, _slices(others, refuse, progress), refuse, reading)
    if not sources:
        seen = f"{len(files)} files" if files else "it is empty"
        wanted = f" that match {reading.only}" if reading.only else ""
        raise VoxflateError(
            f"{source}: holds no scan{wanted} ({seen}); expected DICOM, or files ending in "
            f"{', '.join(READERS)}"
        )
    if (source / BIDS_MARK).is_file():
        _check_one_kind(source, sources)
    return sorted(sources, key=lambda source: source.path)


def _slices(paths: Collection[Path], refuse: Refuse, progress: Progress | None) -> list[Slice]:
    """The headers of all DICOM files; one damaged file costs no other."""
    slices: list[Slice] = []
    with workers() as pool:
        for found in counted(in_order(pool, _read_slices, paths), len(paths), progress):
            if isinstance(found, VoxflateError):
                refuse(found)
            else:
                slices += found
    return slices


def _read_slices(path: Path) -> list[Slice] | VoxflateError:
    try:
        return read_slices(path) if is_dicom(path) else []
    except VoxflateError as error:
        return error


def _series(
    files: Mapping[Path, _File], slices: Sequence[Slice], refuse: Refuse, reading: Reading
) -> Iterator[Source]:
    """Slices put together to series."""
    for acquisition in group(slices):
        try:
            series = dicom.order(acquisition, regrid=reading.regrid)
        except VoxflateError as error:
            refuse(error)
        else:
            first = files[series.files[0]]
            subject = first.subject or series.patient or subject_of(Path(first.name))
            yield Source(first.path, first.name, subject, series, reading, first.split)


def _is_list(source: Path) -> bool:
    return source.is_file() and source.suffix.lower() in LISTS


def _listed(source: Path, refuse: Refuse, reading: Reading) -> Iterator[_File]:
    """Every file that a list names, itself or by its folder."""
    for entry in read_list(source, allow_outside=reading.allow_outside):
        paths = _below(entry.path) if entry.path.is_dir() else [entry.path]
        scans = [path for path in paths if reader_of(path) or is_dicom(path)]
        if not scans:
            refuse(ScanError(entry.path, "is listed, but holds no scan that can be read; correct the list"))
        for path in scans:
            yield _File(path, _name(path, source.parent), entry.subject, entry.split)


def _in_folder(source: Path) -> Iterator[_File]:
    """Every file below a folder; of a BIDS tree, those of raw scans."""
    if not source.is_dir():
        state = "is a file, not a folder" if source.exists() else "no such folder"
        raise VoxflateError(
            f"{source}: {state}; name the folder that holds the scans, or a list of them (.csv, .json)"
        )
    is_bids = (source / BIDS_MARK).is_file()
    for path in _below(source):
        name = path.relative_to(source)
        if not (is_bids and name.parts[0] in _BIDS_NO_SCANS):
            yield _File(path, name.as_posix())


def _matches(name: str, pattern: str) -> bool:
    return not pattern or fnmatch(name, pattern) or fnmatch(name.rsplit("/", 1)[-1], pattern)


def _below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _name(path: Path, folder: Path) -> str:
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def _check_one_kind(source: Path, sources: list[Source]) -> None:
    """Refuse a BIDS tree with several kinds of scans: a network would learn them as one."""
    kinds = Counter(one.path.name.split(".")[0].rsplit("_", 1)[-1] for one in sources)
    if len(kinds) > 1:
        found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(6))
        raise VoxflateError(
            f"{source}: is a BIDS tree with several kinds of scans ({found}); choose one, such as "
            f"--only '*_{kinds.most_common(1)[0][0]}.nii*'"
        )
