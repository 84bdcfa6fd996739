"""ONNX models as bytes: as much of the format as writing takes, so that exporting needs no other package."""

from __future__ import annotations

import os
import struct
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

# TensorProto.DataType by Tenon's names
ELEMENT_TYPES: Dict[str, int] = {
    "f32": 1, "u8": 2, "i8": 3, "u16": 4, "i16": 5, "i32": 6, "i64": 7, "bool": 9, "f16": 10, "f64": 11, "u32": 12, "u64": 13,
    "bf16": 16, "f8e4m3": 17, "f8e4m3fnuz": 18, "f8e5m2": 19, "f8e5m2fnuz": 20,
}
OPSET = 23
_IR_VERSION = 10
_EXTERNAL_FROM = 1024  # bytes: what is smaller stays in the model


def _varint(n: int) -> bytes:
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: Union[str, bytes]) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(raw)) + raw


def _attribute(name: str, value: Any) -> bytes:
    if isinstance(value, (list, tuple)):
        if any(isinstance(v, float) for v in value):
            body = b"".join(_varint(7 << 3 | 5) + struct.pack("<f", v) for v in value) + _int(20, 6)
        else:
            body = b"".join(_int(8, int(v)) for v in value) + _int(20, 7)
    elif isinstance(value, float):
        body = _varint(2 << 3 | 5) + struct.pack("<f", value) + _int(20, 1)
    elif isinstance(value, str):
        body = _bytes(4, value) + _int(20, 3)
    else:
        body = _int(3, int(value)) + _int(20, 2)
    return _bytes(1, name) + body


def _value_info(name: str, dtype: str, shape: Sequence[Union[int, str]]) -> bytes:
    dims = b"".join(_bytes(1, _int(1, d) if isinstance(d, int) else _bytes(2, d)) for d in shape)
    tensor = _int(1, ELEMENT_TYPES[dtype]) + _bytes(2, dims)
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor))


class Model:
    """A model in the making.  external: a file that weights go to (open for writing); None: they are in the model."""

    def __init__(self, name: str, external: Optional[Any] = None) -> None:
        self.name, self.external = name, external
        self._nodes: List[bytes] = []
        self._weights: List[bytes] = []
        self._inputs: List[bytes] = []
        self._outputs: List[bytes] = []

    def node(self, op: str, inputs: Sequence[str], outputs: Sequence[str], name: str, attributes: Dict[str, Any]) -> None:
        self._nodes.append(_bytes(1, b"".join(
            [_bytes(1, i) for i in inputs] + [_bytes(2, o) for o in outputs] + [_bytes(3, name), _bytes(4, op)]
            + [_bytes(5, _attribute(k, v)) for k, v in attributes.items()])))

    def weight(self, name: str, dtype: str, shape: Sequence[int], data: bytes) -> None:
        head = b"".join(_int(1, d) for d in shape) + _int(2, ELEMENT_TYPES[dtype]) + _bytes(8, name)
        if self.external is None or len(data) < _EXTERNAL_FROM:
            self._weights.append(_bytes(5, head + _bytes(9, data)))
            return
        at = self.external.tell()
        self.external.write(data)
        where = (("location", os.path.basename(self.external.name)), ("offset", str(at)), ("length", str(len(data))))
        entries = b"".join(_bytes(13, _bytes(1, k) + _bytes(2, v)) for k, v in where)
        self._weights.append(_bytes(5, head + entries + _int(14, 1)))

    def input(self, name: str, dtype: str, shape: Sequence[Union[int, str]]) -> None:
        self._inputs.append(_bytes(11, _value_info(name, dtype, shape)))

    def output(self, name: str, dtype: str, shape: Sequence[Union[int, str]]) -> None:
        self._outputs.append(_bytes(12, _value_info(name, dtype, shape)))

    def to_bytes(self) -> bytes:
        graph = b"".join([*self._nodes, _bytes(2, self.name), *self._weights, *self._inputs, *self._outputs])
        return _int(1, _IR_VERSION) + _bytes(2, "tenon.torch") + _bytes(7, graph) + _bytes(8, _bytes(1, "") + _int(2, OPSET))


