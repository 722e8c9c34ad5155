"""Fusion of depth views into a signed distance on a grid of voxels (Curless and Levoy 1996, "A volumetric method for building
complex models from range images", sections 3 and 5).

Each view tells of each voxel how far it is before the surface that the view sees there, in truncation distances and at most 1;
of what lies more than one behind it tells nothing. The voxel's value is the mean of what it is told, weighted by how frontally
the surface is seen. A voxel that no view tells anything of is inside: so the surface is closed, and what no view sees is filled.

Two things differ from the usual recipe. Distances are taken perpendicular to the surface, so that views at different angles
agree on them. And a voxel before the background is told its distance to the outline in the picture, not 1: beside a rim that
distance is nearly zero, and ones would eat the rim away.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from reconstruction.depth_views import DepthView
from reconstruction.surrounding_cameras import Extent

# Voxels around the extent, so that the surface never meets the grid's border.
_BORDER = 2
# Voxels worked on at a time.
_SLAB = 1 << 18


@dataclass(frozen=True, eq=False)
class VoxelGrid:
    """Where voxels are: cubes in rows along x, y and z."""

    origin: Float[np.ndarray, "3"]
    """Middle of the first voxel, world units."""
    edge: float
    """Of a voxel, world units."""
    shape: tuple[int, int, int]
    """Voxels along x, y and z."""

    @classmethod
    def around(cls, extent: Extent, resolution: int) -> "VoxelGrid":
        """So many voxels along the longest side of an extent, and two more on each side."""
        edge = extent.longest / resolution
        counts = np.ceil((extent.upper - extent.lower) / edge).astype(int) + 2 * _BORDER
        origin = extent.centre - 0.5 * edge * (counts - 1)
        return cls(origin, edge, (int(counts[0]), int(counts[1]), int(counts[2])))

    def middles(self, first: int, stop: int, like: Tensor) -> Float[Tensor, "n 3"]:
        """Middles of the voxels of some planes of x, world units, row-major."""
        axes = [torch.arange(count, device=like.device, dtype=like.dtype) for count in self.shape]
        index = torch.stack(torch.meshgrid(axes[0][first:stop], axes[1], axes[2], indexing="ij"), dim=-1)
        return index.reshape(-1, 3) * self.edge + like.new_tensor(self.origin)


def fuse(views: Iterable[DepthView], grid: VoxelGrid, truncation: float) -> Float[np.ndarray, "x y z"]:
    """The signed distance on a grid, in truncation distances: positive outside, −1 where nothing is seen.

    Args:
        views: taken one by one.
        grid: the voxels.
        truncation: truncation distance, world units.
    """
    planes = max(1, _SLAB // (grid.shape[1] * grid.shape[2]))
    sums: list[Tensor] = []
    weights: list[Tensor] = []
    starts = range(0, grid.shape[0], planes)
    for view in views:
        for number, first in enumerate(starts):
            points = grid.middles(first, min(first + planes, grid.shape[0]), view.depth)
            if number == len(sums):
                sums.append(torch.zeros(len(points), device=points.device))
                weights.append(torch.zeros(len(points), device=points.device))
            value, weight = _told(view, points, truncation)
            sums[number] += weight * value
            weights[number] += weight
    total, weight = torch.cat(sums), torch.cat(weights)
    return torch.where(weight > 0.0, total / weight.clamp(min=1e-12), -1.0).reshape(grid.shape).cpu().numpy()


def _told(
    view: DepthView, points: Float[Tensor, "n 3"], truncation: float
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """What a view tells of some points, in [−1, 1], and with which weight."""
    pixels, z = view.project(points)
    maps = torch.stack([view.alpha, view.depth, view.weight, view.clearance])
    alpha, depth, weight, clearance = sampled(maps, pixels)
    x = (pixels[:, 0] - view.lens.cx) / view.lens.fx
    y = (pixels[:, 1] - view.lens.cy) / view.lens.fy
    # Of planar z, along the ray, and perpendicular to the surface.
    before = (depth - z) * torch.sqrt(x * x + y * y + 1.0) * weight / truncation
    beside = clearance * z / view.lens.fx / truncation
    is_background = clearance > 0.0
    value = torch.where(is_background, beside, before).clamp(max=1.0)
    told = is_background | ((weight > 0.0) & (before > -1.0))
    return value, torch.where(told, torch.where(is_background, 1.0, weight), 0.0)


def sampled(maps: Float[Tensor, "c h w"], pixels: Float[Tensor, "n 2"]) -> Float[Tensor, "c n"]:
    """Bilinear values of maps at pixel coordinates, whose centres are at half-integers; 0 outside."""
    size = pixels.new_tensor([maps.shape[2], maps.shape[1]])
    places = (2.0 * pixels / size - 1.0)[None, None]
    return torch.nn.functional.grid_sample(maps[None], places, mode="bilinear", align_corners=False)[0, :, 0]
