"""NeuS' network of the signed distance, which begins as the distance to a sphere.

Atzmon and Lipman 2020, "SAL: Sign agnostic learning of shapes from raw data", theorem 1; with positional encoding, whose octaves
count nothing to begin with, as in Totoro97/NeuS `models/fields.py` (`SDFNetwork`).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from reconstruction.fields.encodings import sines, sines_width

_BETA = 100.0
# From this many layers on the encoding is handed to the middle one, too, where it fits.
_DEEP = 4
_SPREAD = 1e-4
_PROBES = 512


class DistanceNetwork(nn.Module):
    """Coordinates to a distance in the same units, and features for a colour.

    Args:
        layers: hidden ones.
        width: of each, and number of features.
        frequencies: octaves of the positional encoding.
        radius: of the sphere.
    """

    def __init__(self, layers: int, width: int, frequencies: int, radius: float) -> None:
        super().__init__()
        self.frequencies, encoded = frequencies, sines_width(3, frequencies)
        self.skip = layers // 2 if layers >= _DEEP and width > encoded else -1
        self.activation = nn.Softplus(beta=_BETA)
        hidden = []
        for number in range(layers):
            given = encoded if number == 0 else width
            # So that the encoding makes up the width.
            made = width - encoded if number + 1 == self.skip else width
            hidden.append(_as_sphere(nn.Linear(given, made), encoded if number == self.skip else 0, number == 0))
        self.hidden = nn.ModuleList(hidden)
        self.last = _last(nn.Linear(width, 1 + width), radius)
        self._centre_on(radius)

    def forward(self, places: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n w"]]:
        """Distance, positive outside, and features."""
        return self._split(self.last(self._trunk(places)))

    def distance(self, places: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """The distance alone, at half the cost of the last layer."""
        return nn.functional.linear(self._trunk(places), *self._first_row())[:, 0]

    def _trunk(self, places: Float[Tensor, "n 3"]) -> Float[Tensor, "n w"]:
        encoded = sines(places, self.frequencies)
        values = encoded
        for number, layer in enumerate(self.hidden):
            if number == self.skip:
                values = torch.cat([values, encoded], dim=-1) / math.sqrt(2.0)
            values = self.activation(layer(values))
        return values

    @torch.no_grad()
    def _centre_on(self, radius: float) -> None:
        """Make the mean distance on the sphere 0, which a network of few random weights misses by up to a third of the radius."""
        directions = nn.functional.normalize(torch.randn(_PROBES, 3), dim=-1)
        self._first_row()[1].sub_(self.distance(radius * directions).mean())

    def _first_row(self) -> tuple[Float[Tensor, "1 w"], Float[Tensor, "1"]]:
        weight, bias = self.last.weight, self.last.bias
        assert isinstance(weight, Tensor)  # noqa: S101 - a module's attributes may be anything to a type checker
        assert isinstance(bias, Tensor)  # noqa: S101
        return weight[:1], bias[:1]

    @staticmethod
    def _split(values: Float[Tensor, "n v"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n w"]]:
        return values[:, 0], values[:, 1:]


def _as_sphere(layer: nn.Linear, encoded: int, first: bool) -> nn.Module:
    """Weights of a hidden layer; what sees octaves of the encoding begins without them."""
    with torch.no_grad():
        nn.init.normal_(layer.weight, 0.0, math.sqrt(2.0 / layer.out_features))
        nn.init.zeros_(layer.bias)
        if first:
            layer.weight[:, 3:] = 0.0
        elif encoded:
            layer.weight[:, -(encoded - 3) :] = 0.0
    normed: nn.Module = weight_norm(layer)
    return normed


def _last(layer: nn.Linear, radius: float) -> nn.Module:
    with torch.no_grad():
        nn.init.normal_(layer.weight, math.sqrt(math.pi / layer.in_features), _SPREAD)
        nn.init.constant_(layer.bias, -radius)
    normed: nn.Module = weight_norm(layer)
    return normed
