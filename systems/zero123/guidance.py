"""What the denoiser is told of the input view and the pose, and classifier-free guidance away from what it says without."""

from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Float, Int, Num
from torch import Tensor

from systems.zero123.conditioning import CCProjection
from systems.zero123.parameters import NullCondition


@dataclass(frozen=True)
class Condition:
    """The denoiser's conditions, a row a picture. The null latent is zero."""

    token: Float[Tensor, "n t d"]
    latent: Float[Tensor, "n c y x"]
    null_token: Float[Tensor, "n t d"]

    def __getitem__(self, rows: slice) -> "Condition":
        """Some of the rows."""
        return Condition(self.token[rows], self.latent[rows], self.null_token[rows])


def conditioned(
    projection: CCProjection,
    embedding: Float[Tensor, "m d"],
    latent: Float[Tensor, "m c y x"],
    poses: Float[Tensor, "n 4"],
    sources: Int[Tensor, " n"],
    null: NullCondition,
) -> Condition:
    """The condition of each pose.

    The null token is zero *after* `cc_projection` where the original samples (gradio_new.py `sample_model`), and what
    `cc_projection` makes of a zero embedding and the pose where it trains (ddpm.py `get_input`).

    Args:
        projection: joins embedding and pose.
        embedding: of the input views.
        latent: of the input views, the posterior's mode, unscaled.
        poses: T of the wanted views.
        sources: the input view of each pose.
        null: which null token.
    """
    token = projection(embedding[sources], poses)
    if null == "before_projection":
        return Condition(token, latent[sources], projection(torch.zeros_like(embedding[sources]), poses))
    return Condition(token, latent[sources], torch.zeros_like(token))


def guided(
    unet: UNet2DConditionModel,
    latents: Float[Tensor, "n c y x"],
    timestep: Num[Tensor, "*n"],
    condition: Condition,
    scale: float,
) -> Float[Tensor, "n c y x"]:
    """The prediction without condition, moved by `scale` towards that with it, in one pass; scale 1 asks for the latter alone.

    Args:
        unet: the denoiser.
        latents: as the scheduler scales them.
        timestep: one for all of them, or one for each.
        condition: of each.
        scale: of classifier-free guidance.
    """
    if scale == 1.0:
        given = torch.cat([latents, condition.latent], dim=1)
        return unet(given, timestep, encoder_hidden_states=condition.token).sample
    concatenated = torch.cat([torch.zeros_like(condition.latent), condition.latent])
    both = torch.cat([torch.cat([latents] * 2), concatenated], dim=1)
    tokens = torch.cat([condition.null_token, condition.token])
    timesteps = timestep if timestep.ndim == 0 else torch.cat([timestep] * 2)
    without, with_condition = unet(both, timesteps, encoder_hidden_states=tokens).sample.chunk(2)
    return without + scale * (with_condition - without)
