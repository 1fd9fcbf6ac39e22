"""A generator as a MONAI bundle.

FOLDER/
    configs/inference.json   run by: python -m monai.bundle run --config_file configs/inference.json
    configs/metadata.json    MONAI's description of a bundle
    models/                  the generator, as in `hub.py`
    docs/README.md           the model card

Running the bundle requires voxflate; writing it does not require MONAI.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voxflate._system.files import whole_folder, write_json
from voxflate._system.version import __version__
from voxflate.sharing.about import About
from voxflate.sharing.hub import PICTURE, write_hub_files

_OLDEST_MONAI = "1.5.0"


def write_monai(about: About, out: Path) -> None:
    """Write the bundle."""
    with whole_folder(out) as folder:
        for name in ("configs", "models", "docs"):
            (folder / name).mkdir()
        write_hub_files(about, folder / "models", "models")
        card = (folder / "models" / "README.md").read_text(encoding="utf-8")
        card = card.replace(f"]({PICTURE})", f"](../models/{PICTURE})")
        (folder / "docs" / "README.md").write_text(card, encoding="utf-8")
        write_json(folder / "configs" / "metadata.json", _metadata(about))
        write_json(folder / "configs" / "inference.json", _inference())


def _inference() -> dict[str, Any]:
    """The configuration of `monai.bundle run`; every value can be changed on its command line.

    For example: --count 20 --labels "{'age': 60}".
    """
    return {
        "imports": ["$import voxflate"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "count": 4,
        "seed": 0,
        "truncation": 1.0,
        "labels": {},
        "device": "auto",
        "network": "$voxflate.load(@bundle_root + '/models', device=@device)",
        "volumes": "$@network.sample(@count, seed=@seed, truncation=@truncation, labels=@labels)",
        "run": ["$@volumes.save(@output_dir + '/sample.nii.gz')"],
    }


def _metadata(about: About) -> dict[str, Any]:
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
        "meta_schema_20240725.json",
        "version": "0.1.0",
        "changelog": {"0.1.0": f"exported by voxflate {__version__}"},
        "monai_version": _monai_version(),
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"voxflate": __version__},
        "name": about.title,
        "task": "Generation of 3D medical images",
        "description": about.summary,
        "authors": "see the model card",
        "copyright": f"data: {about.words.licence or 'licence not stated'}",
        "data_source": about.words.data or "not stated",
        "data_type": "nifti",
        "intended_use": "Research and teaching. Not a medical device.",
        "network_data_format": {"inputs": _inputs(about), "outputs": {"image": _volume(about)}},
    }


def _inputs(about: About) -> dict[str, Any]:
    network = about.loaded.network
    vector = {"spatial_shape": [], "dtype": "float32", "value_range": [], "is_patch_data": False}
    latent = {"type": "noise", "format": "latent code", "num_channels": int(network.z_dim), **vector}  # type: ignore[arg-type]
    names = [
        f"{one.name}={value}" for one in about.label_columns for value in one.values or ["standard score"]
    ]
    labels = {
        "type": "feature",
        "format": "label vector",
        "num_channels": len(names),
        **vector,
        "channel_def": dict(zip(map(str, range(len(names))), names, strict=True)),
    }
    return {"latent": latent, **({"labels": labels} if names else {})}


def _volume(about: About) -> dict[str, Any]:
    prepared = about.source.prepared
    names = [f"{one.name} (mask)" if one.kind == "mask" else one.name for one in prepared.layout.channels]
    return {
        "type": "image",
        "format": "hounsfield" if prepared.is_ct else "magnitude",
        "modality": prepared.modality or "n/a",
        "num_channels": len(names),
        "spatial_shape": list(prepared.shape),
        "dtype": "float32",
        "value_range": [-1, 1],
        "is_patch_data": False,
        "channel_def": dict(zip(map(str, range(len(names))), names, strict=True)),
    }


def _monai_version() -> str:
    try:
        return version("monai")
    except PackageNotFoundError:
        return _OLDEST_MONAI
