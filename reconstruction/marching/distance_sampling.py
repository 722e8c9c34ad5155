"""Where pieces of rays begin and end for a signed distance: even ones first, then more where the surface is.

Wang et al. 2021, supplement, "hierarchical sampling"; Totoro97/NeuS `models/renderer.py` (`up_sample`).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from reconstruction.fields.distance_field import DistanceField
from reconstruction.marching.neus_weights import section_alphas
from reconstruction.marching.rays import Rays
from reconstruction.marching.volume import alpha_weights

_ROUNDS = 4
_FIRST_SHARPNESS = 64.0
# So that pieces of no weight have some chance, and a ray that meets nothing has samples.
_LEAST_WEIGHT = 1e-5
_LEAST_STEP = 1e-5
_STEEPEST = 1e3


@torch.no_grad()
def distance_edges(
    field: DistanceField,
    rays: Rays,
    near_far: Float[Tensor, "n 2"],
    samples: int,
    fine_samples: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n s"]:
    """Edges of `samples + fine_samples` pieces, ascending.

    Args:
        field: tells the distance.
        rays: n of them.
        near_far: where each begins and ends.
        samples: even pieces.
        fine_samples: pieces besides.
        generator: on the CPU; with it the even edges within a ray are moved together by up to half a piece.
    """
    shares = torch.linspace(0.0, 1.0, samples + 1).to(near_far)
    if generator is not None:
        moved = (torch.rand((len(rays), 1), generator=generator) - 0.5).to(near_far) / samples
        shares = torch.cat(
            [shares[:1].expand(len(rays), 1), shares[1:-1] + moved, shares[-1:].expand(len(rays), 1)], 1
        )
    edges = near_far[:, :1] + shares * (near_far[:, 1:] - near_far[:, :1])
    rounds = min(_ROUNDS, fine_samples)
    if not rounds:
        return edges
    distances = _asked(field, rays, edges)
    counts = [fine_samples // rounds + (number < fine_samples % rounds) for number in range(rounds)]
    for number, count in enumerate(counts):
        more = _drawn(edges, _weights(edges, distances, _FIRST_SHARPNESS * 2**number), count)
        edges, order = torch.cat([edges, more], dim=-1).sort(dim=-1)
        if number + 1 < rounds:
            distances = torch.cat([distances, _asked(field, rays, more)], dim=-1).gather(-1, order)
    return edges


def _asked(field: DistanceField, rays: Rays, edges: Float[Tensor, "n s"]) -> Float[Tensor, "n s"]:
    return field.distance(rays.at(edges).reshape(-1, 3)).reshape(edges.shape)


def _weights(edges: Float[Tensor, "n s"], distances: Float[Tensor, "n s"], sharpness: float) -> Float[Tensor, "n p"]:
    """Of the pieces between edges; a piece is taken to be as steep as the steeper of itself and the one before it."""
    steps = edges[:, 1:] - edges[:, :-1]
    slopes = (distances[:, 1:] - distances[:, :-1]) / (steps + _LEAST_STEP)
    before = torch.cat([torch.zeros_like(slopes[:, :1]), slopes[:, :-1]], dim=-1)
    half = 0.5 * torch.minimum(slopes, before).clamp(-_STEEPEST, 0.0) * steps
    middle = 0.5 * (distances[:, 1:] + distances[:, :-1])
    return alpha_weights(section_alphas(middle - half, middle + half, sharpness))


def _drawn(edges: Float[Tensor, "n s"], weights: Float[Tensor, "n p"], count: int) -> Float[Tensor, "n m"]:
    """Places at even shares of the weights' sum, by their piecewise linear distribution."""
    shares = weights + _LEAST_WEIGHT
    reached = torch.cumsum(shares / shares.sum(dim=-1, keepdim=True), dim=-1)
    reached = torch.cat([torch.zeros_like(reached[:, :1]), reached], dim=-1)
    wanted = ((torch.arange(count) + 0.5) / count).to(edges).expand(len(edges), count).contiguous()
    piece = (torch.searchsorted(reached, wanted, right=True) - 1).clamp(0, weights.shape[1] - 1)
    low, high = reached.gather(-1, piece), reached.gather(-1, piece + 1)
    start, end = edges.gather(-1, piece), edges.gather(-1, piece + 1)
    return start + ((wanted - low) / (high - low).clamp(min=_LEAST_WEIGHT)).clamp(0.0, 1.0) * (end - start)
