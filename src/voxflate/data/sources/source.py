"""One scan on disk in any format, and how scans are found and read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from voxflate._system.errors import VoxflateError
from voxflate._system.files import sha256
from voxflate.data.channels import MODALITIES, OTHER
from voxflate.data.readers import dicom
from voxflate.data.readers.dicom_pixels import CT_AIR
from voxflate.data.readers.refusals import NAN_AIR, check_right_angles, check_voxels
from voxflate.data.readers.regrid import upright, upright_geometry
from voxflate.data.readers.table import read_geometry, read_volume
from voxflate.data.volume import Geometry, Volume

Refuse = Callable[[VoxflateError], None]
"""Called with a scan's error; raises it, or records it and leaves the scan out."""

SUBJECTS = ("auto", "folder", "file")
"""Where subjects come from: headers and BIDS names, the first folder below the source, or nowhere."""

_MODALITY_NAMES = {"PET": "PT", "MRI": "MR"}
"""Usual names that are not DICOM's."""


@dataclass(frozen=True)
class Reading:
    """How scans are found and read.

    Attributes:
        assume: Orientation for files that have none, such as "RAS"; empty refuses them.
        regrid: Resample tilted, sheared and unevenly spaced scans to a box of voxels; else they are refused.
        only: Pattern such as "*_T1w.nii.gz" that names or paths below the source must match; empty for all.
        allow_outside: Let a list name files outside its folder.
        series: Pattern for descriptions of DICOM series, ignoring case; empty for all.
        modality: Required modality of DICOM series, or the one of scans that do not tell; empty for all.
        min_slices: DICOM series with fewer slices are left out.
        mixed: Accept several kinds of scans, and label maps, as one set; otherwise they are refused.
        subjects: One of `SUBJECTS`.
        nan: "air" reads NaN as empty space; empty refuses NaN.
        hu_offset: Added to CT scans that prove not to be in Hounsfield units; 0 refuses them.
        hounsfield: Whether the scans must be CT, so that air is -1000.
        channels: Name -> pattern of the files of each image channel, or its column in a list; the first
            channel gives the grid. Empty for one channel with all scans.
        mask: Pattern of the mask files, or their column in a list; empty for none.
        mask_name: Prefix of the mask classes' names, before their value.
        labels: Label columns of the list, or of participants.tsv or .csv; ":categorical" or ":continuous" at
            the end sets a column's kind.
    """

    assume: str = ""
    regrid: bool = False
    only: str = ""
    allow_outside: bool = False
    series: str = ""
    modality: str = ""
    min_slices: int = 3
    mixed: bool = False
    subjects: str = "auto"
    nan: str = ""
    hu_offset: float = 0.0
    hounsfield: bool = False
    channels: Mapping[str, str] = field(default_factory=dict)
    mask: str = ""
    mask_name: str = "mask"
    labels: tuple[str, ...] = ()

    @property
    def pairs(self) -> bool:
        """Whether a volume has several files."""
        return bool(self.channels or self.mask)

    @property
    def selection(self) -> str:
        """The options that select DICOM series, as on the command line."""
        series = f"--series {self.series!r}" if self.series else ""
        modality = f"--modality {self.modality}" if self.modality else ""
        return " and ".join(filter(None, (series, modality)))

    @property
    def air(self) -> float | None:
        """The largest value that NaN may become; None if NaN is refused."""
        if not self.nan:
            return None
        return CT_AIR if self.hounsfield else float("inf")

    def check(self) -> None:
        """Refuse invalid settings.

        Raises:
            VoxflateError: Names the option and its values.
        """
        if self.subjects not in SUBJECTS:
            raise VoxflateError(f"--subjects {self.subjects}: choose one of {', '.join(SUBJECTS)}")
        if named := [name for name in (*self.channels, self.mask_name) if {*"{}"} & {*name}]:
            raise VoxflateError(
                f"--channel or --mask {named[0]}: a name cannot have {{ or }}; choose another"
            )
        if self.nan not in ("", NAN_AIR):
            raise VoxflateError(f"--nan {self.nan}: the only choice is {NAN_AIR}; without it NaN is refused")
        known = ("", *MODALITIES, OTHER)
        if self.modality.upper() not in known:
            name = _MODALITY_NAMES.get(self.modality.upper(), "")
            hint = f"DICOM calls it {name}; " if name else ""
            raise VoxflateError(f"--modality {self.modality}: {hint}choose one of {', '.join(known[1:])}")
        if not np.isfinite(self.hu_offset):
            raise VoxflateError(f"--hu-offset {self.hu_offset}: expected a number such as -1024")


@dataclass(frozen=True)
class Source:
    """One scan.

    Attributes:
        path: Its file, or the first file of its series.
        name: The path relative to the source; must not be written anywhere.
        subject: The source's name for the person; must not be written anywhere.
        series: The DICOM series; None for a file that is a volume by itself.
        reading: How it is read.
        split: One of `prepared.SPLITS` if a list gives it, else empty.
        parts: All its files if it is not a series and has more than one.
        stack: Index of the stack among those that begin in the same file.
        others: Other image channels of the same subject, in the order of the channels.
        mask: Its mask, if there is one.
        labels: Labels of the subject: column -> value as written in the source.
    """

    path: Path
    name: str
    subject: str
    series: dicom.Series | None = None
    reading: Reading = Reading()
    split: str = ""
    parts: tuple[Path, ...] = ()
    stack: int = 0
    others: tuple[Source, ...] = ()
    mask: Source | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def images(self) -> tuple[Source, ...]:
        """Its image channels, itself first."""
        return self, *self.others

    @property
    def members(self) -> tuple[Source, ...]:
        """All scans of one volume: its images, and its mask if there is one."""
        return self.images if self.mask is None else (*self.images, self.mask)

    @property
    def key(self) -> tuple[Path, int]:
        """Identifies it among all scans of a source."""
        return self.path, self.stack

    @property
    def modality(self) -> str:
        """CT, MR, PT, ... from the DICOM header, or else from the user; empty if neither tells."""
        return (self.series.modality if self.series else "") or self.reading.modality.upper()

    @property
    def files(self) -> tuple[Path, ...]:
        """All its files, including those of its other channels and its mask."""
        own = self.series.files if self.series else self.parts or (self.path,)
        return own + tuple(path for one in self.members[1:] for path in one.files)

    @property
    def is_ct(self) -> bool:
        """Whether it is CT by its modality, or, if that is unknown, by the recipe."""
        return self.modality == "CT" or (self.reading.hounsfield and not self.modality)

    @property
    def lacks_units(self) -> bool:
        """Whether it is a CT whose file does not relate its values to Hounsfield units."""
        return self.series is not None and self.is_ct and not self.series.has_units

    def geometry(self) -> Geometry:
        """The grid; the voxels are not touched.

        Raises:
            ScanError: If the reader refuses the file.
        """
        grid = self.own_geometry()
        return upright_geometry(grid) if self._sheared(grid) else grid

    def own_geometry(self) -> Geometry:
        """The grid as in the file, even if sheared."""
        return self.series.geometry if self.series else read_geometry(self.path, self.reading.assume)

    def volume(self) -> Volume:
        """The voxels, in the source's units.

        Raises:
            ScanError: If the reader refuses a file, or the voxels are unusable.
        """
        volume = self.own_volume()
        return upright(volume) if self._sheared(volume.geometry) else volume

    def own_volume(self, air: float | None = None) -> Volume:
        """The voxels on the grid of the file, even if sheared; see `volume`.

        Args:
            air: The largest value that NaN may become; None for that of `Reading.air`.
        """
        if self.series is None:
            return read_volume(self.path, self.reading.assume, self.reading.air if air is None else air)
        volume = dicom.read_series(self.series, is_ct=self.is_ct)
        check_voxels(self.path, volume.array)
        return volume

    def _sheared(self, grid: Geometry) -> bool:
        """Tell whether the axes are not at right angles; refuse that unless resampling is requested."""
        try:
            check_right_angles(self.path, grid.affine)
        except VoxflateError:
            if not self.reading.regrid:
                raise
            return True
        return False

    def sha256(self) -> str:
        """SHA-256 of the file, or of the hashes of several files in order."""
        if len(self.files) == 1 and self.series is None:
            return sha256(self.path)
        return hashlib.sha256("".join(map(sha256, self.files)).encode()).hexdigest()
