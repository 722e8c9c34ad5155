"""Geometry passes: read from Blender's EXR, encoded for storage, decoded again.

Depth is planar z in scene units, 0 where there is no surface; normals are unit vectors in world axes. Both are sampled at the
pixel's centre, without antialiasing. Stored depth is uint16: `depth = value · DEPTH_SCALE`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import OpenEXR
from jaxtyping import Float
from PIL import Image

# 65535 steps over 6 units: an object of extent 1 within 2.2 of the camera never reaches that far.
DEPTH_SCALE = 6.0 / 65535
# What Cycles writes where a ray meets nothing is 1e10.
_FARTHEST = 1e9


@dataclass(frozen=True)
class GeometryPasses:
    """Planar depth (H W), world position (H W 3) and world normal (H W 3) of one view; background is 0."""

    depth: Float[np.ndarray, "h w"]
    position: Float[np.ndarray, "h w 3"]
    normal: Float[np.ndarray, "h w 3"]


def read_exr(path: Path) -> GeometryPasses:
    """The passes of an interleaved multilayer EXR as `blender_render.scene.render_geometry` writes it."""
    with OpenEXR.File(str(path), separate_channels=True) as image:
        channels = {name: channel.pixels for name, channel in image.channels().items()}
    layer = next(name for name in channels if name.endswith(".Depth.Z")).removesuffix(".Depth.Z")
    depth = np.asarray(channels[f"{layer}.Depth.Z"], dtype=np.float32)
    surface = depth < _FARTHEST
    position = np.stack([channels[f"{layer}.Position.{axis}"] for axis in "XYZ"], axis=-1)
    normal = np.stack([channels[f"{layer}.Normal.{axis}"] for axis in "XYZ"], axis=-1)
    mask = surface[..., None]
    return GeometryPasses(np.where(surface, depth, 0.0), np.where(mask, position, 0.0), np.where(mask, normal, 0.0))


def save_depth(path: Path, depth: Float[np.ndarray, "h w"]) -> None:
    """Write depth as a 16-bit grey PNG; half a step of error is 4.6e-5 of a scene unit."""
    values = np.clip(np.rint(depth / DEPTH_SCALE), 0, 65535).astype(np.uint16)
    Image.fromarray(values).save(path, format="PNG")


def load_depth(path: Path) -> Float[np.ndarray, "h w"]:
    """Depth from the PNG of `save_depth`."""
    with Image.open(path) as image:
        return np.asarray(image, dtype=np.float32) * np.float32(DEPTH_SCALE)


def save_normal(path: Path, normal: Float[np.ndarray, "h w 3"]) -> None:
    """Write normals as an 8-bit RGB PNG, (n + 1) / 2; the background is black, which no unit vector encodes to."""
    values = np.rint((normal + 1.0) * 127.5).astype(np.uint8)
    values[~normal.any(axis=-1)] = 0
    Image.fromarray(values).save(path, format="PNG")


def load_normal(path: Path) -> Float[np.ndarray, "h w 3"]:
    """Unit normals from the PNG of `save_normal`, within 0.4°; 0 on the background."""
    with Image.open(path) as image:
        values = np.asarray(image, dtype=np.float32)
    normal = values / 127.5 - 1.0
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    return np.where(values.any(axis=-1, keepdims=True), normal / np.maximum(length, 1e-6), 0.0).astype(np.float32)
