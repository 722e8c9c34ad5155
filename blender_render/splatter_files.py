"""The files of an object's splatter images: a PLY per view, their fusion, and one tensor; no Blender is needed for them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from blender_render.camera_sets import View
from geometry.gaussians import Gaussians
from geometry.ply import write_ply
from geometry.splatter_tensor import SplatterCameras, read_view_ply, side_of, write_splatter

FUSED = "fused.ply"


def view_path(folder: Path, number: int) -> Path:
    """Where a view's Gaussians lie."""
    return folder / f"splatter_{number}.ply"


def write_splatter_files(folder: Path, views: Sequence[Gaussians], fused: Gaussians, cameras: Sequence[View]) -> None:
    """Write `splatter_{i}.ply`, `fused.ply` and `splatter.safetensors`, (views, 14, H, W) as float16 with the cameras.

    Args:
        folder: the object's.
        views: of each view the Gaussians of a square picture, one per pixel and row-major.
        fused: of all views together.
        cameras: of the views.
    """
    for number, view in enumerate(views):
        write_ply(view_path(folder, number), view)
    write_ply(folder / FUSED, fused)
    side = side_of(views[0])
    write_splatter(folder / "splatter.safetensors", views, side, side, splatter_cameras(cameras))


def splatter_cameras(cameras: Sequence[View]) -> SplatterCameras:
    """Cameras as splatter tensors have them."""
    lenses = [view.intrinsics for view in cameras]
    return SplatterCameras(
        np.stack([view.c2w for view in cameras]).astype(np.float64),
        np.array([[lens.fx, lens.fy, lens.cx, lens.cy] for lens in lenses], dtype=np.float64),
    )


def read_splatter_images(folder: Path, count: int) -> list[Gaussians]:
    """The Gaussians of each view.

    Raises:
        InputError: when a file is absent or damaged.
    """
    return [read_view_ply(view_path(folder, number)) for number in range(count)]
