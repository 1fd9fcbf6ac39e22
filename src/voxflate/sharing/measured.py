"""Finds the evaluation and the audit of a generator, and removes what must not be shared from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json
from voxflate.evaluation import Assessment
from voxflate.reports.evaluations import AUDIT, FOLDER, METRICS, audits_of, evaluations_of
from voxflate.reports.without_folders import assessment_without_folders, facts_without_folders
from voxflate.runs.load import Loaded

_NOT_SHARED = ("run", "samples", "null")
"""Parts of an audit with the name of a folder, or with data on single people (which volumes were nearest)."""


_NAMES = {METRICS: "evaluation", AUDIT: "audit"}


@dataclass(frozen=True)
class Measured:
    """What was measured of a generator, without folders of the owner and data on single people.

    Attributes:
        assessment: Its evaluation; None if it has none.
        audit: Its audit.json; None if it was not audited.
        notes: Messages for the user, one sentence each.
        chosen: Which evaluation and which audit these are, a line each.
    """

    assessment: Assessment | None
    audit: Mapping[str, Any] | None
    notes: tuple[str, ...]
    chosen: tuple[str, ...]


def measured(folder: Path, loaded: Loaded, given: Path | None = None) -> Measured:
    """Find the newest evaluation and the newest audit that belong to exactly these weights.

    An audit must be of the training data, and an evaluation on it is preferred.

    Args:
        folder: The run or export.
        loaded: Its generator.
        given: Folder of its evaluation and audit; None to look in `folder`.

    Raises:
        VoxflateError: If `given` has neither, or one of another generator; or a file is damaged.
    """
    files = {name: _files(folder if given is None else given, name) for name in (METRICS, AUDIT)}
    if given is not None and not any(files.values()):
        raise VoxflateError(
            f"{given}: has no {METRICS} and no {AUDIT}; give the folder to which voxflate evaluate or audit "
            "wrote them, such as RUN/evaluation/001-newest"
        )
    found: dict[str, tuple[Path, Any]] = {}
    notes, chosen = [], []
    for name, paths in files.items():
        read = [(path, read_json(path)) for path in paths]
        own = [one for one in read if _fact(one[1], "generator_sha256") == loaded.weights_sha256]
        if paths and not own and given is not None:
            raise VoxflateError(
                f"{paths[-1]}: belongs to another generator than {folder} at {loaded.kimg:g} kimg; give "
                "another --snapshot, or evaluate and audit this one"
            )
        if paths and not own:
            notes.append(f"{paths[-1]} belongs to another snapshot and is not used")
        # An evaluation on other data says so; an audit on other data would pass for a check of copies.
        on_own_data = [one for one in own if _fact(one[1], "data") in (None, loaded.trained_on)]
        fitting = on_own_data or (own if name == METRICS else [])
        if fitting:
            found[name] = fitting[-1]
            chosen.append(_chosen(name, *fitting[-1], len(fitting)))
        if own and own[-1] not in fitting:
            notes.append(
                f"{own[-1][0]} was made with other data than {folder} was trained on and is not used"
            )
    assessment = audit = None
    if METRICS in found:
        path, content = found[METRICS]
        assessment = _shareable(Assessment.from_dict(content, path))
    if AUDIT in found:
        path, content = found[AUDIT]
        count, flagged = content.get("n-generated"), content.get("flagged")
        if not isinstance(count, int) or count < 1 or not isinstance(flagged, dict):
            raise VoxflateError(f"{path}: is damaged; run voxflate audit again")
        kept = {name: value for name, value in content.items() if name not in _NOT_SHARED}
        audit = facts_without_folders(kept)
    return Measured(assessment, audit, tuple(notes), tuple(chosen))


def _chosen(name: str, path: Path, content: Any, count: int) -> str:
    """Which file is used, of how many volumes it is, and what else could be chosen."""
    facts = [f"{_fact(content, 'n-generated')} volumes"]
    if (truncation := _fact(content, "truncation")) is not None:
        facts.append(f"truncation {truncation:g}")
    others = f", the newest of {count}" if count > 1 else ""
    return f"{_NAMES[name]}: {path.parent} ({', '.join(facts)}){others}"


def _files(folder: Path, name: str) -> list[Path]:
    """Files of a name beside the weights, as in a hub folder, or in a run's evaluations, oldest first."""
    run = folder.parent if folder.name == FOLDER else folder
    numbered = [one / name for one in evaluations_of(run)] if name == METRICS else audits_of(run)
    return [path for path in (folder / name, *numbered) if path.is_file()]


def _fact(content: Any, name: str) -> Any:
    """A fact about the generator, the data or the samples of a file; None if it does not have it."""
    facts = content.get("facts", content) if isinstance(content, dict) else {}
    return facts.get(name) if isinstance(facts, dict) else None


def _shareable(assessment: Assessment) -> Assessment:
    facts = {name: value for name, value in assessment.facts.items() if name != "run"}
    return assessment_without_folders(replace(assessment, facts=facts))
