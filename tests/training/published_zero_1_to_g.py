"""Zero-1-to-G's published layout, written by its own conventions and not by our exporter: two boxes, ray-cast in numpy.

Cameras are kiui's `orbit_camera` at minus the elevation (Y up, azimuth from +Z to +X), and the Gaussians are in the frame where
the loader puts the camera of 001: without rotation, at (0, 0, 1.5).
"""

from pathlib import Path

import numpy as np
from PIL import Image

from blender_render.camera_sets import View
from blender_render.protocols import cameras
from geometry.cameras import Intrinsics, opencv_from_opengl
from geometry.gaussian_operations import transform
from geometry.gaussians import Gaussians, concatenate
from geometry.inset import inset_views, sorted_by_pixel
from geometry.ply import write_ply
from geometry.similarity import Similarity
from geometry.splatter import SplatterView, splatter_from_passes
from stage.seeds import generator

VIEWS, SIZE, SIDE = 8, 32, 32
# Middles and halves of a body and of a nose that points to the input, off its middle, so that no mirror image is the same.
BOXES = np.array([[[0.0, 0.0, 0.0], [0.25, 0.4, 0.2]], [[0.3, 0.15, 0.1], [0.1, 0.08, 0.25]]])
# Our X, Y and Z are kiui's Z, X and Y.
_KIUI = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])


def protocol(seed: int, size: int = SIZE, views: int = VIEWS) -> list[View]:
    """The cameras of a scene in our world, the input at azimuth 0."""
    return cameras("zero_1_to_g_training", generator(0, f"{seed}", "cameras"), views, size)


def cast(view: View, seed: int) -> dict[str, np.ndarray]:
    """RGB, position, planar depth and normal of the boxes, coloured by the seed; a depth of 0 is background."""
    axes, lens = opencv_from_opengl(view.c2w), view.intrinsics
    rows, columns = np.mgrid[: lens.height, : lens.width] + 0.5
    rays = (
        np.stack([(columns - lens.cx) / lens.fx, (rows - lens.cy) / lens.fy, np.ones_like(rows)], -1) @ axes[:3, :3].T
    )
    colours = np.random.default_rng(seed).uniform(0.1, 0.9, (len(BOXES), 6, 3))
    depth, rgb, normal = np.full(rows.shape, np.inf), np.zeros((*rows.shape, 3)), np.zeros((*rows.shape, 3))
    for (middle, half), paint in zip(BOXES, colours, strict=True):
        with np.errstate(divide="ignore"):
            crossings = (middle + np.stack([-half, half])[:, None, None] - axes[:3, 3]) / rays
        near, far = crossings.min(axis=0), crossings.max(axis=0)
        first, axis = near.max(axis=-1), near.argmax(axis=-1)
        nearer = (first < far.min(axis=-1)) & (first < depth)
        sign = -np.sign(np.take_along_axis(rays, axis[..., None], axis=-1)[..., 0])
        depth = np.where(nearer, first, depth)
        rgb = np.where(nearer[..., None], paint[2 * axis + (sign > 0)], rgb)
        normal = np.where(nearer[..., None], sign[..., None] * np.eye(3)[axis], normal)
    depth = np.where(np.isfinite(depth), depth, 0.0)
    position = np.where(depth[..., None] > 0, axes[:3, 3] + depth[..., None] * rays, 0.0)
    return {"rgb": rgb, "position": position, "depth": depth, "normal": normal}


def picture(view: View, seed: int) -> Image.Image:
    """RGBA as it is published."""
    passes = cast(view, seed)
    rgba = np.concatenate([passes["rgb"], (passes["depth"] > 0)[..., None]], axis=-1)
    return Image.fromarray(np.rint(255 * rgba).astype(np.uint8))


def splatters(seed: int, side: int = SIDE) -> list[Gaussians]:
    """The splatter images of the views 001 to 006, in our world."""
    views = [View(view.c2w, view.intrinsics.resized(side, side)) for view in protocol(seed)[1:7]]
    inside, _ = inset_views([_splatter(view, seed) for view in views])
    return [sorted_by_pixel(view).gaussians for view in inside]


def _splatter(view: View, seed: int) -> SplatterView:
    return splatter_from_passes(**cast(view, seed), c2w=view.c2w, intrinsics=view.intrinsics)


def union(images: list[Gaussians]) -> Gaussians:
    """All Gaussians that show."""
    return concatenate([image.select(image.opacities > 0.0) for image in images])


def orbit_camera(elevation: float, azimuth: float, radius: float) -> np.ndarray:
    """The camera of kiui by its documentation; degrees, elevation −90 at +Y, OpenGL axes."""
    down, around = np.deg2rad([elevation, azimuth])
    backward = np.array([np.cos(down) * np.sin(around), -np.sin(down), np.cos(down) * np.cos(around)])
    right = np.cross([0.0, 1.0, 0.0], backward)
    right /= np.linalg.norm(right)
    c2w = np.eye(4)
    c2w[:3, :3] = np.stack([right, np.cross(backward, right), backward], axis=1)
    c2w[:3, 3] = radius * backward
    return c2w


def numbers(view: View, azimuth: float) -> dict[str, float]:
    """What is published of a camera, whose scene was turned by an azimuth in degrees."""
    x, y, z = view.c2w[:3, 3]
    radius = float(np.sqrt(x * x + y * y + z * z))
    around = float(np.rad2deg(np.arctan2(y, x))) + azimuth
    return {"elevation": float(np.rad2deg(np.arcsin(z / radius))), "azimuth": around % 360.0, "radius": radius}


def write_scene(
    root: Path, uid: str, seed: int, azimuth: float = 0.0, fov: float | None = None, views: int = VIEWS
) -> tuple[Path, Path]:
    """Write a scene whose world was turned by an azimuth, degrees; its folders of renderings and splatter images."""
    renderings = root / "renderings" / uid
    renderings.mkdir(parents=True)
    seen = protocol(seed, views=views)
    for number, view in enumerate(seen):
        picture(view, seed).save(renderings / f"{number:03d}.png")
        values = numbers(view, azimuth) | ({} if fov is None else {"fov": fov})
        np.save(renderings / f"{number:03d}.npy", np.array(values, dtype=object), allow_pickle=True)
    turn = np.deg2rad(azimuth)
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0.0], [np.sin(turn), np.cos(turn), 0.0], [0.0, 0.0, 1.0]])
    first = numbers(seen[1], azimuth)
    pose = orbit_camera(-first["elevation"], first["azimuth"], first["radius"])
    placed = np.eye(4)
    placed[2, 3] = 1.5
    frame = placed @ np.linalg.inv(pose)
    to_file = Similarity(frame[:3, :3] @ _KIUI @ about_z, 1.0, frame[:3, 3])
    folder = root / "splatters/00003/9000-9999" / uid / "eval_pred_gs_1800_es"
    images = splatters(seed)
    for number, image in enumerate(images):
        write_ply(folder / f"splatter_{number}.ply", transform(image, to_file))
    write_ply(folder / "fused.ply", transform(union(images), to_file))
    return renderings, folder


def lens_of(side: int = SIZE) -> Intrinsics:
    """Of 49.13°."""
    return protocol(0, side)[0].intrinsics
