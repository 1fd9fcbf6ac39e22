"""Inputs and outputs of the convolutions of `nn/conv_modules.py` between sweeps: halves, branches.

A convolution that is in no table here runs as a plain module, as one branch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from voxflate.nn.conv_modules import DepthwiseConv, ModulatedConv, SplitConv, SplitModulatedConv
from voxflate.nn.functional import demodulation, shared_conv
from voxflate.nn.fused import winograd
from voxflate.nn.fused.resampling import halves, resample
from voxflate.nn.fused.sweeps import Branches
from voxflate.nn.layers import EqualConv, Halving

Parts = tuple[Tensor, ...]


def parts_of(conv: nn.Module) -> int:
    """Number of parts into which a convolution needs its input channels split: 1 or 2."""
    return 2 if type(conv) in (SplitConv, SplitModulatedConv) else 1


def convolve(conv: nn.Module, inputs: Parts, down: Halving = "none") -> Branches:
    """A discriminator's convolution: its input in `parts_of` parts -> branches."""
    return _CONVS.get(type(conv), _whole)(conv, inputs, down)


def _whole(conv: nn.Module, inputs: Parts, down: Halving) -> Branches:
    return Branches((conv(inputs[0], down),))


def _equal(conv: EqualConv, inputs: Parts, down: Halving) -> Branches:
    return Branches((low_passed_conv(conv, inputs[0], down),))


def _depthwise(conv: DepthwiseConv, inputs: Parts, down: Halving) -> Branches:
    return Branches((conv.pointwise(low_passed_conv(conv.depthwise, inputs[0], down)),))


def _split(conv: SplitConv, inputs: Parts, down: Halving) -> Branches:
    outs = (low_passed_conv(b, half, down) for b, half in zip(conv.branches, inputs, strict=True))
    return Branches(tuple(outs), conv.shuffle)


_CONVS: dict[type[nn.Module], Callable[..., Branches]] = {
    EqualConv: _equal,
    DepthwiseConv: _depthwise,
    SplitConv: _split,
}


def low_passed_conv(conv: nn.Module, x: Tensor, down: Halving) -> Tensor:
    """An `EqualConv` with its low-pass as one sweep: [N, I, *spatial] -> [N, O, *spatial'].

    A subclass runs as a plain module.
    """
    if type(conv) is not EqualConv:
        plain: Tensor = conv(x, down)
        return plain
    if (low_pass := conv.low_pass(down)) is not None:
        x = resample(x, [low_pass] * (x.ndim - 2))
    if down == "none" and winograd.pays(x, conv.weight):
        return winograd.convolve(x, conv.weight * conv.gain)
    return conv.convolve(x, down)


def cut_for(conv: nn.Module, x: Tensor) -> Parts:
    """Features [N, I, *spatial] as input of a convolution, with an even number of channels if needed."""
    if type(conv) is SplitConv:
        return halves(conv.even_out(x))
    return (x,)


def modulated_convolve(
    conv: nn.Module, scaled: Parts, style: Tensor, up_stride: Sequence[int] | None
) -> tuple[Branches, Tensor]:
    """A generator's convolution, not yet demodulated.

    Args:
        conv: One of the classes in `MODULATED_CONVS`.
        scaled: The input times the style, in `parts_of` parts.
        style: [N, I].
        up_stride: As in `modulated_conv`.

    Returns:
        Branches, and the demodulation [N, O].
    """
    return MODULATED_CONVS[type(conv)](conv, scaled, style, up_stride)


def _modulated(
    conv: ModulatedConv, scaled: Parts, style: Tensor, up_stride: Sequence[int] | None
) -> tuple[Branches, Tensor]:
    kernel = conv.weight * conv.gain
    if up_stride is None and winograd.pays(scaled[0], kernel):
        convolved = winograd.convolve(scaled[0], kernel)
    else:
        convolved = shared_conv(scaled[0], kernel, up_stride)
    return Branches((convolved,)), demodulation(kernel, style, conv.eps)


def _split_modulated(
    conv: SplitModulatedConv, scaled: Parts, style: Tensor, up_stride: Sequence[int] | None
) -> tuple[Branches, Tensor]:
    outs = [
        _modulated(branch, (half,), s, up_stride)  # type: ignore[arg-type]
        for branch, half, s in zip(conv.branches, scaled, style.chunk(2, dim=1), strict=True)
    ]
    factors = [factor for _, factor in outs]
    joined = torch.stack(factors, dim=-1).flatten(-2) if conv.shuffle else torch.cat(factors, dim=-1)
    return Branches(tuple(branches.parts[0] for branches, _ in outs), conv.shuffle), joined


MODULATED_CONVS: dict[type[nn.Module], Callable[..., tuple[Branches, Tensor]]] = {
    ModulatedConv: _modulated,
    SplitModulatedConv: _split_modulated,
}
