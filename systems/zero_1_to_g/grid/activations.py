"""From a decoder's 14 channels to Gaussians in their ranges, in the order of `geometry.splatter_tensor.CHANNELS`.

Source: mengxuyiGit/LGM, branch `zero123plus_v2_autodecoder`, `core/models_zero123plus_code.py`, `pos_act` to `rgb_act`. There the
rotation is normalised along the picture's height (`F.normalize` of (b, h, w, 4) by its default axis); here each quaternion is.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from jaxtyping import Float
from torch import Tensor, nn

from systems.zero_1_to_g.grid.parameters import ScaleActivation

RAW_CHANNELS = 14
_SIZES = (3, 1, 3, 4, 3)
# Quaternions shorter than this have no direction of their own.
_LEAST_LENGTH = 1e-6


class SplatterActivations(nn.Module):
    """Position in ±1, opacity in (0, 1), scale within its bounds, a unit quaternion, colour in (0, 1).

    Args:
        scale_act: how scales are made of their channels: `biased_softplus` 0.1 · softplus(x + bias), `softplus` the same
            without a bias, `biased_exp` e^(x + bias).
        scale_act_bias: the bias, or where it begins.
        scale_bias_learnable: whether it is trained.
        scale_clamp_min: natural logarithm of the least scale.
        scale_clamp_max: of the greatest.
    """

    def __init__(
        self,
        scale_act: ScaleActivation = "biased_softplus",
        scale_act_bias: float = -3.0,
        scale_bias_learnable: bool = True,
        scale_clamp_min: float = -10.0,
        scale_clamp_max: float = -2.0,
    ) -> None:
        super().__init__()
        self.kind, self.bounds = scale_act, (scale_clamp_min, scale_clamp_max)
        self.scale_bias = nn.Parameter(torch.tensor([float(scale_act_bias)]), requires_grad=scale_bias_learnable)

    def forward(self, raw: Float[Tensor, "*b 14 h w"]) -> Float[Tensor, "*b 14 h w"]:
        """The channels of Gaussians, float32: half precision cannot hold the least scale."""
        position, opacity, scale, rotation, colour = raw.float().split(_SIZES, dim=-3)
        parts = [
            position.clamp(-1.0, 1.0),
            opacity.sigmoid(),
            self._scale(scale),
            _unit(rotation),
            0.5 * colour.tanh() + 0.5,
        ]
        return torch.cat(parts, dim=-3)

    def _scale(self, raw: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 3 h w"]:
        low, high = self.bounds
        match self.kind:
            case "biased_exp":
                return (raw + self.scale_bias).clamp(low, high).exp()
            case "biased_softplus":
                made = 0.1 * F.softplus(raw + self.scale_bias)
            case "softplus":
                made = 0.1 * F.softplus(raw)
        return made.clamp(math.exp(low), math.exp(high))


def _unit(quaternions: Float[Tensor, "*b 4 h w"]) -> Float[Tensor, "*b 4 h w"]:
    """Each of length 1; the identity where there is no direction, so that a decoder of zeros makes Gaussians too."""
    lengths = torch.linalg.vector_norm(quaternions, dim=-3, keepdim=True)
    identity = quaternions.new_tensor([1.0, 0.0, 0.0, 0.0])[:, None, None]
    return torch.where(lengths > _LEAST_LENGTH, quaternions / lengths.clamp(min=_LEAST_LENGTH), identity)
