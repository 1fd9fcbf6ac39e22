"""A generator by itself, for sharing: weights as safetensors, all else as JSON. Nothing in it can run code.

FOLDER/
    generator.safetensors   the averaged generator's weights
    config.json             schema version, settings, geometry and intensities of the data, checksum

No path, no file name and no scan of the data goes with it.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from voxflate import __version__
from voxflate.config.schema import RunConfig
from voxflate.config.toml import from_dict, with_values
from voxflate.data.prepared import Manifest, PreparedSet, open_prepared
from voxflate._system.errors import VoxflateError
from voxflate._system.files import check_new_folder, read_json, sha256, whole_file, whole_folder, write_json
from voxflate.runs.load import generator_of, load_generator

WEIGHTS = "generator.safetensors"
CONFIG = "config.json"
SCHEMA = 1
"""Version of `config.json`; raised when a field is renamed, removed or changes its meaning."""

_FORMAT = "voxflate-generator"
_LARGEST_CONFIG = 2**20


def export_generator(run: Path, out: Path, which: str = "newest", data: Path | None = None) -> int:
    """Write a run's averaged generator in a form that is safe to share.

    Args:
        run: Folder of a 3D run.
        out: Folder to write; must be missing or empty.
        which: "newest" or "best", see `load_generator`.
        data: Where the run's prepared set lies now; None where the run says.

    Returns:
        The images that the generator has seen.

    Raises:
        VoxflateError: If the run is a 2D one or has no such snapshot, or `out` holds something.
    """
    check_new_folder(out)
    generator, config, n_images = load_generator(run, which)
    if config.training.phase != "3d":
        raise VoxflateError(f"{run}: is a 2D run; volumes come from a 3D one, made by voxflate train")
    prepared = open_prepared(data or config.data)
    weights = {name: tensor.contiguous() for name, tensor in generator.state_dict().items()}
    with whole_folder(out) as folder:
        with whole_file(folder / WEIGHTS) as temporary:
            temporary.write_bytes(save(weights))
        content = {
            "format": _FORMAT,
            "schema": SCHEMA,
            "voxflate": __version__,
            "n_images": n_images,
            "weights_sha256": sha256(folder / WEIGHTS),
            "settings": with_values(config, {"data": "", "start.twin": ""}).model_dump(mode="json"),
            "geometry": asdict(replace(prepared.manifest, scans=[], left_out=[])),
        }
        write_json(folder / CONFIG, content)
    return n_images


def is_exported(folder: Path) -> bool:
    """Say whether the folder holds an exported generator and no run."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def exported_settings(folder: Path) -> tuple[RunConfig, PreparedSet]:
    """Settings of an exported generator, and a set without scans that knows geometry and intensities.

    Raises:
        VoxflateError: If `config.json` is damaged, or of an unknown format or schema version.
    """
    path = folder / CONFIG
    content = _content(path)
    config = from_dict(content["settings"], str(path))
    try:
        manifest = Manifest.from_json(content["geometry"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VoxflateError(
            f"{path}: its geometry is damaged ({error}); export the generator again"
        ) from error
    if manifest.shape != config.network.shape:
        raise VoxflateError(
            f"{path}: its networks make {config.network.shape}, its geometry says {manifest.shape}; "
            "export the generator again"
        )
    return config, PreparedSet(folder, manifest)


def load_exported(folder: Path) -> tuple[Any, RunConfig, int]:
    """Load an exported generator; the counterpart of `load_generator`.

    Raises:
        VoxflateError: If a file is damaged or changed, or the weights do not fit the settings.
    """
    path = folder / WEIGHTS
    content = _content(folder / CONFIG)
    config, _ = exported_settings(folder)
    if sha256(path) != content["weights_sha256"]:
        raise VoxflateError(
            f"{path}: is not the file that {CONFIG} describes (its SHA-256 differs); export again"
        )
    try:
        weights = load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise VoxflateError(
            f"{path}: is no safetensors file, or claims what it does not hold ({error})"
        ) from error
    return generator_of(config, weights, path), config, content["n_images"]


def _content(path: Path) -> dict[str, Any]:
    content = read_json(path, _LARGEST_CONFIG)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise VoxflateError(f"{path}: describes no generator of voxflate export")
    if content.get("schema") != SCHEMA:
        raise VoxflateError(
            f"{path}: has schema version {content.get('schema')!r}, this voxflate {__version__} reads "
            f"{SCHEMA}; it was written by voxflate {content.get('voxflate')!s:.20}"
        )
    kinds = {"settings": dict, "geometry": dict, "weights_sha256": str, "n_images": int}
    for name, kind in kinds.items():
        if not isinstance(content.get(name), kind):
            raise VoxflateError(f"{path}: its {name} is no {kind.__name__}; export the generator again")
    return content
