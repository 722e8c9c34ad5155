"""Which cells of a box may hold something, so that marching asks the field nowhere else.

A cell's density is the largest that was met there lately: each update asks at one point of each cell, and what was met before
fades (Müller et al. 2022, appendix C). A cell beside one that holds something counts too, since a field may reach into it between
the points that were asked.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from reconstruction.fields.field import Field
from reconstruction.surrounding_cameras import Extent

# Points asked at a time.
_CHUNK = 1 << 18


class OccupancyGrid(nn.Module):
    """A grid of bits; full to begin with.

    Args:
        extent: the box, world units.
        resolution: cells along each axis.
        least: density, per world unit, that counts as something: a piece of length d shows less than least · d of it.
        decay: what a cell's density fades by between updates; smooth fields need little memory.
    """

    def __init__(self, extent: Extent, resolution: int = 64, least: float = 0.01, decay: float = 0.95) -> None:
        super().__init__()
        self.extent, self.resolution, self.least, self.decay = extent, resolution, least, decay
        self.register_buffer("densities", torch.full((resolution,) * 3, float("inf")))
        self.register_buffer("bits", torch.ones((resolution,) * 3, dtype=torch.bool))
        self.register_buffer("_lower", torch.tensor(extent.lower, dtype=torch.float32), persistent=False)
        side = torch.tensor((extent.upper - extent.lower) / resolution, dtype=torch.float32)
        self.register_buffer("_side", side, persistent=False)

    @property
    def share(self) -> float:
        """Of the cells that may hold something."""
        return float(self.get_buffer("bits").float().mean())

    def forward(self, points: Float[Tensor, "n 3"]) -> Bool[Tensor, " n"]:
        """Whether something may be at world points; never outside the box."""
        lower, side = self.get_buffer("_lower"), self.get_buffer("_side")
        index = ((points.detach() - lower) / side).floor().long()
        inside = ((index >= 0) & (index < self.resolution)).all(dim=-1)
        x, y, z = index.clamp(0, self.resolution - 1).unbind(dim=-1)
        return inside & self.get_buffer("bits")[x, y, z]

    @torch.no_grad()
    def update(self, field: Field, generator: torch.Generator | None = None) -> None:
        """Ask the field at a point of each cell: one drawn by a generator on the CPU, or its middle."""
        densities = self.get_buffer("densities")
        met = self._asked(field, generator).reshape(densities.shape)
        # The full grid of the beginning knows nothing.
        known = torch.where(densities.isinf(), 0.0, densities * self.decay)
        densities.copy_(torch.maximum(known, met))
        something = (densities > self.least).float()[None, None]
        around = nn.functional.max_pool3d(something, kernel_size=3, stride=1, padding=1)[0, 0]
        self.get_buffer("bits").copy_(around > 0.0)

    def _asked(self, field: Field, generator: torch.Generator | None) -> Float[Tensor, " n"]:
        lower, side = self.get_buffer("_lower"), self.get_buffer("_side")
        axis = torch.arange(self.resolution, device=lower.device)
        index = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
        places = torch.full(index.shape, 0.5) if generator is None else torch.rand(index.shape, generator=generator)
        points = lower + (index + places.to(lower)) * side
        return torch.cat([field.density(part) for part in points.split(_CHUNK)])
