"""Interpolated denoising: one prediction of a view's latents out of those of many conditions.

The paper steps a copy of x_t for each condition and goes on with x_{t−1} = Σ w_i x_{t−1}^i. A DDIM step is linear in the
prediction and in the fresh noise, and Σ w_i = 1, so that is the step of the fused prediction Σ w_i ε_i with the noise Σ w_i n_i.
Hence one x_t suffices, conditions can be processed in parts with the same result, and samplers that remember predictions
(DPM-Solver++, UniPC) fuse as well. Guidance is linear too, and published guidance leads away from one and the same null
condition, whatever the view and the pose: it is predicted once for all of them.
"""

from collections.abc import Sequence

import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Float, Num
from torch import Tensor

from systems.zero123.guidance import Condition
from systems.zero123.schedulers import Draw, Generators, noise


def fused_prediction(
    unet: UNet2DConditionModel,
    latents: Float[Tensor, "1 c y x"],
    timestep: Num[Tensor, ""],
    condition: Condition,
    weights: Float[Tensor, " n"],
    scale: float,
    chunk: int | None = None,
) -> Float[Tensor, "1 c y x"]:
    """Σ w_i of the guided predictions of n conditions.

    Args:
        unet: the denoiser.
        latents: of the wanted view, as the scheduler scales them.
        timestep: of these latents.
        condition: a row for each condition.
        weights: of the conditions, with sum 1, float32.
        scale: classifier-free guidance; 1 does without.
        chunk: most rows that the denoiser sees at once; all when None.
    """
    rows, row_weights = _rows(condition, weights, with_null=scale != 1.0)
    sums = latents.new_zeros((2, *latents.shape[1:]), dtype=torch.float32)
    side = torch.arange(len(row_weights)) >= len(row_weights) - len(weights)
    size = chunk or len(row_weights)
    for first in range(0, len(row_weights), size):
        part = slice(first, first + size)
        given = torch.cat([latents.expand(len(rows.latent[part]), -1, -1, -1), rows.latent[part]], dim=1)
        predictions = unet(given, timestep, encoder_hidden_states=rows.token[part]).sample.float()
        # Row after row: no sum depends on how the rows were parted.
        for prediction, weight, conditioned in zip(predictions, row_weights[part], side[part], strict=True):
            sums[int(conditioned)] += weight * prediction
    without, with_condition = sums.to(latents.dtype)[:, None]
    return with_condition if scale == 1.0 else without + scale * (with_condition - without)


def _rows(
    condition: Condition, weights: Float[Tensor, " n"], with_null: bool
) -> tuple[Condition, Float[Tensor, " r"]]:
    """What the denoiser is asked, and what each answer weighs: the null condition, once if all have the same, then the others."""
    if not with_null:
        return condition, weights
    null = condition.null_token
    alike = bool((null == null[:1]).all())
    null, null_weights = (null[:1], weights.new_ones(1)) if alike else (null, weights)
    latent = torch.cat([torch.zeros_like(condition.latent[: len(null)]), condition.latent])
    token = torch.cat([null, condition.token])
    return Condition(token, latent, token), torch.cat([null_weights, weights])


def each_its_own(weights: Float[Tensor, " n"]) -> Draw:
    """What draws the fresh noise of a step when every condition has its own: Σ w_i n_i, with a variance of Σ w_i²."""

    def draw(shape: Sequence[int], generator: Generators) -> Tensor:
        drawn = noise((len(weights), *shape[1:]), generator)
        return torch.einsum("n,nchw->chw", weights.to(drawn), drawn)[None]

    return draw
