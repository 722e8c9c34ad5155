"""Splatter images as one tensor: `splatter.safetensors`, float16 (views, 14, H, W) under the name `splatter`.

Channels: position 3, opacity 1, linear scale 3, rotation wxyz 4, RGB 3; row-major, one Gaussian a pixel. It is what
Zero-1-to-G's loader makes of `splatter_{0..5}.ply` (mengxuyiGit/LGM, `core/dataset_v4_code.py`), and tiled three rows by
two columns what its `splatters_mv.pt` holds. Harmonics have no channel. Beside it lie the views' cameras: `c2w`, float64
(views, 4, 4), OpenGL axes, and `intrinsics`, float64 (views, 4): fx, fy, cx, cy in pixels of the views.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float16, Float32, Float64
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from geometry.gaussians import LEAST_LENGTH, Gaussians
from geometry.ply import read_ply
from stage.errors import InputError
from stage.files import replacing

CHANNELS = (
    *("position x", "position y", "position z", "opacity", "scale x", "scale y", "scale z"),
    *("rotation w", "rotation x", "rotation y", "rotation z", "red", "green", "blue"),
)
_OPACITY, _SCALE, _ROTATION = slice(3, 4), slice(4, 7), slice(7, 11)
_NAME, _C2W, _INTRINSICS = "splatter", "c2w", "intrinsics"
# The least positive float16. Below 2⁻¹⁴ they are this far apart, above it 2⁻¹¹ of the value at most.
_LEAST_SCALE = 2.0**-24
_REMEDY = "make the splatter images again"


@dataclass(frozen=True, eq=False)
class SplatterCameras:
    """Where the views of splatter images stand."""

    c2w: Float64[np.ndarray, "v 4 4"]
    """Camera-to-world, OpenGL axes."""
    intrinsics: Float64[np.ndarray, "v 4"]
    """fx, fy, cx, cy in pixels of the views."""


@dataclass(frozen=True, eq=False)
class StoredSplatter:
    """The splatter images of an object."""

    channels: Float16[np.ndarray, "v 14 h w"]
    cameras: SplatterCameras | None
    """None in files that were written without."""


def write_splatter(
    path: Path, views: Sequence[Gaussians], height: int, width: int, cameras: SplatterCameras | None = None
) -> None:
    """Write the Gaussians of some views atomically; the same Gaussians give the same bytes.

    Values are rounded to the nearest float16: to 2⁻¹¹ of themselves, those below 2⁻¹⁴ to 2⁻²⁵. A scale below 2⁻²⁴ becomes
    2⁻²⁴, so that none is zero.

    Args:
        path: the file.
        views: H·W Gaussians each, row-major.
        height: H, pixels.
        width: W, pixels.
        cameras: of the views.

    Raises:
        InputError: when a view has another number of Gaussians, or a value that float16 cannot hold.
    """
    channels = np.stack([channels_from_gaussians(view, height, width) for view in views])
    channels[:, _SCALE] = np.maximum(channels[:, _SCALE], _LEAST_SCALE)
    with np.errstate(over="ignore"):
        stored = channels.astype(np.float16)
    _require(str(path), np.isfinite(stored), "is beyond float16")
    tensors = {_NAME: stored}
    if cameras is not None:
        tensors |= {_C2W: cameras.c2w.astype(np.float64), _INTRINSICS: cameras.intrinsics.astype(np.float64)}
    with replacing(path) as temporary:
        # The file holds the memory as it lies, so it must lie in the order of the axes.
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, temporary)


def read_splatter(path: Path) -> StoredSplatter:
    """The splatter images of a file.

    Raises:
        InputError: when the file is absent, or as `parse_splatter`.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return parse_splatter(path.read_bytes(), str(path))


def parse_splatter(data: bytes, place: str) -> StoredSplatter:
    """The splatter images of a file's bytes; `gaussians_from_channels` makes Gaussians of one view's channels.

    Args:
        data: of `splatter.safetensors`.
        place: where they come from, for messages.

    Raises:
        InputError: when they are damaged or something else, or a value is not finite or out of its range; the message names
            view, channel and pixel.
    """
    tensors = _load(data, place)
    channels = tensors[_NAME]
    if channels.ndim != 4 or channels.shape[1] != len(CHANNELS) or channels.dtype != np.float16:
        found = f"{channels.dtype} {channels.shape}"
        raise InputError(f"{place}: tensor {_NAME} is {found} where float16 (views, 14, H, W) is expected", _REMEDY)
    _require(place, np.isfinite(channels), "is not finite")
    opacity, scale = channels[:, _OPACITY], channels[:, _SCALE]
    _require(place, (opacity >= 0.0) & (opacity <= 1.0), "lies outside [0, 1]", _OPACITY.start)
    _require(place, scale > 0.0, "is not positive", _SCALE.start)
    length = np.linalg.norm(channels[:, _ROTATION].astype(np.float64), axis=1, keepdims=True)
    _require(place, length > LEAST_LENGTH, "begins a rotation of zeros", _ROTATION.start)
    return StoredSplatter(channels, _cameras(tensors, len(channels), place))


def read_view_ply(path: Path, side: int | None = None) -> Gaussians:
    """The Gaussians of a square view's `splatter_{i}.ply`, one a pixel, row-major.

    Args:
        path: the file.
        side: of the view, pixels; any by default.

    Raises:
        InputError: as `read_ply`, and when there is not one Gaussian for every pixel.
    """
    gaussians = read_ply(path)
    try:
        side = side_of(gaussians) if side is None else side
        check_view(gaussians, side, side)
    except InputError as error:
        raise InputError(f"{path}: {error}", _REMEDY) from error
    return gaussians


def channels_from_gaussians(gaussians: Gaussians, height: int, width: int) -> Float32[np.ndarray, "14 h w"]:
    """The channels of one view's Gaussians; harmonics are left out.

    Raises:
        InputError: when there are not H·W of them.
    """
    check_view(gaussians, height, width)
    opacities = gaussians.opacities[:, None]
    columns = [gaussians.means, opacities, gaussians.scales, gaussians.quaternions, gaussians.colours]
    return np.concatenate(columns, axis=1).T.reshape(len(CHANNELS), height, width)


def gaussians_from_channels(channels: Float[np.ndarray, "14 h w"]) -> Gaussians:
    """One view's Gaussians, row-major; quaternions are normalised.

    Raises:
        InputError: when a value is not finite or out of its range.
    """
    table = channels.reshape(len(CHANNELS), -1).T
    return Gaussians(
        means=table[:, :3],
        quaternions=table[:, _ROTATION],
        scales=table[:, _SCALE],
        opacities=table[:, 3],
        colours=table[:, 11:],
    )


def side_of(gaussians: Gaussians) -> int:
    """Width and height of the square view that Gaussians are, pixels.

    Raises:
        InputError: when their number is no square.
    """
    side = isqrt(len(gaussians))
    if side * side != len(gaussians):
        raise InputError(f"{len(gaussians)} Gaussians are no square view: {side}² is {side * side}")
    return side


def check_view(gaussians: Gaussians, height: int, width: int) -> None:
    """Raise an InputError when there is not one Gaussian for every pixel of a view."""
    if len(gaussians) != height * width:
        raise InputError(f"{len(gaussians)} Gaussians where a view of {height}×{width} pixels has {height * width}")


def grid_from_views(views: Float[np.ndarray, "v c h w"], columns: int = 2) -> Float[np.ndarray, "c gh gw"]:
    """Views tiled row by row into one picture, 3 × 2 of six as Zero-1-to-G stores them.

    Raises:
        InputError: when the last row would not be full.
    """
    count, channels, height, width = views.shape
    rows = count // columns
    if count == 0 or rows * columns != count:
        raise InputError(f"{count} views do not fill rows of {columns}")
    tiles = views.reshape(rows, columns, channels, height, width)
    return tiles.transpose(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)


def views_from_grid(
    grid: Float[np.ndarray, "c gh gw"], rows: int = 3, columns: int = 2
) -> Float[np.ndarray, "v c h w"]:
    """The views of a tiled picture, row by row.

    Raises:
        InputError: when the picture cannot be cut into equal tiles.
    """
    channels, height, width = grid.shape
    if height % rows or width % columns:
        raise InputError(f"a picture of {height}×{width} cannot be cut into {rows}×{columns} tiles")
    tiles = grid.reshape(channels, rows, height // rows, columns, width // columns)
    return tiles.transpose(1, 3, 0, 2, 4).reshape(rows * columns, channels, height // rows, width // columns)


def _load(data: bytes, place: str) -> dict[str, np.ndarray]:
    try:
        tensors: dict[str, np.ndarray] = load(data)
    # NumPy has no bfloat16, which the reader meets with a KeyError.
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{place}: unreadable as safetensors ({error})", _REMEDY) from error
    if _NAME not in tensors:
        raise InputError(f"{place}: tensor {_NAME} is missing; there are {sorted(tensors)}", _REMEDY)
    return tensors


def _cameras(tensors: dict[str, np.ndarray], views: int, place: str) -> SplatterCameras | None:
    if _C2W not in tensors and _INTRINSICS not in tensors:
        return None
    for name, shape in ((_C2W, (views, 4, 4)), (_INTRINSICS, (views, 4))):
        found = tensors.get(name)
        if found is None or found.shape != shape or found.dtype != np.float64 or not np.isfinite(found).all():
            raise InputError(f"{place}: tensor {name} is no finite float64 {shape}", _REMEDY)
    return SplatterCameras(tensors[_C2W], tensors[_INTRINSICS])


def _require(place: str, good: np.ndarray, complaint: str, first_channel: int = 0) -> None:
    """Raise an InputError that names view, channel and pixel of the first value that is wrong."""
    bad = np.argwhere(~good)
    if len(bad):
        view, channel, row, column = bad[0]
        first = f"first in view {view}, row {row}, column {column}"
        name = CHANNELS[first_channel + channel]
        raise InputError(f"{place}: channel {name} {complaint} in {len(bad)} values of all channels, {first}", _REMEDY)
