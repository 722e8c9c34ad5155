"""Marching a field along rays: samples, what the field shows there, and the sum; differentiable.

shown = march(field, rays, near_far(rays, field.extent), samples=64, background=torch.ones(3))
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from reconstruction.fields.field import Field
from reconstruction.marching.rays import Rays
from reconstruction.marching.volume import Composited, alpha_weights, composite

_LEAST_NORMAL = 1e-8


class Occupancy(Protocol):
    """What knows where a field may be other than empty."""

    def __call__(self, points: Float[Tensor, "n 3"]) -> Bool[Tensor, " n"]:
        """Whether something may be at world points."""


@dataclass(frozen=True, eq=False)
class Marched(Composited):
    """What n rays of s pieces show."""

    normals: Float[Tensor, "n 3"] | None
    """Mean normals by weight, unit or 0; where they were asked for."""
    weights: Float[Tensor, "n s"]
    """Of the pieces."""
    distances: Float[Tensor, "n s"]
    """Of the pieces along their rays, world units."""
    evaluated: int
    """Pieces at which the field was asked; the others were known to be empty."""
    gradients: Float[Tensor, "m 3"] | None
    """Of the signed distance at those, of fields that are one."""


def march(
    field: Field,
    rays: Rays,
    near_far: Float[Tensor, "n 2"],
    samples: int,
    background: Float[Tensor, "*n c"] | None = None,
    generator: torch.Generator | None = None,
    occupancy: Occupancy | None = None,
    with_normals: bool = False,
) -> Marched:
    """March through even pieces of the rays.

    Args:
        field: what is marched through.
        rays: n of them.
        near_far: where each begins and ends; nothing is where both are the same.
        samples: pieces of each ray.
        background: features behind the field.
        generator: on the CPU; with it each piece is asked at a point drawn in it, without at its middle.
        occupancy: pieces of which it says that nothing is there are not asked; where the density is 0 that changes nothing.
        with_normals: whether to tell normals.
    """
    shares = torch.linspace(0.0, 1.0, samples + 1, dtype=near_far.dtype, device=near_far.device)
    edges = near_far[:, :1] + shares * (near_far[:, 1:] - near_far[:, :1])
    drawn = None
    if generator is not None:
        drawn = torch.rand((len(rays), samples), generator=generator, dtype=torch.float32).to(edges)
    return march_pieces(field, rays, edges, drawn, background, occupancy, with_normals)


def march_pieces(
    field: Field,
    rays: Rays,
    edges: Float[Tensor, "n s_plus_1"],
    places: Float[Tensor, "n s"] | None = None,
    background: Float[Tensor, "*n c"] | None = None,
    occupancy: Occupancy | None = None,
    with_normals: bool = False,
) -> Marched:
    """March through given pieces of the rays.

    Args:
        field: what is marched through.
        rays: n of them.
        edges: where pieces begin and end, ascending.
        places: where in its piece each is asked, in [0, 1]; the middle by default.
        background: features behind the field.
        occupancy: see `march`.
        with_normals: whether to tell normals.
    """
    steps = edges[:, 1:] - edges[:, :-1]
    distances = edges[:, :-1] + (0.5 if places is None else places) * steps
    points = rays.at(distances)
    chosen = steps > 0.0
    if occupancy is not None:
        chosen = chosen & occupancy(points.reshape(-1, 3)).reshape(chosen.shape)
    directions = rays.directions[:, None].expand_as(points)[chosen]
    shaded = field.shade(points[chosen], directions, steps[chosen], with_normals)
    weights = alpha_weights(_scattered(shaded.alphas, chosen))
    shown = composite(weights, _scattered(shaded.features, chosen), distances, rays.cosines, background)
    normals = None
    if shaded.normals is not None:
        mean = torch.einsum("ns,nsc->nc", weights, _scattered(shaded.normals, chosen))
        normals = torch.nn.functional.normalize(mean, dim=-1, eps=_LEAST_NORMAL)
    return Marched(
        **vars(shown),
        normals=normals,
        weights=weights,
        distances=distances,
        evaluated=len(shaded.alphas),
        gradients=shaded.gradients,
    )


def _scattered(values: Float[Tensor, "m *c"], chosen: Bool[Tensor, "n s"]) -> Float[Tensor, "n s *c"]:
    """Values where they were chosen, 0 elsewhere."""
    whole = values.new_zeros(*chosen.shape, *values.shape[1:])
    return whole.index_put((chosen,), values)
