"""Samples that depend only on their seed and index, not on the batch in which they are made."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voxflate._system.devices import exact_float32
from voxflate.nn import Generator


def sample_inputs(generator: nn.Module, seed: int, index: int) -> tuple[Tensor, list[Tensor], Tensor]:
    """Draw all random numbers of sample `index` of a seed.

    Args:
        generator: Gives the sizes.
        seed: Seed of the series, 0 or more.
        index: Index of the sample in the series.

    Returns:
        z [z_dim]; noise, one [1, *spatial] per styled convolution; an axial position, a scalar, for planar
        generators. Only StyleGAN2's generators have the last two; they are [] and 0 for others.
    """
    # NumPy's generators accept a sequence as seed; PyTorch's CPU generator uses only 32 bits of one number.
    rng = np.random.default_rng([seed, index])

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape, np.float32))

    z = normal(generator.z_dim)  # type: ignore[arg-type]
    if not isinstance(generator, Generator):
        return z, [], torch.tensor(0)
    position = torch.tensor(rng.integers(generator.synthesis.shape[0]))
    noise = [normal(*shape) for shape in generator.synthesis.noise_shapes()]
    return z, noise, position


@torch.no_grad()
def sample(
    generator: nn.Module,
    count: int,
    *,
    seed: int,
    truncation_psi: float = 1.0,
    batch: int = 8,
    slices: bool = False,
    first: int = 0,
    full: bool = False,
    labels: NDArray[np.float32] | None = None,
) -> Iterator[Tensor]:
    """Generate samples first .. first + count - 1 of a seed, in float32.

    Args:
        generator: Generator of any model. It is in evaluation mode while sampling, so that nothing is
            normalised over the samples of a batch.
        count: Number of samples.
        seed: Seed of the series.
        truncation_psi: See `Mapping.forward`, or `UpsamplingGenerator.forward`.
        batch: Samples at a time; changes speed and memory, but not the samples (up to rounding).
        slices: Planar generators: one axial slice per sample, at the sample's position.
        first: Index of the first sample.
        full: Make the last batch as large as the others and drop the surplus. Batches of one size are
            computed in the same way, so a sample's bits do not depend on `count`.
        labels: Label vectors of these samples, [count, label_width], for generators that know labels.

    Yields:
        [n, image_channels, *shape] on the CPU, n <= batch.
    """
    device = next(generator.parameters()).device
    training = generator.training
    generator.eval()
    try:
        for start in range(first, first + count, batch):
            wanted = min(batch, first + count - start)
            indices = range(start, start + (batch if full else wanted))
            zs, noises, positions = zip(*(sample_inputs(generator, seed, i) for i in indices), strict=True)
            styled: dict[str, object] = {}
            if isinstance(generator, Generator):
                styled["noise"] = [torch.stack(layer).to(device) for layer in zip(*noises, strict=True)]
                styled["positions"] = torch.stack(positions).to(device) if slices else None
                if labels is not None:
                    rows = np.minimum(np.arange(len(zs)) + (start - first), count - 1)
                    told = labels[rows]
                    styled["labels"] = torch.from_numpy(told).to(device)
            with exact_float32(device):  # voxflate verify repeats samples on a CPU (decision 0225)
                images = generator(torch.stack(zs).to(device), truncation_psi=truncation_psi, **styled)
            yield images[:wanted].float().cpu()
    finally:
        generator.train(training)
