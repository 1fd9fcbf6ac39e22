"""A prepared set on disk: one memory-mapped array per split, and a manifest of how it was made.

manifest.json   everything but the voxels; no file names, only pseudonyms and hashes of the sources
report.html     the same as a page for people, with a picture of every volume
train.npy       int16 [N, D, H, W], of C channels [N, C, D, H, W]; x in [-1, 1] is stored as round(32767 x)
heldout.npy     the same for the held-out subjects, which training never sees
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json, write_json
from voxflate.data.channels import LabelValue, Layout, check_modality
from voxflate.data.volume import Float32, Float64

SPLITS = ("train", "heldout")
MANIFEST = "manifest.json"
VERSION = 7
WITHOUT_MODALITY = range(1, 7)
READABLE = (*WITHOUT_MODALITY, VERSION)
"""1 lacks facts about the sources. Up to 3, `content_sha256` covered all values, `voxels_sha256` the
source's. Up to 4 there is no account of files; up to 5 one channel and no labels; up to 6 no modality."""
FULL_SCALE = 32767

Int16 = npt.NDArray[np.int16]


def to_stored(values: Float32) -> Int16:
    """Convert values in [-1, 1] to 16-bit integers; the rounding error is at most 1 / 65534."""
    return np.rint(values * FULL_SCALE).astype(np.int16)


def voxels_sha256(stored: Int16) -> str:
    """SHA-256 of one volume's values."""
    return hashlib.sha256(np.ascontiguousarray(stored, "<i2").data).hexdigest()


def content_sha256(volumes: Iterable[str]) -> str:
    """SHA-256 of a set: over the hashes of its volumes, in the order of the arrays."""
    return hashlib.sha256("".join(volumes).encode()).hexdigest()


def from_stored(stored: Int16) -> Float32:
    """Convert stored integers back to float32 in [-1, 1]."""
    return stored.astype(np.float32) / np.float32(FULL_SCALE)


@dataclass(frozen=True)
class Scan:
    """The manifest's entry for one volume.

    Attributes:
        subject: Pseudonym; several scans of one person share it.
        split: One of `SPLITS`.
        source_sha256: SHA-256 of the file it came from.
        affine: 4x4, index (w, h, d, 1) of the prepared volume -> world mm of the source.
        intensity: Source values that became -1 and 1.
        scan: Pseudonym of the scan itself.
        voxels_sha256: SHA-256 of the prepared voxels; those of copies may differ (`quality.duplicates`).
        source_shape: (D, H, W) of the source after `to_ras`, voxels.
        source_spacing: Voxel sides of the source, mm, D, H, W.
        labels: Labels of the subject, a value per label column.
        other_intensities: The same as `intensity` for the other image channels.
        hu_offset: HU that were added to its images that were not in Hounsfield units; 0 if there were none.
    """

    subject: str
    split: str
    source_sha256: str
    affine: list[list[float]]
    intensity: tuple[float, float]
    scan: str = ""
    voxels_sha256: str = ""
    source_shape: tuple[int, int, int] = (0, 0, 0)
    source_spacing: tuple[float, float, float] = (0.0, 0.0, 0.0)
    labels: dict[str, LabelValue] = field(default_factory=dict)
    other_intensities: tuple[tuple[float, float], ...] = ()
    hu_offset: float = 0.0

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Scan:
        """Make an entry from JSON, which turned the tuples of `asdict` into lists."""
        values: dict[str, Any] = {k: tuple(v) if k in _TUPLES else v for k, v in content.items()}
        values["other_intensities"] = tuple(tuple(pair) for pair in content.get("other_intensities", ()))
        return cls(**values)


_TUPLES = ("intensity", "source_shape", "source_spacing")


@dataclass(frozen=True)
class LeftOut:
    """A scan that could not be used.

    Attributes:
        scan: Its pseudonym.
        reason: Why, without names or texts of the source.
    """

    scan: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """How a prepared set was made and what is in it.

    Attributes:
        recipe: Name of the recipe.
        steps: Its steps in order, with their settings.
        shape: (D, H, W) of every volume, voxels.
        spacing: Voxel sides, mm, in the order D, H, W; the median over the scans.
        affine: 4x4 for volumes that come from no scan (generated ones), index (w, h, d, 1) -> world mm.
        intensity: Source values of -1 and 1, the median over the scans.
        scans: The volumes in the order of the arrays, `train` first.
        held_out: Requested share of subjects in `heldout`.
        seed: Seed of the split.
        content_sha256: Hash of the volumes' hashes, `train` first; see `content_sha256`.
        libraries: Versions of the libraries that computed the set.
        left_out: Scans that were found and could not be used.
        files: What happened to every file found: counts and reasons; see `sources.account`.
        layout: Channels and labels.
        version: Version of this format.
        modality: The images' modality as DICOM names it: CT, MR, PT, ...; several are joined by ", ". OTHER
            also stands for images that do not tell beside others that do. Empty if unknown.
    """

    recipe: str
    steps: list[dict[str, Any]]
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    affine: list[list[float]]
    intensity: tuple[float, float]
    scans: list[Scan]
    held_out: float
    seed: int
    content_sha256: str
    libraries: dict[str, str]
    left_out: list[LeftOut] = field(default_factory=list)
    files: dict[str, Any] = field(default_factory=dict)
    layout: Layout = field(default_factory=Layout)
    version: int = VERSION
    modality: str = ""

    def write(self, folder: Path) -> None:
        """Write the manifest with a checksum of itself."""
        lists = {name: [vars(one) for one in getattr(self, name)] for name in ("scans", "left_out")}
        content = {**vars(self), **lists, "layout": self.layout.as_json()}
        write_json(folder / MANIFEST, {**content, "manifest_sha256": _checksum(content)})

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read and check the manifest of a prepared set.

        Raises:
            VoxflateError: If there is none, or if it was damaged, edited or written by another version.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise VoxflateError(
                f"{folder}: is not a prepared set (no {MANIFEST} in it); make one with voxflate prepare"
            )
        content = read_json(path)
        if not isinstance(content, dict) or content.get("version") not in READABLE:
            raise VoxflateError(
                f"{path}: was not written by this version of the format; prepare the scans again"
            )
        claimed = content.pop("manifest_sha256", None)
        if claimed != _checksum(content):
            raise VoxflateError(
                f"{path}: was changed after it was written (its checksum is wrong); prepare again"
            )
        try:
            return cls.from_json(content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise VoxflateError(f"{path}: is not a manifest ({error}); prepare the scans again") from error

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Manifest:
        """Make a manifest from what `dataclasses.asdict` gave, after a round trip through JSON.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: If it is not a manifest.
        """
        tuples = {key: tuple(content[key]) for key in ("shape", "spacing", "intensity")}
        scans = [Scan.from_json(scan) for scan in content["scans"]]
        left_out = [LeftOut(**one) for one in content.get("left_out", [])]
        older = {"channels": [{"name": "image", "intensity": tuples["intensity"]}]}
        layout = Layout.from_json(content.get("layout", older))
        check_modality(content.get("modality", ""))
        return cls(**{**content, **tuples, "scans": scans, "left_out": left_out, "layout": layout})


@dataclass(frozen=True)
class PreparedSet:
    """An opened prepared set. Arrays stay on the disk until they are indexed.

    Attributes:
        root: Its folder.
        manifest: What is in it.
        only: The only channel to return; None for all.
    """

    root: Path
    manifest: Manifest
    only: int | None = None

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(self._arrays[split])} {split}" for split in SPLITS)
        return f"<PreparedSet {self.root}: {counts}, {'x'.join(map(str, self.shape))}>"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W) of every volume, voxels."""
        return self.manifest.shape

    @property
    def layout(self) -> Layout:
        """Channels and labels."""
        return self.manifest.layout

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel sides, mm, in the order D, H, W."""
        return self.manifest.spacing

    @property
    def affine(self) -> Float64:
        """4x4 for an array in (R, A, S) order: index (w, h, d, 1) -> world mm."""
        return np.array(self.manifest.affine, np.float64)

    @property
    def content_hash(self) -> str:
        """SHA-256 of the set: equal for equal data, regardless of the folder's name."""
        return self.manifest.content_sha256

    @property
    def is_ct(self) -> bool:
        """Say whether intensities are Hounsfield units."""
        return any(step["step"] == "window_hu" for step in self.manifest.steps)

    @property
    def modality(self) -> str:
        """As `Manifest.modality`; where that is empty, the one that the recipe is for, if it is for one."""
        of_recipe = "CT" if self.is_ct else "MR" if self.manifest.recipe in ("mr", "adni") else ""
        return self.manifest.modality or of_recipe

    @cached_property
    def _arrays(self) -> dict[str, Int16]:
        arrays = {split: np.load(self.root / f"{split}.npy", mmap_mode="r") for split in SPLITS}
        return {split: array[:, None] if array.ndim == 4 else array for split, array in arrays.items()}

    def stored(self, split: str) -> Int16:
        """The volumes of a split as stored on disk, int16 [N, C, D, H, W]; x = stored / 32767.

        Raises:
            VoxflateError: If there is no such split.
        """
        if split not in SPLITS:
            raise VoxflateError(f"no split is called {split!r}; choose one of {', '.join(SPLITS)}")
        array = self._arrays[split]
        return array if self.only is None else array[:, self.only : self.only + 1]

    def volumes(self, split: str, indices: Sequence[int] | npt.NDArray[np.integer] | None = None) -> Float32:
        """Volumes in memory, float32 [n, C, D, H, W] in [-1, 1].

        Args:
            split: One of `SPLITS`, or "all" for train followed by heldout.
            indices: Which volumes; None for all.

        Raises:
            VoxflateError: If there is no such split.
        """
        parts = [self.stored(name) for name in (SPLITS if split == "all" else (split,))]
        stored = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return from_stored(stored if indices is None else stored[np.asarray(indices, np.int64)])

    def labels(self, split: str) -> Float32:
        """Label vectors of a split's volumes, float32 [N, label_width]; see `Layout.encode`."""
        return self.layout.encode([scan.labels for scan in self.manifest.scans if scan.split == split])

    def to_intensity(self, values: Float32, channel: int = 0) -> Float32:
        """Map an image channel's [-1, 1] back to the source's units (HU for CT, else the median range)."""
        low, high = self.layout.channels[channel].intensity if channel else self.manifest.intensity
        return np.asarray(low + (values + 1) * ((high - low) / 2), np.float32)

    def verify(self) -> None:
        """Read every voxel and compare with the hash in the manifest.

        Raises:
            VoxflateError: If they differ.
        """
        volumes = (volume for split in SPLITS for volume in self.stored(split))
        if self.manifest.version < 4:
            digest = hashlib.sha256()
            for volume in volumes:
                digest.update(np.ascontiguousarray(volume).data)
            found = digest.hexdigest()
        else:
            found = content_sha256(map(voxels_sha256, volumes))
        if found != self.content_hash:
            raise VoxflateError(f"{self.root}: voxels were changed after preparation; prepare again")


def open_prepared(path: str | Path) -> PreparedSet:
    """Open a prepared set.

    Args:
        path: The folder that `prepare` wrote.

    Returns:
        The set; the manifest's checksum and the arrays' sizes are checked, the voxels are not read.

    Raises:
        VoxflateError: If the folder is missing, half-written or damaged.
    """
    root = Path(path)
    if not root.is_dir():
        raise VoxflateError(f"{root}: no such folder; name a prepared set, or make one with voxflate prepare")
    manifest = Manifest.read(root)
    prepared = PreparedSet(root, manifest)
    for split in SPLITS:
        count, channels = sum(scan.split == split for scan in manifest.scans), len(manifest.layout.channels)
        file, expected = root / f"{split}.npy", (count, channels, *manifest.shape)
        try:
            array = prepared.stored(split)
        except (OSError, ValueError, EOFError) as error:
            name, why = getattr(error, "filename", None) or file, getattr(error, "strerror", None) or error
            raise VoxflateError(f"{name}: cannot be read ({why}); prepare the scans again") from error
        if array.shape != expected or array.dtype != np.int16:
            raise VoxflateError(
                f"{file}: holds {array.dtype} {array.shape}, the manifest says int16 {expected}; "
                "prepare the scans again"
            )
    return prepared


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
