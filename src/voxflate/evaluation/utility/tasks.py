"""Tasks for testing whether generated volumes help: a scan's mask, its class, or a number.

Outcomes are kept per volume. Metrics follow from the outcomes and the volumes' weights, so that a
bootstrap needs no network.

Shape letters: n volumes; R replicates of a bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from voxflate._system.errors import VoxflateError
from voxflate.data.channels import LabelColumn, Layout
from voxflate.data.prepared import PreparedSet
from voxflate.evaluation.utility.examples import Examples
from voxflate.evaluation.utility.networks import Reader, check_monai, in_batches, segmentation_loss, segmenter
from voxflate.metrics.overlap import dice, hausdorff_95

Array = NDArray[np.float64]
Outcomes = Mapping[str, Sequence[float]]
"""Name -> one number per volume, [n]."""

MASK = "mask"
"""Name of the task for masks; the others are named after their label."""

_PREDICTED, _TRUE = "predicted", "true"
_FEWEST_CORRELATED = 3


class Task(Protocol):
    """A task that a network can learn from examples."""

    @property
    def name(self) -> str:
        """Unique among the tasks of a set."""

    @property
    def leading(self) -> str:
        """The metric that charts show."""

    def network(self) -> nn.Module:
        """A fresh network, from PyTorch's global random state."""

    def targets(self, examples: Examples) -> Tensor:
        """The targets, [n, ...]."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """A scalar."""

    def outcomes(self, network: nn.Module, examples: Examples, batch: int) -> dict[str, list[float]]:
        """Outcomes of a trained network, volume by volume."""

    def blind(self, examples: Examples) -> dict[str, list[float]] | None:
        """Outcomes of always giving the training set's most common answer; None if there is none."""

    def metrics(self, outcomes: Outcomes, counts: Array) -> dict[str, Array]:
        """Metrics of outcomes for weights of the volumes, [R, n]: name -> [R]."""


@dataclass(frozen=True)
class MaskTask:
    """Segment the scan.

    Attributes:
        shape: (D, H, W), voxels.
        spacing: Voxel sides, mm, in the order D, H, W.
        layout: Defines the classes.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    layout: Layout

    name = MASK
    leading = "dice"

    @property
    def structures(self) -> list[str]:
        """Names of the classes."""
        return [channel.name for channel in self.layout.channels if channel.kind == "mask"]

    def network(self) -> nn.Module:
        """A U-Net."""
        return segmenter(self.shape, self.layout.images, self.layout.masks)

    def targets(self, examples: Examples) -> Tensor:
        """Class of each voxel, [n, 1, D, H, W]."""
        assert examples.classes is not None  # the set has masks
        return torch.from_numpy(examples.classes.astype(np.int64))[:, None]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Dice and cross-entropy."""
        loss: Tensor = segmentation_loss()(outputs, targets)
        return loss

    def outcomes(self, network: nn.Module, examples: Examples, batch: int) -> dict[str, list[float]]:
        """Dice and HD95 (mm) of every class."""
        found: dict[str, list[float]] = {
            f"{metric}-{name}": [] for metric in ("dice", "hd95") for name in self.structures
        }
        assert examples.classes is not None
        for start in range(0, len(examples), batch):
            places = range(start, min(start + batch, len(examples)))
            logits = in_batches(network, torch.from_numpy(examples.values(places)), batch)
            for predicted, true in zip(logits.argmax(1).numpy(), examples.classes[start:], strict=False):
                for number, name in enumerate(self.structures, 1):
                    masks = predicted == number, true == number
                    found[f"dice-{name}"].append(dice(*masks))
                    found[f"hd95-{name}"].append(hausdorff_95(*masks, self.spacing))
        return found

    def blind(self, examples: Examples) -> None:
        """None: there is no most common mask."""

    def metrics(self, outcomes: Outcomes, counts: Array) -> dict[str, Array]:
        """Means over the volumes, per class and over the classes."""
        means = {name: counts @ np.array(values) / counts.sum(axis=1) for name, values in outcomes.items()}
        overall = {
            metric: np.mean([means[f"{metric}-{name}"] for name in self.structures], axis=0)
            for metric in ("dice", "hd95")
        }
        return overall | (means if len(self.structures) > 1 else {})


@dataclass(frozen=True)
class ClassTask:
    """Predict the class of a subject from the scan.

    Attributes:
        shape: (D, H, W), voxels.
        images: Image channels.
        column: The label.
        shares: Share of each class among the training volumes, [K]; rare classes weigh more in the loss.
    """

    shape: tuple[int, int, int]
    images: int
    column: LabelColumn
    shares: tuple[float, ...]

    @property
    def name(self) -> str:
        """The label's."""
        return self.column.name

    @property
    def leading(self) -> str:
        """Balanced accuracy."""
        return f"balanced-accuracy-{self.name}"

    def network(self) -> nn.Module:
        """A classifier."""
        return Reader(self.shape, self.images, len(self.column.values))

    def targets(self, examples: Examples) -> Tensor:
        """Index of the class, [n]."""
        return torch.tensor([self.column.values.index(str(each[self.name])) for each in examples.labels])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy, weighted by 1 / share of the class."""
        weights = 1 / torch.tensor(self.shares).clamp(min=1e-6)
        return functional.cross_entropy(outputs, targets, weights.to(outputs))

    def outcomes(self, network: nn.Module, examples: Examples, batch: int) -> dict[str, list[float]]:
        """The predicted and the true class, as indices."""
        logits = in_batches(network, torch.from_numpy(examples.values(range(len(examples)))), batch)
        predicted = logits.argmax(1).double().tolist()
        return {_PREDICTED: predicted, _TRUE: self.targets(examples).double().tolist()}

    def blind(self, examples: Examples) -> dict[str, list[float]]:
        """Always the most common class."""
        usual = float(np.argmax(self.shares))
        return {_PREDICTED: [usual] * len(examples), _TRUE: self.targets(examples).double().tolist()}

    def metrics(self, outcomes: Outcomes, counts: Array) -> dict[str, Array]:
        """Balanced accuracy: the mean recall over the classes; chance reaches 1 / K."""
        predicted, true = (np.array(outcomes[name]) for name in (_PREDICTED, _TRUE))
        recalls = []
        for kind in np.unique(true):
            own = counts[:, true == kind]
            seen = own.sum(axis=1)
            found = own @ (predicted == kind)[true == kind]
            recalls.append(np.where(seen > 0, found / np.maximum(seen, 1), np.nan))
        return {self.leading: np.nanmean(recalls, axis=0)}


@dataclass(frozen=True)
class NumberTask:
    """Predict a number, such as the age of a subject, from the scan.

    Attributes:
        shape: (D, H, W), voxels.
        images: Image channels.
        column: The label.
    """

    shape: tuple[int, int, int]
    images: int
    column: LabelColumn

    @property
    def name(self) -> str:
        """The label's."""
        return self.column.name

    @property
    def leading(self) -> str:
        """Mean absolute error."""
        return f"mae-{self.name}"

    def network(self) -> nn.Module:
        """A regressor."""
        return Reader(self.shape, self.images, 1)

    def targets(self, examples: Examples) -> Tensor:
        """(value - mean) / deviation, [n, 1]."""
        return torch.tensor([self.column.encode(each[self.name]) for each in examples.labels])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Huber loss: squared error, and beyond one deviation the absolute error."""
        return functional.smooth_l1_loss(outputs, targets)

    def outcomes(self, network: nn.Module, examples: Examples, batch: int) -> dict[str, list[float]]:
        """The predicted and the true value, in the label's unit."""
        outputs = in_batches(network, torch.from_numpy(examples.values(range(len(examples)))), batch)
        predicted = outputs[:, 0].double() * self.column.deviation + self.column.mean
        return {_PREDICTED: predicted.tolist(), _TRUE: [float(each[self.name]) for each in examples.labels]}

    def blind(self, examples: Examples) -> dict[str, list[float]]:
        """Always the mean."""
        true = [float(each[self.name]) for each in examples.labels]
        return {_PREDICTED: [self.column.mean] * len(true), _TRUE: true}

    def metrics(self, outcomes: Outcomes, counts: Array) -> dict[str, Array]:
        """Mean absolute error, and from 3 values on the correlation of predicted and true ones.

        It is 0 if one side is constant. Two values always have a correlation of -1, 0 or 1.
        """
        predicted, true = (np.array(outcomes[name]) for name in (_PREDICTED, _TRUE))
        shares = counts / counts.sum(axis=1, keepdims=True)
        x, y = (values[None] - (shares @ values)[:, None] for values in (predicted, true))
        together, alone, other = ((shares * a * b).sum(axis=1) for a, b in ((x, y), (x, x), (y, y)))
        errors = {self.leading: shares @ np.abs(predicted - true)}
        if len(true) < _FEWEST_CORRELATED:
            return errors
        scale = np.sqrt(alone * other)
        correlation = np.where(scale > 0, together / np.maximum(scale, 1e-300), 0.0)
        return errors | {f"r-{self.name}": correlation.clip(-1, 1)}


def higher_is_better(metric: str) -> bool:
    """Tell whether higher values of a metric are better.

    >>> higher_is_better("dice-left"), higher_is_better("hd95"), higher_is_better("mae-age")
    (True, False, False)
    """
    return not metric.removeprefix("agreement-").startswith(("hd95", "mae"))


def range_of(metric: str) -> tuple[float, float]:
    """The lowest and the highest value that a metric can have.

    >>> range_of("dice-left"), range_of("r-age"), range_of("agreement-hd95-left")
    ((0.0, 1.0), (-1.0, 1.0), (0.0, inf))
    """
    if not higher_is_better(metric):
        return 0.0, math.inf
    return (-1.0 if metric.removeprefix("agreement-").startswith("r-") else 0.0), 1.0


def tasks_of(prepared: PreparedSet, known: Sequence[str], wanted: Sequence[str] = ()) -> list[Task]:
    """The tasks of a set.

    Args:
        prepared: The set.
        known: Labels that the generator knows.
        wanted: Names of tasks; by default the masks if there are any, else every label.

    Raises:
        VoxflateError: If there are none, one is unknown, or a package is missing.
    """
    layout = prepared.layout
    columns = {column.name: column for column in layout.labels if column.name in known}
    choices = [MASK] * bool(layout.masks) + list(columns)
    if not choices:
        raise VoxflateError(
            f"{prepared.root}: has no masks and its generator knows no labels, so there is no task; "
            "prepare the scans with --mask or --label and train again"
        )
    chosen = list(dict.fromkeys(wanted)) or ([MASK] if layout.masks else choices)
    if unknown := [name for name in chosen if name not in choices]:
        raise VoxflateError(f"--task {unknown[0]}: choose one of {', '.join(choices)}")
    if MASK in chosen:
        check_monai()
    return [_task(prepared, columns.get(name) if name != MASK else None) for name in chosen]


def _task(prepared: PreparedSet, column: LabelColumn | None) -> Task:
    """The task of a label, or of the masks for None."""
    shape, images = prepared.shape, prepared.layout.images
    if column is None:
        return MaskTask(shape, prepared.spacing, prepared.layout)
    if not column.categorical:
        return NumberTask(shape, images, column)
    values = [str(scan.labels[column.name]) for scan in prepared.manifest.scans if scan.split == "train"]
    return ClassTask(shape, images, column, tuple(values.count(each) / len(values) for each in column.values))
