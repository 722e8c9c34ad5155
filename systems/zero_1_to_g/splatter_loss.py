"""What decoded splatter images cost: the errors of their attributes, and of the pictures of their Gaussians.

Source: mengxuyiGit/LGM, `core/models_zero123plus_marigold_unet_rendering_loss_cross_domain.py`, `forward`. Its normal term
compares rasterised normals with those of the rasterised depth (2D Gaussian splatting); ours compares normals and depth with those
of the true Gaussians, which are at hand.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from jaxtyping import Float
from torch import Tensor

from geometry.attribute_images import ATTRIBUTES
from geometry.cameras import Intrinsics
from geometry.gaussian_tensors import GaussianTensors
from geometry.picture_losses import on_background
from geometry.rasterizer import Rendering, rasterize
from systems.zero_1_to_g.parameters import DecoderLossParameters

_BLACK = (0.0, 0.0, 0.0)
# Width and height of the pictures that LPIPS compares, as published.
_LPIPS_SIDE = 256


@dataclass(frozen=True, eq=False)
class Supervision:
    """Pictures of one object, and their cameras."""

    rgba: Float[Tensor, "v h w 4"]
    """sRGB in [0, 1], straight alpha."""
    c2w: Float[np.ndarray, "v 4 4"]
    """OpenGL axes."""
    intrinsics: tuple[Intrinsics, ...]


def splatter_error(
    made: Float[Tensor, "*n 5 3 h w"], true: Float[Tensor, "*n 5 3 h w"], weights: DecoderLossParameters
) -> Float[Tensor, ""]:
    """Mean of the five attributes' weighted mean squared errors.

    The published loss clips what the decoder makes to [−1, 1] first; here a value beyond it costs something and is led back.

    Args:
        made: attribute images as the decoder makes them.
        true: in [−1, 1].
        weights: those named like the attributes.
    """
    squares = (made - true).square()
    errors = squares.movedim(-4, 0).flatten(1).mean(dim=1)
    return (errors * errors.new_tensor([getattr(weights, name) for name in ATTRIBUTES])).mean()


def rendering_error(
    made: GaussianTensors,
    true: GaussianTensors | None,
    supervision: Supervision,
    background: Float[Tensor, "3"],
    weights: DecoderLossParameters,
    lpips: Any | None = None,  # noqa: ANN401 - the network of a package that may be absent
) -> Float[Tensor, ""]:
    """Weighted errors of the pictures of Gaussians: colour, coverage, LPIPS, and normals and depth beside true Gaussians.

    Args:
        made: the Gaussians, in the frame of the cameras.
        true: theirs, where normals or depth take part.
        supervision: what is to be seen of them.
        background: RGB that made and true pictures are composited on, so that no colour of the object looks like air.
        weights: of the terms.
        lpips: takes two batches (v, 3, h, w) in [−1, 1] and gives v distances.
    """
    seen = rasterize(made, supervision.c2w, supervision.intrinsics, _BLACK)
    pictures = seen.rgb + (1.0 - seen.alpha)[..., None] * background
    truth = on_background(supervision.rgba, background.expand(len(pictures), 3))
    error = weights.rgb * F.mse_loss(pictures, truth)
    error = error + weights.alpha * F.mse_loss(seen.alpha, supervision.rgba[..., 3])
    if lpips is not None and weights.lpips:
        error = error + weights.lpips * lpips(_lpips_input(pictures), _lpips_input(truth)).mean()
    if true is not None:
        with torch.no_grad():
            wanted = rasterize(true, supervision.c2w, supervision.intrinsics, _BLACK)
        error = error + geometry_error(seen, wanted, weights)
    return error


def geometry_error(made: Rendering, true: Rendering, weights: DecoderLossParameters) -> Float[Tensor, ""]:
    """Weighted errors of normals, 1 − cosine, and of depth, absolute: means over pixels, each weighing what both cover of it."""
    shared = torch.minimum(made.alpha, true.alpha).detach()
    shared = shared / shared.sum().clamp(min=1.0)
    cosine = (made.normals * true.normals).sum(dim=-1)
    normals = (shared * (1.0 - cosine)).sum()
    depth = (shared * (made.depth - true.depth).abs()).sum()
    return weights.normal * normals + weights.depth * depth


def uses_geometry(weights: DecoderLossParameters, step: int) -> bool:
    """Whether normals or depth count in the step of this number, from 0."""
    return bool(weights.normal or weights.depth) and step >= weights.geometry_from_step


def _lpips_input(pictures: Float[Tensor, "v h w 3"]) -> Float[Tensor, "v 3 s s"]:
    values = pictures.permute(0, 3, 1, 2) * 2.0 - 1.0
    return F.interpolate(values, (_LPIPS_SIDE, _LPIPS_SIDE), mode="bilinear", align_corners=False)


def lenses(intrinsics: Float[Tensor, "v 4"], width: int, height: int) -> tuple[Intrinsics, ...]:
    """Of pictures of this size, from fx, fy, cx, cy in their pixels."""
    return tuple(Intrinsics(fx, fy, cx, cy, width, height) for fx, fy, cx, cy in intrinsics.tolist())


def supervision_of(rgba: Tensor, c2w: Float[Tensor, "v 4 4"], intrinsics: Float[Tensor, "v 4"]) -> Supervision:
    """Of bytes and of cameras as batches have them."""
    height, width = rgba.shape[1:3]
    return Supervision(rgba.float() / 255.0, c2w.cpu().double().numpy(), lenses(intrinsics, width, height))
