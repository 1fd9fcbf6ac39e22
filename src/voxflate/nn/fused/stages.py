"""The fused stages: the plain modules' forward passes with sweeps between the convolutions.

Each takes the plain module itself, so parameters, their names and snapshots are the same. `why_not` tells in
one line what keeps a stage from being fused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from voxflate.nn.discriminator_blocks import SKIP_GAIN, DiscriminatorStage, Epilogue, FromImage
from voxflate.nn.functional import minibatch_std
from voxflate.nn.fused import build
from voxflate.nn.fused.convs import (
    MODULATED_CONVS,
    convolve,
    cut_for,
    modulated_convolve,
    parts_of,
)
from voxflate.nn.fused.ops import FEATURE_TYPES
from voxflate.nn.fused.resampling import fork, modulate, resample
from voxflate.nn.fused.sweeps import (
    Branches,
    Styled,
    finish,
    finish_image,
    finish_modulated,
    finish_with_image,
)
from voxflate.nn.generator_blocks import StyledConv, SynthesisStage, ToImage, skip_filters
from voxflate.nn.layers import EqualConv


def _synthesis_stage(
    stage: SynthesisStage,
    x: Tensor,
    image: Tensor | None,
    ws: Sequence[Tensor],
    noise: Sequence[Tensor],
    mixing: Tensor | None,
) -> tuple[Tensor | None, Tensor]:
    style, parts = stage.conv1.affine(ws[-2]), parts_of(stage.conv1.conv)
    if stage.conv0 is None:
        scaled = modulate(x, style, parts)
    else:
        first = stage.conv0.affine(ws[0])
        convolved = _styled_conv(stage.conv0, modulate(x, first, parts), first, noise[0], mixing)
        scaled = finish_modulated(*convolved, style, parts)
    convolved = _styled_conv(stage.conv1, scaled, style, noise[-1], None)
    features, new = finish_with_image(*convolved, stage.to_image.mix(ws[-1]), last=stage.last)
    new = stage.to_image.add_bias(new)
    if image is not None:
        with torch.autocast(image.device.type, enabled=False):
            new = new + resample(image, skip_filters(image, mixing))
    return features, new


def _styled_conv(
    layer: StyledConv, scaled: tuple[Tensor, ...], style: Tensor, noise: Tensor, mixing: Tensor | None
) -> tuple[Branches, Styled]:
    """The convolution of a `StyledConv`, and the inputs of its sweep."""
    branches, demodulation = modulated_convolve(layer.conv, scaled, style, layer.strides)
    filters = layer.low_pass(mixing) if layer.strides is not None else ()
    return branches, Styled(filters, demodulation, noise, layer.noise_strength, layer.bias)


def _from_image(stage: FromImage, image: Tensor, positions: Tensor | None) -> Tensor:
    if stage.position is None and image.shape[1] == 1:
        return finish_image(image, stage.kernel(), stage.bias)
    return finish(Branches((stage.before_bias(image, positions),)), stage.bias)[0]


def _discriminator_stage(stage: DiscriminatorStage, x: Tensor) -> Tensor:
    parts = parts_of(stage.conv0)
    inputs, small = fork(x, parts)
    skip: Tensor = stage.skip(small)
    inputs = finish(convolve(stage.conv0, inputs), stage.bias0, parts=parts)
    (x,) = finish(convolve(stage.conv1, inputs, stage.down), stage.bias1, gain=SKIP_GAIN)
    return torch.add(x, skip, alpha=SKIP_GAIN)


def _epilogue(stage: Epilogue, x: Tensor, labels: Tensor | None = None) -> Tensor:
    inputs = cut_for(stage.conv, minibatch_std(x, stage.group))
    (x,) = finish(convolve(stage.conv, inputs), stage.bias)
    return stage.logits(x, labels)


def _why_not_synthesis(
    stage: SynthesisStage,
    x: Tensor,
    image: Tensor | None,
    ws: Sequence[Tensor],
    noise: Sequence[Tensor],
    mixing: Tensor | None,
) -> str:
    layers = [layer for layer in (stage.conv0, stage.conv1) if layer is not None]
    if own := [type(x).__name__ for x in (*layers, stage.to_image) if type(x) not in (StyledConv, ToImage)]:
        return f"its {own[0]} has no fused form"
    convs = [conv for layer in layers for conv in layer.conv.modules()]  # branches too
    if own := [type(x).__name__ for x in convs if type(x) not in (*MODULATED_CONVS, nn.ModuleList)]:
        return f"its convolution {own[0]} has no fused form"
    if any(one.requires_grad for one in noise):
        return "its noise needs a gradient; the kernels give none"
    return _why_not_noise_or_image([*noise, *([] if image is None else [image])])


def _why_not_from_image(stage: FromImage, image: Tensor, positions: Tensor | None) -> str:
    return _why_not_noise_or_image([image])


def _why_not_discriminator(stage: DiscriminatorStage, x: Tensor) -> str:
    skip = type(stage.skip)
    return "" if skip is EqualConv else f"its {skip.__name__} on the skip connection has no fused form"


def _nothing_more(stage: nn.Module, *inputs: object) -> str:
    return ""


class _Fused(NamedTuple):
    """A fused forward pass, and further reasons against fusing this kind of stage."""

    forward: Callable[..., Any]
    why_not: Callable[..., str] = _nothing_more


STAGES: dict[type[nn.Module], _Fused] = {
    SynthesisStage: _Fused(_synthesis_stage, _why_not_synthesis),
    FromImage: _Fused(_from_image, _why_not_from_image),
    DiscriminatorStage: _Fused(_discriminator_stage, _why_not_discriminator),
    Epilogue: _Fused(_epilogue),
}
"""The stages that can be fused, by the class of the plain module; a subclass may compute something else."""


def why_not(stage: nn.Module, *inputs: Any) -> str:
    """Why a stage cannot be fused for these inputs, in one line; empty if it can.

    Args:
        stage: A plain module.
        inputs: Inputs of its forward pass; the first is features or the image.
    """
    if type(stage) not in STAGES:
        return f"{type(stage).__name__} has no fused form"
    return (
        _why_not_features(inputs[0])
        or _why_not_module(stage)
        or STAGES[type(stage)].why_not(stage, *inputs)
        or build.kernels().problem
    )


def _why_not_features(x: Tensor) -> str:
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        return "it is being exported or compiled"
    if x.device.type != "cpu":
        return f"it runs on {x.device.type}; the kernels are for CPUs"
    if x.dtype not in FEATURE_TYPES:
        return f"its features are {_name(x.dtype)}; the kernels take float32 and bfloat16"
    if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") not in FEATURE_TYPES:
        return f"it runs in {_name(torch.get_autocast_dtype('cpu'))}; the kernels take float32 and bfloat16"
    return ""


def _why_not_module(stage: nn.Module) -> str:
    """Refuse hooks: a fused stage would bypass them."""
    for module in stage.modules():
        if (
            module._forward_hooks
            or module._forward_pre_hooks
            or module._backward_hooks
            or module._backward_pre_hooks
        ):
            return f"a hook is attached to its {type(module).__name__}"
        for parameter in module._parameters.values():
            if parameter is not None and parameter.dtype != torch.float32:
                return f"its parameters are {_name(parameter.dtype)}; the kernels take float32"
    return ""


def _why_not_noise_or_image(tensors: Iterable[Tensor]) -> str:
    """Noise and images must be float32 on the CPU."""
    for tensor in tensors:
        if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            return f"its noise or image is {_name(tensor.dtype)} on {tensor.device}; the kernels take float32"
    return ""


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
