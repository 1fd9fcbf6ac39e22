"""Reads another method's volumes from a folder of files, to measure them like samples of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from voxflate._system.errors import VoxflateError
from voxflate._system.files import sha256
from voxflate.data.prepared import PreparedSet
from voxflate.data.preparing.replay import prepare_like
from voxflate.data.readers.table import READERS, VOXEL_SUFFIXES, read_geometry, read_volume, scan_files
from voxflate.data.views import one_channel
from voxflate.data.volume import to_ras
from voxflate.evaluation.real import Images

SUFFIXES = tuple(suffix for suffix in READERS if suffix != ".npz")  # of volumes, not of other arrays
_NO_VOLUMES = (".json", ".csv", ".tsv", ".txt", ".md", ".html", ".png")
_SPACING_TOLERANCE = 0.02  # of a voxel side
_LEAST_SPAN = 0.02  # of one volume's values, as a share of the range


@dataclass
class VolumeFolder:
    """A folder of volumes, checked against a prepared set.

    Attributes:
        folder: The folder.
        paths: The files to measure, sorted by name.
        prepared: The set to compare them with.
        value_range: The values that become -1 and 1; values outside are clipped. None if the files are first
            prepared like the scans of the set, with its recorded steps.
        left_out: What lies in the folder and is not measured; empty if nothing does.
        clipped: Numbers of voxels clipped and read so far.
    """

    folder: Path
    paths: list[Path]
    prepared: PreparedSet
    value_range: tuple[float, float] | None
    left_out: str = ""
    clipped: list[int] = field(default_factory=lambda: [0, 0])

    def batches(self, batch: int) -> Iterator[Images]:
        """Yield the volumes in [-1, 1], in RAS, [b, 1, D, H, W], one batch after the other.

        Raises:
            VoxflateError: If a file cannot be read, or cannot be prepared like the scans of the set.
        """
        for start in range(0, len(self.paths), batch):
            yield np.stack([self._read(path) for path in self.paths[start : start + batch]])[:, None]

    def _read(self, path: Path) -> Images:
        if self.value_range is None:
            made = prepare_like(path, one_channel(self.prepared).manifest)
            return np.asarray(made.images[0].array, np.float32)
        low, high = self.value_range
        array = to_ras(read_volume(path)).array
        bottom, top = float(array.min()), float(array.max())
        if top - bottom < _LEAST_SPAN * (high - low):
            raise VoxflateError(
                f"{path}: its values range from {bottom:g} to {top:g}, a tiny part of the {low:g} to "
                f"{high:g} of the real volumes; give the corresponding values with --range LOW,HIGH"
            )
        values = (np.asarray(array, np.float32) - low) * np.float32(2 / (high - low)) - 1
        self.clipped[0] += int((np.abs(values) > 1 + 1e-3).sum())
        self.clipped[1] += values.size
        clipped: Images = np.clip(values, -1, 1)
        return clipped

    @property
    def warnings(self) -> list[str]:
        """Warnings about how the files were read; complete once all are read."""
        found = [self.left_out] if self.left_out else []
        if self.value_range is None:
            return found
        share = self.clipped[0] / max(1, self.clipped[1])
        low, high = self.value_range
        if share > 1e-3:
            found.append(f"{share:.1%} of the voxels are outside {low:g} to {high:g} and were clipped")
        spacings = [read_geometry(path).to_ras().spacing for path in self.paths]
        if other := [one for one in spacings if self._differs(one)]:
            ours, real = (
                " x ".join(f"{side:.3g}" for side in one) for one in (other[0], self.prepared.spacing)
            )
            many = f" in {len(other)} of {len(spacings)} volumes" if len(other) < len(spacings) else ""
            found.append(f"voxels are {ours} mm{many}, those of the real volumes {real} mm")
        return found

    def _differs(self, spacing: tuple[float, ...]) -> bool:
        pairs = zip(spacing, self.prepared.spacing, strict=True)
        return any(abs(mine - its) > _SPACING_TOLERANCE * its for mine, its in pairs)

    @property
    def facts(self) -> dict[str, Any]:
        """What the results say of the folder and of how its files were read."""
        how = {"prepared": True} if self.value_range is None else {"range": list(self.value_range)}
        return {
            "run": self.folder.resolve().name,
            "source": "volumes",
            "snapshot": "",
            "n_images": None,
            "volumes_sha256": self.content_hash,
            **how,
        }

    @property
    def content_hash(self) -> str:
        """SHA-256 over the files of all volumes, sorted by name; headers and voxels may be separate files."""
        files = (file for path in self.paths for file in scan_files(path))
        return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()


def volume_files(folder: Path) -> list[Path]:
    """Volumes in a folder (not in subfolders), sorted by name."""
    return sorted(path for path in folder.glob("*") if path.name.lower().endswith(SUFFIXES))


def _left_out(folder: Path, paths: list[Path], count: int | None) -> str:
    """What in a folder is not measured, for a warning; hidden entries and texts are not counted."""
    others = [path for path in folder.iterdir() if path not in set(paths) and not path.name.startswith(".")]
    folders = sum(path.is_dir() for path in others)
    files = sum(
        not (path.is_dir() or path.name.lower().endswith((*_NO_VOLUMES, *VOXEL_SUFFIXES))) for path in others
    )
    parts = [
        f"{number} {what}{'s' * (number > 1)}"
        for number, what in ((files, "other file"), (folders, "subfolder"))
        if number
    ]
    if count is not None and count < len(paths):
        parts.insert(0, f"{len(paths) - count} volumes after the first {count}")
    return f"not measured: {', '.join(parts)} in the folder" if parts else ""


def open_volumes(
    folder: Path,
    prepared: PreparedSet,
    count: int | None = None,
    value_range: tuple[float, float] | None = None,
    *,
    prepare: bool = False,
) -> VolumeFolder:
    """Open and check a folder of volumes; voxels are read later.

    Args:
        folder: Folder of volumes in any format of `READERS`; without `prepare`, with the shape of the
            prepared volumes.
        prepared: The set to compare them with.
        count: Number of files to use, from the first; None for all.
        value_range: Values that become -1 and 1; None for those of the prepared set.
        prepare: Prepare the files like the scans of the set: orientation, grid and intensities.

    Raises:
        VoxflateError: If there are too few files, one has another shape, or the range is empty or given with
            `prepare`.
    """
    paths = volume_files(folder)
    left_out = _left_out(folder, paths, count)
    if count is not None and len(paths) < count:
        raise VoxflateError(f"{folder}: has {len(paths)} volumes, {count} are needed; add volumes")
    low, high = value_range or prepared.manifest.intensity
    if not low < high:
        raise VoxflateError(f"--range {low:g},{high:g}: the first value must be below the second")
    paths = paths[:count]
    if prepare:
        if value_range is not None:
            raise VoxflateError(
                f"--range {low:g},{high:g}: does not go with --prepare, which maps intensities like those of "
                "the real volumes; leave one of them out"
            )
        return VolumeFolder(folder, paths, prepared, None, left_out)
    for path in paths:
        shape = read_geometry(path).to_ras().shape
        if shape != prepared.shape:
            ours, real = ("x".join(map(str, each)) for each in (shape, prepared.shape))
            raise VoxflateError(
                f"{path}: has {ours} voxels (superior, anterior, right), the real volumes {real}; add "
                "--prepare to bring all to the grid and the intensities of the real ones"
            )
    return VolumeFolder(folder, paths, prepared, (low, high), left_out)
