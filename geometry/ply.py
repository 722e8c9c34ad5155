"""Gaussians on disk: the PLY layout of 3D Gaussian Splatting, float32 little endian, 56 bytes per Gaussian.

Properties: x y z, f_dc_0..2 = (rgb − 0.5) / 0.28209479177387814 (the constant spherical harmonic), opacity as a
logit, scale_0..2 as logarithms, rot_0..3 wxyz (Kerbl et al. 2023 and the viewers that read their files). Normals,
which the original writes as zeros, are left out; readers look properties up by name. The file has the order of the
arrays, so that of a splatter view is row-major.
"""

from pathlib import Path

import numpy as np
import plyfile
from jaxtyping import Float

from geometry.gaussians import Gaussians
from stage.errors import InputError
from stage.files import replacing

# 1 / (2√π), the value of the spherical harmonic of degree 0.
_SH_C0 = 0.28209479177387814
# The logit of 0 and 1 is infinite; this far from them it is ±13.8, and still a number that float32 tells from 1.
_OPACITY_MARGIN = 1e-6

_POSITIONS = ("x", "y", "z")
_COLOURS = ("f_dc_0", "f_dc_1", "f_dc_2")
_SCALES = ("scale_0", "scale_1", "scale_2")
_ROTATIONS = ("rot_0", "rot_1", "rot_2", "rot_3")
PROPERTIES = (*_POSITIONS, *_COLOURS, "opacity", *_SCALES, *_ROTATIONS)
_REMEDY = "write the file again, or give one in the 3D Gaussian Splatting layout"


def write_ply(path: Path, gaussians: Gaussians) -> None:
    """Write Gaussians atomically; the same Gaussians give the same bytes.

    Opacities are clamped to [1e-6, 1 − 1e-6], because the file holds logits.
    """
    with replacing(path) as temporary:
        element = plyfile.PlyElement.describe(_vertices(gaussians), "vertex")
        plyfile.PlyData([element], text=False, byte_order="<").write(str(temporary))


def read_ply(path: Path) -> Gaussians:
    """Read Gaussians of any writer of the layout; properties beyond it (normals, f_rest_*) are ignored.

    Quaternions are normalised, and colours clipped to [0, 1] as a picture would be: trained Gaussians leave both free.

    Raises:
        InputError: when the file is absent, cut short or no PLY, lacks a property or holds a value that is not finite;
            the message names the file and the property.
    """
    columns = _columns(path)
    try:
        # Values too large for float32 become infinite, which the check of Gaussians reports.
        with np.errstate(over="ignore"):
            return Gaussians(
                means=_stack(columns, _POSITIONS),
                quaternions=_stack(columns, _ROTATIONS),
                scales=np.exp(_stack(columns, _SCALES)),
                opacities=1.0 / (1.0 + np.exp(-columns["opacity"])),
                colours=np.clip(0.5 + _SH_C0 * _stack(columns, _COLOURS), 0.0, 1.0),
            )
    except InputError as error:
        raise InputError(f"{path}: {error}", _REMEDY) from error


def _vertices(gaussians: Gaussians) -> np.ndarray:
    """The structured array of the file, one record per Gaussian."""
    opacities = np.clip(gaussians.opacities.astype(np.float64), _OPACITY_MARGIN, 1.0 - _OPACITY_MARGIN)
    table = np.column_stack(
        [
            gaussians.means,
            (gaussians.colours.astype(np.float64) - 0.5) / _SH_C0,
            np.log(opacities) - np.log1p(-opacities),
            np.log(gaussians.scales.astype(np.float64)),
            gaussians.quaternions,
        ]
    )
    vertices = np.empty(len(gaussians), dtype=[(name, "<f4") for name in PROPERTIES])
    for index, name in enumerate(PROPERTIES):
        vertices[name] = table[:, index]
    return vertices


def _columns(path: Path) -> dict[str, Float[np.ndarray, " n"]]:
    """The properties of the layout, copied out of the file and checked one by one.

    They are float64, so that float32 values survive the way to the file and back.
    """
    vertices = _read_vertices(path)
    columns = {}
    for name in PROPERTIES:
        if name not in (vertices.dtype.names or ()):
            raise InputError(f"{path}: property {name} is missing", _REMEDY)
        if vertices.dtype[name].kind not in "fiu":
            raise InputError(f"{path}: property {name} is a list where one number is expected", _REMEDY)
        columns[name] = np.array(vertices[name], dtype=np.float64)
        bad = np.flatnonzero(~np.isfinite(columns[name]))
        if bad.size:
            raise InputError(
                f"{path}: property {name} is not finite in {bad.size} rows, first in row {bad[0]}", _REMEDY
            )
    return columns


def _read_vertices(path: Path) -> np.ndarray:
    """The records of the element `vertex`."""
    try:
        data = plyfile.PlyData.read(str(path))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (plyfile.PlyParseError, ValueError, OSError) as error:
        raise InputError(f"{path}: unreadable as PLY ({error})", _REMEDY) from error
    if "vertex" not in data:
        raise InputError(f"{path}: element vertex is missing", _REMEDY)
    vertices: np.ndarray = data["vertex"].data
    return vertices


def _stack(columns: dict[str, Float[np.ndarray, " n"]], names: tuple[str, ...]) -> Float[np.ndarray, "n k"]:
    return np.stack([columns[name] for name in names], axis=1)
