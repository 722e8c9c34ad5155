"""The files of an object's splatter images: a PLY per view, their fusion, and one tensor; no Blender is needed for them."""

from collections.abc import Sequence
from math import isqrt
from pathlib import Path

import numpy as np
from jaxtyping import Float16
from safetensors.numpy import save_file

from geometry.gaussians import Gaussians
from geometry.ply import read_ply, write_ply

FUSED = "fused.ply"


def view_path(folder: Path, number: int) -> Path:
    """Where a view's Gaussians lie."""
    return folder / f"splatter_{number}.ply"


def write_splatter_files(folder: Path, views: Sequence[Gaussians], fused: Gaussians) -> None:
    """Write `splatter_{i}.ply`, `fused.ply` and `splatter.safetensors`, (views, 14, H, W) as float16.

    Args:
        folder: the object's.
        views: of each view the Gaussians of a square picture, one per pixel and row-major.
        fused: of all views together.
    """
    for number, view in enumerate(views):
        write_ply(view_path(folder, number), view)
    write_ply(folder / FUSED, fused)
    # The file holds the memory as it lies, so it must lie in the order of the axes.
    tensor = np.ascontiguousarray(np.stack([_channels(view) for view in views]))
    save_file({"splatter": tensor}, folder / "splatter.safetensors")


def read_splatter_images(folder: Path, count: int) -> list[Gaussians]:
    """The Gaussians of each view.

    Raises:
        InputError: when a file is absent or damaged.
    """
    return [read_ply(view_path(folder, number)) for number in range(count)]


def _channels(splats: Gaussians) -> Float16[np.ndarray, "14 h w"]:
    """A view's channels: position 3, opacity 1, linear scale 3, rotation wxyz 4, RGB 3."""
    side = isqrt(len(splats))
    columns = [splats.means, splats.opacities[:, None], splats.scales, splats.quaternions, splats.colours]
    return np.concatenate(columns, axis=1).T.reshape(14, side, side).astype(np.float16)
