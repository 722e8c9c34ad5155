"""What every field is: density and features at points, and how opaque it is along pieces of rays.

World: right-handed, Z up, the object about the origin with its longest side 1. Features are RGB in [0, 1] or a latent's channels.
Marching (`reconstruction.marching`) knows a field by `shade` alone, so that a density and a signed distance march alike.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from reconstruction.marching.volume import density_alphas
from reconstruction.surrounding_cameras import Extent

HALF_SIDE = 0.6
"""Of the box that fields fill: the object of longest side 1 about the origin, with room."""
# Shorter gradients have no direction.
_LEAST_GRADIENT = 1e-8


def box_about_origin(half: float = HALF_SIDE) -> Extent:
    """The cube from −half to half, world units."""
    return Extent(np.full(3, -half), np.full(3, half))


@dataclass(frozen=True, eq=False)
class FieldValues:
    """A field at n points."""

    density: Float[Tensor, " n"]
    """Extinction, per world unit, at least 0."""
    features: Float[Tensor, "n c"]
    """RGB in [0, 1], or channels of a latent."""


@dataclass(frozen=True, eq=False)
class Shaded:
    """A field along n pieces of rays."""

    alphas: Float[Tensor, " n"]
    """Share of the light that each piece takes, in [0, 1]."""
    features: Float[Tensor, "n c"]
    """What it shows."""
    normals: Float[Tensor, "n 3"] | None
    """Outward unit normals, where they were asked for."""
    gradients: Float[Tensor, "n 3"] | None = None
    """Of the signed distance, of fields that are one."""


class Field(nn.Module, ABC):
    """A differentiable field in a box.

    Args:
        extent: the box, world units; outside of it there is nothing.
        channels: number of features, 3 for RGB.
    """

    def __init__(self, extent: Extent, channels: int) -> None:
        super().__init__()
        self.extent, self.channels = extent, channels
        self.register_buffer("_centre", torch.tensor(extent.centre, dtype=torch.float32), persistent=False)
        half = 0.5 * (extent.upper - extent.lower)
        self.register_buffer("_half", torch.tensor(half, dtype=torch.float32), persistent=False)

    @abstractmethod
    def forward(self, points: Float[Tensor, "n 3"]) -> FieldValues:
        """Density and features at world points; the density is 0 outside the extent."""

    def density(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """The density alone; fields override it where that is cheaper."""
        values: FieldValues = self(points)
        return values.density

    def normals(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Outward unit normals: against the density's gradient; differentiable where gradients are enabled."""
        create = torch.is_grad_enabled()
        with torch.enable_grad():
            places = points if points.requires_grad else points.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.density(places).sum(), places, create_graph=create)
        return -nn.functional.normalize(gradient, dim=-1, eps=_LEAST_GRADIENT)

    def shade(
        self,
        points: Float[Tensor, "n 3"],
        directions: Float[Tensor, "n 3"],  # noqa: ARG002 - of fields that depend on them
        steps: Float[Tensor, " n"],
        with_normals: bool = False,
    ) -> Shaded:
        """The field along pieces of rays, of constant density each.

        Args:
            points: middles of the pieces, or points in them that stand for them, world units.
            directions: of the rays, unit vectors.
            steps: lengths of the pieces, world units.
            with_normals: whether to tell normals too.
        """
        values: FieldValues = self(points)
        return Shaded(
            density_alphas(values.density, steps), values.features, self.normals(points) if with_normals else None
        )

    def normalised(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """World points in the extent's own coordinates, [−1, 1] along each axis."""
        centre, half = self.get_buffer("_centre"), self.get_buffer("_half")
        return (points - centre) / half
