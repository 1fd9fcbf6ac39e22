"""Collects the result of a run folder."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from voxflate._system.cores import available_cores, processor_name
from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json
from voxflate.config.schema import RunConfig
from voxflate.config.toml import load_config
from voxflate.config.values import flat
from voxflate.evaluation import Assessment
from voxflate.reports.evaluations import (
    METRICS,
    SAMPLES,
    audits_of,
    changes_of_the_row,
    evaluations_of,
    load_arrays,
    sheets_of,
)
from voxflate.reports.results import Points, Result
from voxflate.reports.without_folders import assessment_without_folders, facts_without_folders
from voxflate.runs.exported import no_paths, weights_sha256
from voxflate.runs.facts import environment, read_facts
from voxflate.runs.log import LOG_NAME, METRICS_NAME, SNAPSHOTS_NAME, read_rows
from voxflate.runs.snapshots import best_of, list_snapshots, load_newest

_COMPONENTS, _POINTS = 20, 200  # of the projection for t-SNE


def result_of(run: Path, pictures: bool = False) -> Result:
    """Collect a run's result.

    Args:
        run: Run folder, finished or not.
        pictures: Whether to include the sample sheets and the features for t-SNE.

    Raises:
        VoxflateError: If it is not a run folder, or it has no snapshot.
    """
    settings, facts = load_config(run), read_facts(run)
    if not list_snapshots(run):
        raise VoxflateError(f"{run}: has no snapshot; train it first, with voxflate train")
    rows, log = read_rows(run / METRICS_NAME), read_rows(run / LOG_NAME)
    folders = evaluations_of(run)
    evaluations = [Assessment.from_dict(read_json(folder / METRICS), folder / METRICS) for folder in folders]
    values = flat(settings.model_dump(mode="json"))
    best = best_of(rows)
    # Points for t-SNE are those of the evaluation that tables use: the best snapshot's, if there is one.
    pairs = zip(folders, evaluations, strict=True)
    shown = [folder for folder, each in pairs if each.facts.get("n_images") == best] or folders
    return Result(
        name=run.resolve().name,
        settings=values | no_paths(settings.evaluation.extractor),
        data=facts["data"],
        twin=_twin(Path(settings.start.twin), facts) if settings.start.twin else None,
        parameters=facts.get("parameters", {}),
        n_images=log[-1]["n_images"] if log else 0,
        seconds=log[-1]["seconds"] if log else 0.0,
        snapshots=_columns(rows, log, read_rows(run / SNAPSHOTS_NAME)),
        best=best,
        evaluations=[assessment_without_folders(each) for each in evaluations],
        audits=[_audit(read_json(path)) for path in audits_of(run)],
        machine=_machine(facts),
        versions=facts["versions"],
        weights_sha256=_weights(settings, run),
        changes=[asdict(each) for each in changes_of_the_row(facts)],
        pictures=_pictures(run, best) if pictures else {},
        points=_projected(load_arrays(shown[-1] / SAMPLES)) if pictures and shown else {},
    )


def _columns(
    rows: Sequence[dict[str, Any]], log: Sequence[dict[str, Any]], prints: Sequence[dict[str, Any]]
) -> dict[str, list[Any]]:
    """The rows of metrics as columns, each with the training time and the hash of the samples."""
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if name != "n_images"]
    seconds = [
        max((line["seconds"] for line in log if line["n_images"] <= row["n_images"]), default=0.0)
        for row in rows
    ]
    hashes = {row["n_images"]: row.get("sample-sha256") for row in prints}
    return {
        "n_images": [row["n_images"] for row in rows],
        "seconds": seconds,
        "sample-sha256": [hashes.get(row["n_images"]) for row in rows],
        **{name: [row.get(name) for row in rows] for name in names},
    }


def _audit(content: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of an audit, without what it says of each volume."""
    keys = ("n_images", "n-generated", "n-train", "n-heldout", "n-null", "extractor", "seed", "truncation")
    later = ("false-alarms", "data", "other_data")  # of earlier versions some are missing
    numbers = {key: content[key] for key in (*keys, *later) if key in content}
    return facts_without_folders(numbers | {"flagged": len(content["flagged"])})


def _machine(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The training machine; missing facts are filled in from this machine if it is of the same kind."""
    keys = ("machine", "processor", "cores", "threads", "device", "gpu", "precision", "kernels", "processes")
    found = {key: facts[key] for key in keys if key in facts}
    if len(facts.get("sessions", ())) > 1:
        found["sessions"] = facts["sessions"]
    if "processor" not in found and facts.get("machine") == environment()["machine"]:
        found |= {
            "processor": processor_name(),
            "cores": available_cores(),
            "processor_recorded_by": "voxflate result",
        }
    return found


def _twin(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Identifies a 2D run; its metrics are in its own result."""
    if started := facts.get("started_from"):
        return {
            "name": folder.resolve().name,
            "seed": facts.get("twin", {}).get("training.seed"),
            "kimg": started["n_images"] / 1000,
            "data": started["data"],
            "weights_sha256": started["weights_sha256"],
        }
    try:
        settings, own = load_config(folder), read_facts(folder)
    except VoxflateError:  # it was moved
        return {"name": folder.name}
    return {
        "name": folder.resolve().name,
        "seed": settings.training.seed,
        "kimg": settings.training.kimg,
        "data": own["data"],
    }


def _weights(settings: RunConfig, run: Path) -> str | None:
    """The hash that a 3D run records of this 2D run; None for a 3D run, or if no snapshot can be read."""
    if settings.training.phase != "2d":
        return None
    try:
        return weights_sha256(load_newest(run)[0]["ema"])
    except VoxflateError:
        return None


def _pictures(run: Path, best: int | None) -> dict[str, bytes]:
    """The sheets before training and at the best snapshot, or the last one."""
    sheets = sheets_of(run)
    if not sheets:
        return {}
    chosen = best / 1000 if best is not None and best / 1000 in sheets else max(sheets)
    return {"start": _grey(sheets[min(sheets)]), "best": _grey(sheets[chosen])}


def _grey(path: Path) -> bytes:
    """Convert a sheet to greyscale, which halves its size."""
    content = io.BytesIO()
    with Image.open(path) as picture:
        picture.convert("L").save(content, format="PNG", optimize=True)
    return content.getvalue()


def _projected(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Points]:
    """Project features of samples.npz onto the principal components of the real ones."""
    if not {"features", "real_features"} <= arrays.keys():
        return {}
    real = arrays["real_features"].astype(np.float64)
    centre = real.mean(axis=0)
    axes = np.linalg.svd(real - centre, full_matrices=False)[2][:_COMPONENTS]
    # The sign of a component is arbitrary and may differ between machines.
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    return {
        name: ((arrays[key][:_POINTS] - centre) @ axes.T).astype(np.float32)
        for name, key in (("real", "real_features"), ("generated", "features"))
    }
