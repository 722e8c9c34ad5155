"""Pictures of one size for a batch: the middle square of each, made smaller by averaging areas, and the intrinsics that follow.

The middle square is what Zero-1-to-3 and ZeroNVS train on. Nothing is enlarged: what is not in a picture is not made up.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from blender_render.view_codecs import resized
from stage.errors import InputError


@dataclass(frozen=True)
class MiddleSquare:
    """The middle square of pictures of one shape."""

    height: int
    """Of the pictures, pixels."""
    width: int
    size: int
    """Width and height to be made of the square, pixels."""

    @classmethod
    def of(cls, uid: str, picture: UInt8[np.ndarray, "h w 4"], size: int) -> Self:
        """That of an object's pictures, of which one is given.

        Raises:
            InputError: when it is smaller than what is to be made of it.
        """
        height, width = picture.shape[:2]
        if min(height, width) < size:
            raise InputError(f"{uid} has {width}×{height} pixels, {size}×{size} are wanted", "ask for a smaller size")
        return cls(height, width, size)

    @property
    def side(self) -> int:
        """Width and height of the square, pixels."""
        return min(self.height, self.width)

    @property
    def corner(self) -> tuple[int, int]:
        """Its first column and row."""
        return (self.width - self.side) // 2, (self.height - self.side) // 2

    def picture(self, rgba: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "size size 4"]:
        """The square of a picture, made smaller."""
        return resized(middle_square(rgba), self.size)

    def intrinsics(self, lenses: Float[np.ndarray, "v 4"]) -> Float[np.ndarray, "v 4"]:
        """What fx, fy, cx, cy become.

        A crop by (left, top) of a square whose side is s, then made smaller by k = size / s, maps a pixel (x, y), whose centre
        lies at half-integers, to k·(x − left, y − top): so fx and fy become k times, and the principal point moves likewise.
        """
        return (lenses - [0, 0, *self.corner]) * (self.size / self.side)


def middle_square(values: Shaped[np.ndarray, "h w *c"]) -> Shaped[np.ndarray, "s s *c"]:
    """The middle square of a picture or its depth, as large as it is."""
    height, width = values.shape[:2]
    square = MiddleSquare(height, width, min(height, width))
    left, top = square.corner
    return values[top : top + square.side, left : left + square.side]
