"""Interpolated denoising: one prediction of a view's latents out of those of many conditions.

The paper steps a copy of x_t for each condition and goes on with x_{t−1} = Σ w_i x_{t−1}^i. A DDIM step is linear in the
prediction and in the fresh noise, and Σ w_i = 1, so that is the step of the fused prediction Σ w_i ε_i with the noise Σ w_i n_i.
Hence one x_t suffices, conditions can be processed in parts with the same result, and samplers that remember predictions
(DPM-Solver++, UniPC) fuse as well. Guidance is linear too, and published guidance leads away from one and the same null
condition, whatever the view and the pose: it is predicted once for all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Float, Num
from torch import Tensor

from systems.zero123.guidance import Condition
from systems.zero123.schedulers import Draw, Generators, noise


@dataclass(frozen=True)
class FusedRows:
    """What the denoiser is asked for a view, a row each: null conditions first, under guidance, then the conditions."""

    token: Float[Tensor, "r t d"]
    latent: Float[Tensor, "r c y x"]
    weight: Float[Tensor, " r"]
    """Of each answer; those of null conditions sum to 1, and those of conditions."""
    null: int
    """How many rows are null conditions: none without guidance, one where all conditions have the same, else one for each."""


def fused_rows(condition: Condition, weights: Float[Tensor, " n"], guided: bool) -> FusedRows:
    """The rows of a view.

    Args:
        condition: a row for each condition.
        weights: of the conditions, with sum 1, float32.
        guided: whether there is guidance.
    """
    if not guided:
        return FusedRows(condition.token, condition.latent, weights, 0)
    null = condition.null_token
    alike = bool((null == null[:1]).all())
    null, null_weights = (null[:1], weights.new_ones(1)) if alike else (null, weights)
    return FusedRows(
        torch.cat([null, condition.token]),
        torch.cat([torch.zeros_like(condition.latent[: len(null)]), condition.latent]),
        torch.cat([null_weights, weights]),
        len(null),
    )


def fused_prediction(
    unet: UNet2DConditionModel,
    latents: Float[Tensor, "1 c y x"],
    timestep: Num[Tensor, ""],
    rows: FusedRows,
    scale: float,
    chunk: int | None = None,
) -> Float[Tensor, "1 c y x"]:
    """Σ w_i of the guided predictions of n conditions.

    Args:
        unet: the denoiser.
        latents: of the wanted view, as the scheduler scales them.
        timestep: of these latents.
        rows: of the conditions.
        scale: classifier-free guidance; nothing where there are no null conditions.
        chunk: most rows that the denoiser sees at once; all when None.
    """
    sums = latents.new_zeros((2, *latents.shape[1:]), dtype=torch.float32)
    size = chunk or len(rows.weight)
    for first in range(0, len(rows.weight), size):
        part = slice(first, first + size)
        given = torch.cat([latents.expand(len(rows.latent[part]), -1, -1, -1), rows.latent[part]], dim=1)
        predictions = unet(given, timestep, encoder_hidden_states=rows.token[part]).sample.float()
        # Row after row: no sum depends on how the rows were parted.
        for row, (prediction, weight) in enumerate(zip(predictions, rows.weight[part], strict=True), start=first):
            sums[int(row >= rows.null)] += weight * prediction
    without, with_condition = sums.to(latents.dtype)[:, None]
    return without + scale * (with_condition - without) if rows.null else with_condition


def each_its_own(weights: Float[Tensor, " n"]) -> Draw:
    """What draws the fresh noise of a step when every condition has its own: Σ w_i n_i, with a variance of Σ w_i²."""

    def draw(shape: Sequence[int], generator: Generators) -> Tensor:
        drawn = noise((len(weights), *shape[1:]), generator)
        return torch.einsum("n,nchw->chw", weights.to(drawn), drawn)[None]

    return draw
