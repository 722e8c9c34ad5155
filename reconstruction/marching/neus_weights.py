"""Opacities of pieces of rays from a signed distance, so that the weight is largest at the surface.

Wang et al. 2021, "NeuS: Learning neural implicit surfaces by volume rendering for multi-view reconstruction".
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid


def section_alphas(
    entering: Float[Tensor, "*n"], leaving: Float[Tensor, "*n"], sharpness: Float[Tensor, ""] | float
) -> Float[Tensor, "*n"]:
    """Eq. 13: max((Φ(f(tᵢ)) − Φ(f(tᵢ₊₁))) / Φ(f(tᵢ)), 0), Φ the logistic function of s times the distance.

    By logarithms: deep inside both values of Φ vanish, and their quotient does not.

    Args:
        entering: signed distance where each piece begins, world units, positive outside.
        leaving: where it ends.
        sharpness: s, per world unit.
    """
    passing = logsigmoid(leaving * sharpness) - logsigmoid(entering * sharpness)
    return -torch.expm1(passing.clamp(max=0.0))


def piece_alphas(
    distance: Float[Tensor, " n"],
    gradient: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    steps: Float[Tensor, " n"],
    sharpness: Float[Tensor, ""] | float,
    annealing: float = 1.0,
) -> Float[Tensor, " n"]:
    """The same with the distances at both ends told by that in the middle and its gradient.

    So a piece needs one evaluation (Totoro97/NeuS `models/renderer.py`, `render_core`). Where a ray leaves the object the slope
    is taken for 0, and nothing is taken from the light.

    Args:
        distance: f in the middle of each piece, world units.
        gradient: ∇f there.
        directions: of the rays, unit vectors.
        steps: lengths of the pieces.
        sharpness: s, per world unit.
        annealing: from 0 to 1: at first the slope is (cos − 1) / 2, so that pieces of all slopes learn (`cos_anneal_ratio`).
    """
    cosine = (gradient * directions).sum(dim=-1)
    slope = annealing * cosine.clamp(max=0.0)
    if annealing < 1.0:
        slope = slope + (1.0 - annealing) * (0.5 * cosine - 0.5).clamp(max=0.0)
    half = 0.5 * slope * steps
    return section_alphas(distance - half, distance + half, sharpness)
