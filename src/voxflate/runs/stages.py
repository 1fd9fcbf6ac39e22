"""Whether the 2D run behind a 3D run was trained on people whom the 3D run holds out.

Held-out people are new to a generator only if neither stage was trained on them. Both stages normally use one
prepared set. A 2D run may also start volumes of another set, such as one of another depth (decision 0210).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voxflate.data.prepared import PreparedSet
from voxflate.runs.exported import Exported
from voxflate.runs.facts import read_facts
from voxflate.runs.trained_on import TrainedOn, own_set

SEEN = "held_out_seen_in_2d"
"""Key in `started_from`: how many held-out people the 2D run was trained on; null if that is unknown. Without
the key, both stages used one set, or the run is of an older version."""


def held_out_seen(prepared: PreparedSet, twin: Path) -> dict[str, int | None]:
    """Compare the people of a 2D run's prepared set with those of a 3D run's.

    Pseudonyms are equal in both sets if they were made with one salt.

    Args:
        prepared: The set of the 3D run.
        twin: The 2D run.

    Returns:
        An entry for `started_from`; nothing if both stages use one set.

    Raises:
        VoxflateError: If `run.json` of the 2D run is missing or damaged.
    """
    if TrainedOn.of_run(twin).content == prepared.content_hash:
        return {}
    first = own_set(twin, labels=False)
    if first is None:
        return {SEEN: None}
    trained, held_out = _people(first, "train"), _people(prepared, "heldout")
    if not trained & (held_out | _people(prepared, "train")):  # other people, or another salt
        return {SEEN: None if held_out else 0}
    return {SEEN: len(trained & held_out)}


def _people(prepared: PreparedSet, split: str) -> set[str]:
    return {scan.subject for scan in prepared.manifest.scans if scan.split == split}


def started_from(folder: Path, exported: Exported | None) -> Mapping[str, Any] | None:
    """What identifies the 2D snapshot of a run or an export, as `TransferReport.twin`; None if unknown."""
    return exported.started_from if exported is not None else read_facts(folder).get("started_from")


def remark_on_stages(started: Mapping[str, Any] | None) -> str:
    """What every measurement should say about held-out people; "" if there is nothing to say.

    Args:
        started: Result of `started_from`.
    """
    seen = (started or {}).get(SEEN, 0)
    if seen is None:
        return (
            "the 2D run that it started from was trained on another prepared set, and it is unknown whether "
            "that has people who are held out here"
        )
    if not seen:
        return ""
    return (
        f"the 2D run that it started from was trained on {seen} of the people held out here, so metrics of "
        "held-out volumes are too good, and the audit does not know all whom it saw"
    )
