"""A trained generator as an object: what `voxflate.load` returns."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from voxflate._system.errors import VoxflateError
from voxflate._system.memory import memory_said
from voxflate.config.schema import RunConfig
from voxflate.data.channels import LabelValue, Layout, mask_labels
from voxflate.data.labels import JointLabels, Labels, chosen_labels
from voxflate.data.prepared import PreparedSet
from voxflate.data.volume import Float32, Float64
from voxflate.gans.samples import sample
from voxflate.runs.chosen import Snapshot
from voxflate.runs.load import Loaded, check_volumes, open_source
from voxflate.sampling.volumes import Volumes


class TrainedGenerator:
    """A generator of volumes, from a run or from an export.

    Args:
        loaded: The generator.
        prepared: The set that says how its volumes lie and what their values mean.
        folder: The run or export that it comes from.
        joint: How the labels of its training set occur together; None if it knows none.
    """

    def __init__(
        self, loaded: Loaded, prepared: PreparedSet, folder: Path, joint: JointLabels | None = None
    ) -> None:
        self._loaded = loaded
        self._prepared = prepared
        self._folder = folder
        self._joint = joint

    @property
    def network(self) -> nn.Module:
        """The PyTorch module, in evaluation mode and without gradients."""
        return self._loaded.network

    @property
    def settings(self) -> RunConfig:
        """The settings of the run."""
        return self._loaded.settings

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W) of its volumes, voxels."""
        return self._prepared.shape

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel sides, mm, in the order D, H, W."""
        return self._prepared.spacing

    @property
    def affine(self) -> Float64:
        """4x4 in RAS+: index (w, h, d, 1) -> world mm."""
        return self._prepared.affine

    @property
    def layout(self) -> Layout:
        """Its image channels, the classes of its masks, and the labels that it knows."""
        columns = self._joint.layout.labels if self._joint else ()
        return replace(self._prepared.layout, labels=columns)

    @property
    def n_images(self) -> int:
        """Real images that it has seen in training."""
        return self._loaded.n_images

    @property
    def kimg(self) -> float:
        """Thousands of real images that it has seen in training."""
        return self._loaded.kimg

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of its weights as `voxflate export` writes them: the same for a run and its export."""
        return self._loaded.weights_sha256

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape))
        return f"<TrainedGenerator {self._folder}: {shape} voxels, {self._loaded}>"

    def sample(
        self,
        n: int = 1,
        *,
        seed: int = 0,
        truncation: float = 1.0,
        batch: int = 8,
        first: int = 0,
        labels: Mapping[str, LabelValue] | None = None,
    ) -> Volumes:
        """Generate volumes: those that `voxflate generate` writes for the same seed and truncation.

        Volume k of a seed is the same however many are made, and whatever the batch (to rounding). The
        random state of PyTorch and NumPy is neither read nor changed.

        Args:
            n: How many; all of them are in memory together.
            seed: Of the series, 0 or more.
            truncation: From 1, the full variety, to 0, the average volume.
            batch: Volumes at a time; changes speed and memory only.
            first: Number of the first volume in the series.
            labels: Values by name, e.g. {"sex": "F", "age": 60}, the same for all volumes. What is not named
                is drawn as it occurs together in the training set. `layout` says what it knows.

        Returns:
            float32 [n, D, H, W] in [-1, 1], or [n, M, D, H, W] of M image channels; with `masks` and `labels`
            where the generator has them.

        Raises:
            VoxflateError: If a number is out of range, a label is not known, or the volumes hold NaN.
        """
        check_numbers(n, seed, truncation, batch)
        if first < 0:
            raise VoxflateError(f"first must be at least 0, got {first}")
        _, drawn, lines = draw_labels(self._joint, labels, seed, first, n)
        for line in lines:
            warnings.warn(line, stacklevel=2)
        batches = sample(
            self.network,
            n,
            seed=seed,
            truncation_psi=truncation,
            batch=batch,
            first=first,
            labels=encoded(self._joint, drawn),
        )
        with memory_said(partial(memory_advice, self._prepared, batch)):
            made = np.concatenate([volumes.numpy() for volumes in batches])
        layout = self._prepared.layout
        images = made[:, 0] if layout.images == 1 else made[:, : layout.images]
        masks = mask_labels(made, layout) if layout.masks else None
        other_data = bool(self._loaded.other_data)
        return Volumes(images, self._prepared, masks=masks, labels=drawn or None, other_data=other_data)


def memory_advice(prepared: PreparedSet, batch: int) -> str:
    """How to generate with less memory."""
    shape = "x".join(map(str, prepared.shape))
    return f"volumes of {shape} voxels, {batch} at a time; lower the batch (--batch 1 takes least)"


def draw_labels(
    joint: JointLabels | None, asked: Mapping[str, LabelValue] | None, seed: int, first: int, count: int
) -> tuple[Labels, list[Labels], list[str]]:
    """Labels of the samples `first` to `first + count - 1` of a seed.

    Args:
        joint: How the labels of the training set occur together; None if the generator knows none.
        asked: What the user asks for.
        seed: Of the series.
        first: Number of the first sample.
        count: How many.

    Returns:
        What was asked for, checked; the labels of every sample, none if the generator knows none; warnings.

    Raises:
        VoxflateError: If something is asked for that the generator does not know.
    """
    given, lines = chosen_labels(joint.layout.labels if joint else (), asked or {})
    return given, joint.draw(seed, first, count, given) if joint else [], lines


def encoded(joint: JointLabels | None, drawn: Sequence[Labels]) -> Float32 | None:
    """Labels as the generator takes them, [n, label_width]; None if it knows none."""
    return joint.layout.encode(drawn) if joint else None


def check_numbers(n: int, seed: int, truncation: float, batch: int) -> None:
    """Refuse what cannot be sampled.

    Raises:
        VoxflateError: Names the number and its limit.
    """
    if n < 1 or batch < 1:
        raise VoxflateError(f"n and batch must be at least 1, got {n} and {batch}")
    if seed < 0:
        raise VoxflateError(f"seed must be at least 0, got {seed}")
    if not 0 <= truncation <= 1:
        raise VoxflateError(f"truncation must be from 0 to 1, got {truncation}")


def load_trained(
    path: str | Path,
    snapshot: Snapshot = "newest",
    data: str | Path | None = None,
    device: str | None = None,
    other_data: bool = False,
) -> TrainedGenerator:
    """Load a generator; the arguments are those of `voxflate.load`.

    Raises:
        VoxflateError: As `voxflate.load`.
    """
    source = open_source(Path(path), None if data is None else Path(data), device, other_data=other_data)
    check_volumes(source)
    loaded = source.load(snapshot)
    for reason in loaded.skipped:
        warnings.warn(f"skipped {reason}; loaded {loaded}", stacklevel=3)
    if loaded.other_data:
        warnings.warn(loaded.other_data, stacklevel=3)
    return TrainedGenerator(loaded, source.prepared, Path(path), source.labels)
