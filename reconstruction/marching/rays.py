"""Rays of cameras, and where they enter and leave a box.

World: right-handed, Z up; cameras are c2w in OpenGL axes; a pixel's centre lies at half-integers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geometry.cameras import Intrinsics
from reconstruction.surrounding_cameras import Extent

# A ray in a plane of the box is divided by this instead of 0.
_PARALLEL = 1e-12


@dataclass(frozen=True, eq=False)
class Rays:
    """n half-lines."""

    origins: Float[Tensor, "n 3"]
    """World units."""
    directions: Float[Tensor, "n 3"]
    """Unit vectors."""
    cosines: Float[Tensor, " n"]
    """Between each ray and the axis of its camera: planar z is the distance along the ray times it."""

    def __len__(self) -> int:
        return len(self.origins)

    def __getitem__(self, rows: slice | Int[Tensor, " m"] | Bool[Tensor, " n"]) -> "Rays":
        return Rays(self.origins[rows], self.directions[rows], self.cosines[rows])

    def at(self, distances: Float[Tensor, "n s"]) -> Float[Tensor, "n s 3"]:
        """World points at distances along the rays."""
        return self.origins[:, None] + distances[..., None] * self.directions[:, None]


def camera_rays(c2w: Float[np.ndarray, "4 4"], intrinsics: Intrinsics, like: Tensor) -> Rays:
    """The rays through the centres of a picture's pixels, row by row from the top.

    Args:
        c2w: camera-to-world, OpenGL axes.
        intrinsics: of the picture.
        like: a tensor of the wanted device and type.
    """
    pose = torch.tensor(np.asarray(c2w), dtype=torch.float64)
    y = (torch.arange(intrinsics.height, dtype=torch.float64) + 0.5 - intrinsics.cy) / intrinsics.fy
    x = (torch.arange(intrinsics.width, dtype=torch.float64) + 0.5 - intrinsics.cx) / intrinsics.fx
    down, right = torch.meshgrid(y, x, indexing="ij")
    # OpenGL axes: y up, looking along −z.
    local = torch.stack([right, -down, -torch.ones_like(down)], dim=-1).reshape(-1, 3)
    lengths = local.norm(dim=-1)
    directions = (local / lengths[:, None]) @ pose[:3, :3].T
    origins = pose[:3, 3].expand_as(directions)
    return Rays(origins.to(like), directions.to(like), lengths.reciprocal().to(like))


def joined(parts: Sequence[Rays]) -> Rays:
    """Rays one after another."""
    return Rays(
        torch.cat([part.origins for part in parts]),
        torch.cat([part.directions for part in parts]),
        torch.cat([part.cosines for part in parts]),
    )


def near_far(rays: Rays, extent: Extent) -> Float[Tensor, "n 2"]:
    """Distances at which rays enter and leave a box, world units: the slab test (Kay and Kajiya 1986).

    Both are 0 for a ray that misses it, so that it has nothing to march through; a camera within the box begins at 0.
    """
    lower, upper = rays.origins.new_tensor(extent.lower), rays.origins.new_tensor(extent.upper)
    slopes = torch.where(rays.directions.abs() < _PARALLEL, _PARALLEL, rays.directions)
    crossings = torch.stack([(lower - rays.origins) / slopes, (upper - rays.origins) / slopes])
    near = crossings.amin(dim=0).amax(dim=-1).clamp(min=0.0)
    far = crossings.amax(dim=0).amin(dim=-1)
    found = torch.stack([near, far], dim=-1)
    return torch.where((far > near)[:, None], found, 0.0)
