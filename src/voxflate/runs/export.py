"""Writes a generator without its run, for sharing; `exported.py` describes the folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from voxflate._system.files import sha256, whole_file, write_json
from voxflate._system.version import __version__
from voxflate.config.toml import with_values
from voxflate.data.labels import JointLabels
from voxflate.data.prepared import Manifest
from voxflate.runs.exported import CONFIG, FORMAT, SCHEMA, WEIGHTS, no_paths, weights_file
from voxflate.runs.fingerprint import fingerprint, fixed_samples
from voxflate.runs.load import Loaded


def write_generator(
    folder: Path,
    loaded: Loaded,
    manifest: Manifest,
    counts: Mapping[str, Mapping[str, int]] | None,
    labels: JointLabels | None = None,
    words: Mapping[str, str] | None = None,
    twin: Mapping[str, Any] | None = None,
    started_from: Mapping[str, Any] | None = None,
) -> None:
    """Write the files of an export into an existing folder.

    Args:
        folder: Output folder.
        loaded: The generator.
        manifest: Manifest of its data; scans and the account of all files are left out, because its notes
            name tables and single scans (decision 0223).
        counts: Result of `counts_of` for the data; None if unknown.
        labels: Joint distribution of its labels; None if the generator knows none.
        words: The owner's description: "title", "data", "licence".
        twin: Settings of the 2D run that it started from, by dotted key; None without one.
        started_from: Identifies that run's snapshot, as `TransferReport.twin`; None if unknown.
    """
    if labels is None:  # labels that the generator does not know are not shared
        manifest = replace(manifest, layout=replace(manifest.layout, labels=()))
    settings = with_values(loaded.settings, no_paths(loaded.settings.evaluation.extractor))
    with whole_file(folder / WEIGHTS) as temporary:
        temporary.write_bytes(weights_file(loaded.network.state_dict()))
    content = {
        "format": FORMAT,
        "schema": SCHEMA,
        "voxflate": __version__,
        "n_images": loaded.n_images,
        "snapshot": loaded.snapshot,
        "weights_sha256": sha256(folder / WEIGHTS),
        "samples": fingerprint(fixed_samples(settings, loaded.network, labels)),
        "settings": settings.model_dump(mode="json"),
        "geometry": asdict(replace(manifest, scans=[], left_out=[], files={})),
    }
    known = {
        "seconds": loaded.seconds,
        "counts": counts,
        "label_rows": labels.rows if labels is not None else None,
        "words": dict(words) if words else None,
        "twin": {**twin, **no_paths(twin.get("evaluation.extractor", ""))} if twin else None,
        "started_from": dict(started_from) if started_from else None,
    }
    write_json(folder / CONFIG, content | {name: value for name, value in known.items() if value is not None})
