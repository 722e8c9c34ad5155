"""A picture in tiles of 8 × 8 pixels, and which splats each of them holds.

A tile holds every splat whose box meets it, and the box holds every pixel where the splat's α is not cut, so tiles never show.
Lists are made of one slab of depth after another, each of a bounded number of entries and only for tiles that are still
open: however large the splats are, what lies behind an opaque surface is never listed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SIDE = 8
# Entries listed at a time; an entry takes about 60 bytes while lists are made.
_SLAB = 1 << 20


@dataclass(frozen=True)
class TileGrid:
    """The tiles that cover a picture, counted row by row; those at the right and lower border may stand out of it."""

    width: int
    """Of the picture, pixels."""
    height: int

    @property
    def across(self) -> int:
        """Tiles in a row."""
        return -(-self.width // SIDE)

    @property
    def down(self) -> int:
        """Rows of tiles."""
        return -(-self.height // SIDE)

    def middles(self, like: Tensor) -> Float[Tensor, "t 2"]:
        """Middle of each tile, pixels of the picture, as a tensor like `like`."""
        index = torch.arange(self.across * self.down, device=like.device)
        return torch.stack([index % self.across, index // self.across], dim=1).to(like.dtype) * SIDE + 0.5 * SIDE

    def picture(self, tiles: Float[Tensor, "t p c"]) -> Float[Tensor, "h w c"]:
        """The picture of the tiles' pixels, which are row-major in each."""
        grid = tiles.reshape(self.down, self.across, SIDE, SIDE, -1).transpose(1, 2)
        return grid.reshape(self.down * SIDE, self.across * SIDE, -1)[: self.height, : self.width]


@dataclass(frozen=True, eq=False)
class TileLists:
    """The splats that each tile holds, nearest first."""

    members: Int[Tensor, " m"]
    """Indices of splats, tile by tile."""
    starts: Int[Tensor, " t"]
    """Where each tile's own begin among the members."""
    stops: Int[Tensor, " t"]
    """Where they end."""

    def window(
        self, tiles: Int[Tensor, " g"], offset: int, count: int
    ) -> tuple[Int[Tensor, "g k"], Bool[Tensor, "g k"]]:
        """`count` splats of each of some tiles, from the tile's `offset`-th on, and which of them exist."""
        places = self.starts[tiles, None] + torch.arange(offset, offset + count, device=tiles.device)
        present = places < self.stops[tiles, None]
        return self.members[places.clamp(max=len(self.members) - 1)], present


def pixel_offsets(like: Tensor) -> Float[Tensor, "2 p"]:
    """X and y of a tile's pixel centres from its middle, row-major, as a tensor like `like`."""
    steps = torch.arange(SIDE, device=like.device, dtype=like.dtype) + 0.5 - 0.5 * SIDE
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()])


def slabs_of_tile_lists(
    centres: Float[Tensor, "n 2"], reach: Float[Tensor, "n 2"], grid: TileGrid, is_open: Bool[Tensor, " t"]
) -> Iterator[TileLists]:
    """Lists of the tiles for one slab of depth after another, front to back.

    Args:
        centres: of the splats, nearest first, pixels.
        reach: half sides of their boxes, pixels.
        grid: of the picture.
        is_open: tiles that still take splats; read anew for every slab, so the caller may close tiles.
    """
    limits = torch.tensor([grid.across, grid.down], device=centres.device)
    # Clamped before they become integers, because a splat beside the camera may lie anywhere.
    first = torch.floor((centres - reach) / SIDE).clamp(min=0).minimum(limits).long()
    stop = (torch.floor((centres + reach) / SIDE) + 1).clamp(min=0).minimum(limits).long()
    size = (stop - first).clamp(min=0)
    counts = size.prod(dim=1)
    slab = (counts.cumsum(0) - counts) // _SLAB
    begin = 0
    for length in torch.unique_consecutive(slab, return_counts=True)[1].tolist():
        if not is_open.any():
            return
        yield _tile_lists(
            torch.arange(begin, begin + length, device=centres.device), first, size, grid.across, is_open
        )
        begin += length


def _tile_lists(
    splats: Int[Tensor, " n"],
    first: Int[Tensor, "n 2"],
    size: Int[Tensor, "n 2"],
    across: int,
    is_open: Bool[Tensor, " t"],
) -> TileLists:
    """Lists of the open tiles for some splats, whose boxes begin at tile `first` (column, row) and span `size` tiles."""
    counts = size[splats].prod(dim=1)
    owner = torch.repeat_interleave(splats, counts)
    within = torch.arange(len(owner), device=owner.device)
    within -= torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    wide = size[owner, 0]
    row = torch.div(within, wide, rounding_mode="floor")
    tile = (first[owner, 1] + row) * across + first[owner, 0] + within - row * wide
    kept = is_open[tile]
    tile, owner = tile[kept], owner[kept]
    lengths = torch.bincount(tile, minlength=len(is_open))
    stops = lengths.cumsum(0)
    # Stable, so that each tile keeps the order of depth.
    return TileLists(owner[torch.argsort(tile, stable=True)], stops - lengths, stops)
