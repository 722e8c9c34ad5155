"""SJC's voxels: latents that begin as noise, and a density whose contrast is learnt.

density = softplus(value·exp(scale) + shift): a scale that rises empties what is below 0 and fills what is above all over the
grid, where single values would take long (cvlab-columbia/zero123 `3drec/voxnerf/vox.py`, `VoxRF`, with `d_scale` and `color`).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reconstruction.fields.voxel_field import VoxelField
from reconstruction.surrounding_cameras import Extent


class LatentVoxelField(VoxelField):
    """A `VoxelField` of latents as SJC is published with it.

    Args:
        extent: the box, world units.
        resolution: vertices along each axis.
        channels: of a latent.
        shift: added to the density's scaled values, which begin at 0.
    """

    def __init__(self, extent: Extent, resolution: int = 100, channels: int = 4, shift: float = -1.0) -> None:
        super().__init__(extent, resolution, channels, shift, "latent")
        self.density_scale = nn.Parameter(torch.zeros(()))
        nn.init.normal_(self.feature_values)

    def density(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """The density alone."""
        scaled = self._read(self.density_values, points)[:, 0] * self.density_scale.exp()
        return torch.where(self._inside(points), nn.functional.softplus(scaled + self.shift), 0.0)
