"""Losses on what a field shows, as pure functions of rendered tensors; methods weigh them.

Sources: SJC is cvlab-columbia/zero123 `3drec/run_zero123.py` and `3drec/my3d.py`; threestudio is
`threestudio/systems/zero123.py`, of which ZeroNVS has a copy. Pictures are (…, h, w), depths in scene
units, normals and directions of unit length.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from jaxtyping import Float
from torch import Tensor

SJC_BACKGROUND_DEPTH = 10.0
"""The depth at which SJC takes the background to be (`3drec/voxnerf/render.py`)."""
SJC_EMPTINESS_SCALE = 10.0


def filled_depth(
    distance: Float[Tensor, " *n"], opacity: Float[Tensor, " *n"], background: float = SJC_BACKGROUND_DEPTH
) -> Float[Tensor, " *n"]:
    """Depth along rays that goes on where nothing is: Σ wᵢ·dᵢ + (1 − Σ wᵢ)·background.

    Args:
        distance: Σ wᵢ·dᵢ, not divided by the opacity.
        opacity: Σ wᵢ.
        background: depth of what is behind the field.
    """
    return distance + (1.0 - opacity) * background


def near_view_consistency(
    view: Float[Tensor, "c h w"],
    depth: Float[Tensor, "h w"],
    near_view: Float[Tensor, "c h w"],
    near_depth: Float[Tensor, "h w"],
) -> Float[Tensor, ""]:
    """Mean |Δpicture| + mean |Δdepth| between a view and one from a camera beside it (SJC)."""
    return (near_view - view).abs().mean() + (near_depth - depth).abs().mean()


def depth_smoothness(depth: Float[Tensor, "h w"]) -> Float[Tensor, ""]:
    """Half of the mean absolute difference between neighbours along both sides (SJC, `depth_smooth_loss`)."""
    across, down = depth[:, 1:] - depth[:, :-1], depth[1:] - depth[:-1]
    return (across.abs().mean() + down.abs().mean()) / 2.0


def emptiness(weights: Float[Tensor, " *n"], scale: float = SJC_EMPTINESS_SCALE) -> Float[Tensor, ""]:
    """Mean of −½·w·log(1 + scale·w) (SJC): the fewer samples carry a ray's weight, the lower.

    Args:
        weights: of samples on rays, in [0, 1].
        scale: how soon a weight counts.
    """
    return (-0.5 * weights * torch.log1p(scale * weights)).mean()


def orientation(
    weights: Float[Tensor, " m"],
    normals: Float[Tensor, "m 3"],
    directions: Float[Tensor, "m 3"],
    opacity: Float[Tensor, " *n"],
) -> Float[Tensor, ""]:
    """Σ wᵢ·max(0, nᵢ·d)² over the rays that see anything (threestudio; Verbin et al. 2022): no visible normal looks away.

    The weights pass no gradient.

    Args:
        weights: of pieces of rays.
        normals: of the field there, outwards.
        directions: of the pieces' rays, away from the camera.
        opacity: of all rays.
    """
    away = (normals * directions).sum(dim=-1).clamp(min=0.0)
    seeing = (opacity > 0).sum().clamp(min=1)
    return (weights.detach() * away.square()).sum() / seeing


def surface_smoothness(normals: Float[Tensor, "m 3"], jittered: Float[Tensor, "m 3"]) -> Float[Tensor, ""]:
    """Mean absolute difference of normals and those a small step away (threestudio); 0 where there are none."""
    return (normals - jittered).abs().sum() / max(1, normals.numel())


def normal_smoothness(normals: Float[Tensor, "h w 3"]) -> Float[Tensor, ""]:
    """Mean squared difference of rendered normals between neighbours, along both sides and added (threestudio)."""
    across, down = normals[:, 1:] - normals[:, :-1], normals[1:] - normals[:-1]
    return across.square().mean() + down.square().mean()


def sparsity(opacity: Float[Tensor, " *n"]) -> Float[Tensor, ""]:
    """Mean √(opacity² + 0.01) (threestudio)."""
    return (opacity.square() + 0.01).sqrt().mean()


def opaqueness(opacity: Float[Tensor, " *n"], least: float = 1e-3) -> Float[Tensor, ""]:
    """Mean entropy of the opacity, clipped by `least` on both sides (threestudio): lowest where it is 0 or 1."""
    clipped = opacity.clamp(least, 1.0 - least)
    return F.binary_cross_entropy(clipped, clipped)


def input_picture(shown: Float[Tensor, "3 h w"], picture: Float[Tensor, "3 h w"]) -> Float[Tensor, ""]:
    """Mean squared error of the input view, both in [−1, 1], background and all (SJC).

    Args:
        shown: the field from the input's camera; what a latent field shows is decoded before.
        picture: the input on its background.
    """
    return F.mse_loss(shown, picture)


def input_foreground(
    shown: Float[Tensor, "3 h w"],
    background: Float[Tensor, "3 h w"],
    picture: Float[Tensor, "3 h w"],
    mask: Float[Tensor, "h w"],
) -> Float[Tensor, ""]:
    """Mean squared error of the input view in [0, 1], on whatever background the field was shown on (threestudio).

    Args:
        shown: the field from the input's camera on its background.
        background: that background.
        picture: the input, of which the foreground counts.
        mask: its coverage in [0, 1].
    """
    return F.mse_loss(shown, picture * mask + background * (1.0 - mask))


def input_mask(opacity: Float[Tensor, "h w"], mask: Float[Tensor, "h w"]) -> Float[Tensor, ""]:
    """Mean squared error of the opacity from the input's camera (threestudio)."""
    return F.mse_loss(opacity, mask)
