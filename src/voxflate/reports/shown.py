"""Parts of a report other than tables: pictures, volumes for the viewer, the copying audit, utility."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json
from voxflate.data.channels import pictured
from voxflate.data.prepared import PreparedSet
from voxflate.drawing import charts
from voxflate.drawing.sheets import resolution_sheet, sample_sheet
from voxflate.evaluation.chance import VERDICTS
from voxflate.metrics.embedding import tsne
from voxflate.metrics.extractors.inception import frechet_name
from voxflate.reports.evaluations import AUDIT, AUDIT_PAIRS, SAMPLES, UTILITY, Place, audit_of, load_arrays
from voxflate.reports.known import same_generator
from voxflate.reports.parts import REAL, AuditSection, UtilitySection, VolumeSet
from voxflate.reports.rows import EvaluatedRun
from voxflate.reports.utility_shown import draw, read_utility, tables_of

_REAL_SHOWN = 8


def pictures_of(
    places: Sequence[Place],
    evaluated: Sequence[EvaluatedRun],
    prepared: PreparedSet,
    folder: Path,
    embed: bool,
) -> list[tuple[str, Path]]:
    """Draw the pictures that need several runs or the features.

    Args:
        places: The evaluations.
        evaluated: The same evaluations, read.
        prepared: The real volumes.
        folder: Folder for the pictures.
        embed: Whether to compute the t-SNE.

    Returns:
        (caption, PNG), in order.
    """
    pictures = []
    arrays = {place: load_arrays(place.folder / SAMPLES) for place in places}
    sets = {
        each.label: arrays[place]["features"]
        for place, each in zip(places, evaluated, strict=True)
        if "features" in arrays[place]
    }
    same = {key.assessment.facts["extractors"][0]["weights-sha256"] for key in evaluated}
    if embed and sets and len(same) == 1:
        real = next(each["real_features"] for each in arrays.values() if "features" in each)
        groups = {"real": real, **sets}
        # Without scikit-learn, the report has everything but the t-SNE.
        with contextlib.suppress(VoxflateError):
            spots = tsne(np.concatenate(list(groups.values())), seed=0)
            ends = np.cumsum([len(group) for group in groups.values()])[:-1]
            shown = dict(zip(groups, np.split(spots, ends), strict=True))
            charts.embedding(shown, folder / "tsne.png", "t-SNE of centre slices")
            pictures.append(("t-SNE of the features of centre slices (Fig. 7, 8)", folder / "tsne.png"))
    if sum(each.parameters is not None for each in evaluated) > 1:
        pictures.append(("Distance over parameters", _scatter(evaluated, folder / "scatter.png")))
    shapes = {tuple(each.assessment.facts["shape"]) for each in evaluated}
    if len(shapes) > 1:
        rows = {}
        for place, each in zip(places, evaluated, strict=True):
            volumes = arrays[place]["volumes"]
            field = np.array(prepared.shape) * np.array(prepared.spacing)
            rows[each.label] = (volumes, tuple(field / volumes.shape[2:]))
        resolution_sheet(rows, folder / "resolution.png")
        pictures.append(("Resolutions (Fig. 6)", folder / "resolution.png"))
    return pictures


def _scatter(evaluated: Sequence[EvaluatedRun], path: Path) -> Path:
    stem = frechet_name(evaluated[0].assessment.facts["extractors"][0]["name"])
    marks = {}
    for run in evaluated:
        metric = run.assessment.metrics.get(f"{stem}-avg")
        if metric is not None and run.parameters is not None:
            ends = None if metric.low is None or metric.high is None else (metric.low, metric.high)
            marks[run.label] = (run.parameters, metric.value, ends)
    floor = evaluated[0].assessment.metrics.get(f"{stem}-avg")
    charts.quality(marks, path, f"{stem}-avg", None if floor is None else floor.real)
    return path


def volume_sheet(volumes: NDArray[np.float32], path: Path, title: str, prepared: PreparedSet) -> None:
    """Draw volumes with their masks if they match the set; otherwise only the first channel."""
    shown, classes = _with_classes(volumes, prepared)
    sample_sheet(shown, path, title=title, spacing=prepared.spacing, classes=classes)


def real_sheet(prepared: PreparedSet, path: Path) -> NDArray[np.float32]:
    """Draw the first training volumes, and return them, [n, C, D, H, W]."""
    shown = prepared.volumes("train", range(min(_REAL_SHOWN, len(prepared.stored("train")))))
    volume_sheet(shown, path, "real volumes", prepared)
    return shown


def _with_classes(
    volumes: NDArray[np.float32], prepared: PreparedSet
) -> tuple[NDArray[np.float32], NDArray[np.integer] | None]:
    """The images [n, M, D, H, W] and the classes of the masks; with another set only the first channel."""
    if volumes.shape[1] == len(prepared.layout.channels):
        return pictured(volumes, prepared.layout)
    return volumes[:, :1], None


def volume_sets(
    places: Sequence[Place], labels: Sequence[str], prepared: PreparedSet, real: NDArray[np.float32]
) -> list[VolumeSet]:
    """Volumes for the viewer, a set per image: the first of every evaluation, then real ones."""
    sets = []
    for index, (place, label) in enumerate(zip(places, labels, strict=True)):
        volumes = load_arrays(place.folder / SAMPLES).get("volumes", np.empty((0, 1, 1, 1, 1)))
        if len(volumes) and volumes.shape[2:] == prepared.shape:
            numbers = [f"sample {number}" for number in range(len(volumes))]
            sets += _sets(label, volumes, numbers, f"volumes-{index}", prepared)
    names = [f"training volume {number}" for number in range(len(real))]
    return [*sets, *_sets("real", real, names, REAL, prepared)]


def _sets(
    label: str, volumes: NDArray[np.float32], names: Sequence[str], stem: str, prepared: PreparedSet
) -> list[VolumeSet]:
    """A set per image of volumes [n, C, D, H, W], each with the masks."""
    images, classes = _with_classes(volumes, prepared)
    spacing = prepared.spacing
    if images.shape[1] == 1:
        return [VolumeSet(label, images[:, 0], names, spacing, stem, classes)]
    return [
        VolumeSet(f"{label}, {image.name}", images[:, number], names, spacing, f"{stem}-{number}", classes)
        for number, image in enumerate(prepared.layout.channels[: images.shape[1]])
    ]


def audit_section(
    places: Sequence[Place], evaluated: Sequence[EvaluatedRun], prepared: PreparedSet
) -> AuditSection | None:
    """The audits of these snapshots, with the flagged volumes of the first one that has any."""
    lines: list[str] = []
    sets: list[VolumeSet] = []
    for place, each in zip(places, evaluated, strict=True):
        path = audit_of(place, each.assessment.facts) or place.folder / AUDIT
        label = each.label
        if not path.is_file():
            continue
        audit = read_json(path)
        if not same_generator(audit, each.assessment.facts):
            what = "other volumes"
            if audit["n_images"] is not None:
                what = f"another snapshot, after {audit['n_images'] / 1000:g} kimg"
            lines.append(
                f"{label}: the audit in its folder belongs to {what}, and is left out; run voxflate audit "
                "again."
            )
            continue
        count = len(audit["flagged"])
        lines.append(
            f"{label}: {count} of {audit['n-generated']} generated volumes ({audit['flagged-share']:.1%}) "
            f"flagged as possible copies: nearer to a training volume than almost all of {audit['n-null']} "
            f"real volumes that are not copies ({audit['n-heldout']} of them held out)."
        )
        lines += _by_chance(audit)
        lines += _other_samples(audit, each.assessment.facts)
        if "stages" in audit:
            lines.append(f"Warning: {audit['stages']}.")
        if "other_data" in audit:
            lines.append(f"Warning: {audit['other_data']}{_what_is_found(audit)}.")
        stored = load_arrays(path.parent / AUDIT_PAIRS)
        # People delete the pairs, which are real scans, before they share a folder.
        if count and not sets and "pairs" in stored and stored["pairs"].shape[-3:] == prepared.shape:
            numbers = stored["numbers"].tolist()
            near = [audit["samples"][number] for number in numbers]
            left = [audit["files"][number] if "files" in audit else f"sample {number}" for number in numbers]
            right = [f"{each['subject']}, correlation {each['correlation']:.2f}" for each in near]
            pairs = stored["pairs"]
            if pairs.ndim == 5:  # earlier versions kept only the first image
                pairs = pairs[:, :, None]
            found = _sets(f"{label}: flagged", pairs[:, 0], left, "audit-generated", prepared)
            beside = _sets("nearest training volume", pairs[:, 1], right, "audit-real", prepared)
            sets = [each for both in zip(found, beside, strict=True) for each in both]
    return AuditSection(" ".join(lines), sets) if lines else None


def _by_chance(audit: Mapping[str, Any]) -> list[str]:
    """The share of false alarms and what follows from it; older audits did not measure or compare it."""
    found = []
    alarms = audit.get("false-alarms")
    if audit.get("verdict"):
        (low, high), (least, most) = audit["flagged-share-interval"], audit["false-alarms-interval"]
        found.append(
            f"That is {VERDICTS[audit['verdict']]} (95% interval {low:.1%} to {high:.1%}): of real people it "
            f"has not seen, the audit flags {alarms:.1%} (false alarms; {least:.1%} to {most:.1%})."
        )
    elif alarms is not None:
        found.append(f"The audit also flags {alarms:.1%} of real people it has not seen (false alarms).")
    if audit.get("remark"):
        found.append(f"Warning: {audit['remark']}.")
    return found


def _what_is_found(audit: Mapping[str, Any]) -> str:
    """What other data means for copies; of equal voxels, only labels or the split are others."""
    if audit["data"] == audit["trained_on"]:
        return ": its volumes are the same"
    return ": copies of its training data are not found"


def _other_samples(audit: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """Tell if an audit drew its samples differently from the evaluation; older files do not say how."""
    differ = [
        f"{key} {audit[key]:g} (evaluated: {facts[key]:g})"
        for key in ("truncation", "seed")
        if key in audit and key in facts and audit[key] != facts[key]
    ]
    return [f"These samples differ from those evaluated: {', '.join(differ)}."] if differ else []


def utility_sections(
    places: Sequence[Place], evaluated: Sequence[EvaluatedRun], folder: Path
) -> list[UtilitySection]:
    """The benefit of training on the volumes of these snapshots, if measured.

    Args:
        places: The evaluations.
        evaluated: The same evaluations, read.
        folder: Folder for the charts.
    """
    found = []
    for number, (place, each) in enumerate(zip(places, evaluated, strict=True)):
        path = place.folder / UTILITY
        content = read_utility(path) if path.is_file() else None
        if content is not None and same_generator(content["facts"], each.assessment.facts):
            chart = folder / f"utility-{number}.png"
            draw(content, chart)
            found.append(UtilitySection(each.label, chart, tables_of(content)))
    return found
