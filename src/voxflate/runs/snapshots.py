"""Snapshots on disk: written whole, checked by a SHA-256, the newest intact one loaded.

A snapshot is one safetensors file. Its tensors are named by their path in the state, as in
"gan/generator/mapping.w_avg"; everything else is JSON in the file's metadata, next to the SHA-256 of both
(decision 0090). Nothing in it can run code. Snapshots of earlier versions (ZIP files) can be read too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from voxflate._system.errors import VoxflateError
from voxflate._system.files import UNFINISHED, whole_file
from voxflate.gans.state import FORMAT, upgrade
from voxflate.runs.log import METRICS_NAME, read_rows
from voxflate.runs.zip_snapshots import ZIP_FORMATS, read_zip

FOLDER = "snapshots"
LARGEST = 16 * 2**30
"""Largest size in bytes; this package's networks are far smaller."""

_NAME = re.compile(r"snapshot-(\d{9,15})\.(pt|safetensors)")
_REQUIRED: dict[str, type] = {
    "n_images": int,
    "steps": int,
    "seconds": float,
    "lr_scale": float,
    "restores": int,
    "network": dict,
    "gan": dict,
    "ema": dict,
    "rng": Tensor,
}


def snapshot_path(run: Path, n_images: int) -> Path:
    """Path of the snapshot after `n_images` images."""
    return run / FOLDER / f"snapshot-{n_images:09d}.safetensors"


def images_of(path: Path) -> int:
    """Images shown before a snapshot, from its name."""
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


def remove_unfinished(run: Path) -> None:
    """Delete partial files of a process that was killed while writing."""
    for folder in (run, run / FOLDER, run / "sheets"):
        for path in folder.glob(UNFINISHED):
            path.unlink(missing_ok=True)


def list_snapshots(run: Path) -> list[Path]:
    """The run's snapshots, oldest first: by images shown, never by the clock."""
    found = (path for path in (run / FOLDER).glob("snapshot-*") if images_of(path) >= 0)
    return sorted(found, key=lambda path: (images_of(path), path.suffix))


def save_snapshot(run: Path, state: dict[str, Any], keep: int, protect: Collection[Path] = ()) -> Path:
    """Write a snapshot, then delete later ones and all but the newest `keep` up to it.

    Args:
        run: Run folder.
        state: Result of `TrainingState.state_dict`, and the settings of the networks.
        keep: Number of snapshots to keep, including this one.
        protect: Older snapshots to keep as well.

    Raises:
        VoxflateError: If it cannot be written; earlier snapshots are kept.
    """
    path = snapshot_path(run, state["n_images"])
    content = _encode(state)
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
    # Newer ones can only be damaged files that a resumed run has skipped.
    others = [other for other in list_snapshots(run) if other != path]
    stale = [other for other in others if images_of(other) >= images_of(path)]
    old = [*(other for other in others if other not in stale), path][:-keep]
    for other in stale + [other for other in old if other not in protect]:
        other.unlink(missing_ok=True)
    return path


def load_snapshot(path: Path) -> dict[str, Any]:
    """Read a snapshot without running code from it.

    Raises:
        VoxflateError: If the file is damaged, claims more than its size, or is not a snapshot of this version
            or an earlier one.
    """
    content, is_zip = _read(path), path.suffix == ".pt"
    state = read_zip(path, content) if is_zip else _decode(path, content)
    found = state.get("format") if isinstance(state, dict) else type(state).__name__
    if not isinstance(found, int) or found not in (ZIP_FORMATS if is_zip else (FORMAT,)):
        raise VoxflateError(f"{path}: snapshot format {found}, this version of voxflate reads 2 to {FORMAT}")
    state = upgrade(state)
    for name, kind in _REQUIRED.items():
        if not isinstance(state.get(name), kind):
            raise VoxflateError(f"{path}: is not a snapshot: its {name} is not of type {kind.__name__}")
    return state


def load_newest(run: Path, on_skip: Callable[[str], None] | None = None) -> tuple[dict[str, Any], Path]:
    """Load the newest intact snapshot.

    Args:
        run: Run folder.
        on_skip: Called with the reason for every snapshot that is skipped.

    Raises:
        VoxflateError: If there is none.
    """
    paths = list_snapshots(run)
    if not paths:
        raise VoxflateError(f"{run}: no snapshot to load; is it the folder of a run that has started?")
    problems = []
    for path in reversed(paths):
        try:
            return load_snapshot(path), path
        except VoxflateError as error:
            problems.append(str(error))
            if on_skip is not None:
                on_skip(str(error))
    raise VoxflateError(f"{run}: none of its {len(paths)} snapshots can be read ({problems[0]})")


def best_snapshot(run: Path) -> Path | None:
    """The snapshot with the smallest kernel distance (KID) to the held-out volumes, if one was measured.

    Distances of other feature networks or versions of the measurement are not comparable, so only
    measurements made like the newest one count. The snapshot before training counts only if it is alone: its
    distance may be the smallest by accident (decision 0228). A 2D run has no such distance, nor has a set
    with fewer than two held-out volumes.
    """
    paths = {images_of(path): path for path in list_snapshots(run)}
    best = best_of(read_rows(run / METRICS_NAME), paths)
    return None if best is None else paths[best]


def best_of(rows: Sequence[dict[str, Any]], among: Collection[int] | None = None) -> int | None:
    """Images shown before the measurement with the smallest held-out distance; None if there is none.

    Args:
        rows: Rows of metrics.jsonl.
        among: Images of the snapshots to consider; None for all that were measured.
    """
    measured = [row for row in rows if isinstance(row.get(_kid_name(row)), float)]
    found = [
        (row[_kid_name(row)], row["n_images"])
        for row in measured
        if (among is None or row["n_images"] in among) and _measured_by(row) == _measured_by(measured[-1])
    ]
    trained = [pair for pair in found if pair[1] > 0]
    return min(trained or found)[1] if found else None


def _kid_name(row: dict[str, Any]) -> str:
    """Name of the distance to the held-out volumes in a row of metrics."""
    return f"kid-{row.get('extractor')}-heldout-avg"


def _measured_by(row: dict[str, Any]) -> tuple[Any, Any, int]:
    """What rows must share to be compared: the feature network and the version of the measurement."""
    return row.get("extractor"), row.get("weights-sha256"), row.get("measurement", 1)


def _encode(state: dict[str, Any]) -> bytes:
    """The content of a snapshot file."""
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_take_tensors(state, "", tensors), allow_nan=False)
    return save(tensors, metadata={"state": text, "sha256": _digest(text, tensors)})


def _take_tensors(part: dict[Any, Any], path: str, tensors: dict[str, Tensor]) -> dict[Any, Any]:
    """Nested dicts without their tensors, which go into `tensors` under their paths."""
    kept = {}
    for key, value in part.items():
        if isinstance(value, Tensor):
            tensors[f"{path}{key}"] = value.detach().cpu().contiguous()
        else:
            inner = isinstance(value, dict)
            kept[key] = _take_tensors(value, f"{path}{key}/", tensors) if inner else value
    return kept


def _decode(path: Path, content: bytes) -> dict[str, Any]:
    """Undo `_encode`."""
    try:
        tensors = load(content)  # compares every size with the file
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        text, digest = header["__metadata__"]["state"], header["__metadata__"]["sha256"]
        if digest != _digest(text, tensors):
            raise ValueError("its checksum differs")
        state: dict[str, Any] = json.loads(text, object_hook=_with_numbers)
        for name, tensor in tensors.items():
            *folders, last = name.split("/")
            part: Any = state
            for folder in folders:
                part = part[_key(folder)]
            part[_key(last)] = tensor
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = str(error).split("\n")[0][:120]
        raise VoxflateError(
            f"{path}: is not a snapshot, or is damaged ({reason}); use an older one"
        ) from error
    return state


def _with_numbers(part: dict[str, Any]) -> dict[Any, Any]:
    return {_key(key): value for key, value in part.items()}


def _key(text: str) -> int | str:
    """Restore a key: optimizers number their parameters, and JSON keys cannot be numbers."""
    return int(text) if text.isdecimal() else text


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 of the state's JSON and of every tensor with its name, type and shape."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path) -> bytes:
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise VoxflateError(
                f"{path}: has {size:,} bytes, at most {LARGEST:,} are read; is it a snapshot?"
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise VoxflateError(f"{path}: no such snapshot") from error
    except OSError as error:
        raise VoxflateError(f"{path}: cannot be read ({error.strerror or error})") from error
