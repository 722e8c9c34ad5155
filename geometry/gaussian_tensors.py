"""Gaussians as PyTorch tensors: what is rasterised, and what gradients flow to.

The twin of `geometry.gaussians.Gaussians` on any device and in any precision; nothing is checked or normalised here, so that an
optimiser may move every value freely. World units, quaternions wxyz from the Gaussian's own axes to the world.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from geometry.gaussians import Gaussians


@dataclass(frozen=True, eq=False)
class GaussianTensors:
    """n Gaussians; the fields mean what they mean in `Gaussians`."""

    means: Float[Tensor, "n 3"]
    """Centres, world units."""
    quaternions: Float[Tensor, "n 4"]
    """Rotations wxyz, of any length but zero."""
    scales: Float[Tensor, "n 3"]
    """Standard deviations along the Gaussian's own axes, positive."""
    opacities: Float[Tensor, " n"]
    """Peak opacities in [0, 1]."""
    colours: Float[Tensor, "n 3"]
    """RGB, sRGB: the part that is the same from everywhere."""
    harmonics: Float[Tensor, "n k 3"] | None = None
    """Coefficients of the spherical harmonics of degree 1 and above, RGB; none where colours are the same from everywhere."""

    @classmethod
    def of(
        cls, gaussians: Gaussians, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> "GaussianTensors":
        """Copies of the arrays on a device."""
        return cls(
            **{
                field.name: torch.tensor(getattr(gaussians, field.name), device=device, dtype=dtype)
                for field in fields(gaussians)
            }
        )

    def __len__(self) -> int:
        return int(self.means.shape[0])

    def gaussians(self) -> Gaussians:
        """The checked numpy twin; colours and opacities are clipped to [0, 1]."""
        values = {field.name: getattr(self, field.name).detach().cpu().numpy() for field in fields(Gaussians)}
        for name in ("opacities", "colours"):
            values[name] = values[name].clip(0.0, 1.0)
        return Gaussians(**values)
