"""Results: a run's outcome as one small JSON file, from which tables and figures are made without the run.

A file has settings, seeds, the metrics of every snapshot, every evaluation, seconds, machine, version, hashes
and, on request, two sheets of samples and a projection of features for t-SNE. It has no paths, no file names
and no voxels of the data.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json, whole_file
from voxflate._system.version import __version__
from voxflate.evaluation import Assessment

KIND = "voxflate-result"
FORMAT = 1
LARGEST = 2**22
"""Largest size of a file, bytes; typical files have a few tens of kilobytes."""

_DIGITS = 6  # significant; a metric's standard error is at best in the third

Points = NDArray[np.float32]


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Attributes:
        name: The run's folder name.
        settings: Every setting by dotted key; folders and the file of a user's feature network are "".
        data: Content hash of the prepared set.
        twin: The 2D run that it started from: name, seed, the kimg that it had seen, the hashes of its data
            and its weights; None without one. Older runs have its planned kimg and no hash of weights.
        parameters: Trainable parameters by network.
        n_images: Images shown so far.
        seconds: Time of training without evaluation at snapshots.
        snapshots: Columns of equal length: "n_images", "seconds", "sample-sha256" and every metric; None
            if not measured.
        best: Images shown before the snapshot with the smallest held-out KID; None if not measured.
        evaluations: Results of `voxflate evaluate`, oldest first.
        weights_sha256: Hash of a 2D run's newest weights, as in `twin` of a 3D run that starts from it. None
            for a 3D run, and in files of earlier versions.
        changes: Settings of the row that changed half-way: the "n_images" shown before, the "key", its value
            "before" and "after". Files of earlier versions have none.
        audits: Results of `voxflate audit`, oldest first: the snapshot's "n_images" and the numbers of
            volumes, "n-generated" and of them "flagged", "n-train", "n-heldout" and "n-null"; the share of
            "false-alarms" if it was measured; the hash of its "data", and a remark "other_data" if it is not
            the run's.
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
    weights_sha256: str | None = None
    changes: Sequence[Mapping[str, Any]] = ()

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.settings["training.seed"])

    @property
    def finished(self) -> bool:
        """Whether the run has shown all images that its settings require."""
        return bool(self.n_images >= round(self.settings["training.kimg"] * 1000))

    @property
    def measurements(self) -> list[int]:
        """Version of the measurement of every snapshot; 1 where the file has none."""
        versions = self.snapshots.get("measurement") or [None] * len(self.snapshots["n_images"])
        return [1 if version is None else int(version) for version in versions]

    @property
    def measurement(self) -> int:
        """Version of the measurement of the newest evaluation, or of the newest snapshot if there is none."""
        if self.evaluations:
            return int(self.evaluations[-1].facts.get("measurement", 1))
        return self.measurements[-1] if self.measurements else 1

    def at(self, metric: str, n_images: int) -> float | None:
        """A metric at a snapshot; None if it was not measured there by the result's version."""
        return dict(self._measured(metric)).get(n_images)

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """Points (kimg, value) of a metric over training, where it was measured by the result's version."""
        return [(n_images / 1000, value) for n_images, value in self._measured(metric)]

    def _measured(self, metric: str) -> list[tuple[float, float]]:
        wanted = self.measurement
        images, column = self.snapshots["n_images"], self.snapshots.get(metric, ())
        rows = zip(images, column, self.measurements, strict=False)
        return [
            (float(n), float(x))
            for n, x, version in rows
            if n is not None and x is not None and not isinstance(x, str) and version == wanted
        ]

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
            "weights_sha256": self.weights_sha256,
            "changes": [dict(each) for each in self.changes],
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
                **{name: content[name] for name in _LATER if name in content},
                pictures={name: base64.b64decode(text) for name, text in content["pictures"].items()},
                points={name: _points(each) for name, each in content["points"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise VoxflateError(f"{source}: is damaged ({error!r}); write it again") from error


_PLAIN = (
    "name", "settings", "data", "twin", "parameters", "n_images", "seconds", "snapshots", "best", "machine",
    "versions",
)  # fmt: skip
_LATER = ("audits", "weights_sha256", "changes")  # files of earlier versions have none


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
        why = "has no results" if folder.is_dir() else "is not a folder"
        raise VoxflateError(f"{folder}: {why}; write results into one with voxflate result RUN --out FOLDER")
    return [read_result(path) for path in paths]


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
