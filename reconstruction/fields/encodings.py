"""What coordinates become before a network sees them: sines of octaves, or features of grids from coarse to fine."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

# Teschner et al. 2003, as Müller et al. 2022 have them (eq. 4).
_PRIMES = (1, 2654435761, 805459861)


def sines(values: Float[Tensor, "n d"], frequencies: int) -> Float[Tensor, "n e"]:
    """The values, then sin(2ᵏ x) and cos(2ᵏ x) of each octave k (Mildenhall et al. 2020, eq. 4, without π as in NeuS' code)."""
    if not frequencies:
        return values
    octaves = 2.0 ** torch.arange(frequencies, dtype=values.dtype, device=values.device)
    scaled = values[:, None] * octaves[:, None]
    return torch.cat([values, torch.stack([scaled.sin(), scaled.cos()], dim=2).flatten(1)], dim=-1)


def sines_width(dimensions: int, frequencies: int) -> int:
    """How many numbers `sines` gives for so many dimensions."""
    return dimensions * (1 + 2 * frequencies)


class GridEncoding(nn.Module):
    """Features on grids of rising resolution, read trilinearly; fine grids share a table by a hash of their vertices.

    Müller et al. 2022, "Instant neural graphics primitives", section 3, in plain PyTorch: twice differentiable, on any device.

    Args:
        levels: number of grids.
        features: of a vertex of each.
        table: vertices that a level keeps; a grid of more is hashed.
        coarsest: cells along an axis of the first level.
        finest: of the last.
    """

    def __init__(
        self, levels: int = 16, features: int = 2, table: int = 1 << 19, coarsest: int = 16, finest: int = 2048
    ) -> None:
        super().__init__()
        growth = (finest / coarsest) ** (1.0 / max(1, levels - 1))
        self.cells: Sequence[int] = [round(coarsest * growth**level) for level in range(levels)]
        self.width, self.table = levels * features, table
        sizes = [min(table, (cells + 1) ** 3) for cells in self.cells]
        self.tables = nn.ParameterList(nn.Parameter(torch.empty(size, features)) for size in sizes)
        for values in self.tables:
            nn.init.uniform_(values, -1e-4, 1e-4)
        corners = torch.stack(torch.meshgrid(*[torch.arange(2)] * 3, indexing="ij"), dim=-1).reshape(8, 3)
        self.register_buffer("_corners", corners, persistent=False)

    def forward(self, places: Float[Tensor, "n 3"]) -> Float[Tensor, "n e"]:
        """Features at places in [−1, 1]; those outside are read at the border."""
        unit = (0.5 * places + 0.5).clamp(0.0, 1.0)
        return torch.cat([self._level(unit, *pair) for pair in zip(self.cells, self.tables, strict=True)], dim=-1)

    def _level(self, unit: Float[Tensor, "n 3"], cells: int, values: Tensor) -> Float[Tensor, "n f"]:
        corners = self.get_buffer("_corners")
        scaled = unit * cells
        base = scaled.detach().floor().long().clamp(max=cells - 1)
        share = (scaled - base)[:, None]
        x, y, z = torch.where(corners.bool(), share, 1.0 - share).unbind(dim=-1)
        read = values[self._row(base[:, None] + corners, cells, len(values))]
        return ((x * y * z)[..., None] * read).sum(dim=1)

    def _row(self, vertex: Int[Tensor, "n 8 3"], cells: int, rows: int) -> Int[Tensor, "n 8"]:
        x, y, z = vertex.unbind(dim=-1)
        if (cells + 1) ** 3 <= self.table:
            return (x * (cells + 1) + y) * (cells + 1) + z
        return ((x * _PRIMES[0]) ^ (y * _PRIMES[1]) ^ (z * _PRIMES[2])) % rows
