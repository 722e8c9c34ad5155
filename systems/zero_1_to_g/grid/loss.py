"""What both stages descend: how far splatter images are from the true ones, and their renderings from pictures.

Source: mengxuyiGit/LGM, branch `zero123plus_v2_autodecoder`, `core/models_zero123plus_code.py`, `forward` and
`gs_weighted_mse_loss`. There pictures are put on grey when they are read and on the random colour after that, so that outlines
mix both; here they are put on one.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from jaxtyping import Float
from torch import Tensor

from geometry.attribute_tensors import gaussians_of
from geometry.rasterizer import Rendering, rasterize
from systems.zero_1_to_g.grid.batch import GridBatch
from systems.zero_1_to_g.grid.layout import BACKGROUND
from systems.zero_1_to_g.grid.parameters import AttributeWeights, GridLossParameters

_SIZES = (3, 1, 3, 4, 3)
_BLACK = (0.0, 0.0, 0.0)
_LPIPS_SIZE = 256


def is_guided(parameters: GridLossParameters, epoch: int) -> bool:
    """Whether the splatter loss counts in an epoch, counted from 0."""
    within = epoch <= parameters.splatter_guidance_warmup or epoch % parameters.splatter_guidance_interval == 0
    return parameters.lambda_splatter > 0 and within


def is_rendered(parameters: GridLossParameters, lpips: object | None) -> bool:
    """Whether any loss looks at renderings."""
    seen = parameters.lambda_rendering, parameters.lambda_alpha, parameters.lambda_lpips if lpips is not None else 0.0
    return max(seen) > 0


def splatter_errors(
    made: Float[Tensor, "b v 14 h w"], truth: Float[Tensor, "b v 14 h w"], weights: AttributeWeights
) -> Float[Tensor, " b"]:
    """Σ over attributes of weight × mean squared error, of each sample."""
    squares = (made - truth).square().split(_SIZES, dim=-3)
    names = ("position", "opacity", "scale", "rotation", "colour")
    parts = [getattr(weights, name) * part.flatten(1).mean(1) for name, part in zip(names, squares, strict=True)]
    return torch.stack(parts).sum(0)


def rendering_errors(
    splatters: Float[Tensor, "b v 14 h w"],
    batch: GridBatch,
    background: Float[Tensor, "b 3"],
    parameters: GridLossParameters,
    lpips: Any | None = None,  # noqa: ANN401 - the network of a package that may be absent
) -> Float[Tensor, " b"]:
    """How far renderings from the supervision's cameras are from its pictures, of each sample.

    Args:
        splatters: in the input's frame.
        batch: pictures and cameras.
        background: that both are put on, where `random_background` holds.
        parameters: what counts how much.
        lpips: its network, where it is installed.
    """
    colour = background if parameters.random_background else torch.full_like(background, BACKGROUND)
    errors = []
    for row, channels in enumerate(splatters):
        rendering = rasterize(gaussians_of(channels), batch.c2w[row], batch.lenses[row], _BLACK)
        errors.append(_picture_error(rendering, batch.rgba[row], colour[row], parameters, lpips))
    return torch.stack(errors)


def _picture_error(
    rendering: Rendering,
    rgba: Float[Tensor, "n h w 4"],
    background: Float[Tensor, "3"],
    parameters: GridLossParameters,
    lpips: Any | None,  # noqa: ANN401 - as above
) -> Float[Tensor, ""]:
    alpha = rgba[..., 3]
    made = rendering.rgb + (1.0 - rendering.alpha)[..., None] * background
    truth = rgba[..., :3] * alpha[..., None] + (1.0 - alpha)[..., None] * background
    of_alpha = F.mse_loss(rendering.alpha, alpha)
    if parameters.lambda_rendering > 0:
        error = parameters.lambda_rendering * (F.mse_loss(made, truth) + of_alpha)
    else:
        error = parameters.lambda_alpha * of_alpha
    if lpips is not None and parameters.lambda_lpips > 0:
        error = error + parameters.lambda_lpips * lpips(_for_lpips(made), _for_lpips(truth)).mean()
    return error


def _for_lpips(pictures: Float[Tensor, "n h w 3"]) -> Float[Tensor, "n 3 y x"]:
    first = pictures.permute(0, 3, 1, 2) * 2.0 - 1.0
    side = max(first.shape[-2:])
    if side <= _LPIPS_SIZE:
        return first
    return F.interpolate(first, scale_factor=_LPIPS_SIZE / side, mode="bilinear", align_corners=False)


def rendered_views(splatters: Float[Tensor, "b v 14 h w"], batch: GridBatch, view: int) -> Float[Tensor, "b 3 h w"]:
    """What one of the supervision's cameras sees of each sample on white, [0, 1], on the CPU."""
    pictures = [
        rasterize(gaussians_of(channels.float()), batch.c2w[row][view][None], [batch.lenses[row][view]]).rgb[0]
        for row, channels in enumerate(splatters)
    ]
    return torch.stack(pictures).permute(0, 3, 1, 2).clamp(0.0, 1.0).cpu()
