"""Evaluations on disk: their folders and files.

RUN/evaluation/001-newest/, 002-best/ and so on, one folder per evaluation, or the folder that the user names:
    metrics.json     every metric with interval and floor, what it depends on, warnings
    samples.npz      the first volumes for the viewer; features of centre slices for t-SNE
    table.md  table.tex  report.html
    audit.json       the result of the copying audit; audit-pairs.npz has the flagged volumes
    utility.json     the result of `reports.utility`; utility.png is its chart

Evaluations of earlier versions are in RUN/evaluation itself. metrics.json and audit.json identify the
snapshot by its number of images and by the hash of its generator's weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json
from voxflate.config.identity import of_the_row, setting_key
from voxflate.config.presets import paper_row
from voxflate.config.schema import RunConfig
from voxflate.config.toml import CONFIG_NAME, from_dict, load_config
from voxflate.config.values import flat, nested
from voxflate.data.prepared import PreparedSet
from voxflate.evaluation import Assessment
from voxflate.reports.known import budget_in_2d, counts_of, fitting_audit
from voxflate.reports.rows import EvaluatedRun
from voxflate.runs import history
from voxflate.runs.chosen import Snapshot, find_snapshot, in_words, kimg_of
from voxflate.runs.exported import is_exported
from voxflate.runs.facts import read_facts
from voxflate.runs.snapshots import images_of, list_snapshots
from voxflate.runs.trained_on import NEXT_STEP, check_content, open_data

FOLDER = "evaluation"
_NUMBERED = re.compile(r"(\d{3,})-.+")
_SHEET = re.compile(r"kimg-([\d.]+)\.png")
METRICS, SAMPLES, AUDIT, AUDIT_PAIRS = "metrics.json", "samples.npz", "audit.json", "audit-pairs.npz"
UTILITY = "utility.json"


@dataclass(frozen=True)
class Place:
    """The location of an evaluation.

    Attributes:
        folder: The folder with its files.
        run: The evaluated run, whose curves and sheets go into the report; None for an export.
    """

    folder: Path
    run: Path | None


def evaluations_of(run: Path) -> list[Path]:
    """Folders of a run's evaluations, oldest first: by their numbers, never by the clock."""
    return [folder for folder in _folders_of(run) if (folder / METRICS).is_file()]


def audits_of(run: Path) -> list[Path]:
    """Files of a run's audits, oldest first."""
    return [folder / AUDIT for folder in _folders_of(run) if (folder / AUDIT).is_file()]


def _folders_of(run: Path) -> list[Path]:
    root = run / FOLDER
    numbered = [(number, path) for path in root.glob("*") if (number := _number_of(path)) is not None]
    return [root, *(path for _, path in sorted(numbered))]


def sheets_of(run: Path) -> dict[float, Path]:
    """A run's sample sheets by kimg."""
    found = {}
    for path in (run / "sheets").glob("*.png"):
        if match := _SHEET.fullmatch(path.name):
            found[float(match[1])] = path
    return found


def _images_in(folder: Path) -> int | None:
    """Images shown before the snapshot that a folder's files belong to; None without a snapshot."""
    for name in (METRICS, UTILITY, AUDIT):
        if (folder / name).is_file():
            content = read_json(folder / name)
            images: int | None = content.get("facts", content)["n_images"]  # None for a folder of volumes
            return images
    return None


def _number_of(path: Path) -> int | None:
    match = _NUMBERED.fullmatch(path.name)
    return int(match[1]) if match else None


def new_folder(run: Path, snapshot: Snapshot, name: str) -> Path:
    """The folder for the next evaluation, audit or utility of a snapshot; older files are never overwritten.

    Files of one snapshot and different kinds share the newest folder; everything else gets a
    new folder.

    Args:
        run: The run.
        snapshot: The snapshot to measure.
        name: The file that will be written: METRICS, AUDIT or UTILITY.
    """
    root = run / FOLDER
    numbered = sorted((number, path) for path in root.glob("*") if (number := _number_of(path)) is not None)
    if numbered:
        newest = numbered[-1][1]
        if not (newest / name).exists() and _images_in(newest) == images_of(find_snapshot(run, snapshot)):
            return newest
    number = numbered[-1][0] + 1 if numbered else 1
    return root / f"{number:03d}-{in_words(snapshot)}"


def place_of(path: Path, snapshot: Snapshot | None = None) -> Place:
    """The newest evaluation of a run, or the one in the given folder.

    Args:
        path: Run, or folder of an evaluation, or of all evaluations of a run.
        snapshot: For a run, the newest evaluation of this snapshot is used if there is one.
    """
    if path.name == FOLDER and not (path / METRICS).is_file() and (path.parent / CONFIG_NAME).is_file():
        path = path.parent
    if not (path / CONFIG_NAME).is_file():
        inside = FOLDER in (path.name, path.parent.name)
        run = path.parent if path.name == FOLDER else path.parent.parent
        return Place(path, run if inside and (run / CONFIG_NAME).is_file() else None)
    found = evaluations_of(path)
    if snapshot is not None:
        images = images_of(find_snapshot(path, snapshot))
        found = [folder for folder in found if _images_in(folder) == images] or found
    return Place(found[-1] if found else path / FOLDER, path)


def load_evaluated(place: Place, *, other_data: bool = False) -> EvaluatedRun:
    """Read an evaluation written by `voxflate evaluate`.

    Its label is the name of the run's folder, or of the export or volumes that were evaluated.

    Args:
        place: Its location.
        other_data: Also accept an evaluation on data other than the training data; the result says so.

    Raises:
        VoxflateError: If there is no evaluation, or it was made with other data.
    """
    path = place.folder / METRICS
    if not path.is_file():
        raise VoxflateError(_not_evaluated(place))
    assessment = Assessment.from_dict(read_json(path), path)
    paper, facts = None, assessment.facts
    if place.run is not None and facts.get("source") != "volumes":
        config = load_config(place.run)
        facts = _completed(facts, place.run, config)
        if facts["phase"] == "3d":
            paper = paper_row(flat(config.model_dump()))
    label = place.run.resolve().name if place.run else facts.get("run", place.folder.resolve().name)
    remark = _check_measured_on(place, facts, go_on=other_data)
    already = remark and "other_data" in facts  # then it is among its warnings
    said = "" if already else remark
    audit = audit_of(place, facts)
    return EvaluatedRun(
        label=label,
        parameters=facts["parameters"],
        assessment=replace(assessment, facts=facts),
        paper=paper,
        outdated=_outdated(place, facts),
        other_data=said,
        setting=facts.get("setting", ""),
        seed=facts.get("training_seed"),
        run=place.run,
        evaluation=described(place.folder, facts),
        audit=None if audit is None else read_json(audit),
    )


def _not_evaluated(place: Place) -> str:
    """Why there is no evaluation at a place, and the next step."""
    folder, run = place.folder, place.run
    if run is not None and not evaluations_of(run):
        return f"{run}: was not evaluated; run: voxflate evaluate {quote(str(run))}"
    if is_exported(folder):
        return (
            f"{folder}: is an export; name the folder of its evaluation, which voxflate evaluate "
            f"{quote(str(folder))} writes with --data and --out"
        )
    problem = f"has no {METRICS}" if folder.is_dir() else "no such folder"
    return f"{folder}: {problem}; name an evaluated run, or the folder of an evaluation"


def audit_of(place: Place, facts: Mapping[str, Any]) -> Path | None:
    """The audit beside an evaluation, or the run's newest one, that is of the same generator and data.

    Args:
        place: The evaluation.
        facts: What its metrics depend on.
    """
    others = audits_of(place.run) if place.run is not None else []
    return fitting_audit([place.folder / AUDIT, *reversed(others)], facts)


def described(folder: Path, facts: Mapping[str, Any]) -> str:
    """Which evaluation of a run it is, in words; "" for its only one without truncation, and outside a run.

    Args:
        folder: Its folder.
        facts: What its metrics depend on.
    """
    run, cut = folder.parent.parent, facts.get("truncation", 1.0)
    if folder.parent.name != FOLDER or not (run / CONFIG_NAME).is_file():
        return ""
    known = [each.name for each in evaluations_of(run)]
    if len(known) == 1 and cut == 1:
        return ""
    newest = len(known) > 1 and known[-1] == folder.name
    name = f"{folder.name} (the newest of {len(known)})" if newest else folder.name
    return f"{name}, {facts['n-generated']} volumes, truncation {cut:g}"


def _completed(facts: Mapping[str, Any], run: Path, config: RunConfig) -> dict[str, Any]:
    """The facts of a run's evaluation, and those that an older version did not write."""
    known, found = read_facts(run), dict(facts)
    if "slice_discriminator_parameters" not in facts and "parameters" in known:
        found |= counts_of(known["parameters"])
    if "setting" not in facts:
        found |= {"setting": setting_of(config, run), "training_seed": config.training.seed}
    if "twin_n_images" not in facts:
        found |= budget_in_2d(config, known.get("started_from"), known.get("twin"))
    return found


def setting_of(config: RunConfig, run: Path | None = None, twin: Mapping[str, Any] | None = None) -> str:
    """A key that is equal for runs that differ only in their seed: settings, and those of the 2D run.

    Args:
        config: Settings of the run.
        run: Its folder, which has the 2D run's settings at the start, and later changes; None for an export.
        twin: Settings of an export's 2D run by dotted key; None if it has none.
    """
    facts = read_facts(run) if run is not None else {}
    values = flat(config.model_dump(mode="json"))
    if later := changes_of_the_row(facts):  # the last settings alone are those of a run that had them always
        values |= {"changes": [(each.n_images, each.key, each.before) for each in later]}
    starts = config.start.twin or twin
    return setting_key(values, _twin_of(config, run, facts.get("twin") or twin) if starts else None)


def changes_of_the_row(facts: Mapping[str, Any]) -> list[history.Change]:
    """Changes during a run, by its facts, that make it another row than its last settings say."""
    changes = [each for each in history.later(facts.get("settings", [])) if each.before is not None]
    return [each for each in changes if of_the_row(each.key) and each.key != "training.kimg"]


def _twin_of(config: RunConfig, run: Path | None, recorded: object) -> dict[str, Any]:
    """Settings of the 2D run; its name if they are not recorded (older runs) and it was moved."""
    folder = Path(config.start.twin)
    try:
        twin = from_dict(nested(recorded), str(run)) if isinstance(recorded, dict) else load_config(folder)
    except VoxflateError:
        return {"twin": folder.name}
    return flat(twin.model_dump(mode="json"))


def check_evaluated(place: Place, evaluated: EvaluatedRun, snapshot: Snapshot) -> None:
    """Refuse an evaluation of a snapshot other than the requested one.

    Raises:
        VoxflateError: Names its snapshot, and how to get the other one.
    """
    facts = evaluated.facts
    if evaluated.is_foreign:
        return
    if place.run is not None:
        same = facts["n_images"] == images_of(find_snapshot(place.run, snapshot))
    else:
        kimg = kimg_of(snapshot)
        same = facts["snapshot"] == snapshot or (kimg is not None and round(kimg * 1000) == facts["n_images"])
    if not same:
        name, asked = place.run or place.folder, in_words(snapshot)
        raise VoxflateError(
            f"{name}: was evaluated after {facts['n_images'] / 1000:g} kimg, which is not the snapshot "
            f"{asked}; run: voxflate evaluate {quote(str(name))} --snapshot {asked}"
        )


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read samples.npz or audit-pairs.npz; empty if it does not exist."""
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _check_measured_on(place: Place, facts: Mapping[str, Any], *, go_on: bool) -> str:
    """Compare the data of an evaluation with its run's training data, as `check_content` does.

    Older evaluations outside a run do not name the training data.
    """
    known = read_facts(place.run)["data"] if place.run is not None else facts.get("trained_on")
    what = f"{place.folder}: was measured with other data than {place.run or 'its run'} was trained on"
    next_step = "evaluate it again with that data, or continue with --other-data, which every file then says"
    return check_content(facts["data"], known or facts["data"], what, next_step, go_on=go_on)


def prepared_of(place: Place, data: Path | None = None, *, go_on: bool = False) -> tuple[PreparedSet, str]:
    """Open the real volumes of an evaluation.

    Args:
        place: The evaluation.
        data: Their folder; None to use the one named in its run.
        go_on: Also accept other data, and say so.

    Returns:
        The set, and a line that says that it is other data; "" if it is not.

    Raises:
        VoxflateError: If they cannot be opened, or are other data.
    """
    if data is None and place.run is None:
        raise VoxflateError(
            f"{place.folder}: an evaluation outside a run does not name its data folder; give it with "
            "--data FOLDER"
        )
    prepared = open_data(data or load_config(place.run or place.folder).data, data is not None)
    known = load_evaluated(place, other_data=go_on).assessment.facts["data"]
    what = f"{prepared.root}: is not the data that {place.folder} was measured with"
    return prepared, check_content(prepared.content_hash, known, what, NEXT_STEP, go_on=go_on)


def _outdated(place: Place, facts: Mapping[str, Any]) -> str:
    """Tell if a run was trained further since its evaluation."""
    snapshots = list_snapshots(place.run) if place.run is not None else []
    newest = images_of(snapshots[-1]) if snapshots else 0
    if facts.get("snapshot", "newest") != "newest" or newest <= (facts["n_images"] or 0):
        return ""
    before, since = facts["n_images"] / 1000, newest / 1000
    return f"was evaluated after {before:g} kimg and has since been trained to {since:g} kimg"
