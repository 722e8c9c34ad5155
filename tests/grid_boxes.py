"""Boxes of six colours as Zero-1-to-G's first generation sees them: pictures, cameras and closed-form splatter images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from geometry.cameras import Intrinsics, look_at_origin, opencv_from_opengl
from geometry.gaussians import Gaussians
from geometry.inset import inset_views, sorted_by_pixel
from geometry.splatter import splatter_from_passes
from geometry.splatter_tensor import channels_from_gaussians
from systems.trainable import SplatterImages, Views

RADIUS = 1.5
FOV = np.deg2rad(49.1)
# Zero123++ v1.1: azimuths from the input, elevations over the horizon.
SIX = tuple(zip((30, 90, 150, 210, 270, 330), (30, -20) * 3, strict=True))


@dataclass(frozen=True)
class Box:
    """An axis-aligned box about the origin, each face in its own colour."""

    half: Float[np.ndarray, "3"]
    colours: Float[np.ndarray, "6 3"]


@dataclass(frozen=True)
class Passes:
    """What a camera sees of a box."""

    rgba: np.ndarray
    position: np.ndarray
    depth: np.ndarray
    normal: np.ndarray


def box(seed: int) -> Box:
    """One of many boxes."""
    chance = np.random.default_rng(seed)
    return Box(chance.uniform(0.2, 0.4, 3), chance.uniform(0.1, 0.9, (6, 3)))


def camera(elevation_deg: float, azimuth_deg: float) -> Float[np.ndarray, "4 4"]:
    """One that looks at the origin."""
    return look_at_origin(np.deg2rad(90 - elevation_deg), np.deg2rad(azimuth_deg), RADIUS)


def cast(shape: Box, c2w: Float[np.ndarray, "4 4"], lens: Intrinsics) -> Passes:
    """Rays through the middle of each pixel."""
    axes = opencv_from_opengl(c2w)
    rows, columns = np.mgrid[: lens.height, : lens.width] + 0.5
    x, y = (columns - lens.cx) / lens.fx, (rows - lens.cy) / lens.fy
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ axes[:3, :3].T
    crossings = (np.stack([-shape.half, shape.half])[:, None, None] - axes[:3, 3]) / rays
    near, far = crossings.min(axis=0), crossings.max(axis=0)
    hit = near.max(axis=-1) < far.min(axis=-1)
    axis = near.argmax(axis=-1)
    positive = np.take_along_axis(rays, axis[..., None], axis=-1)[..., 0] < 0
    depth = np.where(hit, near.max(axis=-1), 0.0)
    normal = np.eye(3)[axis] * np.where(positive, 1.0, -1.0)[..., None] * hit[..., None]
    rgb = np.where(hit[..., None], shape.colours[2 * axis + positive], 0.0)
    rgba = np.concatenate([rgb, hit[..., None]], axis=-1)
    return Passes((255 * rgba).round().astype(np.uint8), axes[:3, 3] + depth[..., None] * rays, depth, normal)


def picture(shape: Box, c2w: Float[np.ndarray, "4 4"], lens: Intrinsics) -> np.ndarray:
    """Straight RGBA of bytes, the mean of nine rays a pixel."""
    fine = cast(shape, c2w, lens.resized(3 * lens.width, 3 * lens.height)).rgba / 255.0
    blocks = fine.reshape(lens.height, 3, lens.width, 3, 4)
    alpha = blocks[..., 3:].mean(axis=(1, 3))
    rgb = (blocks[..., :3] * blocks[..., 3:]).mean(axis=(1, 3)) / np.maximum(alpha, 1e-6)
    return (255 * np.concatenate([rgb, alpha], axis=-1)).round().astype(np.uint8)


def splatters(shape: Box, c2w: Sequence[Float[np.ndarray, "4 4"]], side: int) -> list[Gaussians]:
    """Its closed-form splatter images, as the stage `splatter` makes them."""
    lens = Intrinsics.from_fov(FOV, side)
    views = []
    for each in c2w:
        seen = cast(shape, each, lens)
        colour = seen.rgba[..., :3] / 255
        views.append(splatter_from_passes(colour, seen.position, seen.depth, seen.normal, each, lens))
    inside, _ = inset_views(views)
    return [sorted_by_pixel(view).gaussians for view in inside]


def grid_cameras(azimuth_deg: float, others: int, seed: int = 0) -> list[Float[np.ndarray, "4 4"]]:
    """The input at an azimuth, the six of the grid about it, and others anywhere: the views 0, 1 to 6 and so on."""
    chance = np.random.default_rng(seed)
    elevations, azimuths = chance.uniform(-30, 60, others), chance.uniform(0, 360, others)
    return [
        camera(10, azimuth_deg),
        *(camera(elevation, azimuth_deg + azimuth) for azimuth, elevation in SIX),
        *(camera(elevation, azimuth) for elevation, azimuth in zip(elevations, azimuths, strict=True)),
    ]


def grid_views(
    shapes: list[Box], size: int, side: int, others: int, azimuth_deg: float = 0.0, seed: int = 0, epoch: int = 1
) -> Views:
    """Views as the system's choice orders them: the six, the others, the input last; with splatter images.

    Args:
        shapes: one a sample.
        size: width and height of the pictures, pixels.
        side: of the splatter images.
        others: views beside the input and the six.
        azimuth_deg: of the input.
        seed: of the others.
        epoch: of the views.
    """
    first, *rest = grid_cameras(azimuth_deg, others, seed)
    c2w, lens = [*rest, first], Intrinsics.from_fov(FOV, size)
    rgba = np.stack([[picture(shape, each, lens) for each in c2w] for shape in shapes])
    channels = np.stack(
        [[channels_from_gaussians(each, side, side) for each in splatters(shape, c2w[:6], side)] for shape in shapes]
    )
    count, small = len(shapes), Intrinsics.from_fov(FOV, side)
    return Views(
        uids=tuple(f"box {number}" for number in range(count)),
        numbers=np.tile([*range(1, len(c2w)), 0], (count, 1)),
        rgba=torch.from_numpy(rgba),
        c2w=torch.from_numpy(np.stack([c2w] * count)).float(),
        intrinsics=torch.tensor([lens.fx, lens.fy, lens.cx, lens.cy]).expand(count, len(c2w), 4),
        scales=torch.full((count, len(c2w), 3), torch.nan),
        splatters=SplatterImages(
            torch.from_numpy(channels.astype(np.float16)),
            torch.from_numpy(np.stack([c2w[:6]] * count)).float(),
            torch.tensor([small.fx, small.fy, small.cx, small.cy]).expand(count, 6, 4),
        ),
        epoch=epoch,
    )
