"""A grid encoding and a small network: what threestudio's SDS of Zero-1-to-3 and ZeroNVS are published with.

density = softplus(network + blob), blob(x) = 10·(1 − |x| / 0.5) in the box's own coordinates: a ball to begin with
(threestudio-project/threestudio `models/geometry/implicit_volume.py`, density bias `blob_magic3d`).
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reconstruction.fields.encodings import GridEncoding
from reconstruction.fields.field import Field, FieldValues
from reconstruction.surrounding_cameras import Extent

_BLOB_SCALE, _BLOB_DEVIATION = 10.0, 0.5


class ImplicitField(Field):
    """Density and features by a network.

    Args:
        extent: the box, world units.
        channels: number of features.
        width: of the hidden layer (32 published).
        encoding: of the coordinates; 16 levels of two features with 2¹⁹ rows by default, as published.
        colours: `rgb` brings features to [0, 1] by the logistic function, `latent` leaves them as they are.
    """

    def __init__(
        self,
        extent: Extent,
        channels: int = 3,
        width: int = 32,
        encoding: GridEncoding | None = None,
        colours: Literal["rgb", "latent"] = "rgb",
    ) -> None:
        super().__init__(extent, channels)
        self.colours = colours
        self.encoding = encoding or GridEncoding()
        self.network = nn.Sequential(nn.Linear(self.encoding.width, width), nn.ReLU(), nn.Linear(width, 1 + channels))

    def forward(self, points: Float[Tensor, "n 3"]) -> FieldValues:
        """Density and features at world points."""
        places = self.normalised(points)
        raw, features = self.network(self.encoding(places)).split([1, self.channels], dim=-1)
        # A norm has no derivative at 0.
        distance = (places.square().sum(dim=-1) + 1e-12).sqrt()
        density = nn.functional.softplus(raw[:, 0] + _BLOB_SCALE * (1.0 - distance / _BLOB_DEVIATION))
        inside = (places.abs() <= 1.0).all(dim=-1)
        values = features.sigmoid() if self.colours == "rgb" else features
        return FieldValues(torch.where(inside, density, 0.0), values)
