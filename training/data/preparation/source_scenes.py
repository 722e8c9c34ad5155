"""What a source of scenes hands over: cameras first, and pictures with their depth when it is their turn.

All of it can be sent to another process. A frame or a scene that cannot be used is told with its reason, never raised past its
scene.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from jaxtyping import Float, UInt8

from geometry.cameras import Intrinsics, project


@dataclass(frozen=True)
class SparseDepth:
    """Depth at some places of a picture."""

    pixels: Float[np.ndarray, "n 2"]
    """x right, y down, from the top-left corner of the picture as it is loaded."""
    depth: Float[np.ndarray, " n"]
    """Planar z in the units of the camera's pose."""

    @classmethod
    def of(cls, points: Float[np.ndarray, "n 3"], c2w: Float[np.ndarray, "4 4"], lens: Intrinsics) -> Self:
        """World points in a pinhole picture, those in front of the camera."""
        pixels, depth = project(points, c2w, lens)
        return cls(pixels[depth > 0], depth[depth > 0])


@dataclass(frozen=True)
class LoadedFrame:
    """A frame's pixels."""

    picture: UInt8[np.ndarray, "h w 3"]
    """sRGB."""
    depth: Float[np.ndarray, "H W"] | SparseDepth | None = None
    """Planar z in the units of the camera's pose, 0 where it is unknown; a map covers the picture whatever its own size."""


@dataclass(frozen=True)
class SourceFrame:
    """A frame before its picture is decoded."""

    name: str
    """What the report calls it."""
    c2w: Float[np.ndarray, "4 4"]
    """OpenGL axes."""
    lens: Intrinsics
    """Of the picture as it is loaded, a pinhole's."""
    load: Callable[[], LoadedFrame]
    """Decodes it; raises ValueError or OSError in one line where it is damaged."""


@dataclass(frozen=True)
class LeftOut:
    """A frame, or a part of it, that is not in the shards."""

    frame: str
    why: str


@dataclass(frozen=True)
class OpenedScene:
    """The frames of a scene in their order, and those that cannot be used."""

    frames: list[SourceFrame]
    left_out: list[LeftOut] = field(default_factory=list)


@dataclass(frozen=True)
class SourceScene:
    """A scene that may be usable."""

    category: str
    name: str
    open: Callable[[], OpenedScene]
    """Finds its frames; raises `ObjectFailedError` where there are none to be had."""
    split: str = ""
    """Its source's own; empty where it follows from `split_key`."""
    split_key: str = ""
    """Scenes that share it share their split; empty is the scene's own key."""

    @property
    def key(self) -> str:
        """Its folder in a shard."""
        return f"{self.category}/{self.name}"
