"""Exported generators that were never trained, for tests."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.strategies import ONE_CHANNEL, randomised
from voxflate._system.files import sha256, write_json
from voxflate.config.build import build_run_networks
from voxflate.config.toml import from_dict
from voxflate.data.channels import Layout
from voxflate.data.prepared import Manifest
from voxflate.runs.exported import CONFIG, FORMAT, SCHEMA, WEIGHTS, weights_file

OBLIQUE = [[1.9, 0.1, 0.3, -31.0], [-0.2, 2.1, 0.1, -40.5], [-0.3, 0.0, 3.2, 12.25], [0, 0, 0, 1]]
SMALL = {"base": (2, 4, 4), "stages": 2, "channels": 4, "z_dim": 6, "w_dim": 6, "mapping_layers": 2}

ROWS = [["F", 3], ["F", 17], ["M", 9]]
"""How the labels of `tests.strategies.PAIRS` occur together."""


def an_export(
    folder: Path,
    *,
    model: str = "stylegan2",
    ct: bool = False,
    modality: str = "",
    counts: Any = None,
    seed: int = 0,
    random: bool = True,
    layout: Layout = ONE_CHANNEL,
    rows: list[list[Any]] = ROWS,
    **network: Any,
) -> Path:
    """An export of a generator with random weights, in an oblique grid.

    Args:
        folder: Where to.
        model: Kind of model.
        ct: Whether its intensities are Hounsfield units.
        modality: That of its data; empty as in older exports.
        counts: Scans and subjects, as `counts_of` has them.
        seed: Of the weights.
        layout: Channels and labels; the networks are made to fit.
        rows: How its labels occur together.
        random: Whether biases and noise strengths are random too; else they are those of a fresh network.
        network: Changes of the network's settings.
    """
    fitting = {"image_channels": len(layout.channels), "label_width": layout.label_width}
    settings = from_dict({"model": model, "network": {**SMALL, **fitting, **network}}, "test")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = build_run_networks(settings)["generator"]
    if random:
        randomised(generator, seed)
    if model == "stylegan2":
        generator.mapping.w_avg.normal_(generator=torch.Generator().manual_seed(seed))
        if layout.masks:  # else there would hardly be a background
            generator.synthesis.stages[-1].to_image.bias.data[layout.images :] -= 0.6
    low, high = (-250.0, 650.0) if ct else (12.5, 312.5)
    spacing = np.linalg.norm(np.array(OBLIQUE)[:3, :3], axis=0)[::-1].tolist()
    step: dict[str, Any] = {"step": "window_hu", "low": low, "high": high}
    if not ct:
        step = {"step": "rescale_percentiles", "low": 0.1, "high": 99.9}
    manifest = Manifest(
        "ct" if ct else "mr", [step], settings.network.shape, (spacing[0], spacing[1], spacing[2]), OBLIQUE,
        (low, high), [], 0.1, 0, "0" * 64, {}, layout=layout, modality=modality,
    )  # fmt: skip
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(weights_file(generator.state_dict()))
    content = {
        "format": FORMAT,
        "schema": SCHEMA,
        "n_images": 12000,
        "weights_sha256": sha256(folder / WEIGHTS),
        "settings": settings.model_dump(mode="json"),
        "geometry": asdict(manifest),
    }
    known = {"counts": counts, "label_rows": rows if layout.labels else None}
    write_json(folder / CONFIG, content | {name: value for name, value in known.items() if value})
    return folder
