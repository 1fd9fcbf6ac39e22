"""From the outputs of convolutions to the inputs of the next layer, in one sweep over memory.

That is features, their halves, features scaled by the next style, and the image that they contribute. The
definitions are the lines after the convolutions in the plain modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from voxflate.nn.functional import LEAKY_GAIN, channels_last, weighted_sums
from voxflate.nn.fused import ops
from voxflate.nn.fused.finish import Finish, FinishImage, How
from voxflate.nn.fused.resampling import Plan, halves, modulate, planned
from voxflate.nn.resample import Filter


class Branches(NamedTuple):
    """The outputs of one or two parallel convolutions.

    Attributes:
        parts: [N, C / parts, *spatial] each.
        shuffle: Two parts are joined with alternating channels (Split&Shuffle), else one after the other.
    """

    parts: tuple[Tensor, ...]
    shuffle: bool = False

    def joinable(self) -> tuple[Tensor, ...]:
        """Parts of one type that the kernels can join by channel shuffle."""
        parts = self.parts
        if len({part.dtype for part in parts}) > 1:  # under autocast: see `functional.conv`
            parts = tuple(part.float() for part in parts)
        if self.shuffle or len(parts) == 1:
            return parts
        return (channels_last(torch.cat(parts, dim=1)),)


class Styled(NamedTuple):
    """The operations directly after a modulated convolution.

    Attributes:
        filters: As for `resample`; empty to keep the size.
        demodulation: [N, C].
        noise: [N, 1, *spatial'], standard normal; gets no gradient.
        noise_strength: Scalar B of Fig. 2.
        bias: [C].
    """

    filters: Sequence[Filter]
    demodulation: Tensor
    noise: Tensor
    noise_strength: Tensor
    bias: Tensor


def finish(branches: Branches, bias: Tensor, gain: float = 1.0, parts: int = 1) -> tuple[Tensor, ...]:
    """Join, add a bias per channel, leaky ReLU, scale by sqrt(2) * gain, split the channels into parts.

    Args:
        branches: Outputs of convolutions.
        bias: [C].
        gain: Extra factor, e.g. sqrt(1/2) on a residual branch.
        parts: 1, or 2 for halves.

    Returns:
        [N, C / parts, *spatial] each.
    """
    if parts == 2 and not ops.cuts(len(bias)):
        return halves(finish(branches, bias, gain)[0])
    inputs = branches.joinable()
    scale = bias.new_full((len(inputs[0]), bias.shape[0]), gain * LEAKY_GAIN)
    how = How(Plan.identity(inputs[0].shape[2:]), parts, torch.is_grad_enabled())
    return _apply(how, scale, bias * (gain * LEAKY_GAIN), None, None, None, None, *inputs)


def finish_image(image: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Start of a discriminator: convolve an image of one channel, add a bias, leaky ReLU scaled by sqrt(2).

    Args:
        image: [N, 1, *spatial] float32.
        kernel: [C, 1].
        bias: [C].

    Returns:
        [N, C, *spatial], in autocast's precision.
    """
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else image.dtype
    weight = (kernel[:, 0] * LEAKY_GAIN).contiguous()
    out: Tensor = FinishImage.apply(image.contiguous(), weight, bias * LEAKY_GAIN, dtype)  # type: ignore[no-untyped-call]
    return out


def finish_modulated(branches: Branches, styled: Styled, style: Tensor, parts: int) -> tuple[Tensor, ...]:
    """Join, resample, demodulate, add noise and bias, leaky ReLU scaled by sqrt(2); then modulate.

    Args:
        branches: Outputs of modulated convolutions.
        styled: The rest.
        style: Style of the next convolution, [N, C].
        parts: 1, or 2 to cut the channels.

    Returns:
        [N, C / parts, *spatial'] each.
    """
    if parts == 2 and not ops.cuts(style.shape[1]):
        (x,) = _finish_styled(branches, styled, 1, None, None)
        return modulate(x, style, parts)
    return _finish_styled(branches, styled, parts, style, None)


def finish_with_image(
    branches: Branches, styled: Styled, mix: Tensor, *, last: bool
) -> tuple[Tensor | None, Tensor]:
    """Join, resample, demodulate, add noise and bias, leaky ReLU scaled by sqrt(2); mix an image's channels.

    A single channel is computed in the same sweep, several by a matrix product after it.

    Args:
        branches: Outputs of modulated convolutions.
        styled: The rest.
        mix: Weight of every channel in every image channel, [N, O, C].
        last: Leave out the features.

    Returns:
        Features [N, C, *spatial'], or None, and the image [N, O, *spatial'].
    """
    if mix.shape[1] > 1:
        (x,) = _finish_styled(branches, styled, 1, None, None)
        return None if last else x, weighted_sums(x, mix)
    *features, image = _finish_styled(branches, styled, 0 if last else 1, None, mix[:, 0])
    return None if last else features[0], image


def _finish_styled(
    branches: Branches, styled: Styled, parts: int, style: Tensor | None, mix: Tensor | None
) -> tuple[Tensor, ...]:
    inputs, plan = planned(branches.joinable(), styled.filters)
    scale, shift = styled.demodulation * LEAKY_GAIN, styled.bias * LEAKY_GAIN
    noise_gain = styled.noise_strength * LEAKY_GAIN
    how = How(plan, parts, torch.is_grad_enabled())
    outs = _apply(how, scale, shift, styled.noise, noise_gain, style, mix, *inputs)
    return outs[: parts + (mix is not None)]


def _apply(how: How, *arguments: Tensor | None) -> tuple[Tensor, ...]:
    # Dense before it is saved: a copy made inside would cut second derivatives off.
    small = [None if x is None else x.contiguous() for x in arguments[:6]]
    outs: tuple[Tensor, ...] = Finish.apply(how, *small, *arguments[6:])  # type: ignore[no-untyped-call]
    return outs
