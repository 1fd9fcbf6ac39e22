"""The compiled kernels as functions of tensors, without gradients.

Tensors here are rows, [N, *spatial, C] contiguous; one or two spatial axes are read as a volume of depth 1.
Features are float32 or bfloat16; scales, noise, images and sums are float32, and so is the arithmetic.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from voxflate.nn.fused import build

FEATURE_TYPES = (torch.float32, torch.bfloat16)
_SMALL_TYPES = (torch.float32, torch.int32, torch.int64)


def cuts(channels: int) -> bool:
    """Tell whether `resample`, `finish` and `finish_backward` support halves of so many channels."""
    return channels % 16 == 0


class Tables(NamedTuple):
    """A resampling of D, H and W: every output sample is a sum of at most four neighbouring input samples.

    Attributes:
        sizes: D, H, W of the input, then of the output.
        source: int32 [D' + H' + W', 4], indices of the input samples.
        weight: float32 of the same shape; unused entries are 0.
        identity: int32 [3], 1 for an axis that does not change.
    """

    sizes: tuple[int, ...]
    source: Tensor
    weight: Tensor
    identity: Tensor


def make_tables(matrices: Sequence[Tensor | None], sizes: Sequence[int]) -> Tables:
    """Turn banded matrices [size', size], or None for an unchanged axis, into tables."""
    missing = 3 - len(sizes)
    matrices, sizes = [None] * missing + list(matrices), [1] * missing + list(sizes)
    filled = [torch.eye(n) if matrix is None else matrix for matrix, n in zip(matrices, sizes, strict=True)]
    if 0 in sizes or not all(len(matrix) for matrix in filled):
        raise ValueError(f"the kernels take and give axes of at least one sample, got {list(sizes)}")
    # The largest four, non-zero ones first, in ascending order of position.
    rows = []
    for matrix in filled:
        wide = torch.nn.functional.pad(matrix, (0, max(0, 4 - matrix.shape[1])))
        order = (wide == 0).to(torch.int8).argsort(dim=1, stable=True)[:, :4]
        if any(int(row.nonzero().max() - row.nonzero().min()) > 3 for row in matrix if row.any()):
            raise ValueError("the kernels take at most 4 neighbouring input samples per output sample")
        rows.append((order.clamp(max=matrix.shape[1] - 1), wide.gather(1, order)))
    return Tables(
        sizes=(*sizes, *(len(matrix) for matrix in filled)),
        source=torch.cat([index for index, _ in rows]).to(torch.int32).contiguous(),
        weight=torch.cat([weight for _, weight in rows]).contiguous(),
        identity=torch.tensor([int(matrix is None) for matrix in matrices], dtype=torch.int32),
    )


class Epilogue(NamedTuple):
    """x = leaky_relu(scale value + gain noise + shift).

    Attributes:
        scale: [N, C].
        shift: [C].
        noise: [N, ...], or None.
        gain: Gain of the noise.
    """

    scale: Tensor
    shift: Tensor
    noise: Tensor | None = None
    gain: float = 0.0


class Finished(NamedTuple):
    """The result of `finish`.

    Attributes:
        features: [N, *spatial', C], its halves, or nothing.
        kept: x itself, [N, *spatial', C], if requested.
        image: [N, *spatial'], if requested.
    """

    features: list[Tensor]
    kept: Tensor | None
    image: Tensor | None


def resample(
    parts: Sequence[Tensor], tables: Tables, out_parts: int = 1, addend: Sequence[Tensor] = ()
) -> list[Tensor]:
    """Join one or two branches by channel shuffle, resample, and add; or resample and unshuffle the channels.

    Args:
        parts: [N, *spatial, C / parts].
        tables: For the spatial axes.
        out_parts: 1, or 2 to distribute the channels of one part to branches.
        addend: Added to the result: nothing, [N, *spatial', C], or its halves (if `cuts`).

    Returns:
        [N, *spatial', C / out_parts] for each part.
    """
    if len(parts) == out_parts == 2:  # joined and split again
        return [resample([part], tables)[0] for part in parts]
    outs = _outputs(parts, tables, out_parts)
    whole, branches = (outs, ()) if out_parts == 1 else ((), outs)
    _finish(parts, tables, whole=whole, branches=branches, addend=addend)
    return outs


def finish(
    parts: Sequence[Tensor],
    tables: Tables,
    epilogue: Epilogue,
    *,
    out_parts: int = 1,
    style: Tensor | None = None,
    mix: Tensor | None = None,
    keep: bool = False,
) -> Finished:
    """Join branches, resample, apply the epilogue, and start the next operation.

    Args:
        parts: [N, *spatial, C / parts], one or two.
        tables: For the spatial axes.
        epilogue: Computes x.
        out_parts: Parts of the features: 1, 2 to split their channels (if `cuts`), or 0 for none.
        style: Factor of x's channels for the features, [N, C].
        mix: Weights of the channels in an image, [N, C].
        keep: Also return x itself, if there are no features or others.
    """
    outs = _outputs(parts, tables, out_parts) if out_parts else []
    kept = _outputs(parts, tables, 1)[0] if keep else None
    n, spatial = parts[0].shape[0], _spatial(parts, tables)
    image = None if mix is None else mix.new_empty(n, *spatial)
    _finish(parts, tables, whole=outs, kept=kept, epilogue=epilogue, style=style, mix=mix, image=image)
    return Finished(outs, kept, image)


def _spatial(parts: Sequence[Tensor], tables: Tables) -> tuple[int, ...]:
    return tables.sizes[3:][-(parts[0].ndim - 2) :]


def _outputs(parts: Sequence[Tensor], tables: Tables, count: int) -> list[Tensor]:
    """Memory for features with the size after a resampling, in `count` parts."""
    n, channels = parts[0].shape[0], parts[0].shape[-1] * len(parts)
    return [parts[0].new_empty(n, *_spatial(parts, tables), channels // count) for _ in range(count)]


def _finish(
    parts: Sequence[Tensor],
    tables: Tables,
    *,
    whole: Sequence[Tensor] = (),
    branches: Sequence[Tensor] = (),
    kept: Tensor | None = None,
    addend: Sequence[Tensor] = (),
    epilogue: Epilogue | None = None,
    style: Tensor | None = None,
    mix: Tensor | None = None,
    image: Tensor | None = None,
) -> None:
    scale, shift, noise, gain = epilogue or (None, None, None, 0.0)
    sizes = torch.tensor([parts[0].shape[0], parts[0].shape[-1] * len(parts), *tables.sizes])
    call(
        "voxflate_finish",
        parts[0],
        *_pair(parts),
        *_pair(branches),
        *_halves(whole),
        kept,
        *_halves(addend),
        sizes,
        tables.source,
        tables.weight,
        tables.identity,
        scale,
        shift,
        noise,
        ctypes.c_float(gain),
        style,
        mix,
        image,
    )


def finish_backward(
    grads: Sequence[Tensor],
    x: Sequence[Tensor],
    scale: Tensor,
    *,
    noise: Tensor | None = None,
    style: Tensor | None = None,
    mix: Tensor | None = None,
    image_grad: Tensor | None = None,
    branches: int = 1,
    halves: int = 1,
) -> tuple[list[Tensor], Tensor]:
    """Gradient of `finish` without its resampling.

    Args:
        grads: Gradients of the features, whole or in halves (if `cuts`), or nothing.
        x: Whole or in halves.
        scale: Scale of the epilogue, [N, C].
        noise: Noise of the epilogue.
        style: As in `finish`.
        mix: As in `finish`.
        image_grad: Gradient of the image, [N, *spatial].
        branches: 2 to distribute the channels to branches.
        halves: 2 to split them into halves.

    Returns:
        The gradient before the scale, and sums [N, 5, C] over the voxels: of g, of g times the value
        before the leaky ReLU, of g times the noise, of the features' gradient times x, of the image's
        gradient times x. g is the gradient that arrives at x, times the slope.
    """
    n, channels = x[0].shape[0], x[0].shape[-1] * len(x)
    count = max(branches, halves)
    gs = [x[0].new_empty(*x[0].shape[:-1], channels // count) for _ in range(count)]
    sums = scale.new_empty(n, 5, channels)
    dealt, whole = (gs, ()) if branches == 2 else ((), gs)
    voxels = x[0].numel() * len(x) // max(1, n * channels)
    call(
        "voxflate_finish_backward",
        x[0],
        *_halves(grads),
        *_halves(x),
        image_grad,
        noise,
        scale,
        style,
        mix,
        *_pair(dealt),
        *_halves(whole),
        sums,
        *map(ctypes.c_int64, (n, voxels, channels)),
    )
    return gs, sums


def modulate(x: Tensor, style: Tensor | None, parts: int) -> list[Tensor]:
    """Scale the channels by style [N, C], or by 1, and cut them into one part or two halves."""
    outs = [x.new_empty(*x.shape[:-1], x.shape[-1] // parts) for _ in range(parts)]
    call("voxflate_modulate", x, x, style, *_pair(outs), *_sizes(x))
    return outs


def modulate_backward(
    grads: Sequence[Tensor], x: Tensor, style: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Gradient of `modulate`: of x, and of the style [N, C] if there is one."""
    out = torch.empty_like(x)
    sums = None if style is None else torch.empty_like(style)
    call("voxflate_modulate_backward", x, *_pair(grads), x, style, out, sums, *_sizes(x))
    return out, sums


def from_image(image: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """leaky_relu(weight image + bias): [N, *spatial] and [C] twice -> [N, *spatial, C] of this type."""
    out = image.new_empty(*image.shape, len(weight), dtype=dtype)
    call("voxflate_from_image", out, image, weight, bias, out, *_sizes(out))
    return out


def from_image_backward(
    grad: Tensor, out: Tensor, image: Tensor, weight: Tensor, *, to_image: bool
) -> tuple[Tensor | None, Tensor]:
    """Gradient of `from_image`: of the image if asked, and [N, 2, C], of the weight and the bias."""
    sums = weight.new_empty(len(image), 2, len(weight))
    g_image = torch.empty_like(image) if to_image else None
    call("voxflate_from_image_backward", out, grad, out, image, weight, g_image, sums, *_sizes(out))
    return g_image, sums


def to_image(x: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum over the channels, weight [N, C]: [N, *spatial, C] -> [N, *spatial]."""
    out = weight.new_empty(x.shape[:-1])
    call("voxflate_to_image", x, x, weight, out, *_sizes(x))
    return out


def to_image_backward(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of `to_image`: of x and of the weight."""
    out, sums = torch.empty_like(x), torch.empty_like(weight)
    call("voxflate_to_image_backward", x, grad, x, weight, out, sums, *_sizes(x))
    return out, sums


def _pair(parts: Sequence[Tensor]) -> tuple[Tensor | None, Tensor | None]:
    """Two pointers for one or two parts."""
    return (*parts, *(None,) * (2 - len(parts)))  # type: ignore[return-value]


def _halves(parts: Sequence[Tensor]) -> tuple[Tensor | None, Tensor | None]:
    """The same for one part or two halves of the channels."""
    assert len(parts) < 2 or cuts(2 * parts[0].shape[-1])
    return _pair(parts)


def _sizes(x: Tensor) -> tuple[object, ...]:
    n, channels = x.shape[0], x.shape[-1]
    voxels = x.numel() // max(1, n * channels)
    return tuple(map(ctypes.c_int64, (n, voxels, channels)))


_FEATURES = {
    "voxflate_finish": range(9),
    "voxflate_finish_backward": (0, 1, 2, 3, 9, 10, 11, 12),
    "voxflate_modulate": (0, 2, 3),
    "voxflate_modulate_backward": (0, 1, 2, 4),
    "voxflate_from_image": (3,),
    "voxflate_from_image_backward": (0, 1),
    "voxflate_to_image": (0,),
    "voxflate_to_image_backward": (1, 3),
    "voxflate_winograd": (0, 2),
    "voxflate_winograd_kernel": (0, 1),
}
"""Which arguments of each kernel are features; its other tensors are float32 or integers."""


def call(name: str, like: Tensor, *arguments: object) -> None:
    """Call a kernel with features of the type of `like`; tensors are passed as pointers, None as null.

    Raises:
        TypeError: If a tensor is not contiguous, or of a type that the kernel does not read.
    """
    library = build.kernels().library
    assert library is not None  # `stages` checks this first
    converted: list[object] = []
    for position, value in enumerate(arguments):
        if not isinstance(value, Tensor):
            converted.append(value)
            continue
        types = (like.dtype,) if position in _FEATURES[name] else _SMALL_TYPES
        if value.dtype not in types or not value.is_contiguous() or like.dtype not in FEATURE_TYPES:
            raise TypeError(f"{name}: argument {position} is {value.dtype} with strides {value.stride()}")
        converted.append(ctypes.c_void_p(value.data_ptr()))
    narrow = like.dtype == torch.bfloat16
    getattr(library, name)(*converted, ctypes.c_int(narrow), ctypes.c_int(torch.get_num_threads()))
