"""The text of NRRD and MetaImage headers: what SimpleITK does not tell, or passes over without a word."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from pathlib import Path, PurePosixPath, PureWindowsPath

from voxflate.data.readers.content import GZIP_MARK
from voxflate.data.readers.refusals import ScanError, unreadable

_LONGEST_LINE, _LONGEST_HEADER = 2**16, 2**22

_ANATOMICAL = {
    "right-anterior-superior", "ras", "left-anterior-superior", "las", "left-posterior-superior", "lps",
}  # fmt: skip
"""NRRD's spaces that say which way is left; scanner-xyz and 3D-right-handed do not."""
_SIDES = ("ElementSpacing", "ElementSize")
_ORIENTATIONS = ("TransformMatrix", "Rotation", "Orientation")
_MILLIMETRES = {"mm", "millimeter", "millimeters", "millimetre", "millimetres", ""}
_UNKNOWN = "?"
"""MetaImage's unit of length if none was given, which everybody reads as mm."""
_SLOPE, _OFFSET = "ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset"
_LAST_OF_META = b"ElementDataFile"
"""The field that ends a MetaImage header."""


@dataclass(frozen=True)
class Header:
    """A header's text.

    Attributes:
        path: Its file.
        text: The text, without voxels that follow it in the same file.
    """

    path: Path
    text: bytes

    @property
    def is_nrrd(self) -> bool:
        """Whether it is NRRD; otherwise it is MetaImage."""
        return self.text.startswith(b"NRRD")

    @property
    def format(self) -> str:
        """SimpleITK's name of its reader, which would otherwise be chosen by the file's suffix."""
        return "NrrdImageIO" if self.is_nrrd else "MetaImageIO"

    def check_format(self) -> None:
        """Refuse a file that is neither NRRD nor MetaImage, or whose voxels begin in its header.

        Raises:
            ScanError: Says what it is, if that is known.
        """
        if self.text.startswith(GZIP_MARK):
            raise ScanError(
                self.path, "is packed as a whole (gzip), which NRRD and MetaImage do not allow; unpack it"
            )
        if not self.is_nrrd and _LAST_OF_META not in self.text:
            raise unreadable(self.path, "an image", ValueError("it begins like neither NRRD nor MetaImage"))
        skipped = "" if self.is_nrrd or len(self.files) > 1 else self.value("HeaderSize") or ""
        if skipped.isdecimal() and 0 < int(skipped) < len(self.text):  # else the header is read as voxels
            raise ScanError(
                self.path,
                f"its voxels begin inside its header (HeaderSize is {int(skipped)}, the header has "
                f"{len(self.text)} bytes); save it again",
            )

    def value(self, *names: str) -> str | None:
        """The value of the first of some fields that there is; None if there is none."""
        for name in names:
            # NRRD has keys too, written with :=, which mean nothing here. MetaImage accepts both signs.
            start = rf"^{name} *:(?!=)" if self.is_nrrd else rf"^[ \t]*{name}[ \t]*[=:]"
            ignored = re.MULTILINE | (re.IGNORECASE if self.is_nrrd else re.NOFLAG)
            if found := re.search(start.encode() + rb"([^\r\n]*)", self.text, ignored):
                return found[1].decode("utf-8", "surrogateescape").strip()
        return None

    @property
    def lies(self) -> bool:
        """Whether it says which way the axes point. If not, SimpleITK takes the identity."""
        if not self.is_nrrd:
            return self.value(*_ORIENTATIONS) is not None
        space = (self.value("space") or "").lower()
        return space in _ANATOMICAL and self.value("space directions") is not None

    @property
    def note(self) -> str:
        """A remark on a header without voxel sides; empty if it has them."""
        if self.is_nrrd or self.value(*_SIDES) is not None:
            return ""
        return "the header does not give the voxel sides (ElementSpacing), which then count as 1 mm"

    def check_units(self) -> None:
        """Refuse lengths that are not in mm; SimpleITK takes them for mm.

        Raises:
            ScanError: Gives the unit.
        """
        units = self.value("space units" if self.is_nrrd else "DistanceUnits") or ""
        named = re.findall(r'"([^"]*)"', units) if self.is_nrrd else [units.replace(_UNKNOWN, "")]
        if {one.lower() for one in named} - _MILLIMETRES:
            raise ScanError(
                self.path, "does not give its voxel sides in mm ({units}); save it again in mm", units=units
            )

    @property
    def scale(self) -> tuple[float, float]:
        """MetaImage's slope and offset from stored values to intensities, which SimpleITK passes over.

        Raises:
            ScanError: If they are not numbers, or the slope is 0.
        """
        if self.is_nrrd:
            return 1.0, 0.0
        said = [self.value(_SLOPE) or "1", self.value(_OFFSET) or "0"]
        try:
            slope, offset = (float(one) for one in said)
        except ValueError:
            slope = offset = float("nan")
        if not (isfinite(slope) and isfinite(offset) and slope):
            raise ScanError(
                self.path,
                f"its {_SLOPE} and {_OFFSET} are {{said}}, expected two numbers and a slope other than 0; "
                "correct them, or save it again",
                said=" and ".join(said),
            )
        return slope, offset

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the scan: one file, or the header and a voxel file.

        Raises:
            ScanError: If the header names no voxel file, several, one outside its folder, or a missing one.
        """
        name = self.value("data file", "datafile") if self.is_nrrd else self.value("ElementDataFile")
        if name is None or name.upper() == "LOCAL":
            return (self.path,)
        if not name:
            raise ScanError(self.path, "does not name the file of its voxels; save it again as one file")
        if name.split()[0] == "LIST" or "%" in name:
            raise ScanError(self.path, "keeps its voxels in several files; save it as one file")
        if PureWindowsPath(name).anchor or PurePosixPath(name).anchor or ".." in re.split(r"[/\\]", name):
            raise ScanError(
                self.path,
                "names a voxel file outside its folder ({name}); save it again beside its header",
                name=name,
            )
        voxels = self.path.parent / name
        if not _is_file(voxels):
            raise ScanError(
                self.path,
                "names a voxel file that does not exist ({name}); copy it beside its header",
                name=name,
            )
        return (self.path, voxels)

    @property
    def packed_from(self) -> int | None:
        """Where compressed voxels begin in the last of its files, bytes; None if they are not compressed."""
        if self.is_nrrd:
            if (self.value("encoding") or "").lower() not in ("gzip", "gz"):
                return None
            skipped, lines = 0, self.value("line skip", "lineskip")
            if lines and lines.isdecimal():
                with self.files[-1].open("rb") as file:
                    file.seek(0 if len(self.files) > 1 else len(self.text))
                    skipped = sum(len(file.readline(_LONGEST_HEADER)) for _ in range(int(lines)))
        elif (self.value("CompressedData") or "")[:1] in ("T", "t", "1"):
            size = self.value("HeaderSize") or ""
            skipped = int(size) if size.isdecimal() else 0
        else:
            return None
        return skipped + (0 if len(self.files) > 1 else len(self.text))

    @property
    def packed_size(self) -> int | None:
        """Bytes of compressed voxels that MetaImage needs to know; None if they are as long as their file."""
        said = None if self.is_nrrd else self.value("CompressedDataSize")
        if said is None:
            return None if self.is_nrrd or len(self.files) > 1 else 0
        return int(said) if said.isdecimal() else 0


def read_header(path: Path) -> Header:
    """Read the text at the beginning of a NRRD or MetaImage file.

    Raises:
        ScanError: If the file cannot be read.
    """
    text, ended = b"", False
    try:
        with path.open("rb") as file:
            while not ended and len(text) < _LONGEST_HEADER and (line := file.readline(_LONGEST_LINE)):
                text += line
                ended = not line.strip() if text.startswith(b"NRRD") else _LAST_OF_META in line
    except OSError as error:
        raise unreadable(path, "an image", error) from error
    return Header(path, text)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # an over-long name, a NUL
        return False
