"""From run folders to figures, tables and reports.

RUN/evaluation/
    metrics.json     every figure with interval and floor, what it depends on, warnings
    samples.npz      the first volumes, for the viewer; features of centre slices, for t-SNE
    table.md  table.tex  report.html
    audit.json       what the copying audit found; audit-pairs.npz has the flagged volumes
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json, whole_file, write_json
from voxflate.config.build import is_planar_twin
from voxflate.config.presets import paper_row
from voxflate.config.schema import RunConfig
from voxflate.config.toml import load_config
from voxflate.config.values import flat
from voxflate.data.prepared import PreparedSet, open_prepared
from voxflate.evaluation import Assessment, Audit, Auditor, Suite, SuiteSettings
from voxflate.gans.samples import sample
from voxflate.metrics import PLANES, extractor
from voxflate.reports.tables import EvaluatedRun
from voxflate.runs.snapshots import load_newest
from voxflate.sampling.generate import generator_on_device

FOLDER = "evaluation"
METRICS, SAMPLES, AUDIT, AUDIT_PAIRS = "metrics.json", "samples.npz", "audit.json", "audit-pairs.npz"
_EMBEDDED = 500  # samples whose features are kept for t-SNE

Progress = Callable[[int, int], None]
Images = NDArray[np.float32]


def generated(
    run: Path, settings: RunConfig, seed: int, truncation: float, batch: int, progress: Progress | None
) -> tuple[Iterator[Images], int]:
    """A run's samples as batches, and the images that its generator has seen.

    Raises:
        VoxflateError: As `generator_on_device`.
    """
    generator, n_images = generator_on_device(run, settings)
    wanted = settings.evaluation.samples
    batches = sample(
        generator,
        wanted,
        seed=seed,
        truncation_psi=truncation,
        batch=batch,
        slices=is_planar_twin(settings),
    )
    return _counted((images.numpy() for images in batches), wanted, progress), n_images


def evaluate_run(
    run: Path,
    settings: RunConfig,
    suite_settings: SuiteSettings,
    truncation: float = 1.0,
    batch: int = 8,
    progress: Progress | None = None,
) -> Assessment:
    """Measure a run with the whole suite and write RUN/evaluation/metrics.json and samples.npz.

    Args:
        run: Run folder.
        settings: Its settings; of `evaluation`, `samples` is read here.
        suite_settings: What is measured; its seed is also that of the samples.
        truncation: 1 for the full variety.
        batch: Samples at a time.
        progress: Called with (samples done, of all).

    Raises:
        VoxflateError: If the run cannot be sampled or its samples cannot be measured.
    """
    prepared = open_prepared(settings.data)
    suite = Suite(prepared, suite_settings, min_content=settings.training.min_content)
    batches, n_images = generated(run, settings, suite_settings.seed, truncation, batch, progress)
    two_d = settings.training.phase == "2d"
    found = suite.images(batches) if two_d else suite.volumes(batches)
    facts = {
        **found.facts,
        "run": run.name,
        "phase": settings.training.phase,
        "n_images": n_images,
        "training_seconds": load_newest(run)[0].get("seconds", 0.0),
        "parameters": sum(read_json(run / "run.json")["parameters"].values()),
        "truncation": truncation,
        "recipe": prepared.manifest.recipe,
    }
    assessment = Assessment(found.figures, facts, found.warnings, found.seconds)
    leading = suite.features[found.facts["extractors"][0]["name"]]
    kept = {"volumes": suite.first}
    if not two_d:
        features = np.concatenate([leading[plane] for plane in PLANES], axis=1)[:_EMBEDDED]
        real = suite.real_features()
        kept |= {
            "features": features,
            "real_features": np.concatenate([real[plane] for plane in PLANES], axis=1)[:_EMBEDDED],
        }
    _save_arrays(run / FOLDER / SAMPLES, kept)
    write_json(run / FOLDER / METRICS, assessment.as_dict())
    return assessment


def audit_run(
    run: Path,
    settings: RunConfig,
    seed: int = 0,
    truncation: float = 1.0,
    batch: int = 8,
    progress: Progress | None = None,
    null_progress: Progress | None = None,
) -> Audit:
    """Look for copies of training volumes in a run's samples; write RUN/evaluation/audit.json.

    Args:
        run: Run folder.
        settings: Its settings.
        seed: Of the samples.
        truncation: 1 for the full variety.
        batch: Samples at a time.
        progress: Called with (samples done, of all).
        null_progress: Called with (volumes that are no copies done, of all), before.

    Raises:
        VoxflateError: If the run is a 2D one, cannot be sampled, or has too few training subjects.
    """
    if settings.training.phase != "3d":
        raise VoxflateError(f"{run}: is a 2D run; the audit compares volumes, name a 3D run")
    auditor = Auditor(open_prepared(settings.data), extractor(settings.evaluation.extractor), seed)
    batches, n_images = generated(run, settings, seed, truncation, batch, progress)
    audit = auditor.run(batches, null_progress)
    numbers = np.array(sorted(audit.pairs), np.int64)
    pairs = [audit.pairs[number] for number in numbers]
    _save_arrays(run / FOLDER / AUDIT_PAIRS, {"numbers": numbers, "pairs": np.array(pairs, np.float32)})
    facts = {"run": run.name, "n_images": n_images, "seed": seed, "truncation": truncation}
    write_json(run / FOLDER / AUDIT, {**facts, **audit.as_dict()})
    return audit


def load_evaluated(run: Path, label: str | None = None) -> EvaluatedRun:
    """Read what `voxflate evaluate` wrote.

    Raises:
        VoxflateError: If the run was not evaluated.
    """
    path = run / FOLDER / METRICS
    if not path.is_file():
        raise VoxflateError(f"{run}: was not evaluated; run: voxflate evaluate {run}")
    assessment = Assessment.from_dict(read_json(path), path)
    facts = assessment.facts
    paper = paper_row(flat(load_config(run).model_dump())) if facts["phase"] == "3d" else None
    return EvaluatedRun(label or run.name, facts["parameters"], assessment, paper)


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read samples.npz or audit-pairs.npz; nothing if it is not there."""
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def prepared_of(run: Path, data: Path | None = None) -> PreparedSet:
    """The real volumes of a run."""
    return open_prepared(data or load_config(run).data)


def _save_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with whole_file(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def _counted(batches: Iterable[Images], total: int, progress: Progress | None) -> Iterator[Images]:
    done = 0
    for batch in batches:
        yield batch
        done += len(batch)
        if progress is not None:
            progress(done, total)
