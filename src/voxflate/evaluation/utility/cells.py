"""The networks to train; each is measured once and kept, so that an interrupted call can continue."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json, write_json
from voxflate.data.labels import labels_sha256
from voxflate.data.prepared import PreparedSet
from voxflate.evaluation.utility.examples import Examples, check_apart, real_examples
from voxflate.evaluation.utility.fitting import Phases, fit
from voxflate.evaluation.utility.tasks import MASK, Outcomes, Task

REAL, GENERATED, BOTH, PRETRAINED = ARMS = ("real", "generated", "both", "pretrained")
"""The data that a network is trained on; "pretrained" sees only generated ones, then only real ones."""

STEPS, BATCH, SEEDS = 400, 8, 3

# Part of a cell's key: raise it when the outcomes of the same settings change.
_VERSION = 1
_SUBJECTS = 3  # a stream of random numbers, different from those of `fitting`

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Design:
    """The design of a comparison.

    Attributes:
        real: Numbers of real subjects, ascending.
        generated: Number of generated volumes, the same for all networks that use any.
        seeds: Networks per setting; each seed has its own weights, order and choice of real subjects.
        steps: Training steps of each network.
        batch: Volumes per step.
        augment: Whether volumes are slightly rotated, scaled and shifted, in all arms.
    """

    real: tuple[int, ...]
    generated: int
    seeds: int = SEEDS
    steps: int = STEPS
    batch: int = BATCH
    augment: bool = True


@dataclass(frozen=True)
class Cell:
    """One network: its task and its training data.

    Attributes:
        task: Name of its task.
        arm: One of `ARMS`.
        real: Number of real subjects.
        generated: Number of generated volumes.
        seed: Seed of everything random.
    """

    task: str
    arm: str
    real: int
    generated: int
    seed: int


@dataclass(frozen=True)
class Measured:
    """The outcome of a network.

    Attributes:
        cell: The network.
        outcomes: Outcomes on the held-out volumes.
        agreement: Outcomes on generated volumes, for the networks with the most real subjects and no
            generated ones.
        seconds: Time taken.
    """

    cell: Cell
    outcomes: Outcomes
    agreement: Outcomes | None
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **asdict(self.cell),
            "outcomes": dict(self.outcomes),
            "agreement": None if self.agreement is None else dict(self.agreement),
            "seconds": round(self.seconds, 2),
        }


def cells_of(tasks: Sequence[str], design: Design) -> list[Cell]:
    """Every network of a design, in the order in which they are trained."""
    found = []
    for task in tasks:
        for seed in range(design.seeds):
            found += [Cell(task, REAL, count, 0, seed) for count in design.real]
            found.append(Cell(task, GENERATED, 0, design.generated, seed))
            for arm in (BOTH, PRETRAINED):
                found += [Cell(task, arm, count, design.generated, seed) for count in design.real]
    return found


def counts_of(texts: str, prepared: PreparedSet) -> tuple[int, ...]:
    """Parse numbers of real subjects such as "10,25,all".

    Raises:
        VoxflateError: If one is not a number, below 1, or more than there are.
    """
    people = len({scan.subject for scan in prepared.manifest.scans if scan.split == "train"})
    found = set()
    for text in texts.split(","):
        word = text.strip()
        count = people if word == "all" else int(word) if word.isdecimal() else 0
        if not 1 <= count <= people:
            raise VoxflateError(
                f"--real {texts}: {word!r} is neither all nor a number from 1 to {people}, the number of "
                f"training subjects in {prepared.root}"
            )
        found.add(count)
    return tuple(sorted(found))


class Study:
    """Trains and measures the networks of a design.

    Training uses the set's training volumes and generated ones; held-out volumes are only for measuring.

    Args:
        prepared: The real volumes.
        generated: Generated volumes, as many as in the design.
        tasks: The tasks to learn.
        design: The design of the comparison.
        asked: For tasks that predict labels: generated volumes with evenly distributed labels, by task.
        device: Device for training.

    Raises:
        VoxflateError: If there are no held-out volumes, or a subject is in both splits.
    """

    def __init__(
        self,
        prepared: PreparedSet,
        generated: Examples,
        tasks: Sequence[Task],
        design: Design,
        asked: Mapping[str, Examples] | None = None,
        device: torch.device | None = None,
    ) -> None:
        check_apart(prepared)
        self.heldout = real_examples(prepared, "heldout")
        self._train = real_examples(prepared, "train")
        self._prepared, self._generated, self._asked = prepared, generated, dict(asked or {})
        self._tasks = {task.name: task for task in tasks}
        self._design = design
        self._device = device or torch.device("cpu")

    def run(
        self,
        folder: Path | None = None,
        key: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> list[Measured]:
        """Measure every cell, or read it if it was measured before.

        Args:
            folder: Folder for measured cells; None keeps none.
            key: What the generated examples depend on; cells that use them are read only if it is equal.
            progress: Called with (steps done, all steps).
        """
        cells = cells_of(list(self._tasks), self._design)
        steps = self._design.steps
        found = []
        for number, cell in enumerate(cells):
            path = None if folder is None else folder / f"{self._key(cell, key or {})}.json"
            if path is not None and path.is_file():
                measured = _read(path, cell)
            else:
                measured = self._measure(cell, _counted(progress, number * steps, len(cells) * steps))
                if path is not None:
                    write_json(path, measured.as_dict())
            found.append(measured)
            if progress is not None:
                progress((number + 1) * steps, len(cells) * steps)
        return found

    def examples_of(self, cell: Cell) -> Phases:
        """Training data of a cell's network."""
        if cell.arm == GENERATED:
            return [[self._generated]]
        people = np.unique(self._train.subjects)
        order = np.random.default_rng([cell.seed, _SUBJECTS]).permutation(len(people))
        chosen = set(people[order[: cell.real]])
        real = self._train.chosen([n for n, who in enumerate(self._train.subjects) if who in chosen])
        if cell.arm == PRETRAINED:
            return [[self._generated], [real]]
        return [[real, self._generated]] if cell.arm == BOTH else [[real]]

    def _measure(self, cell: Cell, progress: Callable[[], None]) -> Measured:
        start = time.perf_counter()
        task, design = self._tasks[cell.task], self._design
        network = fit(
            task,
            self.examples_of(cell),
            self._prepared.spacing,
            steps=design.steps,
            batch=design.batch,
            augment=design.augment,
            seed=cell.seed,
            device=self._device,
            progress=progress,
        )
        outcomes = task.outcomes(network, self.heldout, design.batch)
        agreement = None
        if self._agrees(cell):
            agreement = task.outcomes(network, self._asked.get(cell.task, self._generated), design.batch)
        return Measured(cell, outcomes, agreement, time.perf_counter() - start)

    def _agrees(self, cell: Cell) -> bool:
        """Whether a cell's network is also applied to generated volumes."""
        known = cell.task == MASK or cell.task in self._asked
        return known and cell.arm == REAL and cell.real == self._design.real[-1]

    def _key(self, cell: Cell, key: Mapping[str, Any]) -> str:
        design = self._design
        generated = cell.arm != REAL or self._agrees(cell)
        content = {
            "version": _VERSION,
            **(key if generated else {}),
            "data": self._prepared.content_hash,
            **asdict(cell),
            "steps": design.steps,
            "batch": design.batch,
            "augment": design.augment,
            "agrees": self._agrees(cell) and [design.generated, len(self._asked.get(cell.task, ()))],
        }
        if labels := labels_sha256(self._prepared):  # the hash of the data covers the voxels alone
            content["labels"] = labels
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def _read(path: Path, cell: Cell) -> Measured:
    """Read a cell that was measured before.

    Raises:
        VoxflateError: If the file is damaged.
    """
    content = read_json(path)
    try:
        if any(content[name] != value for name, value in asdict(cell).items()):
            raise ValueError("it belongs to another network")
        return Measured(cell, content["outcomes"], content["agreement"], content["seconds"])
    except (KeyError, TypeError, ValueError) as error:
        raise VoxflateError(f"{path}: is damaged ({error!r}); delete it to measure it again") from error


def _counted(progress: Progress | None, before: int, total: int) -> Callable[[], None]:
    """Make the function that is called after each training step."""
    done = before

    def count() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return count
