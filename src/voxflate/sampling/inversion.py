"""Inversion: the style codes and the noise whose volume comes closest to a given one.

With x the given volume, G the generator, u the style codes of all layers in whitened coordinates and e the
noise, it minimises

    |G(u, e) - x|^2 / tolerance^2  +  |u|^2  +  |e|^2,

the negative logarithm of a posterior: voxels differ by `tolerance`, and u and e are standard normal, as they
are for samples. Every layer has a style code of its own (W+, Abdal et al. 2019). Coordinates are whitened
behind the mapping's last leaky ReLU, where codes are close to normal (Zhu et al. 2020, "Improved StyleGAN
embedding").

Nothing is random: it starts from the mean style and no noise, and Adam takes a fixed number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxflate.data.volume import Float32
from voxflate.metrics.psnr import psnr
from voxflate.nn import Generator
from voxflate.nn.functional import LEAKY_SLOPE
from voxflate.sampling.styles import no_noise, render, styles_of_codes

STEPS = 400
TOLERANCE = 0.1
"""Standard deviation of what the generator need not explain, in [-1, 1]."""

_RATE = 0.1
_CODES = 4096
"""Style codes that the whitening is estimated from."""
_SMALLEST = 1e-3
"""Smallest standard deviation of a whitened axis, as a share of the largest: flatter ones are noise."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Inversion:
    """What was found for n volumes.

    Attributes:
        styles: [n, L, w].
        noise: [n, 1, *spatial] per styled convolution; zero where it was not fitted.
        rendered: The volumes that the codes and the noise give, [n, D, H, W] in [-1, 1].
        psnr: Of each against the given volume, dB.
    """

    styles: Float32
    noise: tuple[Float32, ...]
    rendered: Float32
    psnr: Float32


class Whitening:
    """Style codes as numbers that are close to standard normal, and back.

    Args:
        network: The generator, of any model.
    """

    def __init__(self, network: nn.Module) -> None:
        z = np.random.default_rng(0).standard_normal((_CODES, int(network.z_dim)), np.float32)  # type: ignore[arg-type]
        codes = styles_of_codes(network, torch.from_numpy(z), 1.0)[:, 0].double()
        self._leaky = isinstance(network, Generator)
        values = F.leaky_relu(codes, 1 / LEAKY_SLOPE) if self._leaky else codes
        self._mean = values.mean(dim=0)
        spread, axes = torch.linalg.eigh(torch.cov((values - self._mean).T))
        kept = spread > spread.max() * _SMALLEST**2
        self._axes = axes[:, kept] * spread[kept].sqrt()  # [w, k]

    @property
    def size(self) -> int:
        """k, numbers per style code."""
        return int(self._axes.shape[1])

    def styles(self, u: Tensor) -> Tensor:
        """Whitened numbers [n, L, k] -> style codes [n, L, w]."""
        values = (self._mean + u.double() @ self._axes.T).to(u.dtype)
        return F.leaky_relu(values, LEAKY_SLOPE) if self._leaky else values


def invert(
    network: nn.Module,
    volumes: Float32,
    *,
    steps: int = STEPS,
    tolerance: float = TOLERANCE,
    fit_noise: bool = True,
    progress: Progress | None = None,
) -> Inversion:
    """Find the style codes and the noise of volumes.

    Args:
        network: A generator of volumes, in evaluation mode and without gradients.
        volumes: [n, D, H, W] in [-1, 1].
        steps: Of Adam.
        tolerance: Standard deviation of what need not be explained, in [-1, 1].
        fit_noise: Whether the noise is fitted too; else it is zero.
        progress: Called with (steps done, steps).
    """
    device = next(network.parameters()).device
    target = torch.from_numpy(np.asarray(volumes, np.float32))[:, None].to(device)
    whitening = Whitening(network)
    layers = network.synthesis.num_ws if isinstance(network, Generator) else 1
    u = torch.zeros(len(target), layers, whitening.size, device=device, requires_grad=True)
    noise = no_noise(network, len(target))
    fitted = [u]
    if fit_noise:
        fitted += [one.requires_grad_() for one in noise]
    optimizer = torch.optim.Adam(fitted, lr=_RATE)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = _RATE * _schedule(step / steps)
        rendered = render(network, whitening.styles(u), noise)
        loss = (rendered - target).square().sum() / tolerance**2
        loss = loss + sum(one.square().sum() for one in fitted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if progress is not None:
            progress(step + 1, steps)
    return _found(network, whitening.styles(u.detach()), [one.detach() for one in noise], target)


@torch.no_grad()
def _found(network: nn.Module, styles: Tensor, noise: Sequence[Tensor], target: Tensor) -> Inversion:
    rendered = render(network, styles, noise).clamp(-1, 1)
    return Inversion(
        styles.cpu().numpy(),
        tuple(one.cpu().numpy() for one in noise),
        rendered[:, 0].cpu().numpy(),
        psnr(rendered, target).cpu().numpy(),
    )


def _schedule(done: float) -> float:
    """Share of the learning rate: a twentieth of the steps to warm up, then a cosine to zero."""
    return min(1.0, done / 0.05 + 0.05) * (0.5 + 0.5 * math.cos(math.pi * done))
