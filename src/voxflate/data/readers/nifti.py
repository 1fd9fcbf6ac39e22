"""NIfTI, version 1 or 2, one file or a pair of .hdr and .img, gzipped or not (by the first bytes)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from voxflate.data.readers.generated import note_synthetic
from voxflate.data.readers.packed import unpacked
from voxflate.data.readers.refusals import (
    ScanError,
    check_claim,
    check_grid,
    check_orientation,
    check_voxels,
    unreadable,
)
from voxflate.data.volume import Float64, Geometry, Volume, assumed_affine

PAIR_HEADERS = (".hdr", ".hdr.gz")
_IMAGES = {".hdr": (".img", ".img.gz"), ".hdr.gz": (".img.gz", ".img")}
_HEADERS: dict[tuple[int, bool], Any] = {
    (348, False): nib.nifti1.Nifti1Header,
    (348, True): nib.nifti1.Nifti1PairHeader,
    (540, False): nib.nifti2.Nifti2Header,
    (540, True): nib.nifti2.Nifti2PairHeader,
}
"""(Size of the header in bytes, whether the voxels are in a second file) -> class."""

_MILLIMETRES = {1: 1000.0, 3: 0.001}
"""Spatial unit in a header -> its length in mm; all other codes mean mm, as in other tools."""

_STATISTICS = range(2, 25)
"""Intent codes of statistical maps."""

_DISAGREE = 0.02
"""Largest difference between the columns of sform and qform that counts as rounding, in voxel sides."""


def nifti_files(path: Path) -> tuple[Path, ...]:
    """The files of a scan: one file, or a header and a voxel file.

    Raises:
        ScanError: If the header of a pair has no voxel file beside it.
    """
    suffix = _pair_suffix(path)
    if not suffix:
        return (path,)
    stem = path.name[: -len(suffix)]
    for image in _IMAGES[suffix]:
        for name in (stem + image, stem + image.upper()):
            if path.with_name(name).is_file():
                return (path, path.with_name(name))
    raise ScanError(path, "is a header without its .img file; copy that file too, or remove this one")


def nifti_geometry(path: Path, assume: str = "") -> Geometry:
    """The grid of a NIfTI file, from its header.

    Raises:
        ScanError: If the file is not a 3D NIfTI image with one number per voxel, or has no
            orientation.
    """
    with _open_nifti(path) as file:
        grid = _geometry(path, file, assume)
        description = file.header["descrip"].item().decode("latin-1")
        notes = (
            _note_affines(file.header, file.affine[:3, :3]),
            _note_statistic(file.header),
            note_synthetic(description),
        )
        return replace(grid, note="; ".join(filter(None, notes)))


def read_nifti(path: Path, assume: str = "", air: float | None = None) -> Volume:
    """A NIfTI file's voxels (slope and intercept applied) and grid.

    Raises:
        ScanError: As `nifti_geometry`; also if the file is cut short, has NaN or infinite voxels, or if all
            its voxels are equal.
    """
    with _open_nifti(path) as file:
        geometry = _geometry(path, file, assume)
        try:
            array = np.asarray(file.voxels)
        except Exception as error:  # a damaged file makes the parser raise anything
            raise unreadable(path, "NIfTI", error) from error
    narrow = array.dtype.kind in "iu" and array.dtype.itemsize <= 2
    kind = array.dtype.newbyteorder("=") if narrow else np.float32
    with np.errstate(over="ignore"):  # values that are too large become infinite and are refused
        array = array.reshape(geometry.shape[::-1]).T.astype(kind, copy=False)
    return Volume(check_voxels(path, array, air), geometry.affine)


@dataclass(frozen=True)
class _Nifti:
    """An open NIfTI file.

    Attributes:
        header: nibabel's header.
        affine: The affine that the header prefers, in the header's unit.
        voxels: The file's voxels, read when converted to an array.
        sides: The voxel sides as written; in `header`, nibabel has replaced 0 by 1.
        image: The file that holds the voxels.
        packed: Whether that file is gzipped.
    """

    header: Any
    affine: Any
    voxels: Any
    sides: Any
    image: Path
    packed: bool


@contextmanager
def _open_nifti(path: Path) -> Iterator[_Nifti]:
    """Open one stream for header and voxels, so that nothing is unpacked twice (decision 0035)."""
    files = nifti_files(path)
    with ExitStack() as opened:
        try:
            stream, packed = unpacked(path, opened)
            header = _header(stream, pair=bool(_pair_suffix(path)))
            sides = header["pixdim"][1:4].copy()
            _check_offset(path, header)
            header.check_fix()
            if len(files) > 1:
                stream, packed = unpacked(files[1], opened)
            voxels = nib.arrayproxy.ArrayProxy(stream, header, mmap=False)
            file = _Nifti(header, header.get_best_affine(), voxels, sides, files[-1], packed)
        except Exception as error:  # a damaged file makes the parser raise anything
            raise unreadable(path, "NIfTI", error) from error
        yield file


def _header(stream: io.BufferedIOBase, *, pair: bool) -> Any:
    """Read a header of either version and byte order; nothing in it is checked or repaired.

    Raises:
        ValueError: If it is neither.
    """
    start = stream.read(4)
    stream.seek(0)
    for order in ("little", "big"):
        size = int.from_bytes(start, order)
        if (size, pair) in _HEADERS:
            return _HEADERS[size, pair].from_fileobj(stream, check=False)
    raise ValueError("it does not begin like a NIfTI header")


def _check_offset(path: Path, header: Any) -> None:
    """Refuse voxels that begin inside the header; of 0, nibabel would read the header as voxels."""
    start, least = float(header["vox_offset"]), header.single_vox_offset
    if header.is_single and not start >= least:
        raise ScanError(
            path,
            f"its voxels begin inside its header (vox_offset is {start:g}, at least {least} is needed); save "
            "it again",
        )


def _pair_suffix(path: Path) -> str:
    name = path.name.lower()
    return next((suffix for suffix in PAIR_HEADERS if name.endswith(suffix)), "")


def _geometry(path: Path, file: _Nifti, assume: str) -> Geometry:
    header = file.header
    shape = tuple(int(side) for side in header.get_data_shape())
    # Some tools write a 3D image with a fourth axis of length 1.
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 2:
        kind = f"{len(shape)}D image" if len(shape) != 3 else "single slice"
        raise ScanError(
            path, f"is a {kind} ({'x'.join(map(str, shape))}), expected a 3D volume; remove or split it"
        )
    if header.get_data_dtype().kind not in "iuf":
        raise ScanError(
            path, f"does not have one real number per voxel ({header.get_data_dtype()}); convert it"
        )
    lies = bool(header["sform_code"] or header["qform_code"])
    check_orientation(path, known=lies or bool(assume), why=" (sform and qform codes are 0)")
    claimed = int(np.prod(shape, dtype=object)) * header.get_data_dtype().itemsize
    check_claim(file.image, claimed, packed=file.packed)
    if not header["sform_code"] and not file.sides.all():
        raise ScanError(
            path, "has voxels without a size (pixdim is 0, and there is no sform); repair the header"
        )
    if np.isinf(header["scl_slope"]):
        raise ScanError(
            path, "its scaling is infinite (scl_slope), so its values are unknown; repair the header"
        )
    zooms = header.get_zooms()[:3]
    affine = np.array(file.affine, np.float64) if lies else assumed_affine(assume, zooms)
    affine[:3] *= _MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    check_grid(path, affine)
    return Geometry((shape[2], shape[1], shape[0]), affine)


def _note_statistic(header: Any) -> str:
    """Remark on a header that declares its values a statistic, such as a z score or a p value."""
    if int(header["intent_code"]) not in _STATISTICS:
        return ""
    return f"the header says that the values are a statistic ({header.get_intent()[0]}), not intensities"


def _note_affines(header: Any, sform: Float64) -> str:
    """Remark on a header whose two affines differ in more than the origin.

    Args:
        header: The file's header.
        sform: Columns of the preferred affine, which is the sform if there are two, [3, 3].
    """
    if not (header["sform_code"] and header["qform_code"]):
        return ""
    try:
        qform: Float64 = header.get_qform()[:3, :3]
    except Exception:  # nibabel raises several kinds for impossible rotations and voxel sides
        return "the qform is damaged (its rotation or voxel sides are impossible); the sform is used"
    sides = np.maximum(np.linalg.norm(sform, axis=0), 1e-9)
    if np.abs((sform - qform) / sides).max() <= _DISAGREE:
        return ""
    return "sform and qform disagree on directions or voxel sizes; the sform is used"
