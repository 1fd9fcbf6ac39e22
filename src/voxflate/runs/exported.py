"""Reads an export: a generator without its run, weights as safetensors, everything else as JSON.

FOLDER/
    generator.safetensors   the averaged generator's weights
    config.json             schema version, settings, geometry and intensities of the data, checksums

It contains no paths, file names, pseudonyms or scans of the data, and nothing that can run code. Its
settings do not keep the name of a user's own feature network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json, sha256
from voxflate._system.version import __version__
from voxflate.config.schema import RunConfig
from voxflate.config.toml import from_dict, with_values
from voxflate.data.labels import JointLabels
from voxflate.data.prepared import SPLITS, Manifest, PreparedSet
from voxflate.metrics import EXTRACTORS

WEIGHTS = "generator.safetensors"
CONFIG = "config.json"
FORMAT = "voxflate-generator"
SCHEMA = 1
"""Version of `config.json`; raised when a field is renamed, removed or changes its meaning."""


@dataclass(frozen=True)
class Exported:
    """The content of an export except the weights.

    Attributes:
        folder: The export.
        settings: Settings of the run, without paths.
        geometry: A prepared set without scans: shape, position and intensities of the volumes.
        n_images: Images that the generator has seen.
        weights_sha256: SHA-256 of the file of weights.
        snapshot: How the snapshot was chosen; "" in older exports.
        seconds: Seconds of training; None in older exports.
        samples: Result of `fingerprint` for the fixed samples; None in older exports.
        labels: Joint distribution of the training set's labels; None if it has none.
        counts: Result of `counts_of` for the data; None in older exports.
        words: The owner's description: "title", "data", "licence"; may be empty.
        twin: Settings of the 2D run that it started from, by dotted key, without paths; None without one,
            and in older exports.
        started_from: Identifies that run's snapshot, as `TransferReport.twin`; None without one, and in older
            exports.
    """

    folder: Path
    settings: RunConfig
    geometry: PreparedSet
    n_images: int
    weights_sha256: str
    snapshot: str = ""
    seconds: float | None = None
    samples: Mapping[str, Any] | None = None
    labels: JointLabels | None = None
    counts: Mapping[str, Mapping[str, int]] | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    twin: Mapping[str, Any] | None = None
    started_from: Mapping[str, Any] | None = None


def is_exported(folder: Path) -> bool:
    """Tell whether the folder has an exported generator and no run."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def read_exported(folder: Path) -> Exported:
    """Read an export without its weights.

    Raises:
        VoxflateError: If `config.json` is damaged, or of an unknown format or schema version.
    """
    path = folder / CONFIG
    content = _content(path)
    settings = from_dict(content["settings"], str(path))
    # An export may come from a stranger, so paths in it are not followed.
    settings = with_values(settings, no_paths(settings.evaluation.extractor))
    try:
        manifest = Manifest.from_json(content["geometry"])
        layout = manifest.layout
        labels = JointLabels.from_json(layout, content.get("label_rows")) if layout.labels else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VoxflateError(
            f"{path}: its geometry is damaged ({error}); export the generator again"
        ) from error
    if manifest.shape != settings.network.shape:
        raise VoxflateError(
            f"{path}: its networks make {settings.network.shape}, its geometry says {manifest.shape}; "
            "export the generator again"
        )
    try:
        layout.check_networks(settings.network.image_channels, settings.network.label_width)
    except VoxflateError as error:
        raise VoxflateError(f"{path}: {error}") from error
    return Exported(
        folder,
        settings,
        PreparedSet(folder, manifest),
        content["n_images"],
        content["weights_sha256"],
        content.get("snapshot", ""),
        content.get("seconds"),
        content.get("samples"),
        labels,
        content.get("counts"),
        {name: str(text) for name, text in content.get("words", {}).items()},
        content.get("twin"),
        content.get("started_from"),
    )


def read_weights(exported: Exported) -> dict[str, Tensor]:
    """Read an export's weights.

    Raises:
        VoxflateError: If the file is damaged, or is not the one that `config.json` describes.
    """
    path = exported.folder / WEIGHTS
    if sha256(path) != exported.weights_sha256:
        raise VoxflateError(
            f"{path}: is not the file that {CONFIG} describes (its SHA-256 differs); export again"
        )
    try:
        return load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise VoxflateError(f"{path}: is not a safetensors file, or is cut short ({error})") from error


def counts_of(manifest: Manifest) -> dict[str, dict[str, int]]:
    """Scans and subjects of each split: {"train": {"scans": 90, "subjects": 88}, "heldout": ...}."""
    scans = {split: [scan for scan in manifest.scans if scan.split == split] for split in SPLITS}
    return {
        split: {"scans": len(found), "subjects": len({scan.subject for scan in found})}
        for split, found in scans.items()
    }


def no_paths(extractor: str) -> dict[str, str]:
    """New values, by dotted key, of the settings that can be paths.

    Args:
        extractor: The setting `evaluation.extractor`; any but the known names is the file of a user.
    """
    own = {} if extractor in EXTRACTORS else {"evaluation.extractor": ""}
    return {"data": "", "start.twin": "", **own}


def weights_file(weights: Mapping[str, Tensor]) -> bytes:
    """A generator's weights as the bytes of `generator.safetensors`."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of `generator.safetensors`, which identifies a snapshot's generator.

    It is the same for a run's snapshot and its export.
    """
    return hashlib.sha256(weights_file(weights)).hexdigest()


_KINDS: dict[str, type | tuple[type, ...]] = {
    "settings": dict,
    "geometry": dict,
    "weights_sha256": str,
    "n_images": int,
}
_LATER: dict[str, type | tuple[type, ...]] = {
    "snapshot": str,
    "seconds": (int, float),
    "samples": dict,
    "counts": dict,
    "words": dict,
    "twin": dict,
    "started_from": dict,
}
"""Fields that older exports lack."""


def _content(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise VoxflateError(f"{path}: does not describe a generator; write one with voxflate export")
    if content.get("schema") != SCHEMA:
        raise VoxflateError(
            f"{path}: has schema version {content.get('schema')!r}, this voxflate {__version__} reads "
            f"{SCHEMA}; it was written by voxflate {content.get('voxflate')!s:.20}: install that version, or "
            "export the generator again with this one"
        )
    for name, kind in {**_KINDS, **{name: kind for name, kind in _LATER.items() if name in content}}.items():
        if not isinstance(content.get(name), kind):
            wanted = kind.__name__ if isinstance(kind, type) else "number"
            raise VoxflateError(f"{path}: its {name} is not of type {wanted}; export the generator again")
    if "counts" in content and not _are_counts(content["counts"]):
        raise VoxflateError(
            f"{path}: its counts are not scans and subjects of {' and '.join(SPLITS)}; export the generator "
            "again"
        )
    return content


def _are_counts(counts: Mapping[str, Any]) -> bool:
    """Whether they have the form that `counts_of` gives."""
    parts = [counts.get(split) for split in SPLITS]
    return all(
        isinstance(part, dict) and all(isinstance(part.get(name), int) for name in ("scans", "subjects"))
        for part in parts
    )
