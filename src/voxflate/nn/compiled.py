"""Compiled kernels for the CPU: what lies between two convolutions, in one sweep over memory.

Optional. `kernels.cpp` is built with the machine's C++ compiler when it is first wanted (some six seconds)
and kept in the cache folder. Without a compiler, or with `use_kernels("plain")` or VOXFLATE_KERNELS=plain,
the PyTorch operations of `functional`, `resample` and `epilogue`, which define the results, do the same work.
Decision 0024 has the measurements.

Tensors here are rows, [N, *spatial, C] contiguous, without gradients; one or two spatial axes are read as a
volume of depth 1. These features are float32 or bfloat16; scales, noise, images and sums are float32, and so
is the arithmetic.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from voxflate._system.errors import VoxflateError
from voxflate._system.files import cache_folder, whole_file

log = logging.getLogger("voxflate")

MODES = ("auto", "plain")
FEATURE_TYPES = (torch.float32, torch.bfloat16)
SOURCE = Path(__file__).with_name("kernels.cpp")
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
BUILD_SECONDS = 120

_mode = "auto"


def use_kernels(mode: str) -> None:
    """Choose "auto" (compiled where it can be) or "plain" for the networks run from now on."""
    if mode not in MODES:
        raise VoxflateError(f"kernels: {mode!r} is not one of {', '.join(MODES)}")
    global _mode
    _mode = mode


def kernels_in_use() -> str:
    """Say what networks on the CPU run with: "compiled" or "plain"."""
    return "compiled" if _mode != "plain" and _library() is not None else "plain"


def usable(*features: Tensor, small: Sequence[Tensor] = ()) -> bool:
    """Say whether the kernels take these features, of one type, and these scales, noises and biases."""
    return (
        _mode != "plain"
        and features[0].dtype in FEATURE_TYPES
        and all(x.dtype == features[0].dtype and x.device.type == "cpu" for x in features)
        and all(x.dtype == torch.float32 and x.device.type == "cpu" for x in small)
        and _library() is not None
    )


def cuts(channels: int) -> bool:
    """Say whether `resample`, `finish` and `finish_backward` take and give halves of so many channels."""
    return channels % 16 == 0


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    """Load the kernels, after building them if need be; None, and one line of log, if that fails."""
    try:
        return ctypes.CDLL(str(_built()))
    except (OSError, VoxflateError, subprocess.SubprocessError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        log.warning("no compiled kernels, training runs on plain PyTorch: %s", reason)
        return None


def _built() -> Path:
    """The shared library for this source, compiler and processor."""
    if os.environ.get("VOXFLATE_KERNELS") == "plain":
        raise VoxflateError("VOXFLATE_KERNELS=plain")
    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise VoxflateError("there is no C++ compiler")
    # A home folder may be shared by machines of different processors.
    key = (SOURCE.read_bytes(), compiler, FLAGS, platform.machine(), _processor())
    name = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
    path = cache_folder() / "kernels" / f"{name}.so"
    if not path.exists():
        with whole_file(path) as temporary:
            command = [compiler, *FLAGS, str(SOURCE), "-o", str(temporary)]
            threaded = subprocess.run([*command, "-fopenmp"], capture_output=True, timeout=BUILD_SECONDS)
            if threaded.returncode:  # some compilers come without OpenMP: the kernels then use one thread
                subprocess.run(command, capture_output=True, timeout=BUILD_SECONDS, check=True)
    return path


def _processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


class Tables(NamedTuple):
    """A resampling of D, H and W: every output sample is a sum of at most four neighbouring input samples.

    Attributes:
        sizes: D, H, W of the input, then of the output.
        source: int32 [D' + H' + W', 4], which input samples.
        weight: float32 of the same shape; unused places hold 0.
        identity: int32 [3], 1 for an axis that stays as it is.
    """

    sizes: tuple[int, ...]
    source: Tensor
    weight: Tensor
    identity: Tensor


def make_tables(matrices: Sequence[Tensor | None], sizes: Sequence[int]) -> Tables:
    """Turn banded matrices [size', size], or None for an axis that stays, into tables."""
    missing = 3 - len(sizes)
    matrices, sizes = [None] * missing + list(matrices), [1] * missing + list(sizes)
    filled = [torch.eye(n) if matrix is None else matrix for matrix, n in zip(matrices, sizes, strict=True)]
    if 0 in sizes or not all(len(matrix) for matrix in filled):
        raise ValueError(f"the kernels take and give axes of one sample at least, got {list(sizes)}")
    # The largest four, non-zero ones first, in ascending order of position.
    rows = []
    for matrix in filled:
        wide = torch.nn.functional.pad(matrix, (0, max(0, 4 - matrix.shape[1])))
        order = (wide == 0).to(torch.int8).argsort(dim=1, stable=True)[:, :4]
        if any(int(row.nonzero().max() - row.nonzero().min()) > 3 for row in matrix if row.any()):
            raise ValueError("the kernels take at most 4 neighbouring input samples for an output sample")
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
        gain: Of the noise.
    """

    scale: Tensor
    shift: Tensor
    noise: Tensor | None = None
    gain: float = 0.0


class Finished(NamedTuple):
    """What `finish` gives.

    Attributes:
        features: [N, *spatial', C], its halves, or nothing.
        kept: x itself, [N, *spatial', C], where it was asked for.
        image: [N, *spatial'], where it was asked for.
    """

    features: list[Tensor]
    kept: Tensor | None
    image: Tensor | None


def resample(
    parts: Sequence[Tensor], tables: Tables, out_parts: int = 1, addend: Sequence[Tensor] = ()
) -> list[Tensor]:
    """Join one or two branches by channel shuffle, resample, and add; or resample and deal the channels out.

    Args:
        parts: [N, *spatial, C / parts].
        tables: For the spatial axes.
        out_parts: 1, or 2 to deal the channels of one part out to branches.
        addend: What is added to the result: nothing, [N, *spatial', C], or its halves (if `cuts`).

    Returns:
        [N, *spatial', C / out_parts] for each part.
    """
    if len(parts) == out_parts == 2:  # joined and dealt out again
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
    """Join branches, resample, apply the epilogue, and begin with what follows.

    Args:
        parts: [N, *spatial, C / parts], one or two.
        tables: For the spatial axes.
        epilogue: Gives x.
        out_parts: Of the features: 1, 2 to cut their channels (if `cuts`), or 0 for none.
        style: What the channels of x are multiplied by for the features, [N, C].
        mix: Weights of the channels in an image, [N, C].
        keep: Also give x itself, where no features or others are asked for.
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
    """Room for features of the size behind a resampling, in `count` parts."""
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
    _call(
        "voxflate_finish",
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
        *_type_and_threads(parts[0]),
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
        grads: Of the features, whole or in halves (if `cuts`), or nothing.
        x: Whole or in halves.
        scale: Of the epilogue, [N, C].
        noise: Of the epilogue.
        style: As in `finish`.
        mix: As in `finish`.
        image_grad: Of the image, [N, *spatial].
        branches: 2 to deal the channels out.
        halves: 2 to cut them.

    Returns:
        The gradient in front of the scale, and sums [N, 5, C] over the voxels: of g, of g times the value
        before the leaky ReLU, of g times the noise, of the features' gradient times x, of the image's
        gradient times x. g is the gradient that arrives at x, times the slope.
    """
    n, channels = x[0].shape[0], x[0].shape[-1] * len(x)
    count = max(branches, halves)
    gs = [x[0].new_empty(*x[0].shape[:-1], channels // count) for _ in range(count)]
    sums = scale.new_empty(n, 5, channels)
    dealt, whole = (gs, ()) if branches == 2 else ((), gs)
    voxels = x[0].numel() * len(x) // max(1, n * channels)
    _call(
        "voxflate_finish_backward",
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
        *_type_and_threads(x[0]),
    )
    return gs, sums


def modulate(x: Tensor, style: Tensor | None, parts: int) -> list[Tensor]:
    """Scale the channels by style [N, C], or by 1, and cut them into one part or two halves."""
    outs = [x.new_empty(*x.shape[:-1], x.shape[-1] // parts) for _ in range(parts)]
    _call("voxflate_modulate", x, style, *_pair(outs), *_sizes(x))
    return outs


def modulate_backward(
    grads: Sequence[Tensor], x: Tensor, style: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Gradient of `modulate`: of x, and of the style [N, C] if there is one."""
    out = torch.empty_like(x)
    sums = None if style is None else torch.empty_like(style)
    _call("voxflate_modulate_backward", *_pair(grads), x, style, out, sums, *_sizes(x))
    return out, sums


def from_image(image: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """leaky_relu(weight image + bias): [N, *spatial] and [C] twice -> [N, *spatial, C] of this type."""
    out = image.new_empty(*image.shape, len(weight), dtype=dtype)
    _call("voxflate_from_image", image, weight, bias, out, *_sizes(out))
    return out


def from_image_backward(
    grad: Tensor, out: Tensor, image: Tensor, weight: Tensor, *, to_image: bool
) -> tuple[Tensor | None, Tensor]:
    """Gradient of `from_image`: of the image if asked, and [N, 2, C], of the weight and the bias."""
    sums = weight.new_empty(len(image), 2, len(weight))
    g_image = torch.empty_like(image) if to_image else None
    _call("voxflate_from_image_backward", grad, out, image, weight, g_image, sums, *_sizes(out))
    return g_image, sums


def to_image(x: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum over the channels, weight [N, C]: [N, *spatial, C] -> [N, *spatial]."""
    out = weight.new_empty(x.shape[:-1])
    _call("voxflate_to_image", x, weight, out, *_sizes(x))
    return out


def to_image_backward(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of `to_image`: of x and of the weight."""
    out, sums = torch.empty_like(x), torch.empty_like(weight)
    _call("voxflate_to_image_backward", grad, x, weight, out, sums, *_sizes(x))
    return out, sums


def _pair(parts: Sequence[Tensor]) -> tuple[Tensor | None, Tensor | None]:
    """Two pointers for up to two parts."""
    return (*parts, *(None,) * (2 - len(parts)))  # type: ignore[return-value]


def _halves(parts: Sequence[Tensor]) -> tuple[Tensor | None, Tensor | None]:
    """The same for one part or two halves of the channels."""
    assert len(parts) < 2 or cuts(2 * parts[0].shape[-1])
    return _pair(parts)


def _sizes(x: Tensor) -> tuple[object, ...]:
    n, channels = x.shape[0], x.shape[-1]
    voxels = x.numel() // max(1, n * channels)
    return (*map(ctypes.c_int64, (n, voxels, channels)), *_type_and_threads(x))


def _type_and_threads(features: Tensor) -> tuple[object, ...]:
    narrow = features.dtype == torch.bfloat16
    return ctypes.c_int(narrow), ctypes.c_int(torch.get_num_threads())


def _call(name: str, *arguments: object) -> None:
    """Call a kernel; tensors are passed as pointers, None as the null pointer."""
    converted: list[object] = []
    for value in arguments:
        if isinstance(value, Tensor):
            assert value.is_contiguous(), f"{name} takes contiguous tensors"
            converted.append(ctypes.c_void_p(value.data_ptr()))
        else:
            converted.append(value)
    library = _library()
    assert library is not None  # `usable` was asked before
    getattr(library, name)(*converted)
