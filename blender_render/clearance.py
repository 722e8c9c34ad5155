"""Cameras among things: whether one stands free and sees far, by rays cast in Blender. Runs inside a worker process."""

from collections.abc import Iterator
from dataclasses import replace

import bpy
import numpy as np
from jaxtyping import Float
from mathutils import Vector

from blender_render.rendered_object import RenderJob
from geometry.cameras import Intrinsics
from stage.failures import FailureClass, ObjectFailedError

# Nothing is nearer to a camera, and half of its picture lies farther away than this; scene units.
CLEARANCE, SIGHT = 0.05, 0.25
# Rays in all directions, and along each side of the picture.
_AROUND, _ACROSS = 64, 7


def settled(job: RenderJob) -> RenderJob:
    """The job with cameras that stand free: each its own pose, or else the first of its spares that does.

    Raises:
        ObjectFailedError: blank, when a view has spares and none of its poses is free.
    """
    if not job.spares:
        return job
    poses = zip(job.cameras, job.spares, job.lenses(), strict=True)
    cameras = [_first_free(number, [pose, *spares], lens) for number, (pose, spares, lens) in enumerate(poses)]
    return replace(job, cameras=cameras, spares=[])


def _first_free(number: int, poses: list[list[list[float]]], lens: Intrinsics) -> list[list[float]]:
    for pose in poses:
        if stands_free(np.asarray(pose), lens):
            return pose
    raise ObjectFailedError(
        FailureClass.BLANK, f"none of the {len(poses)} places of view {number} stands free; is this a room?"
    )


def stands_free(c2w: Float[np.ndarray, "4 4"], lens: Intrinsics) -> bool:
    """Whether a camera stands in nothing, near nothing, and sees far in half of its picture.

    A ray that meets the back of a surface comes out of something that the camera stands in.

    Args:
        c2w: camera-to-world, OpenGL axes, of the normalised scene.
        lens: its intrinsics.
    """
    around = list(_cast(c2w[:3, 3], _sphere(_AROUND)))
    ahead = list(_cast(c2w[:3, 3], _through_picture(c2w, lens)))
    if any(back or distance < CLEARANCE for distance, back in (*around, *ahead)):
        return False
    return float(np.median([distance for distance, _ in ahead])) >= SIGHT


def _cast(origin: Float[np.ndarray, "3"], directions: Float[np.ndarray, "n 3"]) -> Iterator[tuple[float, bool]]:
    """How far each ray goes, endlessly where it meets nothing, and whether it meets the back of a surface."""
    scene, depsgraph = bpy.context.scene, bpy.context.evaluated_depsgraph_get()
    start = Vector(origin)
    for direction in directions:
        ray = Vector(direction)
        hit, place, normal, *_ = scene.ray_cast(depsgraph, start, ray)
        yield ((place - start).length, normal.dot(ray) > 0.0) if hit else (float("inf"), False)


def _sphere(count: int) -> Float[np.ndarray, "n 3"]:
    """Directions spread evenly over the sphere, on a spiral of the golden angle."""
    steps = np.arange(count) + 0.5
    z, azimuth = 1.0 - 2.0 * steps / count, steps * np.pi * (3.0 - np.sqrt(5.0))
    ring = np.sqrt(1.0 - z * z)
    return np.stack([ring * np.cos(azimuth), ring * np.sin(azimuth), z], axis=1)


def _through_picture(c2w: Float[np.ndarray, "4 4"], lens: Intrinsics) -> Float[np.ndarray, "n 3"]:
    """Unit directions through a grid of points that spans the picture from edge to edge."""
    x, y = np.meshgrid(np.linspace(0.0, lens.width, _ACROSS), np.linspace(0.0, lens.height, _ACROSS))
    own = np.stack([(x - lens.cx) / lens.fx, (lens.cy - y) / lens.fy, -np.ones_like(x)], axis=-1).reshape(-1, 3)
    return (own / np.linalg.norm(own, axis=1, keepdims=True)) @ c2w[:3, :3].T
