"""A segmentation network in ONNX's format, written byte by byte: what is darker than its surroundings stands out.

Mean over the channels, then its negative: for rembg a network like any other, of 300 bytes. The fields and their numbers are
those of onnx/onnx `onnx.proto`.
"""

from pathlib import Path

_VARINT, _BYTES = 0, 2
_FLOAT, _INT, _INTS = 1, 2, 7


def write_darkness_network(path: Path, size: int) -> None:
    """A network from (1, 3, size, size) to (1, 1, size, size)."""
    mean = _node("ReduceMean", "picture", "mean", _ints("axes", 1) + _int("keepdims", 1))
    graph = _message(1, mean) + _message(1, _node("Neg", "mean", "mask")) + _text(2, "darkness")
    graph += _message(11, _tensor("picture", 1, 3, size, size)) + _message(12, _tensor("mask", 1, 1, size, size))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_number(1, 8) + _message(7, graph) + _message(8, _text(1, "") + _number(2, 13)))


def _node(kind: str, given: str, made: str, attributes: bytes = b"") -> bytes:
    return _text(1, given) + _text(2, made) + _text(4, kind) + attributes


def _int(name: str, value: int) -> bytes:
    return _message(5, _text(1, name) + _number(3, value) + _number(20, _INT))


def _ints(name: str, value: int) -> bytes:
    return _message(5, _text(1, name) + _number(8, value) + _number(20, _INTS))


def _tensor(name: str, *shape: int) -> bytes:
    dimensions = b"".join(_message(1, _number(1, length)) for length in shape)
    return _text(1, name) + _message(2, _message(1, _number(1, _FLOAT) + _message(2, dimensions)))


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())


def _message(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(value)) + value


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
