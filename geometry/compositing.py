"""Splats composited front to back, differentiable, in memory that does not grow with what a picture's pixels see.

f = Σ wᵢ fᵢ with wᵢ = αᵢ Π(1 − αⱼ) over the nearer j (Kerbl et al. 2023, "3D Gaussian Splatting", eq. 3), where
αᵢ = min(0.999, opacityᵢ · exp(−½ d²ᵢ)) counts from 1/255 on. A pixel ends before the splat that would leave it a
transmittance of 1e-4 or less; that splat and all behind it do not count. These are the rules of gsplat 1.5, the dropped splat
among them: with 0.999 as the greatest α it may leave up to a tenth of the background visible.

All open tiles of 8 × 8 pixels advance together, in rounds of some splats each. A tile closes when its list or all its pixels end.
Only the transmittances before each round are kept; the backward pass makes one round after another again, last first, and
leaves its derivative to autograd.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geometry.projection import ALPHA_CUT, Splats
from geometry.tiles import SIDE, TileGrid, TileLists, pixel_offsets, slabs_of_tile_lists

_ALPHA_CAP = 0.999
_OPAQUE = 1e-4
# Tiles of a group, splats that a tile takes in a round at least, and entries (tile, splat) of a round: a round's matrices,
# 64 pixels an entry, should stay in the processor's cache.
_GROUP = 128
_LEAST_ROUND = 32
_ENTRIES = 4096
# α is cut long before; without a floor exp() would spend most of its time on subnormal numbers.
_NEGLIGIBLE = -10.0
# Columns of the table of splats: centre 2, slope, precisions 2, logarithm of the opacity; then what is composited.
_SHAPE_COLUMNS = 6


@dataclass(frozen=True, eq=False)
class Round:
    """What some tiles took at once, kept for the backward pass."""

    tiles: Int[Tensor, " g"]
    splats: Int[Tensor, "g k"]
    present: Bool[Tensor, "g k"]
    """False beyond the end of a tile's list."""
    through: Float[Tensor, "g p"]
    """Transmittance of the tiles' pixels before."""


def front_to_back(
    table: Float[Tensor, "n d"], reach: Float[Tensor, "n 2"], grid: TileGrid
) -> tuple[Float[Tensor, "t p c"], list[Round]]:
    """Σ wᵢ fᵢ for every pixel of every tile, and the rounds that `back_to_front` needs. Without gradient.

    Args:
        table: of `splat_table`, nearest first.
        reach: of the splats.
        grid: of the picture.
    """
    middles = grid.middles(table)
    pixels = (len(middles), SIDE * SIDE)
    picture, through = table.new_zeros(*pixels, table.shape[1] - _SHAPE_COLUMNS), table.new_ones(pixels)
    is_open = torch.ones(len(middles), dtype=torch.bool, device=table.device)
    rounds = []
    for lists in slabs_of_tile_lists(table[:, :2], reach, grid, is_open):
        for group in _groups(lists):
            rounds += _take(lists, group, table, middles, picture, through)
        is_open &= through.amax(dim=1) > _OPAQUE
    return picture, rounds


def back_to_front(
    table: Float[Tensor, "n d"], rounds: list[Round], grid: TileGrid, gradient: Float[Tensor, "t p c"]
) -> Float[Tensor, "n d"]:
    """The gradient by the table of `front_to_back`, from that by its tiles."""
    middles = grid.middles(table)
    of_table, of_through = torch.zeros_like(table), gradient.new_zeros(gradient.shape[:2])
    for taken in reversed(rounds):
        rows, through = table[taken.splats].requires_grad_(), taken.through.detach().requires_grad_()
        with torch.enable_grad():
            made = _blend(rows, taken.present, middles[taken.tiles], through)
        of_made = (gradient[taken.tiles], of_through[taken.tiles])
        of_rows, of_through[taken.tiles] = torch.autograd.grad(made, (rows, through), of_made)
        of_table.index_add_(0, taken.splats.flatten(), of_rows.flatten(0, 1))
    return of_table


def splat_table(splats: Splats, features: Float[Tensor, "n c"]) -> Float[Tensor, "n d"]:
    """A row of each splat: its shape, and what is composited."""
    shapes = [splats.centres, splats.slopes[:, None], splats.precisions, torch.log(splats.opacities)[:, None]]
    return torch.cat([*shapes, features], dim=1)


def _groups(lists: TileLists) -> tuple[Int[Tensor, " g"], ...]:
    """Tiles that hold splats, those with lists of about the same length together."""
    lengths = lists.stops - lists.starts
    longest_first = torch.argsort(lengths, descending=True, stable=True)
    return longest_first[: int((lengths > 0).sum())].split(_GROUP)


def _take(
    lists: TileLists,
    tiles: Int[Tensor, " g"],
    table: Float[Tensor, "n d"],
    middles: Float[Tensor, "t 2"],
    picture: Float[Tensor, "t p c"],
    through: Float[Tensor, "t p"],
) -> list[Round]:
    """Add the lists of a group of tiles to `picture` and `through`, in place, until they or the pixels end; the rounds."""
    rounds, offset = [], 0
    while len(tiles):
        count = max(_LEAST_ROUND, _ENTRIES // len(tiles))
        taken = Round(tiles, *lists.window(tiles, offset, count), through[tiles])
        added, after = _blend(table[taken.splats], taken.present, middles[tiles], taken.through)
        picture[tiles] += added
        through[tiles] = after
        rounds.append(taken)
        offset += count
        tiles = tiles[(lists.starts[tiles] + offset < lists.stops[tiles]) & (after.amax(dim=1) > _OPAQUE)]
    return rounds


def _blend(
    rows: Float[Tensor, "g k d"],
    present: Bool[Tensor, "g k"],
    middles: Float[Tensor, "g 2"],
    through: Float[Tensor, "g p"],
) -> tuple[Float[Tensor, "g p c"], Float[Tensor, "g p"]]:
    """What k splats add to tiles whose pixels have a transmittance, nearest first, and the transmittance behind them.

    The latter goes on falling below 1e-4, which marks a pixel that has ended.
    """
    exponents = _exponents(rows[..., :_SHAPE_COLUMNS], present, middles)
    alphas = torch.exp(exponents.clamp(_NEGLIGIBLE, math.log(_ALPHA_CAP)))
    alphas = torch.where(alphas < ALPHA_CUT, 0.0, alphas)
    after = torch.cumprod(torch.cat([through[:, None], 1.0 - alphas], dim=1), dim=1)
    weights = torch.where(after[:, 1:] > _OPAQUE, alphas * after[:, :-1], 0.0)
    return weights.transpose(1, 2) @ rows[..., _SHAPE_COLUMNS:], after[:, -1]


def _exponents(
    shapes: Float[Tensor, "g k 6"], present: Bool[Tensor, "g k"], middles: Float[Tensor, "g 2"]
) -> Float[Tensor, "g k p"]:
    """ln(opacity) − ½ d², and minus infinity for a splat that is not present.

    It is a quadratic polynomial of the pixel's offset from the tile's middle: one product of matrices for all pixels.
    """
    centres, slope, precision_x, precision_y, logarithm = shapes.split([2, 1, 1, 1, 1], dim=-1)
    dx, dy = (middles[:, None] - centres).split(1, dim=-1)
    across = dx - slope * dy
    x, xy = precision_x * across, precision_x * slope
    constant = torch.where(present[..., None], logarithm - 0.5 * (x * across + precision_y * dy * dy), -torch.inf)
    linear = [-x, slope * x - precision_y * dy]
    quadratic = [-0.5 * precision_x, xy, -0.5 * (slope * xy + precision_y)]
    pixel_x, pixel_y = pixel_offsets(shapes)
    basis = [torch.ones_like(pixel_x), pixel_x, pixel_y, pixel_x * pixel_x, pixel_x * pixel_y, pixel_y * pixel_y]
    return torch.cat([constant, *linear, *quadratic], dim=-1) @ torch.stack(basis)
