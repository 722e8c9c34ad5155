"""The one frame that all pictures of a scene are cut and resized to, so that ZeroNVS's loaders read their cameras right.

Those loaders take a principal point in the middle of the picture for granted, assert a shorter side of 256 pixels, cut out the
middle square, and take the first frame's field of view for the whole scene (kylesargent/zeronvs_diffusion
`ldm/data/webdataset_co3d.py` and `webdataset_re10k.py`). So each picture is cut to the largest rectangle around its own
principal point that every frame of its scene can show, measured in angles, and all of them end with the same pinhole: square
pixels, centred. Where a scene's frames have the same centred lens, nothing is cut but the fraction of a pixel that is over.

A pixel (x, y) of a picture with fx, fy, cx, cy lands at W/2 + (x − cx)·f/fx, H/2 + (y − cy)·f/fy of the W×H picture whose focal
length is f; its depth stays what it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from geometry.cameras import Intrinsics
from training.data.preparation.source_scenes import SparseDepth

# What the published loader asserts of a picture's shorter side, before it cuts out the middle.
PUBLISHED_SIDE = 256
# Of what half of a scene's frames show: one that shows less would have all others cut to its own view.
NARROWEST = 0.75
# Of a pixel: a window that misses the border by less is meant to lie on it.
_ROUNDING = 6
_FARTHEST = float(np.finfo(np.float16).max)


def wide_enough(lenses: Sequence[Intrinsics]) -> Bool[np.ndarray, " n"]:
    """Which frames show at least `NARROWEST` of what half of their scene's do, in width and in height."""
    reach = np.array([_reach(lens) for lens in lenses])
    return (reach >= NARROWEST * np.median(reach, axis=0)).all(axis=1)


def _reach(lens: Intrinsics) -> tuple[float, float]:
    """Tangents of the angles that lie in the picture on both sides of the principal point, of x and of y."""
    return min(lens.cx, lens.width - lens.cx) / lens.fx, min(lens.cy, lens.height - lens.cy) / lens.fy


@dataclass(frozen=True)
class Framing:
    """A pinhole with square pixels and its principal point in the middle."""

    focal: float
    """Pixels."""
    width: int
    height: int

    @classmethod
    def of(cls, lenses: Sequence[Intrinsics], side: int = PUBLISHED_SIDE, tall: bool = False) -> Self:
        """The largest frame that all pictures fill.

        Args:
            lenses: of a scene's pictures, at least one.
            side: shorter side of the frame, pixels. The longer one is odd where it is odd, so that a square that is cut
                from the middle has the same middle.
            tall: cut pictures that are wider than high to the middle square.
        """
        x, y = np.min([_reach(lens) for lens in lenses], axis=0)
        focal = 0.5 * side / float(min(x, y))
        width, height = (_longer(2.0 * focal * float(reach), side) for reach in (x, y))
        return cls(focal, side if tall else width, height)

    @property
    def lens(self) -> Intrinsics:
        """The intrinsics of each picture in it."""
        return Intrinsics(self.focal, self.focal, 0.5 * self.width, 0.5 * self.height, self.width, self.height)

    def picture(
        self, picture: UInt8[np.ndarray, "h w 3"], lens: Intrinsics
    ) -> UInt8[np.ndarray, "{self.height} {self.width} 3"]:
        """A picture, cut and resized; enlarged where it has fewer pixels."""
        left, top = self._to_source(np.zeros(1), np.zeros(1), lens)
        right, bottom = self._to_source(np.array([self.width]), np.array([self.height]), lens)
        edges = np.round([*left, *top, *right, *bottom], _ROUNDING)
        window = (float(edges[0]), float(edges[1]), float(edges[2]), float(edges[3]))
        size = (self.width, self.height)
        # Pillow's filters widen with the reduction, so that nothing is aliased.
        return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC, window))

    def depth(
        self, depth: Float[np.ndarray, "h w"] | SparseDepth | None, lens: Intrinsics
    ) -> Float[np.ndarray, "{self.height} {self.width}"]:
        """A frame's depth, 0 where it is unknown or no 16-bit float.

        A map is read at the pixels' centres, never averaged: between a surface and what is behind it there is nothing. Of
        several points in a pixel the nearest counts.
        """
        if depth is None:
            return np.zeros((self.height, self.width), dtype=np.float32)
        placed = self._points(depth, lens) if isinstance(depth, SparseDepth) else self._map(depth, lens)
        return np.where((placed > 0) & (placed <= _FARTHEST), placed, 0.0).astype(np.float32)

    def _map(self, depth: Float[np.ndarray, "h w"], lens: Intrinsics) -> Float[np.ndarray, "H W"]:
        x, y = self._to_source(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5, lens)
        rows = np.floor(y * (depth.shape[0] / lens.height)).astype(int).clip(0, depth.shape[0] - 1)
        columns = np.floor(x * (depth.shape[1] / lens.width)).astype(int).clip(0, depth.shape[1] - 1)
        return depth[np.ix_(rows, columns)]

    def _points(self, sparse: SparseDepth, lens: Intrinsics) -> Float[np.ndarray, "H W"]:
        places = (sparse.pixels - [lens.cx, lens.cy]) * (self.focal / np.array([lens.fx, lens.fy]))
        places = np.floor(places + 0.5 * np.array([self.width, self.height]))
        inside = ((places >= 0) & (places < [self.width, self.height])).all(axis=1) & (sparse.depth > 0)
        columns, rows = places[inside].astype(int).T
        nearest = np.full((self.height, self.width), np.inf)
        np.minimum.at(nearest, (rows, columns), sparse.depth[inside])
        return nearest

    def _to_source(
        self, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " m"], lens: Intrinsics
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]]:
        """Where columns and rows of the frame lie in a picture, pixels."""
        return (
            lens.cx + (x - 0.5 * self.width) * (lens.fx / self.focal),
            lens.cy + (y - 0.5 * self.height) * (lens.fy / self.focal),
        )


def _longer(length: float, side: int) -> int:
    """The greatest whole length up to this one that differs from the side by an even number."""
    return side + 2 * int((length - side) / 2 + 10.0**-_ROUNDING)
