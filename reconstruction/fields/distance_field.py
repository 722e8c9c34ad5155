"""A signed distance by a network, with its colour: NeuS' field.

What it shows follows from how sharply opacity rises at distance 0: s = exp(10·v), v learnt (Wang et al. 2021; Totoro97/NeuS
`models/fields.py`).
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from reconstruction.fields.distance_network import DistanceNetwork
from reconstruction.fields.encodings import sines, sines_width
from reconstruction.fields.field import Field, FieldValues, Shaded
from reconstruction.marching.neus_weights import piece_alphas
from reconstruction.surrounding_cameras import Extent

_SHARPNESS_POWER = 10.0
_SHARPEST = 1e6


class DistanceField(Field):
    """Signed distance, world units, positive outside, and RGB; the published sizes are the defaults.

    Args:
        extent: the box, world units; the network sees points from its middle.
        layers: hidden layers of the distance.
        width: of each, and number of features handed to the colour.
        frequencies: octaves of the positional encoding.
        colour_layers: hidden layers of the colour.
        view_frequencies: octaves of the encoding of the direction that a point is seen from; None for colours that do not depend
            on it.
        radius: of the sphere that it begins as, world units.
        sharpness: v to begin with; 0.3 is s ≈ 20.
    """

    def __init__(
        self,
        extent: Extent,
        layers: int = 8,
        width: int = 256,
        frequencies: int = 6,
        colour_layers: int = 4,
        view_frequencies: int | None = 4,
        radius: float = 0.5,
        sharpness: float = 0.3,
    ) -> None:
        super().__init__(extent, channels=3)
        self.view_frequencies = view_frequencies
        self.network = DistanceNetwork(layers, width, frequencies, radius)
        seen = 0 if view_frequencies is None else sines_width(3, view_frequencies)
        self.colour_network = _colours(6 + seen + width, width, colour_layers)
        self.deviation = nn.Parameter(torch.tensor(float(sharpness)))
        self.annealing = 1.0
        """See `piece_alphas`."""

    @property
    def sharpness(self) -> Float[Tensor, ""]:
        """S, per world unit."""
        return torch.exp(self.deviation * _SHARPNESS_POWER).clamp(max=_SHARPEST)

    def distance(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Signed distance at world points."""
        return self.network.distance(self._places(points))

    def gradient(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """∇ of the distance; of length 1 where it is one."""
        return self._with_gradient(points)[2]

    def forward(self, points: Float[Tensor, "n 3"]) -> FieldValues:
        """Density of rays that meet the surface head on, s·(1 − Φ(f)) (eq. 10), and colours as seen from there."""
        distance, features, gradient = self._with_gradient(points)
        normals = nn.functional.normalize(gradient, dim=-1)
        colours = self._colour(points, normals, -normals, features)
        return FieldValues(self._density(points, distance), colours)

    def density(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """The density alone."""
        return self._density(points, self.distance(points))

    def normals(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Outward unit normals: along the distance's gradient."""
        return nn.functional.normalize(self.gradient(points), dim=-1)

    def shade(
        self,
        points: Float[Tensor, "n 3"],
        directions: Float[Tensor, "n 3"],
        steps: Float[Tensor, " n"],
        with_normals: bool = False,
    ) -> Shaded:
        """NeuS' opacities, and colours that depend on the direction; see `Field.shade`. Points are the pieces' middles."""
        distance, features, gradient = self._with_gradient(points)
        normals = nn.functional.normalize(gradient, dim=-1)
        alphas = piece_alphas(distance, gradient, directions, steps, self.sharpness, self.annealing)
        colours = self._colour(points, gradient, directions, features)
        return Shaded(alphas, colours, normals if with_normals else None, gradient)

    def _with_gradient(
        self, points: Float[Tensor, "n 3"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n w"], Float[Tensor, "n 3"]]:
        """Distance, features for the colour, and the distance's gradient; differentiable where gradients are enabled."""
        create = torch.is_grad_enabled()
        with torch.enable_grad():
            places = points if points.requires_grad else points.detach().requires_grad_()
            distance, features = self.network(self._places(places))
            (gradient,) = torch.autograd.grad(distance.sum(), places, create_graph=create, retain_graph=create)
        return (distance, features, gradient) if create else (distance.detach(), features.detach(), gradient)

    def _colour(
        self,
        points: Float[Tensor, "n 3"],
        gradient: Float[Tensor, "n 3"],
        directions: Float[Tensor, "n 3"],
        features: Float[Tensor, "n w"],
    ) -> Float[Tensor, "n 3"]:
        given = [self._places(points), gradient, features]
        if self.view_frequencies is not None:
            given.append(sines(directions, self.view_frequencies))
        values: Float[Tensor, "n 3"] = self.colour_network(torch.cat(given, dim=-1))
        return values.sigmoid()

    def _density(self, points: Float[Tensor, "n 3"], distance: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        inside = (self.normalised(points).abs() <= 1.0).all(dim=-1)
        return torch.where(inside, self.sharpness * torch.sigmoid(-distance * self.sharpness), 0.0)

    def _places(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        return points - self.get_buffer("_centre")


def _colours(given: int, width: int, layers: int) -> nn.Sequential:
    sizes = [given, *[width] * layers]
    hidden = [part for pair in pairwise(sizes) for part in (weight_norm(nn.Linear(*pair)), nn.ReLU())]
    return nn.Sequential(*hidden, weight_norm(nn.Linear(width, 3)))
