"""Fusion of depth views into a signed distance on a grid of voxels.

(Curless and Levoy 1996, "A volumetric method for building complex models from range images", sections 3 and 5.)

Each view tells of each voxel how far it is before the surface that the view sees there, perpendicular to that surface, in
truncation distances and at most 1; of what lies a voxel or more behind it tells nothing. The voxel's distance by depth is the
mean of what it is told, weighted by how frontally the surface is seen.

A view that sees background there tells the distance to the outline in its picture, and the largest that any view tells is the
voxel's distance by outlines: the object is no nearer. A voxel of which no view tells anything is inside, so that the surface is
closed and what no view sees is filled.
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
# Deeper than so many voxels behind a surface a view tells nothing, since beside an edge there is air. Less than 1 would leave
# gaps between what is told.
_BEHIND = 1.05
# The most frontal views decide.
_SHARPNESS = 3
# The distances by which the inset is told are less: near 1 they are cut off.
_WITHIN = 0.8
_INSET_QUANTILE = 0.75
# Fewer say nothing.
_LEAST_VOXELS = 32
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


@dataclass(frozen=True, eq=False)
class FusedDistances:
    """What views tell of the voxels of a grid, in truncation distances, positive outside."""

    by_depth: Float[np.ndarray, "x y z"]
    """At most 1; NaN where no view tells."""
    by_outlines: Float[np.ndarray, "x y z"]
    """In [0, 1]; 0 where every view sees the object."""

    def inset(self) -> float:
        """How far inside their outlines the surface lies that depth tells of, in truncation distances; 0 if it cannot be told.

        Before a part that bulges the outline in some view is that of the part itself, and the two distances of a voxel differ by
        the inset. Beside thin parts, which have less of it, they differ less, in hollows more. The upper quartile is nearly the
        inset, and where it is too much outlines hold the surface back.
        """
        chosen = (self.by_outlines > 0.0) & (self.by_outlines < _WITHIN) & (self.by_depth < _WITHIN)
        gaps = np.sort((self.by_depth - self.by_outlines)[chosen])
        if len(gaps) < _LEAST_VOXELS:
            return 0.0
        return float(np.clip(np.quantile(gaps, _INSET_QUANTILE), 0.0, 1.0))

    def signed(self, inset: float) -> Float[np.ndarray, "x y z"]:
        """The distance to the surface that is moved out by an inset: no less than outlines tell, −1 where nobody tells."""
        by_depth = np.where(np.isnan(self.by_depth), -1.0, self.by_depth - inset)
        return np.where(self.by_outlines > 0.0, np.maximum(by_depth, self.by_outlines), by_depth)


def fuse(views: Iterable[DepthView], grid: VoxelGrid, truncation: float) -> FusedDistances:
    """What views tell of the voxels of a grid.

    Args:
        views: taken one by one.
        grid: the voxels.
        truncation: truncation distance, world units.
    """
    planes = max(1, _SLAB // (grid.shape[1] * grid.shape[2]))
    slabs: list[_Slab] = []
    for view in views:
        for number, first in enumerate(range(0, grid.shape[0], planes)):
            points = grid.middles(first, min(first + planes, grid.shape[0]), view.depth)
            if number == len(slabs):
                slabs.append(_Slab(*points.new_zeros(3, len(points))))
            slabs[number].add(view, points, truncation, _BEHIND * grid.edge)
    total, weight, outline = (
        torch.cat([getattr(slab, name) for slab in slabs]) for name in ("total", "weight", "outline")
    )
    by_depth = torch.where(weight > 0.0, total / weight, torch.nan)
    return FusedDistances(*(values.reshape(grid.shape).cpu().numpy() for values in (by_depth, outline)))


@dataclass(frozen=True, eq=False)
class _Slab:
    """What some voxels have been told so far."""

    total: Float[Tensor, " n"]
    weight: Float[Tensor, " n"]
    outline: Float[Tensor, " n"]

    def add(self, view: DepthView, points: Float[Tensor, "n 3"], truncation: float, behind: float) -> None:
        """Note what a view tells of the voxels' middles, at most so far behind the surface; world units."""
        pixels, z = view.project(points)
        maps = torch.stack([view.depth, view.weight, view.clearance])
        depth, weight, clearance = sampled(maps, pixels)
        x, y = ((pixels - pixels.new_tensor([view.lens.cx, view.lens.cy])) / view.lens.fx).unbind(1)
        # Of planar z, along the ray, and perpendicular to the surface.
        before = (depth - z) * torch.sqrt(x * x + y * y + 1.0) * weight / truncation
        told = (weight > 0.0) & (before > -behind / truncation)
        self.total.add_(torch.where(told, weight**_SHARPNESS * before.clamp(max=1.0), 0.0))
        self.weight.add_(torch.where(told, weight**_SHARPNESS, 0.0))
        beside = (clearance * z / view.lens.fx / truncation).clamp(max=1.0)
        torch.maximum(self.outline, beside, out=self.outline)


def sampled(maps: Float[Tensor, "c h w"], pixels: Float[Tensor, "n 2"]) -> Float[Tensor, "c n"]:
    """Bilinear values of maps at pixel coordinates, whose centres are at half-integers; 0 outside."""
    size = pixels.new_tensor([maps.shape[2], maps.shape[1]])
    places = (2.0 * pixels / size - 1.0)[None, None]
    return torch.nn.functional.grid_sample(maps[None], places, mode="bilinear", align_corners=False)[0, :, 0]
