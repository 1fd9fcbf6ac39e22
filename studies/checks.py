"""Refuses results and run folders that are not those of the study's plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from studies.collect import measured
from studies.plan import STUDY, Run, Study, result_path, run_path
from studies.scales import scale_of
from studies.settings import differing, planned, row_settings
from voxflate._system.errors import VoxflateError
from voxflate.config.toml import load_config
from voxflate.config.values import flat
from voxflate.data.prepared import MANIFEST, open_prepared
from voxflate.evaluation.assessment import MEASUREMENT
from voxflate.reports.evaluations import changes_of_the_row
from voxflate.reports.results import Result, read_result
from voxflate.runs.facts import read_facts


def check_results(study: Study, runs: Sequence[Run]) -> None:
    """Refuse results of other settings than the plan's, of stopped runs, and of an earlier measurement.

    The metrics of a 2D run may be of an earlier one: its weights count, and tables leave its metrics out.

    Raises:
        VoxflateError: Names the file, what is wrong, and the next step.
    """
    for run in runs:
        path = result_path(study, run)
        if path.is_file():
            result = read_result(path)
            found = row_settings(result.settings, str(path), result.changes)
            _check_settings(found, run, path, "made", "file")
            _check_complete(result, run, path)
            if run.phase == "3d":
                _check_measurement(result, path)


def check_scale(study: Study) -> None:
    """Refuse a folder with a study of another scale: their results would be put into the same tables.

    Raises:
        VoxflateError: Names the folder and both scales.
    """
    if (study.out / STUDY).is_file() and (other := Study.load(study.out).scale) != study.scale:
        raise VoxflateError(
            f"{study.out}: has a study of scale {other}; give the one of scale {study.scale} another --out"
        )


def check_data(study: Study, runs: Sequence[Run]) -> None:
    """Refuse data that the runs cannot use, before hours of training.

    Raises:
        VoxflateError: If a folder is missing, or a prepared set has another shape than the scale.
    """
    for cohort in dict.fromkeys(run.cohort for run in runs):
        folder = Path(study.data[cohort])
        if not folder.exists():
            raise VoxflateError(f"{folder}: no such folder; name one with scans, or a prepared set")
        if (folder / MANIFEST).is_file():
            shapes = open_prepared(folder).shape, scale_of(study.scale).cohorts[cohort].shape
            found, wanted = ("x".join(map(str, shape)) for shape in shapes)
            if found != wanted:
                raise VoxflateError(
                    f"{folder}: has volumes of {found}, but the rows {cohort}-... need {wanted}; give them "
                    f"the scans, or a set of that shape (--{cohort} FOLDER)"
                )


def check_folder(study: Study, run: Run) -> None:
    """Refuse a run's folder whose settings are not the plan's: its marker may be from another study.

    Raises:
        VoxflateError: Names the folder and the first setting that differs.
    """
    folder = run_path(study, run)
    config, changes = load_config(folder), changes_of_the_row(read_facts(folder))
    found = row_settings(
        flat(config.model_dump(mode="json")), str(folder), [asdict(each) for each in changes]
    )
    _check_settings(found, run, folder, "trained", "folder")


def _check_settings(found: Mapping[str, Any], run: Run, path: Path, verb: str, kind: str) -> None:
    wanted = planned(run)
    if keys := differing(found, wanted):
        key = keys[0]
        raise VoxflateError(
            f"{path}: was {verb} with {key} = {found.get(key)}, this study says {wanted.get(key)}; give the "
            f"study another --out, or remove the {kind} to train it again"
        )


def _check_complete(result: Result, run: Run, path: Path) -> None:
    if not result.finished:
        shown, wanted = result.n_images / 1000, result.settings["training.kimg"]
        raise VoxflateError(
            f"{path}: is of a run that stopped after {shown:g} of {wanted:g} kimg; remove the file, and the "
            "study trains the rest"
        )
    if run.phase == "3d" and not result.evaluations:
        raise VoxflateError(
            f"{path}: is of a run that was not evaluated; remove the file, and the study evaluates it"
        )


def _check_measurement(result: Result, path: Path) -> None:
    used = measured(result)
    parts = {"metrics": [used.measurement], "metrics at snapshots": result.measurements}
    for words, versions in parts.items():
        if versions and min(versions) < MEASUREMENT:
            raise VoxflateError(
                f"{path}: its {words} were measured by version {min(versions)}, this study takes version "
                f"{MEASUREMENT}, which gives other values; give the study another --out, or remove the file "
                "to train and measure it again"
            )
