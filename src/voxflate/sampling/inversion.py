"""Inversion: finds the style codes and the noise whose volume is closest to a given one.

With x the given volume, G the generator, u the style codes of all layers in whitened coordinates and e the
noise, it minimises

    |G(u, e) - x|^2 / tolerance^2  +  |u|^2  +  |e|^2,

up to a constant twice the negative logarithm of a posterior: voxels deviate by `tolerance`, and u and e are
standard normal. Every layer has its own style code, independent of the others (W+, Abdal et al. 2019); in a
sample all layers share one. Coordinates are whitened
before the mapping's last leaky ReLU, where codes are close to normal (Zhu et al. 2020, "Improved StyleGAN
embedding").

If x has no mask, only its image channels count. With labels, u is whitened over the style codes of subjects
with the known labels; other labels vary as in the training set.

Nothing is random: it starts from the mean style without noise, and Adam takes a fixed number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxflate._system.errors import VoxflateError
from voxflate.data.channels import Layout, mask_shares
from voxflate.data.labels import JointLabels, Labels
from voxflate.data.volume import Float32
from voxflate.metrics.psnr import psnr
from voxflate.nn import Generator
from voxflate.nn.functional import LEAKY_SLOPE
from voxflate.sampling.styles import no_noise, render, style_shape, styles_of_codes
from voxflate.sampling.volumes import Masks, split_channels

STEPS = 400
TOLERANCE = 0.1
"""Standard deviation of the tolerated residual, with values in [-1, 1]."""

_RATE = 0.1
_CODES = 4096
"""Number of style codes for estimating the whitening."""
_FURTHEST = 2.0
"""Largest absolute value that a prepared voxel may have, with room for resampling."""
_SMALLEST = 1e-3
"""Smallest standard deviation of a whitened axis, relative to the largest: smaller ones are noise."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Options:
    """Options of an inversion.

    Attributes:
        steps: Adam's steps.
        tolerance: Standard deviation of the tolerated residual, with values in [-1, 1].
        fit_noise: Whether the noise is also fitted; otherwise it is zero.
    """

    steps: int = STEPS
    tolerance: float = TOLERANCE
    fit_noise: bool = True

    def check(self) -> None:
        """Refuse invalid numbers.

        Raises:
            VoxflateError: Names them.
        """
        if self.steps < 1 or not 0 < self.tolerance < math.inf:
            raise VoxflateError(
                f"steps and tolerance must be above 0 and finite, got {self.steps} and {self.tolerance}"
            )


OPTIONS = Options()


@dataclass(frozen=True)
class Inversion:
    """The result for n volumes.

    Attributes:
        styles: [n, L, w].
        noise: [n, 1, *spatial] per styled convolution; zero if not fitted.
        rendered: The images made from the codes and the noise, in [-1, 1]: [n, D, H, W], or with M modalities
            [n, M, D, H, W].
        psnr: PSNR of each volume's images against the given ones, dB.
        masks: Their masks, values as in the source, [n, D, H, W]; None without masks.
    """

    styles: Float32
    noise: tuple[Float32, ...]
    rendered: Float32
    psnr: Float32
    masks: Masks | None = None


class Whitening:
    """Maps style codes to numbers that are close to standard normal, and back.

    Args:
        network: The generator, of any model.
        labels: Label vectors for the codes, [4096, label_width]; None for a network without labels.
    """

    def __init__(self, network: nn.Module, labels: Float32 | None = None) -> None:
        z = np.random.default_rng(0).standard_normal((_CODES, int(network.z_dim)), np.float32)  # type: ignore[arg-type]
        codes = styles_of_codes(network, torch.from_numpy(z), 1.0, labels)[:, 0].double()
        self._leaky = isinstance(network, Generator)
        values = F.leaky_relu(codes, 1 / LEAKY_SLOPE) if self._leaky else codes
        self._mean = values.mean(dim=0)
        spread, axes = torch.linalg.eigh(torch.cov((values - self._mean).T))
        kept = spread > spread.max() * _SMALLEST**2
        self._axes = axes[:, kept] * spread[kept].sqrt()  # [w, k]

    @property
    def size(self) -> int:
        """k, the numbers per style code."""
        return int(self._axes.shape[1])

    def styles(self, u: Tensor) -> Tensor:
        """Whitened numbers [n, L, k] -> style codes [n, L, w]."""
        values = (self._mean + u.double() @ self._axes.T).to(u.dtype)
        return F.leaky_relu(values, LEAKY_SLOPE) if self._leaky else values


def with_masks(images: Float32, masks: npt.NDArray[Any], layout: Layout) -> Float32:
    """Combine images [n, M, D, H, W] and their masks [n, D, H, W] or [D, H, W] to channels [n, C, D, H, W].

    Raises:
        VoxflateError: If the generator has no masks, or the masks have another shape or other classes.
    """
    if not layout.masks:
        raise VoxflateError("this generator has no masks; leave the mask out")
    shape = (len(images), *images.shape[2:])
    if masks.shape not in (shape, shape[1:]) or masks.size != np.prod(shape):
        raise VoxflateError(f"masks must be of shape {shape}, got an array of {masks.shape}")
    return np.concatenate([images, mask_shares(masks.reshape(shape), layout)], axis=1)


def invert(
    network: nn.Module,
    given: Float32,
    layout: Layout,
    options: Options = OPTIONS,
    joint: JointLabels | None = None,
    labels: Labels | None = None,
    progress: Progress | None = None,
) -> Inversion:
    """Find the style codes and the noise of volumes.

    Args:
        network: A generator of volumes, in evaluation mode and without gradients.
        given: Their first channels, [n, c, D, H, W] in [-1, 1]: at least all images. The others are free.
        layout: The network's channels and labels.
        options: Options of the inversion.
        joint: Joint distribution of the training set's labels; None if the network knows none.
        labels: Known labels, the same for all volumes.
        progress: Called with (steps done, steps).

    Raises:
        VoxflateError: If a value is not finite or far outside [-1, 1], or an option is invalid.
    """
    options.check()
    if not np.isfinite(given).all():
        raise VoxflateError("the volumes have NaN or infinite values, which no generator can reproduce")
    if (furthest := float(np.abs(given).max())) > _FURTHEST:
        raise VoxflateError(
            f"the volumes have values of up to {furthest:g} in size, prepared ones are from -1 to 1; prepare "
            "them like the training data, or give the scan to voxflate invert, which does that"
        )
    device = next(network.parameters()).device
    target = torch.from_numpy(given).to(device)
    whitening = Whitening(network, None if joint is None else joint.vectors(0, 0, _CODES, labels))
    u = torch.zeros(len(target), style_shape(network)[0], whitening.size, device=device, requires_grad=True)
    noise = no_noise(network, len(target))
    fitted = [u]
    if options.fit_noise:
        fitted += [one.requires_grad_() for one in noise]
    optimizer = torch.optim.Adam(fitted, lr=_RATE)
    for step in range(options.steps):
        optimizer.param_groups[0]["lr"] = _RATE * _schedule(step / options.steps)
        rendered = render(network, whitening.styles(u), noise)[:, : target.shape[1]]
        loss = (rendered - target).square().sum() / options.tolerance**2
        loss = loss + sum(one.square().sum() for one in fitted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if progress is not None:
            progress(step + 1, options.steps)
    styles, noise = whitening.styles(u.detach()), [one.detach() for one in noise]
    return _found(network, styles, noise, target[:, : layout.images], layout)


@torch.no_grad()
def _found(
    network: nn.Module, styles: Tensor, noise: Sequence[Tensor], images: Tensor, layout: Layout
) -> Inversion:
    made = render(network, styles, noise)
    rendered, masks = split_channels(made.cpu().numpy(), layout)
    clipped = made[:, : layout.images].clamp(-1, 1)
    return Inversion(
        styles.cpu().numpy(),
        tuple(one.cpu().numpy() for one in noise),
        np.clip(rendered, -1, 1),
        psnr(clipped, images).cpu().numpy(),
        masks,
    )


def _schedule(done: float) -> float:
    """Factor of the learning rate: warm-up for a twentieth of the steps, then a cosine to zero."""
    return min(1.0, done / 0.05 + 0.05) * (0.5 + 0.5 * math.cos(math.pi * done))
