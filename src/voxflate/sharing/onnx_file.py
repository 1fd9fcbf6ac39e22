"""Writes ONNX models without the onnx package: a graph, its constants, and the bytes of the file.

An ONNX file is a protocol buffer. The few messages and field numbers used here are those of `onnx.proto3`,
which never change (decision 0131).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from voxflate._system.version import __version__

OPSET = 18
IR_VERSION = 8
"""Version of the file format; onnxruntime reads it from version 1.14 on."""

Attribute = int | float | str | Sequence[int]

_FLOAT, _INT64 = 1, 7
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_STRING, _ATTRIBUTE_INTS = 1, 2, 3, 7


class Graph:
    """A graph of operators, built from its inputs to its outputs; tensors are referred to by name.

    Args:
        name: Name of the graph.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self._count = 0

    def input(self, name: str, shape: Sequence[int]) -> str:
        """Declare a float32 input and return its name."""
        self._inputs.append(_value_info(name, shape))
        return name

    def output(self, tensor: str, name: str, shape: Sequence[int]) -> None:
        """Make a tensor an output of the model under another name."""
        self._nodes.append(_node("Identity", [tensor], name, {}))
        self._outputs.append(_value_info(name, shape))

    def constant(self, values: npt.ArrayLike) -> str:
        """Store an array as float32 or int64, and return the name of its tensor."""
        array = np.asarray(values)
        whole = array.dtype.kind in "iu"
        array = np.ascontiguousarray(array, "<i8" if whole else "<f4")
        name = self._new_name()
        dims = [_number(1, size) for size in np.shape(values)]
        kind = _number(2, _INT64 if whole else _FLOAT)
        self._constants.append(b"".join([*dims, kind, _text(8, name), _block(9, array.tobytes())]))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Attribute) -> str:
        """Append an operator with one output, and return the name of its output."""
        name = self._new_name()
        self._nodes.append(_node(operator, inputs, name, attributes))
        return name

    def to_bytes(self) -> bytes:
        """The file."""
        graph = b"".join(
            [
                *(_block(1, node) for node in self._nodes),
                _text(2, self._name),
                *(_block(5, constant) for constant in self._constants),
                *(_block(11, one) for one in self._inputs),
                *(_block(12, one) for one in self._outputs),
            ]
        )
        producer = _text(2, "voxflate") + _text(3, __version__)
        return _number(1, IR_VERSION) + producer + _block(7, graph) + _block(8, _number(2, OPSET))

    def _new_name(self) -> str:
        self._count += 1
        return f"t{self._count}"


def _node(operator: str, inputs: Iterable[str], output: str, attributes: dict[str, Attribute]) -> bytes:
    parts = [_text(1, name) for name in inputs] + [_text(2, output), _text(3, output), _text(4, operator)]
    return b"".join(parts + [_block(5, _attribute(name, value)) for name, value in attributes.items()])


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        kind, content = _ATTRIBUTE_FLOAT, _key(2, 5) + struct.pack("<f", value)
    elif isinstance(value, int):
        kind, content = _ATTRIBUTE_INT, _number(3, value)
    elif isinstance(value, str):
        kind, content = _ATTRIBUTE_STRING, _text(4, value)
    else:
        kind, content = _ATTRIBUTE_INTS, b"".join(_number(8, one) for one in value)
    return _text(1, name) + content + _number(20, kind)


def _value_info(name: str, shape: Sequence[int]) -> bytes:
    """Name and type of an input or output: float32 with a fixed shape."""
    dims = b"".join(_block(1, _number(1, size)) for size in shape)
    return _text(1, name) + _block(2, _block(1, _number(1, _FLOAT) + _block(2, dims)))


def _varint(value: int) -> bytes:
    """A number in groups of 7 bits, the lowest first; negative ones as 64-bit two's complement."""
    value &= 2**64 - 1
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


def _key(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _number(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value)


def _block(field: int, content: bytes) -> bytes:
    return _key(field, 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _block(field, text.encode())
