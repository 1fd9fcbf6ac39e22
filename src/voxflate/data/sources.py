"""What there is to prepare below a folder: files that a reader knows, and DICOM series."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from voxflate.data import dicom
from voxflate.data.checks import check_voxels
from voxflate.data.read import READERS, read_geometry, read_volume, reader_of
from voxflate.data.split import subject_of
from voxflate.data.volume import Geometry, Volume
from voxflate.errors import VoxflateError
from voxflate.files import sha256

Refuse = Callable[[VoxflateError], None]
"""Called with what is wrong with a scan; raises it, or notes it and so leaves the scan out."""


@dataclass(frozen=True)
class Source:
    """One scan on the disk.

    Attributes:
        path: Its file, or the first file of its series.
        subject: Whose scan it is, as the source names the person; must not be written anywhere.
        series: The DICOM series, None for a file that is a volume by itself.
        assume: Orientation of a file that has none, such as "RAS"; empty to refuse it.
    """

    path: Path
    subject: str
    series: dicom.Series | None = None
    assume: str = ""

    @property
    def modality(self) -> str:
        """CT, MR, PT, ...; empty where the format does not say."""
        return self.series.modality if self.series else ""

    def geometry(self) -> Geometry:
        """The grid; the voxels are not touched.

        Raises:
            VoxflateError: If the reader refuses the file.
        """
        return self.series.geometry if self.series else read_geometry(self.path, self.assume)

    def volume(self) -> Volume:
        """The voxels, in the source's units.

        Raises:
            VoxflateError: If the reader refuses a file, or the voxels are of no use.
        """
        if self.series is None:
            return read_volume(self.path, self.assume)
        volume = dicom.read_series(self.series)
        check_voxels(self.path, volume.array)
        return volume

    def sha256(self) -> str:
        """SHA-256 of the file, or of the hashes of a series' files in their order."""
        if self.series is None:
            return sha256(self.path)
        return hashlib.sha256("".join(map(sha256, self.series.files)).encode()).hexdigest()


def find_sources(folder: Path, refuse: Refuse, assume: str = "") -> list[Source]:
    """All scans below a folder, sorted by path; hidden files and files of other kinds are left out.

    Args:
        folder: Where to look, subfolders included.
        refuse: Called for every DICOM file or series that is no volume.
        assume: Orientation of files that have none; empty to refuse them when they are read.

    Returns:
        At least one scan.

    Raises:
        VoxflateError: If the folder is missing, is a file, or holds no scan; what `refuse` raises.
    """
    if not folder.is_dir():
        state = "is a file, not a folder" if folder.exists() else "no such folder"
        raise VoxflateError(f"{folder}: {state}; name the folder that holds the scans")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    sources = [
        Source(path, subject_of(path.relative_to(folder)), assume=assume) for path in files if reader_of(path)
    ]
    slices = []
    for path in files:
        if reader_of(path) is None and dicom.is_dicom(path):
            try:
                slices.append(dicom.read_header(path))
            except VoxflateError as error:
                refuse(error)
    for acquisition in dicom.group(slices):
        try:
            series = dicom.order(acquisition)
        except VoxflateError as error:
            refuse(error)
        else:
            name = series.files[0].relative_to(folder)
            sources.append(Source(series.files[0], series.patient or subject_of(name), series))
    if not sources:
        found = f"{len(files)} files" if files else "it is empty"
        raise VoxflateError(
            f"{folder}: holds no scan ({found}); expected DICOM, or files ending in {', '.join(READERS)}"
        )
    return sorted(sources, key=lambda source: source.path)
