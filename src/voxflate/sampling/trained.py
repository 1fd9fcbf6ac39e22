"""A trained generator as an object: what `voxflate.load` returns."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from voxflate._system.errors import VoxflateError
from voxflate._system.memory import explain_out_of_memory
from voxflate.config.schema import RunConfig
from voxflate.data.channels import Layout
from voxflate.data.labels import JointLabels, Labels, chosen_labels
from voxflate.data.prepared import PreparedSet
from voxflate.data.volume import Float32, Float64
from voxflate.gans.samples import sample
from voxflate.nn import Generator
from voxflate.runs.chosen import Snapshot
from voxflate.runs.load import Loaded, check_volumes, open_source
from voxflate.sampling.asked import Asked, check_numbers, draw_labels, encoded, memory_advice
from voxflate.sampling.inversion import STEPS, TOLERANCE, Inversion, Options, Progress, invert, with_masks
from voxflate.sampling.styles import no_noise, noise_of, render, stage_of_layer, style_shape, styles_of
from voxflate.sampling.volumes import Volumes, shape_of_one, split_channels


class TrainedGenerator:
    """A generator of volumes, from a run or from an export.

    Args:
        loaded: The generator.
        prepared: The set that defines position and values of its volumes.
        folder: The run or export that it comes from.
        joint: Joint distribution of its training set's labels; None if it knows none.
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
        """Number of real images seen in training."""
        return self._loaded.n_images

    @property
    def kimg(self) -> float:
        """Thousands of real images seen in training."""
        return self._loaded.kimg

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of its weights as written by `voxflate export`: the same for a run and its export."""
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
        labels: Asked = None,
    ) -> Volumes:
        """Generate volumes, the same as `voxflate generate` for the same seed and truncation.

        Volume k of a seed is the same for any number of volumes and any batch (up to rounding). The
        random state of PyTorch and NumPy is neither used nor changed.

        Args:
            n: Number of volumes; all are in memory together.
            seed: Seed of the series, 0 or more.
            truncation: From 1 (full variety) to 0 (the average volume).
            batch: Volumes at a time; changes only speed and memory.
            first: Index of the first volume in the series.
            labels: Values by name, e.g. {"sex": "F", "age": 60}, the same for all volumes. Other labels are
                drawn jointly as in the training set. `layout` lists the labels.

        Returns:
            float32 [n, D, H, W] in [-1, 1], or [n, M, D, H, W] with M image channels; with `masks` and
            `labels` if the generator has them.

        Raises:
            VoxflateError: If a number is out of range, a label is unknown, or the volumes have NaN voxels.
        """
        check_numbers(n, seed, truncation, batch, first)
        drawn = self._labels_of(labels, seed, first, n)
        batches = sample(
            self.network,
            n,
            seed=seed,
            truncation_psi=truncation,
            batch=batch,
            first=first,
            labels=encoded(self._joint, drawn),
        )
        with explain_out_of_memory(partial(memory_advice, self._prepared, batch)):
            made = np.concatenate([volumes.numpy() for volumes in batches])
        return self._volumes(made, drawn or None)

    def styles(
        self,
        n: int = 1,
        *,
        seed: int = 0,
        truncation: float = 1.0,
        first: int = 0,
        labels: Asked = None,
    ) -> Float32:
        """The style codes of subjects; arguments as in `sample`.

        Returns:
            float32 [n, L, w]: one code per layer, all equal for a sample. Change them and `render`. Labels
            are part of the code.

        Raises:
            VoxflateError: If a number is out of range, or a label is unknown.
        """
        check_numbers(n, seed, truncation, 1, first)
        told = encoded(self._joint, self._labels_of(labels, seed, first, n))
        return styles_of(self.network, range(first, first + n), seed, truncation, told).cpu().numpy()

    def render(
        self, styles: npt.ArrayLike, *, subject: int | None = None, seed: int = 0, batch: int = 8
    ) -> Volumes:
        """Render style codes to volumes, with masks if the generator has them.

        Args:
            styles: [n, L, w], as returned by `styles`.
            subject: Index of the subject whose noise is used for all volumes; None for no noise.
            seed: Seed of this subject's series.
            batch: Volumes at a time.

        Returns:
            Volumes as `sample` returns them, without labels.

        Raises:
            VoxflateError: If the codes do not fit, a number is out of range, or the volumes have NaN voxels.
        """
        codes = torch.from_numpy(np.asarray(styles, np.float32))
        wanted = style_shape(self.network)
        if codes.ndim != 3 or codes.shape[1:] != wanted or not len(codes):
            raise VoxflateError(f"styles must be [n, {wanted[0]}, {wanted[1]}], got {list(codes.shape)}")
        if not codes.isfinite().all():
            raise VoxflateError("styles have NaN or infinite values; correct the codes before rendering")
        check_numbers(len(codes), seed, 1.0, batch, subject or 0)
        device = next(self.network.parameters()).device
        volumes = []
        with torch.no_grad():
            for part in codes.split(batch):
                noise = no_noise(self.network, len(part))
                if subject is not None:
                    noise = noise_of(self.network, [subject] * len(part), seed)
                volumes.append(render(self.network, part.to(device), noise).float().cpu().numpy())
        return self._volumes(np.concatenate(volumes))

    def interpolate(
        self,
        first: int,
        second: int,
        steps: int = 9,
        *,
        seed: int = 0,
        truncation: float = 1.0,
        labels: Asked = None,
    ) -> Volumes:
        """Walk from one subject to another in equal steps of their style codes.

        Args:
            first: Index of the first subject, whose noise is used throughout.
            second: Index of the last subject.
            steps: Number of volumes including both ends; at least 2.
            seed: Of the series.
            truncation: As in `sample`.
            labels: Labels of both ends. Other labels are drawn for each end, as in `sample`, and change from
                one to the other.

        Returns:
            `steps` volumes as `sample` returns them, without labels; the first one is sample `first`.

        Raises:
            VoxflateError: If a number is out of range, or a label is unknown.
        """
        if steps < 2:
            raise VoxflateError(f"steps must be at least 2, for both ends, got {steps}")
        check_numbers(steps, seed, truncation, 1, min(first, second))
        start, end = (
            self.styles(seed=seed, truncation=truncation, first=one, labels=labels) for one in (first, second)
        )
        share = np.linspace(0, 1, steps, dtype=np.float32)[:, None, None]
        return self.render(start + share * (end - start), subject=first, seed=seed)

    def mix(
        self,
        first: int,
        second: int,
        stages: Sequence[int],
        *,
        seed: int = 0,
        truncation: float = 1.0,
        labels: Asked = None,
    ) -> Volumes:
        """Mix two subjects: take the style of the second one at some resolutions.

        Args:
            first: Index of the subject that gives everything else, including its noise.
            second: Index of the subject that gives the style of `stages`.
            stages: Resolutions, 0 for the coarsest: [0, 1] takes coarse shape, the last ones fine texture.
            seed: Of the series.
            truncation: As in `sample`.
            labels: Labels of both; other labels are drawn for each, as in `sample`.

        Returns:
            One volume as `sample` returns it, without labels.

        Raises:
            VoxflateError: If there is no such stage, a label is unknown, or it is a comparison model, which
                has no styles.
        """
        if not isinstance(self.network, Generator):
            raise VoxflateError(f"model = {self.settings.model} has no styles to mix; use interpolate")
        of_layer = np.array(stage_of_layer(self.network.synthesis))
        if unknown := sorted(set(stages) - set(of_layer.tolist())):
            raise VoxflateError(f"stages {unknown}: this generator has stages 0 to {of_layer.max()}")
        styles, other = (
            self.styles(seed=seed, truncation=truncation, first=one, labels=labels) for one in (first, second)
        )
        taken = np.isin(of_layer, list(stages))
        styles[:, taken] = other[:, taken]
        return self.render(styles, subject=first, seed=seed)

    def invert(
        self,
        volumes: npt.ArrayLike,
        *,
        masks: npt.ArrayLike | None = None,
        labels: Asked = None,
        steps: int = STEPS,
        tolerance: float = TOLERANCE,
        fit_noise: bool = True,
        progress: Progress | None = None,
    ) -> Inversion:
        """Find the style codes and the noise whose volumes are closest to given ones.

        Args:
            volumes: In [-1, 1], prepared like the training data: [n, D, H, W] or [D, H, W], or with
                M modalities [n, M, D, H, W] or [M, D, H, W].
            masks: Their masks, [n, D, H, W] or [D, H, W], which are also fitted; None to fit only the images.
            labels: Known labels of all volumes, by name. The prior is over the style codes of subjects with
                these labels; other labels are free.
            steps: Optimiser steps; the same volumes and steps give the same result.
            tolerance: Standard deviation of the tolerated residual. A smaller one fits more closely with less
                likely codes.
            fit_noise: Whether the noise is also fitted, which adds fine structure that no style code has.
            progress: Called with (steps done, steps).

        Raises:
            VoxflateError: If a shape is wrong, a value is not a prepared one, or a label is unknown.
        """
        layout, one = self._prepared.layout, shape_of_one(self._prepared)
        given = np.asarray(volumes, np.float32)
        if given.ndim not in (len(one), len(one) + 1) or given.shape[-len(one) :] != one or not given.size:
            raise VoxflateError(f"volumes must be of shape {one}, got an array of {given.shape}")
        given = given.reshape(-1, layout.images, *self.shape)
        if masks is not None:
            given = with_masks(given, np.asarray(masks), layout)
        asked, lines = chosen_labels(self._joint, labels or {})
        for line in lines:
            warnings.warn(line, stacklevel=2)
        options = Options(steps, tolerance, fit_noise)
        return invert(self.network, given, layout, options, self._joint, asked, progress)

    def _labels_of(self, asked: Asked, seed: int, first: int, n: int) -> list[Labels]:
        """The labels of subjects; none if the generator knows none. Warns of numbers out of range."""
        _, drawn, lines = draw_labels(self._joint, asked, seed, first, n)
        for line in lines:
            warnings.warn(line, stacklevel=3)
        return drawn

    def _volumes(self, made: Float32, labels: list[Labels] | None = None) -> Volumes:
        """The network's output, [n, C, D, H, W]."""
        images, masks = split_channels(made, self._prepared.layout)
        other = bool(self._loaded.other_data)
        return Volumes(images, self._prepared, masks=masks, labels=labels, other_data=other)


def load_trained(
    path: str | Path,
    snapshot: Snapshot = "newest",
    data: str | Path | None = None,
    device: str | None = None,
    other_data: bool = False,
) -> TrainedGenerator:
    """Load a generator; arguments and errors as in `voxflate.load`."""
    source = open_source(Path(path), None if data is None else Path(data), device, other_data=other_data)
    check_volumes(source)
    loaded = source.load(snapshot)
    for reason in loaded.skipped:
        warnings.warn(f"skipped {reason}; loaded {loaded}", stacklevel=3)
    if loaded.other_data:
        warnings.warn(loaded.other_data, stacklevel=3)
    return TrainedGenerator(loaded, source.prepared, Path(path), source.labels)
