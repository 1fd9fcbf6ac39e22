"""Snapshots on the disk: written whole, sealed, found again, the newest valid one loaded.

A snapshot is a plain PyTorch file (`torch.load` opens it) whose ZIP comment is the SHA-256 of all bytes
before the comment. Loading unpickles tensors, numbers and strings only, after the seal and the sizes that the
file claims were checked against the file.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import zipfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import torch

from voxflate._system.errors import VoxflateError
from voxflate._system.files import UNFINISHED, whole_file
from voxflate.runs.log import METRICS_NAME, read_rows
from voxflate.gans.state import FORMAT, upgrade

FOLDER = "snapshots"
LARGEST = 16 * 2**30
"""Bytes; no networks of this package come near."""

_NAME = re.compile(r"snapshot-(\d{9,15})\.pt")
_SEALED_FORMAT = 3
_HEX = 64
_LENGTH = _HEX.to_bytes(2, "little")  # a ZIP ends with the length of its comment and the comment
_REQUIRED: dict[str, type] = {
    "n_images": int,
    "steps": int,
    "seconds": float,
    "lr_scale": float,
    "restores": int,
    "network": dict,
    "gan": dict,
    "ema": dict,
    "rng": torch.Tensor,
}


def snapshot_path(run: Path, n_images: int) -> Path:
    """Where the snapshot after `n_images` images lies."""
    return run / FOLDER / f"snapshot-{n_images:09d}.pt"


def images_of(path: Path) -> int:
    """Images shown before a snapshot, from its name."""
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


def remove_unfinished(run: Path) -> None:
    """Delete what a process that was killed while writing left behind."""
    for folder in (run, run / FOLDER, run / "sheets"):
        for path in folder.glob(UNFINISHED):
            path.unlink(missing_ok=True)


def list_snapshots(run: Path) -> list[Path]:
    """The run's snapshots, oldest first: by their images, never by the clock."""
    found = (path for path in (run / FOLDER).glob("snapshot-*.pt") if images_of(path) >= 0)
    return sorted(found, key=images_of)


def save_snapshot(run: Path, state: dict[str, Any], keep: int, protect: Collection[Path] = ()) -> Path:
    """Write a snapshot, then delete those after it and all but the newest `keep` up to it.

    Args:
        run: Run folder.
        state: What `TrainingState.state_dict` gives, and the settings of the networks.
        keep: How many stay, this one included.
        protect: Snapshots up to this one that stay besides.

    Raises:
        VoxflateError: If it cannot be written; the snapshots before it stay.
    """
    path = snapshot_path(run, state["n_images"])
    # Through memory (some megabytes): PyTorch's own writer hides why the disk refused.
    content = io.BytesIO()
    torch.save(state, content)
    _seal(content)
    with whole_file(path) as temporary:
        temporary.write_bytes(content.getbuffer())
    # Newer ones can only be damaged leftovers that a resumed training passed over.
    others = list_snapshots(run)
    stale = [other for other in others if images_of(other) > images_of(path)]
    old = [other for other in others if other not in stale][:-keep]
    for other in stale + [other for other in old if other not in protect]:
        other.unlink(missing_ok=True)
    return path


def load_snapshot(path: Path) -> dict[str, Any]:
    """Read a snapshot without running code from it.

    Raises:
        VoxflateError: If the file is damaged, claims more than it holds, or is no snapshot of this version
            or an older one.
    """
    content = _read(path)
    sealed = _is_sealed(content)
    _check_sizes(path, content)
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, MemoryError, RecursionError) as error:
        raise VoxflateError(f"{path}: is not a snapshot: it holds more than tensors and numbers") from error
    except Exception as error:  # a damaged file makes the unpickler raise anything
        raise VoxflateError(f"{path}: is not a snapshot, or is damaged; use an older one") from error
    found = state.get("format") if isinstance(state, dict) else type(state).__name__
    if not isinstance(found, int) or not 2 <= found <= FORMAT:
        raise VoxflateError(f"{path}: snapshot format {found}, this version of voxflate reads 2 to {FORMAT}")
    if found >= _SEALED_FORMAT and not sealed:
        raise VoxflateError(f"{path}: is damaged: its checksum is missing; use an older one")
    state = upgrade(state)
    _check_state(path, state)
    return state


def load_newest(run: Path, on_skip: Callable[[str], None] | None = None) -> tuple[dict[str, Any], Path]:
    """Load the newest snapshot that is whole.

    Args:
        run: Run folder.
        on_skip: Told why, for every snapshot that is passed over.

    Raises:
        VoxflateError: If there is none.
    """
    paths = list_snapshots(run)
    if not paths:
        raise VoxflateError(f"{run}: no snapshot to load; is it a run folder, and has it trained?")
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
    """The snapshot nearest to the held-out volumes by the measured kernel distance, if there is one.

    A 2D run has no such figure, and neither has a set with fewer than two held-out volumes.
    """
    found: tuple[float, Path] | None = None
    for row in read_rows(run / METRICS_NAME):
        path = snapshot_path(run, row["n_images"])
        for key, value in row.items():
            is_figure = key.startswith("kid-") and key.endswith("-heldout-avg") and isinstance(value, float)
            if is_figure and (found is None or value < found[0]) and path.exists():
                found = value, path
    return found[1] if found else None


def load_chosen(run: Path, which: str) -> tuple[dict[str, Any], Path]:
    """Load the "newest" or the "best" snapshot.

    Raises:
        VoxflateError: If there is none.
    """
    if which == "newest":
        return load_newest(run)
    path = best_snapshot(run)
    if which != "best" or path is None:
        raise VoxflateError(
            f"{run}: has no {which} snapshot; best is known where evaluation.every measures against at least "
            "two held-out volumes, and newest always"
        )
    return load_snapshot(path), path


def _seal(content: io.BytesIO) -> None:
    """Put the SHA-256 of the file behind it, as the comment of the ZIP that it is."""
    content.seek(-2, io.SEEK_END)
    content.write(_LENGTH)
    digest = hashlib.sha256(content.getbuffer()).hexdigest()
    content.write(digest.encode())


def _is_sealed(content: bytes) -> bool:
    """Say whether the file ends with the checksum of what comes before it."""
    body = memoryview(content)[:-_HEX]
    return body[-2:] == _LENGTH and hashlib.sha256(body).hexdigest().encode() == content[-_HEX:]


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


def _check_sizes(path: Path, content: bytes) -> None:
    """Refuse an archive that would grow in memory; PyTorch itself never compresses."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
    except Exception as error:  # a damaged directory makes the parser raise anything
        raise VoxflateError(f"{path}: is not a snapshot, or is damaged; use an older one") from error
    claimed = sum(entry.file_size for entry in entries)
    if claimed > len(content) or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise VoxflateError(
            f"{path}: claims to hold {claimed:,} bytes, the file has {len(content):,}, and a snapshot is "
            "never compressed; it was not written by voxflate, remove it"
        )


def _check_state(path: Path, state: dict[str, Any]) -> None:
    """Refuse a state without its parts, or with tensors larger than the numbers behind them."""
    for name, kind in _REQUIRED.items():
        if not isinstance(state.get(name), kind):
            raise VoxflateError(f"{path}: is not a snapshot: its {name} is no {kind.__name__}")
    for tensor in _tensors(state):
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise VoxflateError(
                f"{path}: a tensor claims {tuple(tensor.shape)} numbers, more than the file holds; it was "
                "not written by voxflate, remove it"
            )


def _tensors(part: Any) -> Iterator[torch.Tensor]:
    """All tensors in nested dicts, lists and tuples; a stack, because the nesting may be deep."""
    waiting, seen = [part], set()
    while waiting:
        part = waiting.pop()
        if isinstance(part, torch.Tensor):
            yield part
        elif isinstance(part, dict | list | tuple) and id(part) not in seen:
            seen.add(id(part))  # a list may hold itself
            waiting.extend(part.values() if isinstance(part, dict) else part)
