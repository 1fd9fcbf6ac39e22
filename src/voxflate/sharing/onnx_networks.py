"""Generators as ONNX graphs: from a latent code to a style code, from style codes and noise to a volume.

The graphs make one volume per call. So a style can be applied to the kernel (Eqs. 1-2 as written), and so can
the gain of the leaky ReLU, and every low-pass step is a matrix product along its axis: at full volume size,
little more than the convolutions remains (decision 0131).

To support another convolution of `STYLED_CONVS`, add its kernels to `_branches`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from voxflate._system.errors import VoxflateError
from voxflate.nn import Generator
from voxflate.nn.conv_modules import ModulatedConv, SplitModulatedConv
from voxflate.nn.dcgan import UpsamplingGenerator
from voxflate.nn.functional import LEAKY_GAIN, LEAKY_SLOPE
from voxflate.nn.generator import Synthesis
from voxflate.nn.generator_blocks import StyledConv, SynthesisStage, ToImage
from voxflate.nn.layers import EqualLinear
from voxflate.nn.mapping import Mapping
from voxflate.nn.resample import DOUBLE, Filter, LowPass, lowpass_matrix
from voxflate.sharing.onnx_file import Graph

Array = npt.NDArray[np.float32]


def mapping_graph(mapping: Mapping) -> bytes:
    """The mapping network without truncation: "z" [1, z_dim] -> "w" [1, w_dim].

    With labels there is a second input, "labels" [1, label_width].
    """
    graph = Graph("mapping")
    first: EqualLinear = mapping.layers[0]  # type: ignore[assignment]
    if mapping.embed is None:
        x = _pixel_norm(graph, graph.input("z", (1, first.weight.shape[1])))
    else:
        z_dim, label_width = mapping.embed.weight.shape
        x = _pixel_norm(graph, graph.input("z", (1, z_dim)))
        embedded = _linear(graph, graph.input("labels", (1, label_width)), mapping.embed)
        x = graph.add("Concat", x, _pixel_norm(graph, embedded), axis=1)
    for layer in mapping.layers:
        assert isinstance(layer, EqualLinear)
        x = graph.add("LeakyRelu", _linear(graph, x, layer, LEAKY_GAIN), alpha=LEAKY_SLOPE)
    graph.output(x, "w", (1, len(mapping.w_avg)))
    return graph.to_bytes()


def synthesis_graph(synthesis: Synthesis) -> bytes:
    """The synthesis network.

    Inputs are "ws" [1, num_ws, w_dim] and one "noise_0", "noise_1", ... [1, 1, *spatial] per entry of
    `noise_shapes`; the output is "volume" [1, image_channels, D, H, W].
    """
    graph = Graph("synthesis")
    stages: list[SynthesisStage] = list(synthesis.stages)  # type: ignore[arg-type]
    channels, w_dim = len(stages[0].to_image.bias), stages[0].to_image.affine.weight.shape[1]
    ws = graph.input("ws", (1, synthesis.num_ws, w_dim))
    noise = [
        graph.input(f"noise_{i}", (1, *shape)) for i, shape in enumerate(map(tuple, synthesis.noise_shapes()))
    ]
    styles = [
        graph.add("Gather", ws, graph.constant(np.array(i)), axis=1) for i in range(synthesis.num_ws)
    ]  # [1, w_dim] each
    x = graph.constant(_array(synthesis.const)[None])
    size = synthesis.base
    image, layer = "", 0
    for stage in stages:
        if stage.conv0 is not None:
            x = _up_conv(graph, stage.conv0, x, size, styles[layer], noise[layer])
            image = _resample(graph, image, size, [DOUBLE] * len(size))
            size = tuple(2 * side for side in size)
            layer += 1
        x = _same_conv(graph, stage.conv1, x, size, styles[layer], noise[layer])
        layer += 1
        new = _to_image(graph, stage.to_image, x, styles[layer])
        image = graph.add("Add", new, image) if image else new
    graph.output(image, "volume", (1, channels, *size))
    return graph.to_bytes()


def upsampling_graph(network: UpsamplingGenerator) -> bytes:
    """A comparison model's generator: "ws" [1, 1, z_dim], its code, -> "volume" [1, C, D, H, W]."""
    graph = Graph("synthesis")
    x = graph.add("Squeeze", graph.input("ws", (1, 1, network.z_dim)), graph.constant([1]))
    for layer in _flat(network.first):
        x = _plain_layer(graph, layer, x)
    for layer in _flat(network.tail):
        x = _plain_layer(graph, layer, x)
    channels = next(one.out_channels for one in reversed(_flat(network.tail)) if isinstance(one, nn.Conv3d))
    graph.output(x, "volume", (1, channels, *network.shape))
    return graph.to_bytes()


def graphs_of(network: nn.Module) -> dict[str, bytes]:
    """The ONNX files of a generator, by name: "mapping" if it has a mapping network, and "synthesis".

    Raises:
        VoxflateError: If this kind of generator has no ONNX graph.
    """
    if isinstance(network, Generator):
        return {
            "mapping": mapping_graph(network.mapping),
            "synthesis": synthesis_graph(network.synthesis),
        }
    if isinstance(network, UpsamplingGenerator):
        return {"synthesis": upsampling_graph(network)}
    raise VoxflateError(f"a generator of the class {type(network).__name__} cannot be exported to ONNX")


def _same_conv(graph: Graph, layer: StyledConv, x: str, size: Sequence[int], w: str, noise: str) -> str:
    """A styled convolution that keeps the size; its bias is part of the convolution."""
    kernel, groups, shuffle = _branches(layer.conv)
    weight = _modulated(graph, layer, kernel, w, inputs_axis=2)
    bias = _array(layer.bias) * LEAKY_GAIN
    if shuffle:  # the channels are still in the order of the branches here
        bias = bias.reshape(-1, groups).T.ravel()
    padding = [k // 2 for k in kernel.shape[3:]] * 2
    y = graph.add("Conv", x, weight, graph.constant(bias), group=groups, pads=padding)
    y = _shuffled(graph, y, groups, size) if shuffle else y
    return _activated(graph, layer, y, noise)


def _up_conv(graph: Graph, layer: StyledConv, x: str, size: Sequence[int], w: str, noise: str) -> str:
    """A styled up-convolution and its low-pass."""
    kernel, groups, shuffle = _branches(layer.conv)
    kernel = np.swapaxes(kernel, 1, 2)  # [groups, I, O, *k], the order of transposed convolutions
    weight = _modulated(graph, layer, kernel, w, inputs_axis=1)
    assert layer.strides is not None
    y = graph.add("ConvTranspose", x, weight, group=groups, strides=list(layer.strides))
    grown = [(n - 1) * s + k for n, s, k in zip(size, layer.strides, kernel.shape[3:], strict=True)]
    y = _shuffled(graph, y, groups, grown) if shuffle else y
    y = _resample(graph, y, grown, layer.low_pass(None))
    y = graph.add("Add", y, graph.constant(_per_channel(_array(layer.bias) * LEAKY_GAIN)))
    return _activated(graph, layer, y, noise)


def _activated(graph: Graph, layer: StyledConv, y: str, noise: str) -> str:
    """Noise and leaky ReLU; y already includes its bias and the activation's gain."""
    strength = graph.constant(_array(layer.noise_strength) * LEAKY_GAIN)
    y = graph.add("Add", y, graph.add("Mul", noise, strength))
    return graph.add("LeakyRelu", y, alpha=LEAKY_SLOPE)


def _branches(conv: nn.Module) -> tuple[Array, int, bool]:
    """Kernels of a styled convolution, [groups, O / groups, I / groups, *k]; groups; whether to shuffle."""
    if isinstance(conv, ModulatedConv):
        return _array(conv.weight)[None] * np.float32(conv.gain), 1, False
    if isinstance(conv, SplitModulatedConv):
        kernels = [_branches(branch)[0][0] for branch in conv.branches]
        return np.stack(kernels), len(kernels), conv.shuffle
    raise VoxflateError(f"the convolution {type(conv).__name__} cannot be exported to ONNX")


def _modulated(graph: Graph, layer: StyledConv, kernel: Array, w: str, inputs_axis: int) -> str:
    """The kernel for one style code (Eqs. 1-2), multiplied by the activation's gain, without its group axis.

    Args:
        graph: The graph to extend.
        layer: The layer of the kernel.
        kernel: [groups, O, I, *k], or [groups, I, O, *k].
        w: Style code, [1, w_dim].
        inputs_axis: Axis of I.
    """
    shape = [1] * kernel.ndim
    shape[0], shape[inputs_axis] = kernel.shape[0], kernel.shape[inputs_axis]
    style = graph.add("Reshape", _linear(graph, w, layer.affine), graph.constant(shape))
    modulated = graph.add("Mul", graph.constant(kernel), style)
    axes = [inputs_axis, *range(3, kernel.ndim)]
    energy = graph.add("ReduceSum", graph.add("Mul", modulated, modulated), graph.constant(axes), keepdims=1)
    eps = next(one.eps for one in layer.conv.modules() if isinstance(one, ModulatedConv))
    root = graph.add("Sqrt", graph.add("Add", energy, graph.constant(np.float32(eps))))
    gain = graph.add("Div", graph.constant(np.float32(LEAKY_GAIN)), root)
    final = [kernel.shape[0] * kernel.shape[1], *kernel.shape[2:]]
    return graph.add("Reshape", graph.add("Mul", modulated, gain), graph.constant(final))


def _to_image(graph: Graph, layer: ToImage, x: str, w: str) -> str:
    style = graph.add("Reshape", _linear(graph, w, layer.affine), graph.constant([1, -1, *_ones(layer)]))
    weight = graph.add("Mul", graph.constant(_array(layer.weight) * np.float32(layer.gain)), style)
    return graph.add("Conv", x, weight, graph.constant(_array(layer.bias)))


def _ones(layer: ToImage) -> list[int]:
    return [1] * (layer.weight.ndim - 2)


def _shuffled(graph: Graph, x: str, groups: int, size: Sequence[int]) -> str:
    """Interleave the channels of the branches."""
    split = graph.add("Reshape", x, graph.constant([groups, -1, int(np.prod(size))]))
    turned = graph.add("Transpose", split, perm=[1, 0, 2])
    return graph.add("Reshape", turned, graph.constant([1, -1, *size]))


def _resample(graph: Graph, x: str, size: Sequence[int], filters: Sequence[Filter]) -> str:
    """One low-pass step per axis of x [1, C, *size], each as a matrix product along its axis."""
    now = list(size)
    for axis, filter_ in enumerate(filters):
        assert isinstance(filter_, LowPass)  # only slice windows have matrices per sample
        matrix = lowpass_matrix(filter_, now[axis]).numpy()
        rest = int(np.prod(now[axis + 1 :]))
        if axis == len(now) - 1:
            flat = graph.add("Reshape", x, graph.constant([-1, now[axis]]))
            x = graph.add("MatMul", flat, graph.constant(matrix.T))
        else:
            flat = graph.add("Reshape", x, graph.constant([-1, now[axis], rest]))
            x = graph.add("MatMul", graph.constant(matrix), flat)
        now[axis] = len(matrix)
    return graph.add("Reshape", x, graph.constant([1, -1, *now]))


def _linear(graph: Graph, x: str, layer: EqualLinear, gain: float = 1.0) -> str:
    """A linear layer without its activation; its output is multiplied by `gain`."""
    weight = _array(layer.weight) * np.float32(layer.gain * gain)
    bias = _array(layer.bias) * np.float32(layer.lr_multiplier * gain)
    return graph.add("Gemm", x, graph.constant(weight), graph.constant(bias), transB=1)


def _pixel_norm(graph: Graph, z: str) -> str:
    square = graph.add("ReduceMean", graph.add("Mul", z, z), graph.constant([1]), keepdims=1)
    root = graph.add("Sqrt", graph.add("Add", square, graph.constant(np.float32(1e-8))))
    return graph.add("Div", z, root)


def _flat(module: nn.Module) -> list[nn.Module]:
    return [one for one in module.modules() if not isinstance(one, nn.Sequential)]


def _plain_layer(graph: Graph, layer: nn.Module, x: str) -> str:
    """One layer of an `UpsamplingGenerator`."""
    match layer:
        case nn.Linear():
            weights = graph.constant(_array(layer.weight)), graph.constant(_array(layer.bias))
            return graph.add("Gemm", x, *weights, transB=1)
        case nn.Unflatten():
            return graph.add("Reshape", x, graph.constant([1, *layer.unflattened_size]))
        case nn.ConvTranspose3d():
            return graph.add("ConvTranspose", x, graph.constant(_array(layer.weight)))
        case nn.Conv3d():
            return graph.add("Conv", x, graph.constant(_array(layer.weight)), pads=[1] * 6)
        case nn.BatchNorm3d():
            return _normalised(graph, layer, x)
        case nn.ReLU():
            return graph.add("Relu", x)
        case nn.Tanh():
            return graph.add("Tanh", x)
        case nn.Upsample():
            scales = graph.constant(np.array([1, 1, 2, 2, 2], np.float32))
            nearest = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            return graph.add("Resize", x, "", scales, mode="nearest", **nearest)
        case _:
            raise VoxflateError(f"the layer {type(layer).__name__} cannot be exported to ONNX")


def _normalised(graph: Graph, layer: nn.BatchNorm3d, x: str) -> str:
    """Batch normalisation with its running statistics: a scale and a shift per channel."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    scale = _array(layer.weight) / np.sqrt(_array(layer.running_var) + layer.eps)
    shift = _array(layer.bias) - _array(layer.running_mean) * scale
    scaled = graph.add("Mul", x, graph.constant(_per_channel(scale)))
    return graph.add("Add", scaled, graph.constant(_per_channel(shift)))


def _per_channel(values: Array) -> Array:
    return values.reshape(1, -1, 1, 1, 1)


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().cpu().numpy(), np.float32)
