"""Measures whether training on a run's volumes helps, and writes the results.

utility.json   every metric with intervals, and every network's outcomes; docs/utility.md has the schema
utility.png    the main metrics over the number of real subjects

The outcome of each network is kept in the folder `CELLS`: an interrupted call continues, and one with more
seeds or other numbers of subjects trains only the new networks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from voxflate._system.files import write_json
from voxflate._system.memory import explain_out_of_memory
from voxflate._system.version import __version__
from voxflate.config.build import choose_device
from voxflate.data.channels import LabelColumn, LabelValue, numbered
from voxflate.data.prepared import to_stored
from voxflate.evaluation.utility.cells import Design, Progress, Study, cells_of, counts_of
from voxflate.evaluation.utility.examples import Examples, real_examples
from voxflate.evaluation.utility.fitting import fit
from voxflate.evaluation.utility.summary import REPLICATES, rows_of
from voxflate.evaluation.utility.tasks import MASK, Task, tasks_of
from voxflate.reports.evaluations import FOLDER, UTILITY, Place
from voxflate.reports.measure import Sampling, memory_advice, stages_remark
from voxflate.reports.utility_shown import CHART, FORMAT, KIND, draw
from voxflate.runs.load import Loaded, Source, check_volumes
from voxflate.sampling.trained import TrainedGenerator

CELLS = "utility-cells"

_ASKED_VALUES = 20  # for a number: values, evenly over its range
_MOST_ASKED = 200
_TIMED_STEPS = 6
_FEW = 10  # held-out subjects


@dataclass(frozen=True)
class Asked:
    """The user's options.

    Attributes:
        real: Numbers of real subjects, such as "10,25,all".
        generated: Number of generated volumes; None for as many as training volumes.
        seeds: Number of networks per setting.
        steps: Training steps of each network.
        augment: Whether volumes are slightly rotated, scaled and shifted.
        tasks: Names of tasks; if empty, the masks, or else every label.
    """

    real: str
    generated: int | None
    seeds: int
    steps: int
    augment: bool
    tasks: Sequence[str] = ()


@dataclass(frozen=True)
class Plan:
    """The planned networks, checked.

    Attributes:
        tasks: The tasks to learn.
        design: The data, and the number and training length of the networks.
    """

    tasks: Sequence[Task]
    design: Design

    @property
    def networks(self) -> int:
        """Number of networks to train."""
        return len(cells_of([task.name for task in self.tasks], self.design))


def plan_of(source: Source, asked: Asked) -> Plan:
    """Check the user's options before a network is loaded.

    Args:
        source: Opened with scans.
        asked: The user's options.

    Raises:
        VoxflateError: If it is a 2D run, there is nothing to learn, a number is too large, or MONAI is not
            installed.
    """
    check_volumes(source)
    prepared = source.prepared
    known = [column.name for column in source.labels.layout.labels] if source.labels else []
    tasks = tasks_of(prepared, known, asked.tasks)
    real_examples(prepared, "heldout")
    generated = len(prepared.stored("train")) if asked.generated is None else asked.generated
    counts = counts_of(asked.real, prepared)
    return Plan(tasks, Design(counts, generated, asked.seeds, asked.steps, augment=asked.augment))


def estimated_seconds(source: Source, plan: Plan) -> float:
    """Estimate how long training takes here, from a few steps of each task."""
    train = real_examples(source.prepared, "train")
    device = choose_device(source.settings.training.device)
    design, total = plan.design, 0.0
    for task in plan.tasks:
        ends: list[float] = []
        fit(
            task,
            [[train]],
            source.prepared.spacing,
            steps=_TIMED_STEPS,
            batch=design.batch,
            augment=design.augment,
            seed=0,
            device=device,
            progress=lambda ends=ends: ends.append(time.perf_counter()),  # type: ignore[misc]
        )
        total += float(np.median(np.diff(ends))) * design.steps * plan.networks / len(plan.tasks)
    return total


def utility_source(
    source: Source,
    place: Place,
    plan: Plan,
    sampling: Sampling,
    tell: Callable[[Loaded], None] | None = None,
    generating: Progress | None = None,
    training: Progress | None = None,
) -> dict[str, Any]:
    """Train and measure every network of a plan; write utility.json and utility.png.

    Args:
        source: Opened with scans.
        place: Where to write.
        plan: What to train.
        sampling: How the generator is sampled.
        tell: Called with the generator once it is loaded.
        generating: Called with (volumes generated, all volumes).
        training: Called with (steps done, all steps).

    Returns:
        The content of utility.json.

    Raises:
        VoxflateError: If the generator cannot be loaded, training diverges, or memory runs out.
    """
    prepared, start = source.prepared, time.perf_counter()
    loaded = source.load(sampling.snapshot)
    if tell is not None:
        tell(loaded)
    generator = TrainedGenerator(loaded, prepared, source.folder, source.labels)
    with explain_out_of_memory(partial(memory_advice, prepared, sampling.batch)):
        generated, asked = _all_generated(generator, plan, sampling, generating)
        device = choose_device(source.settings.training.device)
        study = Study(prepared, generated, plan.tasks, plan.design, asked, device)
        key = {"generator": loaded.weights_sha256, "seed": sampling.seed, "truncation": sampling.truncation}
        folder = (place.folder if place.run is None else place.run / FOLDER) / CELLS
        measured = study.run(folder, key, training)
    rows = rows_of(measured, plan.tasks, study.heldout)
    content = {
        "kind": KIND,
        "format": FORMAT,
        "facts": _facts(source, loaded, plan, sampling, study.heldout)
        | {"seconds": round(time.perf_counter() - start, 1)},
        "notes": [*_notes(source, loaded, plan, study.heldout), *_missing(generated, source)],
        "leading": {task.name: task.leading for task in plan.tasks},
        "rows": [asdict(row) for row in rows],
        "heldout": list(study.heldout.subjects),
        "networks": [each.as_dict() for each in measured],
    }
    draw(content, place.folder / CHART)
    write_json(place.folder / UTILITY, content)
    return content


def _all_generated(
    generator: TrainedGenerator, plan: Plan, sampling: Sampling, progress: Progress | None
) -> tuple[Examples, dict[str, Examples]]:
    """Training examples, and for every label examples with evenly distributed values."""
    wanted = plan.design.generated
    orders = {task.name: _asked_values(task, wanted) for task in plan.tasks if task.name != MASK}
    total, done = wanted + sum(count for order in orders.values() for _, count in order), 0

    def made(first: int, count: int, labels: Mapping[str, LabelValue] | None = None) -> list[Examples]:
        nonlocal done
        parts = []
        for start in range(first, first + count, sampling.batch):
            size = min(sampling.batch, first + count - start)
            parts.append(_sampled(generator, start, size, sampling, labels))
            done += size
            if progress is not None:
                progress(done, total)
        return parts

    trained_on = Examples.joined(made(0, wanted))
    asked = {}
    for name, order in orders.items():
        parts, first = [], 0
        for value, count in order:
            parts += made(first, count, {name: value})
            first += count
        asked[name] = Examples.joined(parts)
    return trained_on, asked


def _asked_values(task: Task, wanted: int) -> list[tuple[LabelValue, int]]:
    """Values of a label, evenly over its classes or range, each with its number of volumes."""
    column: LabelColumn = task.column  # type: ignore[attr-defined]
    values: list[LabelValue] = list(column.values)
    if not column.categorical:
        middles = (np.arange(_ASKED_VALUES) + 0.5) / _ASKED_VALUES
        values = [float(value) for value in column.low + middles * (column.high - column.low)]
    return [(value, max(1, min(wanted, _MOST_ASKED) // len(values))) for value in values]


def _sampled(
    generator: TrainedGenerator,
    first: int,
    count: int,
    sampling: Sampling,
    labels: Mapping[str, LabelValue] | None,
) -> Examples:
    """Samples first .. first + count - 1, as examples."""
    volumes = generator.sample(
        count, seed=sampling.seed, truncation=sampling.truncation, batch=count, first=first, labels=labels
    )
    layout = generator.layout
    images = np.asarray(volumes).reshape(count, layout.images, *generator.shape)
    masks = None if volumes.masks is None else numbered(volumes.masks, layout).astype(np.uint8)
    known = volumes.labels if isinstance(volumes.labels, list) else []
    return Examples(to_stored(images), masks, known, [f"sample {first + k}" for k in range(count)])


def _facts(
    source: Source, loaded: Loaded, plan: Plan, sampling: Sampling, heldout: Examples
) -> dict[str, Any]:
    prepared = source.prepared
    train = [scan.subject for scan in prepared.manifest.scans if scan.split == "train"]
    return {
        "voxflate": __version__,
        "run": source.folder.resolve().name,
        **loaded.identity,
        "seed": sampling.seed,
        "truncation": sampling.truncation,
        "data": prepared.content_hash,
        "shape": list(prepared.shape),
        "spacing": list(prepared.spacing),
        "n-train": len(train),
        "n-train-subjects": len(set(train)),
        "n-heldout": len(heldout),
        "n-heldout-subjects": len(set(heldout.subjects)),
        "tasks": [task.name for task in plan.tasks],
        **asdict(plan.design),
        "replicates": REPLICATES,
        "monai": version("monai") if any(task.name == MASK for task in plan.tasks) else None,
    }


def _notes(source: Source, loaded: Loaded, plan: Plan, heldout: Examples) -> list[str]:
    """Warnings that a reader must know before quoting a metric, one sentence each."""
    prepared, design = source.prepared, plan.design
    people = len({scan.subject for scan in prepared.manifest.scans if scan.split == "train"})
    found = []
    if loaded.other_data:
        found.append(f"Warning: {loaded.other_data}")
    if remark := stages_remark(source):
        found.append(f"Warning: {remark}.")
    if design.real[0] < people:
        found.append(
            f"The generator has seen all {people} training subjects: rows with fewer real subjects show what "
            "its volumes add for somebody with so few, not what a generator trained on so few would add."
        )
    if (few := len(set(heldout.subjects))) < _FEW:
        found.append(f"Warning: {few} held-out subjects are few; the intervals are themselves uncertain.")
    if design.seeds < 3:
        found.append("Warning: with fewer than 3 seeds, the variation between seeds is hardly known.")
    return found


def _missing(generated: Examples, source: Source) -> list[str]:
    """Structures missing in some generated masks: two empty masks agree, so Dice does not reveal this."""
    if generated.classes is None:
        return []
    found = []
    masks = [channel.name for channel in source.prepared.layout.channels if channel.kind == "mask"]
    for number, name in enumerate(masks, 1):
        without = int((~(generated.classes == number).any(axis=(1, 2, 3))).sum())
        if without:
            found.append(f"Warning: {without} of {len(generated)} generated masks lack {name}.")
    return found
