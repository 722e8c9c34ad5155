"""What Zero-1-to-3 is conditioned on: the relative pose, its projection with the image embedding, and the dropout of both.

Source: cvlab-columbia/zero123 `ldm/data/simple.py` (`get_T`) and `ldm/models/diffusion/ddpm.py`.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Tensor, nn

from geometry.cameras import spherical_from_position

POSE_DIMENSIONS = 4


def relative_pose(target: Float[np.ndarray, "4 4"], condition: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4"]:
    """T = [θt−θc, sin(φt−φc), cos(φt−φc), rt−rc] of two c2w matrices; equal views give [0, 0, 1, 0].

    Polar θ from +Z, azimuth φ from +X, radians; radius in scene units. Only positions count: the published system
    assumes that cameras look at the origin.
    """
    return pose_between(spherical_from_position(target[:3, 3]), spherical_from_position(condition[:3, 3]))


def relative_poses(c2w: Float[Tensor, "b 2 4 4"]) -> Float[Tensor, "b 4"]:
    """T of pairs of cameras, the condition last."""
    poses = [relative_pose(target, condition) for target, condition in c2w.cpu().numpy()]
    return torch.from_numpy(np.stack(poses)).float()


def pose_between(target: tuple[float, float, float], condition: tuple[float, float, float]) -> Float[np.ndarray, "4"]:
    """T of two spherical positions (polar, azimuth, radius)."""
    azimuth = target[1] - condition[1]
    return np.array([target[0] - condition[0], np.sin(azimuth), np.cos(azimuth), target[2] - condition[2]])


def poses_from_degrees(
    azimuth_deg: float | Sequence[float],
    polar_deg: float | Sequence[float] = 0.0,
    radius: float | Sequence[float] = 0.0,
) -> Float[Tensor, "n 4"]:
    """T of views that are turned and moved by so much from the input view; single numbers serve all views.

    Args:
        azimuth_deg: turn around the object, counter-clockwise seen from above, degrees.
        polar_deg: change of the angle from the top, degrees; negative looks from higher.
        radius: change of the distance, in object sizes.
    """
    origin = (0.0, 0.0, 0.0)
    moves = np.stack(np.broadcast_arrays(np.atleast_1d(polar_deg), azimuth_deg, radius), axis=-1)
    poses = [pose_between((math.radians(p), math.radians(a), float(r)), origin) for p, a, r in moves]
    return torch.from_numpy(np.stack(poses)).float()


class CCProjection(ModelMixin, ConfigMixin):
    """The linear layer `cc_projection` that joins an image embedding with a pose into one cross-attention token.

    It starts as the identity on the embedding with zero bias; the pose columns keep the default initialisation
    (ddpm.py, lines 526–529).

    Args:
        embedding_dim: width of the image embedding and of the token.
        pose_dim: length of the pose vector.
    """

    @register_to_config
    def __init__(self, embedding_dim: int, pose_dim: int = POSE_DIMENSIONS) -> None:
        super().__init__()
        self.linear = nn.Linear(embedding_dim + pose_dim, embedding_dim)
        with torch.no_grad():
            self.linear.weight[:, :embedding_dim].copy_(torch.eye(embedding_dim))
            self.linear.bias.zero_()

    def forward(
        self,
        embedding: Float[Tensor, "b d"],
        pose: Float[Tensor, "b p"],
    ) -> Float[Tensor, "b 1 d"]:
        """The token of each sample."""
        return self.linear(torch.cat([embedding, pose], dim=-1))[:, None]


def dropout_masks(uniform: Float[Tensor, " b"], probability: float) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Which conditions are kept (1) or dropped (0) for classifier-free guidance, from one uniform number a sample.

    With u = `probability`: the embedding is zeroed where r < 2u, the condition latent where u ≤ r < 3u. So 5 % lose the embedding
    alone, 5 % both and 5 % the latent alone at the published u = 0.05 (ddpm.py, lines 741–753).

    Returns:
        Factors of the embedding and of the condition latent.
    """
    keep_embedding = (uniform >= 2 * probability).to(uniform.dtype)
    drop_latent = (uniform >= probability) & (uniform < 3 * probability)
    return keep_embedding, 1.0 - drop_latent.to(uniform.dtype)
