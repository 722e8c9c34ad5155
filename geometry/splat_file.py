"""Gaussians as `.splat`: 32 bytes each, what browser viewers stream (the layout of antimatter15/splat).

A record is the position as three float32, the linear scales as three float32, RGB and opacity as bytes (255 is 1) and the
quaternion wxyz as bytes (q·128 + 128), little endian. There is no header, and harmonics have no place. Writers sort by
volume times opacity, largest first, so that a viewer that has only the start of the file shows the most.
"""

from pathlib import Path

import numpy as np

from geometry.gaussians import LEAST_LENGTH, Gaussians
from stage.errors import InputError
from stage.files import write_bytes

_RECORD = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])
_REMEDY = "write the file again, or give one in the 32-byte layout"


def write_splat(path: Path, gaussians: Gaussians) -> None:
    """Write Gaussians atomically, sorted; the same Gaussians give the same bytes.

    Colours are clipped to [0, 1] and rounded to 1/255, as opacities are; quaternions to 1/128. Harmonics are left out.
    """
    write_bytes(path, _records(gaussians.select(_largest_first(gaussians))).tobytes())


def read_splat(path: Path) -> Gaussians:
    """Read Gaussians, in the order of the file.

    Raises:
        InputError: when the file is absent, its size is no multiple of 32 bytes, or it holds a position that is not
            finite, a scale that is not positive or a quaternion of zeros; the message names file, field and row.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    data = path.read_bytes()
    if len(data) % _RECORD.itemsize:
        raise InputError(f"{path}: {len(data)} bytes are no multiple of {_RECORD.itemsize}, one Gaussian's", _REMEDY)
    records = np.frombuffer(data, dtype=_RECORD)
    rotations = (records["rotation"].astype(np.float64) - 128.0) / 128.0
    _require(path, np.isfinite(records["position"]).all(axis=1), "position is not finite")
    _require(path, (np.isfinite(records["scale"]) & (records["scale"] > 0.0)).all(axis=1), "scale is not positive")
    _require(path, np.linalg.norm(rotations, axis=1) > LEAST_LENGTH, "rotation is all zero")
    rgba = records["rgba"] / 255.0
    return Gaussians(records["position"], rotations, records["scale"], rgba[:, 3], rgba[:, :3])


def _records(gaussians: Gaussians) -> np.ndarray:
    records = np.empty(len(gaussians), dtype=_RECORD)
    records["position"] = gaussians.means
    records["scale"] = gaussians.scales
    records["rgba"][:, :3] = np.rint(gaussians.colours.clip(0.0, 1.0) * 255.0)
    records["rgba"][:, 3] = np.rint(gaussians.opacities * 255.0)
    records["rotation"] = np.rint(gaussians.quaternions * 128.0 + 128.0).clip(0.0, 255.0)
    return records


def _largest_first(gaussians: Gaussians) -> np.ndarray:
    """Indices by falling volume times opacity; of equals the first comes first."""
    weight = gaussians.scales.astype(np.float64).prod(axis=1) * gaussians.opacities
    return np.argsort(-weight, kind="stable")


def _require(path: Path, good: np.ndarray, complaint: str) -> None:
    bad = np.flatnonzero(~good)
    if bad.size:
        raise InputError(f"{path}: {complaint} in {bad.size} rows, first in row {bad[0]}", _REMEDY)
