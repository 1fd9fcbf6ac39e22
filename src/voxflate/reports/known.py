"""What is known of an evaluated generator besides its metrics: its audit, its parameters, its 2D run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json
from voxflate.config.identity import setting_key
from voxflate.config.schema import RunConfig
from voxflate.config.toml import from_dict, load_config
from voxflate.config.values import flat, nested
from voxflate.gans.slice_discriminator import NAME as SLICES
from voxflate.runs.log import LOG_NAME, read_rows


def same_generator(audit: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Tell whether an audit and an evaluation are of one generator, or of the same volumes.

    Older files only have the generator's image count.
    """
    keys = ("n_images", "generator_sha256", "volumes_sha256")
    return all(audit[key] == facts[key] for key in keys if key in audit and key in facts)


def fitting_audit(paths: Sequence[Path], facts: Mapping[str, Any]) -> Path | None:
    """The first audit of the same generator, truncation and data as an evaluation.

    Args:
        paths: Files of audits, the preferred one first; they may not exist.
        facts: What the evaluation's metrics depend on.
    """
    for path in paths:
        audit: Mapping[str, Any] = read_json(path) if path.is_file() else {}
        alike = all(audit.get(key, facts.get(key)) == facts.get(key) for key in ("truncation", "data"))
        if audit and alike and same_generator(audit, facts):
            return path
    return None


def counts_of(parameters: Mapping[str, int]) -> dict[str, int]:
    """Facts about a run's size from its networks' trainable parameters.

    The slice discriminator counts by itself: the paper's networks have none.
    """
    own = {name: count for name, count in parameters.items() if name != SLICES}
    return {
        "parameters": sum(own.values()),
        "generator_parameters": parameters["generator"],
        "slice_discriminator_parameters": parameters.get(SLICES, 0),
    }


def budget_in_2d(
    config: RunConfig, started: Mapping[str, Any] | None, twin: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Facts about the 2D training behind a generator: its images, and its seconds while its folder is there.

    Args:
        config: Settings of the run, or of an export, which do not name the 2D run's folder.
        started: What identifies the 2D run's snapshot; None if unknown.
        twin: Settings of the 2D run by dotted key; None if unknown.
    """
    if config.start.strategy == "none":
        return {"twin_n_images": 0}
    if started is None:
        return {}
    images = started["n_images"]
    rows = _rows_of(config.start.twin, twin)
    seconds = [row["seconds"] for row in rows if row["n_images"] <= images]
    return {"twin_n_images": images} | ({"twin_seconds": seconds[-1]} if seconds else {})


def _rows_of(folder: str, twin: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The log of a 2D run; none if its folder is gone, or has another run now."""
    if not folder or twin is None:
        return []
    try:
        values = flat(load_config(Path(folder)).model_dump(mode="json"))
        recorded = flat(from_dict(nested(twin), folder).model_dump(mode="json"))  # with newer settings
    except VoxflateError:
        return []
    length = {"training.kimg": 0}  # it may have been trained further
    same = setting_key(values | length) == setting_key(recorded | length)
    return read_rows(Path(folder) / LOG_NAME) if same else []
