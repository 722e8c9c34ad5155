"""Checks on STL and PLY files before Blender sees them: how many faces they claim, and whether their vertices are finite.

Blender sets a coordinate that is not finite to 0 and says nothing.
"""

import re
import struct
from itertools import islice
from pathlib import Path

import numpy as np

_STL_HEADER = 84
_STL_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", 9), ("attributes", "<u2")])
_NOT_FINITE = re.compile(rb"^\s*vertex\s[^\n]*\b(nan|inf)", re.MULTILINE | re.IGNORECASE)
# A PLY header is text; what follows it may be anything.
_PLY_HEADER = 1 << 16
_BEYOND = 10**18
_PLY_TYPES = {
    b"char": "i1",
    b"uchar": "u1",
    b"short": "i2",
    b"ushort": "u2",
    b"int": "i4",
    b"uint": "u4",
    b"float": "f4",
    b"double": "f8",
    b"int8": "i1",
    b"uint8": "u1",
    b"int16": "i2",
    b"uint16": "u2",
    b"int32": "i4",
    b"uint32": "u4",
    b"float32": "f4",
    b"float64": "f8",
}


def stl_faces(path: Path) -> int:
    """Triangles of a binary STL file, whose size must agree with its count; 0 for a text file, or one that is damaged."""
    with path.open("rb") as stream:
        header = stream.read(_STL_HEADER)
    if len(header) < _STL_HEADER:
        return 0
    faces: int = struct.unpack_from("<I", header, _STL_HEADER - 4)[0]
    return faces if path.stat().st_size == _STL_HEADER + _STL_TRIANGLE.itemsize * faces else 0


def stl_is_finite(path: Path) -> bool:
    """Whether all corners of an STL file are finite."""
    if faces := stl_faces(path):
        triangles = np.memmap(path, dtype=_STL_TRIANGLE, mode="r", offset=_STL_HEADER, shape=(faces,))
        return bool(np.isfinite(triangles["corners"]).all())
    return not _NOT_FINITE.search(path.read_bytes())


def ply_faces(path: Path) -> int:
    """The larger of the numbers of faces and of a third of the vertices that a PLY header claims."""
    counts = {b"face": 0, b"vertex": 0}
    for line in _ply_header(path).splitlines():
        match line.split():
            case [b"element", (b"face" | b"vertex") as name, number] if number.isdigit():
                counts[name] = _count(number)
    return max(counts[b"face"], counts[b"vertex"] // 3)


def _count(number: bytes) -> int:
    """A number of a header, or one beyond all files in its place."""
    return int(number) if len(number) < len(str(_BEYOND)) else _BEYOND


def ply_is_finite(path: Path) -> bool:
    """Whether all vertices of a PLY file are finite, where they stand first and are plain numbers, as in all common files."""
    header = _ply_header(path)
    lines = [words for line in header.splitlines() if (words := line.split())]
    formats = [words[1] for words in lines if words[0] == b"format" and len(words) > 1]
    names, kinds, count = _first_element(lines)
    axes = [names.index(axis) for axis in (b"x", b"y", b"z") if axis in names]
    if len(axes) < 3 or not formats or not count:
        return True
    with path.open("rb") as stream:
        stream.seek(len(header))
        stream.readline()
        if formats[0] == b"ascii":
            text = b"".join(islice(stream, count))
            return not re.search(rb"\b(nan|inf)", text, re.IGNORECASE)
        order = ">" if formats[0] == b"binary_big_endian" else "<"
        dtype = np.dtype([(f"{number}", order + kind) for number, kind in enumerate(kinds)])
        vertices = np.fromfile(stream, dtype, min(count, path.stat().st_size // dtype.itemsize))
    return all(np.isfinite(vertices[f"{axis}"]).all() for axis in axes)


def _ply_header(path: Path) -> bytes:
    """The header up to and without the line break behind `end_header`."""
    with path.open("rb") as stream:
        before, end, _ = stream.read(_PLY_HEADER).partition(b"end_header")
    return before + end


def _first_element(lines: list[list[bytes]]) -> tuple[list[bytes], list[str], int]:
    """Names, types and number of the first element's properties; nothing unless it is vertices of plain numbers."""
    names: list[bytes] = []
    kinds: list[str] = []
    count = 0
    for words in lines:
        match words:
            case [b"element", name, number]:
                if count or name != b"vertex" or not number.isdigit():
                    break
                count = _count(number)
            case [b"property", kind, name] if count and kind in _PLY_TYPES:
                names.append(name)
                kinds.append(_PLY_TYPES[kind])
            case [b"property", *_] if count:
                return [], [], 0
    return names, kinds, count
