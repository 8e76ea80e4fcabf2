"""The messages of ONNX that a graph of float32 needs, written as protobuf.

``onnx.proto`` (https://github.com/onnx/onnx) has the numbers of the fields. The package of that name would be needed
for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

IR_VERSION: Final = 8
OPSET: Final = 17
"""The first with LayerNormalization; what providers of accelerators know."""

VARINT, LENGTH, FIXED32 = 0, 2, 5  # how a field is encoded
DIGIT, MORE = 0x7F, 0x80  # of a number: seven bits, and whether others follow


class ElementType(IntEnum):
    """The types of tensors, ``TensorProto.DataType``."""

    FLOAT = 1
    INT64 = 7


class AttributeType(IntEnum):
    """The types of attributes, ``AttributeProto.AttributeType``."""

    FLOAT = 1
    INT = 2
    INTS = 7


Attribute = int | float | Sequence[int]


def model(graph: bytes) -> bytes:
    """Write a ``ModelProto``."""
    opset = _number(2, OPSET)
    return _number(1, IR_VERSION) + _text(2, "amanuensis") + _message(7, graph) + _message(8, opset)


def graph(
    nodes: Iterable[bytes], initializers: Iterable[bytes], inputs: Iterable[bytes], outputs: Iterable[bytes]
) -> bytes:
    """Write a ``GraphProto``."""
    parts = [(1, nodes), (5, initializers), (11, inputs), (12, outputs)]
    return _text(2, "whisper_encoder") + b"".join(
        _message(field, each) for field, messages in parts for each in messages
    )


def node(operator: str, inputs: Sequence[str], output: str, **attributes: Attribute) -> bytes:
    """Write a ``NodeProto``."""
    names = b"".join(_text(1, name) for name in inputs) + _text(2, output) + _text(3, output) + _text(4, operator)
    return names + b"".join(_message(5, _attribute(name, value)) for name, value in attributes.items())


def tensor(name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> bytes:
    """Write a ``TensorProto``."""
    kind = ElementType.FLOAT if values.dtype == np.float32 else ElementType.INT64
    dims = b"".join(_number(1, size) for size in values.shape)
    return dims + _number(2, kind) + _text(8, name) + _message(9, np.ascontiguousarray(values).tobytes())


def value(name: str, shape: Sequence[int]) -> bytes:
    """Write the ``ValueInfoProto`` of a float32 tensor."""
    dims = b"".join(_message(1, _number(1, size)) for size in shape)
    kind = _number(1, ElementType.FLOAT) + _message(2, dims)
    return _text(1, name) + _message(2, _message(1, kind))


def _attribute(name: str, content: Attribute) -> bytes:
    if isinstance(content, float):
        return _text(1, name) + _key(2, FIXED32) + np.float32(content).tobytes() + _number(20, AttributeType.FLOAT)
    if isinstance(content, int):
        return _text(1, name) + _number(3, content) + _number(20, AttributeType.INT)
    return _text(1, name) + b"".join(_number(8, each) for each in content) + _number(20, AttributeType.INTS)


def _message(field: int, content: bytes) -> bytes:
    return _key(field, LENGTH) + _varint(len(content)) + content


def _text(field: int, content: str) -> bytes:
    return _message(field, content.encode())


def _number(field: int, content: int) -> bytes:
    return _key(field, VARINT) + _varint(content)


def _key(field: int, encoding: int) -> bytes:
    return _varint(field << 3 | encoding)


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    digits = bytearray()
    while number > DIGIT:
        digits.append(number & DIGIT | MORE)
        number >>= 7
    digits.append(number)
    return bytes(digits)
