"""Looks for copies among the samples of a run or an export, or in a folder of volumes; writes the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from voxflate._system.errors import VoxflateError
from voxflate._system.files import write_json
from voxflate._system.memory import explain_out_of_memory
from voxflate.data.views import one_channel
from voxflate.evaluation import Audit, Auditor
from voxflate.evaluation.foreign import VolumeFolder
from voxflate.metrics import extractor
from voxflate.reports.evaluations import AUDIT, AUDIT_PAIRS, Place
from voxflate.reports.measure import (
    Images,
    Progress,
    Sampling,
    counted,
    generated,
    memory_advice,
    save_arrays,
    stages_remark,
)
from voxflate.runs.load import Loaded, Source


def audit_source(
    source: Source,
    place: Place,
    sampling: Sampling,
    progress: Progress | None = None,
    null_progress: Progress | None = None,
    tell: Callable[[Loaded], None] | None = None,
) -> Audit:
    """Look for copies of training volumes in the samples of a run or an export; write audit.json.

    Args:
        source: The run or export, opened with scans; of its settings, `evaluation` is used.
        place: Where to write.
        sampling: How the generator is sampled.
        progress: Called with (samples done, all samples).
        null_progress: Called before that with (non-copies done, all non-copies).
        tell: Called with the generator once it is loaded.

    Raises:
        VoxflateError: If it is a 2D run, it cannot be sampled, or it has too few training subjects.
    """
    settings, prepared = source.settings, source.prepared
    if settings.training.phase != "3d":
        raise VoxflateError(f"{source.folder}: is a 2D run; the audit compares volumes, give a 3D run")
    auditor = Auditor(prepared, extractor(settings.evaluation.extractor), sampling.seed)
    loaded = source.load(sampling.snapshot)
    if tell is not None:
        tell(loaded)
    facts = {
        "run": source.folder.resolve().name,
        **loaded.identity,
        "seed": sampling.seed,
        "truncation": sampling.truncation,
        "data": prepared.content_hash,
    }
    if remark := stages_remark(source):
        facts["stages"] = remark
    batches = generated(source, loaded, sampling, progress)
    with explain_out_of_memory(partial(memory_advice, prepared, sampling.batch)):
        return _audited(auditor, batches, place, facts, null_progress)


def audit_volumes(
    volumes: VolumeFolder,
    place: Place,
    network: str,
    seed: int,
    batch: int,
    progress: Progress | None = None,
    null_progress: Progress | None = None,
) -> Audit:
    """Look for copies of training volumes in a folder of volumes, such as another method's.

    Args:
        volumes: Opened with `open_volumes`; they are compared with the first image channel of the set.
        place: Where to write audit.json.
        network: Name of the feature network.
        seed: As for `Auditor`.
        batch: Volumes at a time.
        progress: Called with (volumes done, all volumes).
        null_progress: Called before that with (non-copies done, all non-copies).

    Raises:
        VoxflateError: If a file cannot be read, or the set has too few training subjects.
    """
    prepared = volumes.prepared
    auditor = Auditor(one_channel(prepared), extractor(network), seed)
    facts = {**volumes.facts, "seed": seed, "data": prepared.content_hash}
    facts["files"] = [path.name for path in volumes.paths]
    batches = counted(volumes.batches(batch), len(volumes.paths), progress)
    with explain_out_of_memory(partial(memory_advice, prepared, batch)):
        return _audited(auditor, batches, place, facts, null_progress, volumes)


def _audited(
    auditor: Auditor,
    batches: Iterable[Images],
    place: Place,
    facts: Mapping[str, Any],
    progress: Progress | None,
    volumes: VolumeFolder | None = None,
) -> Audit:
    """Audit the batches, and write what was found, audit.json last: a folder that has it is complete."""
    audit = auditor.run(batches, progress)
    numbers = np.array(sorted(audit.pairs), np.int64)
    pairs = [audit.pairs[number] for number in numbers]
    save_arrays(place.folder / AUDIT_PAIRS, {"numbers": numbers, "pairs": np.array(pairs, np.float32)})
    warnings = {"warnings": volumes.warnings} if volumes is not None else {}  # known once all are read
    write_json(place.folder / AUDIT, {**facts, **warnings, **audit.as_dict()})
    return audit
