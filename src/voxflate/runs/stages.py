"""Whether the 2D run behind a 3D run was trained on people whom the 3D run holds out.

Held-out people are new to a generator only if neither stage was trained on them. Both stages normally use one
prepared set. A 2D run may also start volumes of another set, such as one of another depth (decision 0210).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voxflate.data.prepared import PreparedSet, Scan
from voxflate.runs.exported import Exported
from voxflate.runs.facts import read_facts
from voxflate.runs.trained_on import TrainedOn, own_set

SEEN = "held_out_seen_in_2d"
"""Key in `started_from`: how many held-out people the 2D run was trained on; null if that is unknown. Without
the key, both stages used one set, or the run is of an older version."""


def held_out_seen(prepared: PreparedSet, twin: Path, known: TrainedOn) -> dict[str, int | None]:
    """Compare the people of a 2D run's prepared set with those of a 3D run's.

    Scans are of one person if their pseudonyms are equal, which takes one salt, or their files.

    Args:
        prepared: The set of the 3D run.
        twin: The 2D run.
        known: What the 2D run records of its training data.

    Returns:
        An entry for `started_from`; nothing if both stages use one set.
    """
    if known.has_voxels_of(prepared):
        return {}
    first = own_set(twin, labels=False)
    if first is None:
        return {SEEN: None}
    trained = {name for scan in _scans(first, "train") for name in _names(scan)}
    held_out, others = _scans(prepared, "heldout"), _scans(prepared, "train")
    if held_out and not any(_names(scan) & trained for scan in (*held_out, *others)):
        return {SEEN: None}  # other people, or another salt
    return {SEEN: len({scan.subject for scan in held_out if _names(scan) & trained})}


def _scans(prepared: PreparedSet, split: str) -> list[Scan]:
    return [scan for scan in prepared.manifest.scans if scan.split == split]


def _names(scan: Scan) -> set[str]:
    return {f"person {scan.subject}", f"file {scan.source_sha256}"}


def started_from(folder: Path, exported: Exported | None) -> Mapping[str, Any] | None:
    """What identifies the 2D snapshot of a run or an export, as `TransferReport.twin`; None if unknown."""
    return exported.started_from if exported is not None else read_facts(folder).get("started_from")


def has_two_sets(folder: Path, exported: Exported | None) -> bool:
    """Whether the 2D run of a run or an export is known to have been trained on another prepared set."""
    started = started_from(folder, exported) or {}
    trained = TrainedOn.of_run(folder) if exported is None else TrainedOn.of_export(exported)
    return SEEN in started or started.get("data", trained.content) != trained.content


def remark_on_stages(folder: Path, exported: Exported | None) -> str:
    """What a measurement on its own data should say about held-out people; "" if there is nothing to say.

    Args:
        folder: The run or export.
        exported: The export; None for a run.
    """
    if not has_two_sets(folder, exported):
        return ""
    return on_held_out((started_from(folder, exported) or {}).get(SEEN))


def on_held_out(seen: int | None) -> str:
    """The remark for a number of held-out people whom the 2D run was trained on; None if it is unknown."""
    if seen is None:
        return (
            "its 2D run was trained on another prepared set, and it is unknown whether that has people who "
            "are held out from the 3D run"
        )
    if not seen:
        return ""
    return (
        f"its 2D run was trained on {seen} of the people held out from the 3D run, so metrics of held-out "
        "volumes are too good, and the audit does not know everybody whom it saw"
    )
