"""Measures the generator of a run or an export, or a folder of volumes, and writes the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from voxflate._system.files import whole_file, write_json
from voxflate._system.memory import explain_out_of_memory
from voxflate.config.build import build_run_networks, is_planar_twin, least_content
from voxflate.config.schema import RunConfig
from voxflate.data.labels import Labels
from voxflate.data.prepared import PreparedSet
from voxflate.evaluation import Assessment, Suite, SuiteSettings
from voxflate.evaluation.caveats import same_network
from voxflate.evaluation.foreign import VolumeFolder
from voxflate.evaluation.real import equal_number
from voxflate.gans.samples import sample
from voxflate.metrics import PLANES
from voxflate.reports.evaluations import (
    METRICS,
    SAMPLES,
    Place,
    setting_of,
)
from voxflate.reports.known import budget_in_2d, counts_of
from voxflate.runs.chosen import Snapshot
from voxflate.runs.facts import read_facts
from voxflate.runs.fingerprint import label_vectors
from voxflate.runs.load import Loaded, Source
from voxflate.runs.snapshots import best_snapshot, images_of
from voxflate.runs.stages import remark_on_stages, started_from

CHOSEN_BY_KID = (
    "this snapshot was chosen by its KID to the held-out volumes, so that KID is too low; for one without "
    "this bias, prepare scans of other people and give them with --data and --other-data"
)
"""Warning for the best snapshot."""
_EMBEDDED = 500  # number of samples whose features are kept for t-SNE

Progress = Callable[[int, int], None]
Images = NDArray[np.float32]


@dataclass(frozen=True)
class Sampling:
    """How a generator is sampled for an evaluation or an audit.

    Attributes:
        snapshot: Snapshot of the run.
        seed: Seed of the samples.
        truncation: From 1 (full variety) to 0.
        batch: Samples at a time; does not change them.
    """

    snapshot: Snapshot = "newest"
    seed: int = 0
    truncation: float = 1.0
    batch: int = 8


def memory_advice(prepared: PreparedSet, batch: int) -> str:
    """What needs memory in an evaluation or an audit, and how to reduce it."""
    shape = "x".join(map(str, prepared.shape))
    return (
        f"samples of {shape} voxels, {batch} at a time, against the volumes of {prepared.root}; lower "
        "--batch, or --set evaluation.samples"
    )


def evaluate_source(
    source: Source,
    place: Place,
    suite_settings: SuiteSettings,
    sampling: Sampling,
    progress: Progress | None = None,
    tell: Callable[[Loaded], None] | None = None,
) -> Assessment:
    """Measure a run or an export with the whole suite; write metrics.json and samples.npz.

    Args:
        source: The run or export, opened with scans; of its settings, `evaluation.samples` is used here.
        place: Where to write.
        suite_settings: What to measure.
        sampling: How the generator is sampled.
        progress: Called with (samples done, all samples).
        tell: Called with the generator once it is loaded.

    Raises:
        VoxflateError: If the generator cannot be loaded or its samples cannot be measured.
    """
    settings, prepared = source.settings, source.prepared
    suite = Suite(prepared, suite_settings, min_content=least_content(settings))
    loaded = source.load(sampling.snapshot)
    if tell is not None:
        tell(loaded)
    batches = generated(source, loaded, sampling, progress)
    two_d = settings.training.phase == "2d"
    with explain_out_of_memory(partial(memory_advice, prepared, sampling.batch)):
        found = suite.images(batches) if two_d else suite.volumes(batches, _drawn(source, sampling))
    run, twin = (source.folder, None) if source.exported is None else (None, source.exported.twin)
    twin_settings = read_facts(run).get("twin") if run else twin
    facts = {
        **found.facts,
        "run": source.folder.resolve().name,
        "phase": settings.training.phase,
        **loaded.identity,
        "training_seconds": loaded.seconds,
        **counts_of(_parameters(settings)),
        **budget_in_2d(settings, started_from(source.folder, source.exported), twin_settings),
        "truncation": sampling.truncation,
        "recipe": prepared.manifest.recipe,
        "setting": setting_of(settings, run, twin),
        "training_seed": settings.training.seed,
        "budget_kimg": settings.training.kimg,
    }
    remarks = [source.other_data] if source.other_data else []
    remarks += [remark] if (remark := stages_remark(source)) else []
    if _is_best(source, loaded) and not source.other_data:
        remarks.append(CHOSEN_BY_KID)
    if settings.slice_discriminator.weight > 0:
        remarks += same_network(found.facts, settings.slice_discriminator.features)
    assessment = Assessment(found.metrics, facts, (*remarks, *found.warnings), found.seconds)
    _write(assessment, suite, place, of_volumes=not two_d)
    return assessment


def evaluate_volumes(
    volumes: VolumeFolder,
    place: Place,
    suite_settings: SuiteSettings,
    batch: int,
    progress: Progress | None = None,
) -> Assessment:
    """Measure a folder of volumes, such as another method's, with the whole suite.

    Args:
        volumes: Opened with `open_volumes`.
        place: Where to write metrics.json and samples.npz.
        suite_settings: What to measure.
        batch: Volumes at a time.
        progress: Called with (volumes done, all volumes).

    Raises:
        VoxflateError: If a file cannot be read or the volumes cannot be measured.
    """
    suite = Suite(volumes.prepared, suite_settings, first_image_only=True)
    with explain_out_of_memory(partial(memory_advice, volumes.prepared, batch)):
        found = suite.volumes(counted(volumes.batches(batch), len(volumes.paths), progress))
    facts = {
        **found.facts,
        **volumes.facts,
        "phase": "3d",
        "training_seconds": None,
        "parameters": None,
        "recipe": volumes.prepared.manifest.recipe,
    }
    assessment = Assessment(found.metrics, facts, (*volumes.warnings, *found.warnings), found.seconds)
    _write(assessment, suite, place, of_volumes=True)
    return assessment


def _write(assessment: Assessment, suite: Suite, place: Place, *, of_volumes: bool) -> None:
    """Write the files for the report, then metrics.json: a folder that has it is complete."""
    kept = {"volumes": suite.first}
    if of_volumes:
        leading = suite.features[assessment.facts["extractors"][0]["name"]]
        kept |= {"features": _embedded(leading), "real_features": _embedded(suite.real_features())}
    save_arrays(place.folder / SAMPLES, kept)
    write_json(place.folder / METRICS, assessment.as_dict())


def generated(
    source: Source, loaded: Loaded, sampling: Sampling, progress: Progress | None
) -> Iterator[Images]:
    """Samples in batches: [b, C, D, H, W], or [b, C, H, W] for a 2D run.

    Args:
        source: The run or export; `evaluation.samples` of its settings is used.
        loaded: Its generator.
        sampling: How it is sampled.
        progress: Called with (samples done, all samples).
    """
    wanted = _wanted(source)
    batches = sample(
        loaded.network,
        wanted,
        seed=sampling.seed,
        truncation_psi=sampling.truncation,
        batch=sampling.batch,
        slices=is_planar_twin(loaded.settings),
        labels=label_vectors(loaded.settings, source.labels, sampling.seed, 0, wanted),
    )
    return counted((images.numpy() for images in batches), wanted, progress)


def _is_best(source: Source, loaded: Loaded) -> bool:
    """Whether the snapshot was chosen as the best one, or by the kimg of the best one."""
    if loaded.snapshot in ("best", "newest") or source.exported is not None:
        return loaded.snapshot == "best"
    best = best_snapshot(source.folder)
    return best is not None and images_of(best) == loaded.n_images


def stages_remark(source: Source) -> str:
    """Whether held-out people are new to both stages of the training; other data has other people."""
    return "" if source.other_data else remark_on_stages(source.folder, source.exported)


def _wanted(source: Source) -> int:
    """Number of samples to measure."""
    settings = source.settings
    return settings.evaluation.samples or equal_number(source.prepared, settings.training.phase)


def _drawn(source: Source, sampling: Sampling) -> list[Labels]:
    """Labels of each sample; none for generators without labels, or if the real volumes have others."""
    if source.labels is None:
        return []
    known = {column.name for column in source.labels.layout.labels}
    if any(column.name not in known for column in source.prepared.layout.labels):
        return []
    return source.labels.draw(sampling.seed, 0, _wanted(source))


def _parameters(settings: RunConfig) -> dict[str, int]:
    """Trainable parameters of each trained network."""
    with torch.device("meta"):  # only sizes are needed
        networks = build_run_networks(settings)
    return {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}


def _embedded(features: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate([features[plane] for plane in PLANES], axis=1)[:_EMBEDDED]


def save_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays by name into a compressed .npz file, whole or not at all."""
    with whole_file(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def counted(batches: Iterable[Images], total: int, progress: Progress | None) -> Iterator[Images]:
    """The same batches, with a call of (volumes done, all volumes) after each."""
    done = 0
    for batch in batches:
        yield batch
        done += len(batch)
        if progress is not None:
            progress(done, total)
