"""Results: a run's outcome as one small JSON file, from which tables and figures are made without the run.

A file has settings, seeds, the metrics of every snapshot, every evaluation, seconds, machine, version, hashes
and, on request, two sheets of samples and a projection of features for t-SNE. It has no paths, no file names
and no voxels of the data.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from voxflate._system.cores import available_cores, processor_name
from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json, whole_file
from voxflate._system.version import __version__
from voxflate.config.toml import load_config
from voxflate.config.values import flat
from voxflate.evaluation import Assessment
from voxflate.reports.evaluations import (
    METRICS,
    SAMPLES,
    audits_of,
    evaluations_of,
    load_arrays,
    sheets_of,
)
from voxflate.runs.facts import environment, read_facts
from voxflate.runs.log import LOG_NAME, METRICS_NAME, SNAPSHOTS_NAME, read_rows
from voxflate.runs.snapshots import best_of, list_snapshots

KIND = "voxflate-result"
FORMAT = 1
LARGEST = 2**22
"""Largest size of a file, bytes; typical files have a few tens of kilobytes."""

_PATHS = ("data", "start.twin")
_DIGITS = 6  # significant; a metric's standard error is at best in the third
_COMPONENTS, _POINTS = 20, 200  # of the projection for t-SNE

Points = NDArray[np.float32]


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Attributes:
        name: The run's folder name.
        settings: Every setting by dotted key; paths are "".
        data: Content hash of the prepared set.
        twin: The 2D run that it started from: name, seed, kimg and data hash; None without one.
        parameters: Trainable parameters by network.
        n_images: Images shown so far.
        seconds: Time of training without evaluation at snapshots.
        snapshots: Columns of equal length: "n_images", "seconds", "sample-sha256" and every metric; None
            if not measured.
        best: Images shown before the snapshot with the smallest held-out KID; None if not measured.
        evaluations: Results of `voxflate evaluate`, oldest first.
        audits: Results of `voxflate audit`, oldest first: the snapshot's "n_images" and the numbers of
            volumes, "n-generated" and of them "flagged", "n-train", "n-heldout" and "n-null"; the share of
            "false-alarms" if it was measured.
        machine: Processor, cores, threads, device and so on of the last training process.
        versions: Of voxflate and its source (a hash), Python, PyTorch and NumPy, when it was trained.
        pictures: "start" and "best", PNG bytes of the sample sheets.
        points: "real" and "generated": features on the principal components of the real ones, [n, k].
    """

    name: str
    settings: Mapping[str, Any]
    data: str
    twin: Mapping[str, Any] | None
    parameters: Mapping[str, int]
    n_images: int
    seconds: float
    snapshots: Mapping[str, Sequence[float | str | None]]
    best: int | None
    evaluations: Sequence[Assessment]
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    points: Mapping[str, Points] = field(default_factory=dict)
    audits: Sequence[Mapping[str, Any]] = ()

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.settings["training.seed"])

    @property
    def finished(self) -> bool:
        """Whether the run has shown all images that its settings require."""
        return bool(self.n_images >= round(self.settings["training.kimg"] * 1000))

    def at(self, metric: str, n_images: int) -> float | None:
        """A metric at a snapshot; None if it was not measured there."""
        images = list(self.snapshots["n_images"])
        if n_images not in images or metric not in self.snapshots:
            return None
        value = self.snapshots[metric][images.index(n_images)]
        return None if value is None or isinstance(value, str) else float(value)

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """Points (kimg, value) of a metric over training."""
        pairs = zip(self.snapshots["n_images"], self.snapshots.get(metric, ()), strict=False)
        return [(float(n) / 1000, float(x)) for n, x in pairs if n is not None and x is not None]

    def as_dict(self) -> dict[str, Any]:
        """Convert to plain values for the file."""
        points = {
            name: {"shape": list(x.shape), "float16": _text(x.astype("<f2").tobytes())}
            for name, x in self.points.items()
        }
        return {
            "kind": KIND,
            "format": FORMAT,
            "written_by": __version__,
            "name": self.name,
            "settings": dict(self.settings),
            "data": self.data,
            "twin": self.twin,
            "parameters": dict(self.parameters),
            "n_images": self.n_images,
            "seconds": self.seconds,
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "best": self.best,
            "snapshots": _rounded({name: list(column) for name, column in self.snapshots.items()}),
            "evaluations": [_rounded(each.as_dict()) for each in self.evaluations],
            "audits": [dict(each) for each in self.audits],
            "pictures": {name: _text(png) for name, png in self.pictures.items()},
            "points": points,
        }

    @classmethod
    def from_dict(cls, content: Any, source: object) -> Result:
        """Make a result from what `as_dict` returned.

        Raises:
            VoxflateError: If it is not a result, of another format, or damaged.
        """
        if not isinstance(content, Mapping) or content.get("kind") != KIND:
            raise VoxflateError(f"{source}: is not a result file; write one with voxflate result RUN")
        if content.get("format") != FORMAT:
            raise VoxflateError(
                f"{source}: has format {content.get('format')!r}, voxflate {__version__} reads {FORMAT}; "
                "write it again with voxflate result RUN"
            )
        try:
            return cls(
                **{name: content[name] for name in _PLAIN},
                evaluations=[Assessment.from_dict(each, source) for each in content["evaluations"]],
                audits=content.get("audits", ()),  # files of earlier versions have none
                pictures={name: base64.b64decode(text) for name, text in content["pictures"].items()},
                points={name: _points(each) for name, each in content["points"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise VoxflateError(f"{source}: is damaged ({error!r}); write it again") from error


_PLAIN = (
    "name", "settings", "data", "twin", "parameters", "n_images", "seconds", "snapshots", "best", "machine",
    "versions",
)  # fmt: skip


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
        settings={key: "" if key in _PATHS else value for key, value in values.items()},
        data=facts["data"],
        twin=_twin(Path(settings.start.twin)) if settings.start.twin else None,
        parameters=facts.get("parameters", {}),
        n_images=log[-1]["n_images"] if log else 0,
        seconds=log[-1]["seconds"] if log else 0.0,
        snapshots=_columns(rows, log, read_rows(run / SNAPSHOTS_NAME)),
        best=best,
        evaluations=evaluations,
        audits=[_audit(read_json(path)) for path in audits_of(run)],
        machine=_machine(facts),
        versions=facts["versions"],
        pictures=_pictures(run, best) if pictures else {},
        points=_projected(load_arrays(shown[-1] / SAMPLES)) if pictures and shown else {},
    )


def write_result(result: Result, path: Path) -> None:
    """Write the file, one line per entry."""
    content = result.as_dict()
    lines = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in content.items()]
    with whole_file(path) as temporary:
        temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read_result(path: Path) -> Result:
    """Read one file.

    Raises:
        VoxflateError: If it is not a result.
    """
    return Result.from_dict(read_json(path, LARGEST), path)


def read_results(folder: Path) -> list[Result]:
    """Read every result in a folder, sorted by file name.

    Raises:
        VoxflateError: If there are none, or a file is not a result.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        why = "has no results" if folder.is_dir() else "is no folder"
        raise VoxflateError(f"{folder}: {why}; write results into one with voxflate result RUN --out FOLDER")
    return [read_result(path) for path in paths]


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
    numbers = {key: content[key] for key in keys} | {"flagged": len(content["flagged"])}
    return numbers | {key: content[key] for key in ("false-alarms",) if key in content}


def _machine(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The training machine; missing facts are filled in from this machine if it is of the same kind."""
    keys = ("machine", "processor", "cores", "threads", "device", "precision", "kernels", "processes")
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


def _twin(folder: Path) -> dict[str, Any]:
    """Identifies a 2D run; its metrics are in its own result."""
    try:
        settings, facts = load_config(folder), read_facts(folder)
    except VoxflateError:  # it was moved
        return {"name": folder.name}
    return {
        "name": folder.resolve().name,
        "seed": settings.training.seed,
        "kimg": settings.training.kimg,
        "data": facts["data"],
    }


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


def _points(stored: Mapping[str, Any]) -> Points:
    values = np.frombuffer(base64.b64decode(stored["float16"]), "<f2")
    return values.reshape(stored["shape"]).astype(np.float32)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _rounded(value: Any) -> Any:
    """Round floats to six significant digits; values that are not finite become None."""
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value
