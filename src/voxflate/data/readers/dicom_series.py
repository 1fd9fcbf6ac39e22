"""Groups DICOM slices: one patient, study, series, frame of reference and orientation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from voxflate._system.files import sha256
from voxflate.data.readers.dicom_slices import Slice

ONE_STACK = 5.0
"""Largest angle between slices of one stack, degrees. Smaller angles are rounding, which is accepted, or a
damaged slice, which `dicom.order` names; larger ones mean another stack, such as a scout."""

_SHORTEST_UID = 16
"""Shorter UIDs were typed by people, who use the same one for every series."""
_FEWEST = 3
"""Number of slices from which a stack of another size or folder becomes a volume of its own."""


def drop_copies(slices: Sequence[Slice]) -> tuple[list[Slice], list[Path]]:
    """Leave out files that are byte-for-byte copies of another one.

    Returns:
        The remaining slices in their order, and the files left out.
    """
    alike: dict[tuple[str, ...], list[Path]] = {}
    for one in slices:
        key = (one.text("SOPInstanceUID"), one.text("SeriesInstanceUID"), one.text("ImagePositionPatient"))
        files = alike.setdefault(key, [])
        if one.path not in files:
            files.append(one.path)
    copies: set[Path] = set()
    for files in alike.values():
        seen: set[tuple[int, str]] = set()
        for path in sorted(files) if len(files) > 1 else ():
            content = path.stat().st_size, sha256(path)
            if content in seen:
                copies.add(path)
            seen.add(content)
    return [one for one in slices if one.path not in copies], sorted(copies)


def group(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Sort slices into stacks that can each become one volume.

    A series is identified by patient, study, series and frame of reference; if the series has no name, or one
    that is used for many, each folder is a series. Scouts and frames of another orientation are separate
    stacks. Otherwise the folder does not matter, unless folders repeat positions or instance numbers.
    """
    slices = list(slices)
    shared = _shared_names(slices)
    series: dict[tuple[str, ...], list[Slice]] = {}
    for one in slices:
        series.setdefault(_key(one), []).append(one)
    stacks: list[list[Slice]] = []
    for key, members in series.items():
        for part in _folders_apart(members, trusted=key[2] not in shared):
            for frame in _parts(part, "FrameOfReferenceUID"):
                for stack in _by_orientation(frame):
                    stacks += _parts(stack, "Rows", "Columns")
    return stacks


def is_torn(stack: Sequence[Slice], stacks: Iterable[Sequence[Slice]]) -> bool:
    """Tell whether a few slices were split off from their series: others share its name and orientation.

    If so, a header is damaged, and the series would silently be shorter without them.
    """
    name, directions = stack[0].text("SeriesInstanceUID"), _directions(stack[0])
    return bool(name) and any(
        other is not stack
        and other[0].text("SeriesInstanceUID") == name
        and _near(_directions(other[0]), directions)
        for other in stacks
    )


def scattered(stack: Sequence[Slice], stacks: Iterable[Sequence[Slice]]) -> int:
    """Count the single slices that match a single slice in everything but the name of their series.

    Some exports give every slice its own series UID; without this check such a scan would be left out.
    """
    if len(stack) > 1:
        return 0
    names = ("PatientID", "StudyInstanceUID", "Modality", "SeriesDescription", "Rows", "Columns")
    alike = {
        other[0].text("ImagePositionPatient")
        for other in stacks
        if len(other) == 1
        and all(other[0].text(name) == stack[0].text(name) for name in names)
        and _near(_directions(other[0]), _directions(stack[0]))
    }
    return len(alike)


def _key(one: Slice) -> tuple[str, ...]:
    names = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")
    return tuple(one.text(name) for name in names)


def _shared_names(slices: Sequence[Slice]) -> set[str]:
    """Series names that identify no series: missing, too short, or used in several studies."""
    studies: dict[str, set[tuple[str, ...]]] = {}
    for one in slices:
        studies.setdefault(one.text("SeriesInstanceUID"), set()).add(_key(one)[:2])
    return {uid for uid, found in studies.items() if len(uid) < _SHORTEST_UID or len(found) > 1}


def _folders_apart(members: list[Slice], *, trusted: bool) -> list[list[Slice]]:
    """Split by folder if folders hold several slices and cannot be parts of one series."""
    folders: dict[Path, list[Slice]] = {}
    for one in members:
        folders.setdefault(one.path.parent, []).append(one)
    parts = list(folders.values())
    if len(parts) == 1 or max(map(len, parts)) < 2:
        return [members]
    if not trusted or _repeats(parts, "ImagePositionPatient") or _repeats(parts, "InstanceNumber"):
        return parts
    return [members]


def _repeats(parts: Sequence[Sequence[Slice]], name: str) -> bool:
    """Tell whether folders share values of an element."""
    counts = Counter(chain.from_iterable({one.text(name) for one in part} - {""} for part in parts))
    return any(count > 1 for count in counts.values())


def _by_orientation(members: Sequence[Slice]) -> list[list[Slice]]:
    stacks: list[tuple[Any, list[Slice]]] = []
    for one in members:
        directions = _directions(one)
        for first, stack in stacks:
            if _near(directions, first):
                stack.append(one)
                break
        else:
            stacks.append((directions, [one]))
    return [stack for _, stack in stacks]


def _directions(one: Slice) -> Any:
    """Unit vectors along rows and columns, [2, 3]; None if they are missing or damaged."""
    try:
        found = np.array([float(part) for part in one.value("ImageOrientationPatient")]).reshape(2, 3)
    except (TypeError, ValueError):
        return None
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return found / lengths if np.isfinite(lengths).all() and (lengths > 0).all() else None


def _near(first: Any, second: Any) -> bool:
    if first is None or second is None:
        return first is second
    return bool((first * second).sum(axis=1).min() >= np.cos(np.radians(ONE_STACK)))


def _parts(members: list[Slice], *names: str) -> list[list[Slice]]:
    """Group slices that agree in some elements; if a group would be too small, all stay together."""
    parts: dict[tuple[str, ...], list[Slice]] = {}
    for one in members:
        parts.setdefault(tuple(one.text(name) for name in names), []).append(one)
    return [members] if min(map(len, parts.values())) < _FEWEST else list(parts.values())
