"""Style codes of subjects, and volumes from style codes, for interpolation, mixing and inversion.

Comparison models have no style codes. Their latent code takes the place of one layer's style, so that
interpolation and inversion use the same code.

Labels enter the style code through the mapping network, so rendering a code needs no labels.

Shape letters: n subjects, L layers, w numbers in a style code, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from voxflate.data.volume import Float32
from voxflate.gans.samples import sample_inputs
from voxflate.nn import Generator
from voxflate.nn.generator import Synthesis


def stage_of_layer(synthesis: Synthesis) -> list[int]:
    """The stage that each style code belongs to, coarsest first: [0, 1, 1, 2, 2, ...].

    A stage's image layer shares its style with the first convolution of the next stage, and is counted there.
    """
    last = len(synthesis.stages) - 1
    return [min((layer + 1) // 2, last) for layer in range(synthesis.num_ws)]


def style_shape(network: nn.Module) -> tuple[int, int]:
    """L and w."""
    if not isinstance(network, Generator):
        return 1, int(network.z_dim)  # type: ignore[arg-type]
    return network.synthesis.num_ws, len(network.mapping.w_avg)


def styles_of(
    network: nn.Module, subjects: Sequence[int], seed: int, truncation: float, labels: Float32 | None = None
) -> Tensor:
    """The style codes of subjects, [n, L, w]: the same one for all layers of a subject.

    Args:
        network: The generator.
        subjects: Their indices in the series.
        seed: Seed of the series.
        truncation: As in `TrainedGenerator.sample`.
        labels: Their label vectors, [n, label_width]; None for a network without labels.
    """
    z = torch.stack([sample_inputs(network, seed, index)[0] for index in subjects])
    return styles_of_codes(network, z, truncation, labels)


@torch.no_grad()
def styles_of_codes(
    network: nn.Module, z: Tensor, truncation: float, labels: Float32 | None = None
) -> Tensor:
    """The style codes [n, L, w] of latent codes [n, z_dim]; other arguments as in `styles_of`."""
    device = next(network.parameters()).device
    z = z.to(device)
    if not isinstance(network, Generator):
        return (z * truncation)[:, None]
    told = None if labels is None else torch.from_numpy(labels).to(device)
    w: Tensor = network.mapping(z, truncation, told)
    return w[:, None].expand(-1, network.synthesis.num_ws, -1).contiguous()


def noise_of(network: nn.Module, subjects: Sequence[int], seed: int) -> list[Tensor]:
    """The noise of subjects, [n, 1, *spatial] per styled convolution; none for comparison models."""
    device = next(network.parameters()).device
    each = [sample_inputs(network, seed, index)[1] for index in subjects]
    return [torch.stack(layer).to(device) for layer in zip(*each, strict=True)]


def no_noise(network: nn.Module, n: int) -> list[Tensor]:
    """Zero noise in the form of `noise_of`."""
    if not isinstance(network, Generator):
        return []
    device = next(network.parameters()).device
    return [torch.zeros(n, *shape, device=device) for shape in network.synthesis.noise_shapes()]


def render(network: nn.Module, styles: Tensor, noise: Sequence[Tensor]) -> Tensor:
    """Render volumes [n, C, D, H, W] from style codes [n, L, w] and noise as in `noise_of`."""
    if isinstance(network, Generator):
        rendered: Tensor = network.synthesis(styles, noise)
    else:
        rendered = network(styles[:, 0])
    return rendered
