"""A dense grid of density and features, read trilinearly: quick to shape, and what SJC is published with.

Density is softplus(value + shift) of the interpolated value (Wang et al. 2023, "Score Jacobian Chaining"; pals-ttic/sjc
`voxnerf/vox.py`); Zero-1-to-3's run has 100³ voxels from −1 to 1, four latent channels and a shift of −1.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from reconstruction.fields.field import Field, FieldValues
from reconstruction.surrounding_cameras import Extent


class VoxelField(Field):
    """Vertices of a grid that spans a box, its corners included.

    Args:
        extent: the box, world units.
        resolution: vertices along each axis.
        channels: number of features.
        shift: added to the density's values, which begin at 0.
        colours: `rgb` brings features to [0, 1] by the logistic function, `latent` leaves them as they are.
    """

    def __init__(
        self,
        extent: Extent,
        resolution: int = 100,
        channels: int = 3,
        shift: float = -1.0,
        colours: Literal["rgb", "latent"] = "rgb",
    ) -> None:
        super().__init__(extent, channels)
        self.resolution, self.shift, self.colours = resolution, shift, colours
        # Along z, y and x, as grid_sample has it.
        self.density_values = nn.Parameter(torch.zeros(1, 1, resolution, resolution, resolution))
        self.feature_values = nn.Parameter(torch.zeros(1, channels, resolution, resolution, resolution))

    def forward(self, points: Float[Tensor, "n 3"]) -> FieldValues:
        """Density and features at world points."""
        values = self._read(self.feature_values, points)
        return FieldValues(self.density(points), values.sigmoid() if self.colours == "rgb" else values)

    def density(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """The density alone."""
        return torch.where(self._inside(points), self._unbounded(points), 0.0)

    def normals(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Outward unit normals by central differences over half a voxel each way.

        PyTorch's interpolation has no second derivative, which a loss on normals would need.
        """
        half = self.get_buffer("_half") / (self.resolution - 1)
        offsets = torch.diag(half)
        pairs = torch.cat([points[:, None] + offsets, points[:, None] - offsets], dim=1)
        ahead, behind = self._unbounded(pairs.reshape(-1, 3)).reshape(-1, 2, 3).unbind(dim=1)
        return nn.functional.normalize((behind - ahead) / half, dim=-1, eps=1e-8)

    def _unbounded(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """The density, outside the box that of its border."""
        return nn.functional.softplus(self._read(self.density_values, points)[:, 0] + self.shift)

    def _inside(self, points: Float[Tensor, "n 3"]) -> Bool[Tensor, " n"]:
        return (self.normalised(points).abs() <= 1.0).all(dim=-1)

    def _read(self, values: Float[Tensor, "1 c r r r"], points: Float[Tensor, "n 3"]) -> Float[Tensor, "n c"]:
        places = self.normalised(points).reshape(1, -1, 1, 1, 3)
        read = nn.functional.grid_sample(values, places, mode="bilinear", padding_mode="border", align_corners=True)
        return read.reshape(values.shape[1], -1).T
