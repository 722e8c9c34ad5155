"""Volume rendering: from how opaque pieces of rays are to what each ray shows.

A ray's pieces are given front to back. (Max 1995, "Optical models for direct volume rendering"; Mildenhall et al. 2020, eq. 3.)
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# Less opacity has no depth.
_LEAST_OPACITY = 1e-6


@dataclass(frozen=True, eq=False)
class Composited:
    """What n rays show."""

    features: Float[Tensor, "n c"]
    """On the background, where one was given; premultiplied by opacity otherwise."""
    opacity: Float[Tensor, " n"]
    """Share of the light that the field takes, in [0, 1]."""
    distance: Float[Tensor, " n"]
    """Mean distance along the ray, by weight, world units; 0 where nothing is."""
    depth: Float[Tensor, " n"]
    """The same as planar z, as renders have it."""


def density_alphas(density: Float[Tensor, "*n"], steps: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """How opaque a piece of constant density is: α = 1 − exp(−density · step) (Max 1995, eq. 8)."""
    return -torch.expm1(-density * steps)


def alpha_weights(alphas: Float[Tensor, "n s"]) -> Float[Tensor, "n s"]:
    """Share of the light that reaches the eye from each piece: wᵢ = αᵢ ∏_{j<i} (1 − αⱼ); their sum is the ray's opacity."""
    passed = torch.cumprod(1.0 - alphas, dim=-1)
    reached = torch.cat([torch.ones_like(passed[:, :1]), passed[:, :-1]], dim=-1)
    return alphas * reached


def composite(
    weights: Float[Tensor, "n s"],
    features: Float[Tensor, "n s c"],
    distances: Float[Tensor, "n s"],
    cosines: Float[Tensor, " n"],
    background: Float[Tensor, "*n c"] | None = None,
) -> Composited:
    """Sum up what the pieces of rays show.

    Args:
        weights: of the pieces, as above.
        features: of the pieces.
        distances: of the pieces along their rays, world units.
        cosines: between rays and the axes of their cameras.
        background: features behind the field, one for all rays or one each.
    """
    opacity = weights.sum(dim=-1)
    total = torch.einsum("ns,nsc->nc", weights, features)
    if background is not None:
        total = total + (1.0 - opacity)[:, None] * background
    distance = (weights * distances).sum(dim=-1) / opacity.clamp(min=_LEAST_OPACITY)
    return Composited(total, opacity, distance, distance * cosines)
