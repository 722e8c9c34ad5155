"""Geometry passes: read from Blender's EXR, encoded for storage, decoded again.

Depth is planar z in scene units, 0 where there is no surface; positions are world points, normals unit vectors in world axes,
albedo is linear RGB. All are sampled once at the pixel's centre, without antialiasing. The mask is where there is depth.

A surface is what is half opaque or more (`blender_render.opacity`), and lesser ones are not there, while the picture's alpha
counts them all. Albedo sums what Cycles calls diffuse, glossy and transmission colour, so that metals have their base colour and
glass the root of it, for light goes through two sides. It holds what any gloss reflects, 0.04 of white or so, and more at grazing
angles.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import OpenEXR
from jaxtyping import Bool, Float
from PIL import Image

# 65535 steps over 6 units: an object of extent 1 within 2.2 of the camera never reaches that far.
DEPTH_SCALE = 6.0 / 65535
# What Cycles writes where a ray meets nothing is 1e10.
_FARTHEST = 1e9
_COLOURS = ("Diffuse Color", "Glossy Color", "Transmission Color")
_CHANNELS = {"Position": "XYZ", "Normal": "XYZ", **dict.fromkeys(_COLOURS, "RGB")}
# Where the sRGB curve is a straight line, in linear light (IEC 61966-2-1).
_LINEAR_PART = 0.0031308
# Passes that can be stored, and the type of their files.
PASS_FILES = {"depth": ".png", "normal": ".png", "position": ".exr", "albedo": ".png", "mask": ".png"}


@dataclass(frozen=True)
class GeometryPasses:
    """Planar depth (H W), world position, world normal and, when it was rendered, linear albedo (H W 3); background is 0."""

    depth: Float[np.ndarray, "h w"]
    position: Float[np.ndarray, "h w 3"]
    normal: Float[np.ndarray, "h w 3"]
    albedo: Float[np.ndarray, "h w 3"] | None = None


def read_exr(path: Path) -> GeometryPasses:
    """The passes of an interleaved multilayer EXR as `blender_render.scene.render_geometry` writes it."""
    with OpenEXR.File(str(path), separate_channels=True) as image:
        channels = {name: channel.pixels for name, channel in image.channels().items()}
    layer = next(name for name in channels if name.endswith(".Depth.Z")).removesuffix(".Depth.Z")
    depth = np.asarray(channels[f"{layer}.Depth.Z"], dtype=np.float32)
    surface = depth < _FARTHEST
    found = {
        name: np.where(surface[..., None], np.stack([channels[f"{layer}.{name}.{c}"] for c in axes], axis=-1), 0.0)
        for name, axes in _CHANNELS.items()
        if f"{layer}.{name}.{axes[0]}" in channels
    }
    colours = [values for name, values in found.items() if name in _COLOURS]
    albedo = np.clip(np.sum(colours, axis=0), 0.0, 1.0) if colours else None
    return GeometryPasses(np.where(surface, depth, 0.0), found["Position"], found["Normal"], albedo)


def save_passes(stem: Path, geometry: GeometryPasses, names: Collection[str]) -> None:
    """Write the named passes of `PASS_FILES` beside a view, `stem` being its path without suffix."""
    for name in names:
        _SAVE[name](pass_path(stem, name), geometry)


def pass_path(stem: Path, name: str) -> Path:
    """The file of a pass: `000_depth.png` of the view `000`."""
    return stem.with_name(f"{stem.name}_{name}{PASS_FILES[name]}")


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


def save_position(path: Path, position: Float[np.ndarray, "h w 3"]) -> None:
    """Write positions as a 32-bit float EXR of the channels X, Y and Z, losslessly compressed.

    16-bit floats would err by up to 2.4e-4 of the object's longest side, a twentieth of a pixel's width at 256 pixels.
    """
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    channels = {axis: np.ascontiguousarray(position[..., i], dtype=np.float32) for i, axis in enumerate("XYZ")}
    OpenEXR.File(header, channels).write(str(path))


def load_position(path: Path) -> Float[np.ndarray, "h w 3"]:
    """World positions from the EXR of `save_position`, exactly."""
    with OpenEXR.File(str(path), separate_channels=True) as image:
        return np.stack([np.asarray(image.channels()[axis].pixels) for axis in "XYZ"], axis=-1)


def save_albedo(path: Path, albedo: Float[np.ndarray, "h w 3"]) -> None:
    """Write linear albedo in [0, 1] as an 8-bit sRGB PNG; the background is black, as black surfaces are."""
    Image.fromarray(np.rint(srgb_from_linear(albedo) * 255.0).astype(np.uint8)).save(path, format="PNG")


def srgb_from_linear(linear: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """The sRGB curve (IEC 61966-2-1) of linear light in [0, 1]."""
    return np.where(linear <= _LINEAR_PART, 12.92 * linear, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055)


def load_albedo(path: Path) -> Float[np.ndarray, "h w 3"]:
    """Linear albedo from the PNG of `save_albedo` (IEC 61966-2-1)."""
    with Image.open(path) as image:
        value = np.asarray(image, dtype=np.float32) / 255.0
    return np.where(value <= 12.92 * _LINEAR_PART, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def save_mask(path: Path, mask: Bool[np.ndarray, "h w"]) -> None:
    """Write where there is a surface as an 8-bit grey PNG of 0 and 255."""
    Image.fromarray(mask.astype(np.uint8) * 255).save(path, format="PNG")


def load_mask(path: Path) -> Bool[np.ndarray, "h w"]:
    """Where there is a surface, from the PNG of `save_mask`."""
    with Image.open(path) as image:
        return np.asarray(image) > 0


def _save_albedo_of(path: Path, geometry: GeometryPasses) -> None:
    assert geometry.albedo is not None  # noqa: S101 - whoever stores it has it rendered
    save_albedo(path, geometry.albedo)


_SAVE: dict[str, Callable[[Path, GeometryPasses], None]] = {
    "depth": lambda path, geometry: save_depth(path, geometry.depth),
    "normal": lambda path, geometry: save_normal(path, geometry.normal),
    "position": lambda path, geometry: save_position(path, geometry.position),
    "albedo": _save_albedo_of,
    "mask": lambda path, geometry: save_mask(path, geometry.depth > 0),
}
