"""Samples that depend on their seed and number alone, not on the batch they are made in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from voxflate.nn import Generator


def sample_inputs(generator: Generator, seed: int, index: int) -> tuple[Tensor, list[Tensor], Tensor]:
    """Draw everything that makes sample `index` of a seed what it is.

    Args:
        generator: Tells the sizes.
        seed: Of the series of samples, 0 or more.
        index: Number of the sample in the series.

    Returns:
        z [z_dim]; noise, one [1, *spatial] per styled convolution; an axial position, a scalar, for planar
        generators to render.
    """
    # NumPy's generators take a sequence as seed; PyTorch's on the CPU heeds 32 bits of one number only.
    rng = np.random.default_rng([seed, index])

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape, np.float32))

    z = normal(generator.z_dim)
    position = torch.tensor(rng.integers(generator.synthesis.shape[0]))
    noise = [normal(*shape) for shape in generator.synthesis.noise_shapes()]
    return z, noise, position


@torch.no_grad()
def sample(
    generator: Generator,
    count: int,
    *,
    seed: int,
    truncation_psi: float = 1.0,
    batch: int = 8,
    slices: bool = False,
    first: int = 0,
) -> Iterator[Tensor]:
    """Generate samples first .. first + count - 1 of a seed, in float32.

    Args:
        generator: Put into evaluation mode while sampling.
        count: How many.
        seed: Of the series.
        truncation_psi: See `Mapping.forward`.
        batch: Samples at a time; changes the speed and the memory, not the samples (to rounding).
        slices: Planar generators: one axial slice a sample, at its own position.
        first: Number of the first.

    Yields:
        [n, image_channels, *shape] on the CPU, n <= batch.
    """
    device = generator.synthesis.const.device
    training = generator.training
    generator.eval()
    try:
        for start in range(first, first + count, batch):
            indices = range(start, min(start + batch, first + count))
            zs, noises, positions = zip(*(sample_inputs(generator, seed, i) for i in indices), strict=True)
            images = generator(
                torch.stack(zs).to(device),
                truncation_psi=truncation_psi,
                noise=[torch.stack(layer).to(device) for layer in zip(*noises, strict=True)],
                positions=torch.stack(positions).to(device) if slices else None,
            )
            yield images.float().cpu()
    finally:
        generator.train(training)
