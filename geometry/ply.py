"""Gaussians on disk: the PLY layout of 3D Gaussian Splatting, float32 little endian.

Properties: x y z, f_dc_0..2 = (rgb − 0.5) / C₀ (the constant spherical harmonic), f_rest_* (the other harmonics: all of red,
then green, then blue), opacity as a logit, scale_0..2 as logarithms, rot_0..3 wxyz (Kerbl et al. 2023, `save_ply` of the
reference implementation, and the programs that read its files). The layout `inria` is that of `save_ply` to the byte, with
normals of zero after the position, as its own viewer wants them; `compact` leaves the normals out, as gsplat and LGM do: 56
bytes per Gaussian without harmonics. Readers look properties up by name. The file has the order of the arrays, so that
of a splatter view is row-major.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import plyfile
from jaxtyping import Float

from geometry.gaussians import HARMONIC_COUNTS, LEAST_LENGTH, Gaussians
from geometry.spherical_harmonics import CONSTANT_HARMONIC
from stage.errors import InputError
from stage.files import replacing

# The logit of 0 and 1 is infinite; this far from them it is ±13.9. A power of two, because float32 must hold 1 − it exactly:
# what was read is written as the same bytes.
_OPACITY_MARGIN = 2.0**-20

_POSITIONS = ("x", "y", "z")
_NORMALS = ("nx", "ny", "nz")
_COLOURS = ("f_dc_0", "f_dc_1", "f_dc_2")
_SCALES = ("scale_0", "scale_1", "scale_2")
_ROTATIONS = ("rot_0", "rot_1", "rot_2", "rot_3")
PROPERTIES = (*_POSITIONS, *_COLOURS, "opacity", *_SCALES, *_ROTATIONS)
_REMEDY = "write the file again, or give one in the 3D Gaussian Splatting layout"

_Columns = dict[str, Float[np.ndarray, " n"]]


def write_ply(path: Path, gaussians: Gaussians, layout: Literal["compact", "inria"] = "compact") -> None:
    """Write Gaussians atomically; the same Gaussians give the same bytes, also after reading them back.

    Opacities are clamped to [2⁻²⁰, 1 − 2⁻²⁰], because the file holds logits.

    Args:
        path: the file.
        gaussians: of any degree of harmonics.
        layout: `inria` with normals of zero, `compact` without.
    """
    element = plyfile.PlyElement.describe(_vertices(gaussians, layout), "vertex")
    with replacing(path) as temporary:
        plyfile.PlyData([element], text=False, byte_order="<").write(str(temporary))


def read_ply(path: Path) -> Gaussians:
    """Read Gaussians of any writer of the layout, in any order; properties beyond it, such as normals, are ignored.

    Quaternions are normalised. Colours are what the file holds: trained Gaussians leave [0, 1].

    Raises:
        InputError: when the file is absent, no PLY, cut short or longer than its header says, lacks a property, has a
            number of f_rest_* that no degree has, or holds a value that is not finite, a scale that float32 cannot
            hold or a quaternion of zeros; the message names the file, the property and the row.
    """
    vertices = _read_vertices(path)
    rest = _harmonic_names(path, vertices.dtype.names or ())
    columns = {name: _column(path, vertices, name) for name in (*PROPERTIES, *rest)}
    with np.errstate(over="ignore"):
        return Gaussians(
            means=_stack(columns, _POSITIONS),
            quaternions=_quaternions(path, columns),
            scales=_scales(path, columns),
            opacities=1.0 / (1.0 + np.exp(-columns["opacity"])),
            colours=0.5 + CONSTANT_HARMONIC * _stack(columns, _COLOURS),
            harmonics=_stack(columns, rest).reshape(len(vertices), 3, len(rest) // 3).transpose(0, 2, 1),
        )


def _vertices(gaussians: Gaussians, layout: Literal["compact", "inria"]) -> np.ndarray:
    """The structured array of the file, one record per Gaussian."""
    opacities = np.clip(gaussians.opacities.astype(np.float64), _OPACITY_MARGIN, 1.0 - _OPACITY_MARGIN)
    count = len(gaussians)
    rest = gaussians.harmonics.transpose(0, 2, 1).reshape(count, 3 * gaussians.harmonics.shape[1])
    columns: list[tuple[tuple[str, ...], np.ndarray]] = [
        (_POSITIONS, gaussians.means),
        (_NORMALS, np.zeros((count, 3))),
        (_COLOURS, (gaussians.colours.astype(np.float64) - 0.5) / CONSTANT_HARMONIC),
        (_rest_names(rest.shape[1]), rest),
        (("opacity",), (np.log(opacities) - np.log1p(-opacities))[:, None]),
        (_SCALES, np.log(gaussians.scales.astype(np.float64))),
        (_ROTATIONS, gaussians.quaternions),
    ]
    written = [(names, values) for names, values in columns if names != _NORMALS or layout == "inria"]
    vertices = np.empty(count, dtype=[(name, "<f4") for names, _ in written for name in names])
    for names, values in written:
        for index, name in enumerate(names):
            vertices[name] = values[:, index]
    return vertices


def _rest_names(count: int) -> tuple[str, ...]:
    return tuple(f"f_rest_{index}" for index in range(count))


def _harmonic_names(path: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    """The f_rest_* of a file, in the order of their numbers."""
    count = sum(name.startswith("f_rest_") for name in names)
    if count not in [3 * each for each in HARMONIC_COUNTS]:
        raise InputError(f"{path}: {count} properties f_rest_* where a degree has 0, 9, 24 or 45", _REMEDY)
    return _rest_names(count)


def _column(path: Path, vertices: np.ndarray, name: str) -> Float[np.ndarray, " n"]:
    """One property, copied out of the file and checked.

    It is float64, so that float32 values survive the way to the file and back.
    """
    if name not in (vertices.dtype.names or ()):
        raise InputError(f"{path}: property {name} is missing", _REMEDY)
    if vertices.dtype[name].kind not in "fiu":
        raise InputError(f"{path}: property {name} is a list where one number is expected", _REMEDY)
    values = np.array(vertices[name], dtype=np.float64)
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.astype(np.float32))
    _require(path, finite, f"property {name} is not finite")
    return values


def _scales(path: Path, columns: _Columns) -> Float[np.ndarray, "n 3"]:
    scales = np.exp(_stack(columns, _SCALES)).astype(np.float32)
    for name, scale in zip(_SCALES, scales.T, strict=True):
        _require(path, (scale > 0.0) & np.isfinite(scale), f"property {name} is no logarithm of a float32 scale")
    return scales


def _quaternions(path: Path, columns: _Columns) -> Float[np.ndarray, "n 4"]:
    quaternions = _stack(columns, _ROTATIONS)
    _require(path, np.linalg.norm(quaternions, axis=1) > LEAST_LENGTH, "properties rot_0 to rot_3 are all zero")
    return quaternions


def _require(path: Path, good: np.ndarray, complaint: str) -> None:
    """Raise an InputError that says in how many rows something is wrong, and in which first."""
    bad = np.flatnonzero(~good)
    if bad.size:
        raise InputError(f"{path}: {complaint} in {bad.size} rows, first in row {bad[0]}", _REMEDY)


def _read_vertices(path: Path) -> np.ndarray:
    """The records of the element `vertex`."""
    try:
        data = _parse(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    # What a corrupt header makes of NumPy's and Python's own functions is among them.
    except (plyfile.PlyParseError, ValueError, OSError, OverflowError, MemoryError, TypeError) as error:
        raise InputError(f"{path}: unreadable as PLY ({error})", _REMEDY) from error
    if "vertex" not in data:
        raise InputError(f"{path}: element vertex is missing", _REMEDY)
    vertices: np.ndarray = data["vertex"].data
    return vertices


def _parse(path: Path) -> plyfile.PlyData:
    """A whole PLY file.

    Raises:
        ValueError: also when data are left behind the last row.
    """
    with path.open("rb") as stream:
        data = plyfile.PlyData.read(stream)
        if not data.text:
            _expect_end(data, path.stat().st_size - stream.tell())
    if data.text:
        rows = sum(1 for line in path.read_bytes().partition(b"end_header")[2].splitlines()[1:] if line.strip())
        _expect_end(data, rows - sum(element.count for element in data.elements))
    return data


def _expect_end(data: plyfile.PlyData, left: int) -> None:
    if left > 0:
        counts = ", ".join(f"{element.count} of element {element.name}" for element in data.elements)
        raise ValueError(f"{left} {'lines' if data.text else 'bytes'} are left behind the header's rows: {counts}")


def _stack(columns: _Columns, names: tuple[str, ...]) -> Float[np.ndarray, "n k"]:
    count = len(columns["opacity"])
    return np.stack([columns[name] for name in names], axis=1) if names else np.zeros((count, 0))
