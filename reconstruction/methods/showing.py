"""A whole picture of a field from a camera, with what losses ask for."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from blender_render.camera_sets import View
from reconstruction.fields.field import Field
from reconstruction.marching.march import Marched, Occupancy, march
from reconstruction.marching.rays import Rays, camera_rays, near_far

# Pieces of rays with less weight have no say in normals.
_LEAST_WEIGHT = 1e-3
# How far a point is moved to see whether its normal changes, in the box's longest sides; threestudio moves by 0.01 in a box of 2.
_JITTER = 0.005


@dataclass(frozen=True, eq=False)
class Shown:
    """What a field shows of h × w pixels."""

    features: Float[Tensor, "c h w"]
    """On the background."""
    opacity: Float[Tensor, "h w"]
    marched: Marched
    rays: Rays

    @property
    def distance(self) -> Float[Tensor, "h w"]:
        """Σ wᵢ·dᵢ along the rays, not divided by the opacity: 0 where nothing is."""
        return (self.marched.weights * self.marched.distances).sum(dim=-1).reshape(self.opacity.shape)


@dataclass(frozen=True, eq=False)
class ShownNormals:
    """Normals of the pieces that are seen, and what they look like."""

    weights: Float[Tensor, " m"]
    normals: Float[Tensor, "m 3"]
    """Outward."""
    directions: Float[Tensor, "m 3"]
    """Of the rays."""
    points: Float[Tensor, "m 3"]
    picture: Float[Tensor, "h w 3"]
    """(n + 1)/2 · opacity, n the mean normal, as threestudio's renderer has it."""


def show(
    field: Field,
    camera: View,
    samples: int,
    background: Float[Tensor, "*n c"],
    generator: Generator | None = None,
    occupancy: Occupancy | None = None,
) -> Shown:
    """March a field through all pixels of a camera.

    Args:
        field: what is shown.
        camera: square.
        samples: pieces of each ray.
        background: features behind the field, one for all pixels or one each, row by row.
        generator: stratifies the pieces; their middles without.
        occupancy: pieces that it knows to be empty are not asked.
    """
    rays = camera_rays(camera.c2w, camera.intrinsics, like=background)
    marched = march(field, rays, near_far(rays, field.extent), samples, background, generator, occupancy)
    size = (camera.intrinsics.height, camera.intrinsics.width)
    return Shown(marched.features.T.reshape(-1, *size), marched.opacity.reshape(size), marched, rays)


def shown_normals(field: Field, shown: Shown) -> ShownNormals:
    """The normals of what is seen: only pieces that count are asked, which are few once there is a surface."""
    marched = shown.marched
    counted = marched.weights.detach() > _LEAST_WEIGHT
    points = shown.rays.at(marched.distances)[counted]
    normals = field.normals(points)
    directions = shown.rays.directions[:, None].expand(*counted.shape, 3)[counted]
    weighed = marched.weights.new_zeros(*counted.shape, 3).index_put((counted,), normals)
    mean = torch.nn.functional.normalize((marched.weights[..., None] * weighed).sum(dim=1), dim=-1)
    picture = (mean + 1.0) / 2.0 * marched.opacity[:, None]
    size = shown.opacity.shape
    return ShownNormals(marched.weights[counted], normals, directions, points, picture.reshape(*size, 3))


def jittered_normals(field: Field, shown: ShownNormals, generator: Generator) -> Float[Tensor, "m 3"]:
    """Normals a small random step away from those points."""
    steps = torch.randn(shown.points.shape, generator=generator).to(shown.points)
    return field.normals(shown.points + _JITTER * field.extent.longest * steps)
