"""Whole pictures of a field, without gradients, so many rays at a time."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from reconstruction.fields.field import Field
from reconstruction.marching.march import Marched, Occupancy, march
from reconstruction.marching.rays import Rays, camera_rays, near_far
from systems.object_pipeline import Camera

_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class FieldPicture:
    """What a camera sees of a field."""

    features: Float[Tensor, "h w c"]
    """On the background."""
    opacity: Float[Tensor, "h w"]
    """In [0, 1]."""
    depth: Float[Tensor, "h w"]
    """Planar z, world units; 0 where nothing is."""
    normals: Float[Tensor, "h w 3"] | None
    """World axes, where they were asked for."""
    evaluated: int
    """Points at which the field was asked."""


@torch.no_grad()
def picture_of(
    field: Field,
    camera: Camera,
    samples: int,
    background: Float[Tensor, " c"] | None = None,
    occupancy: Occupancy | None = None,
    with_normals: bool = False,
) -> FieldPicture:
    """March a field through every pixel of a camera."""
    return assembled(
        camera,
        next(field.parameters()),
        lambda rays: march(
            field,
            rays,
            near_far(rays, field.extent),
            samples,
            background,
            occupancy=occupancy,
            with_normals=with_normals,
        ),
    )


@torch.no_grad()
def assembled(camera: Camera, like: Tensor, marched: Callable[[Rays], Marched], chunk: int = _CHUNK) -> FieldPicture:
    """A picture by any way of marching some rays.

    Args:
        camera: where it is taken.
        like: a tensor of the device and type of the rays.
        marched: what some rays show.
        chunk: rays at a time.
    """
    rays = camera_rays(camera.c2w, camera.intrinsics, like)
    parts = [marched(rays[first : first + chunk]) for first in range(0, len(rays), chunk)]
    size = (camera.intrinsics.height, camera.intrinsics.width)
    normals = [part.normals for part in parts if part.normals is not None]
    return FieldPicture(
        torch.cat([part.features for part in parts]).reshape(*size, -1),
        torch.cat([part.opacity for part in parts]).reshape(size),
        torch.cat([part.depth for part in parts]).reshape(size),
        torch.cat(normals).reshape(*size, 3) if normals else None,
        sum(part.evaluated for part in parts),
    )
