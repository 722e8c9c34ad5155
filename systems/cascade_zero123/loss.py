"""Cascade-Zero123's training loss: Zero-1-to-3's, where the denoiser is shown the prompts too.

Source: AbrahamYabo/Cascade-Zero123 `train_cascade0123.py`, the branch with classifier-free guidance.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from systems.cascade_zero123.conditioning import embed_prompts, prompt_tokens
from systems.cascade_zero123.prompts import Prompts
from systems.trainable import StepLoss
from systems.zero123.conditioning import dropout_masks
from systems.zero123.encoding import embed_images
from systems.zero123.loss import Draws, TrainingBatch, denoising_loss
from systems.zero123.modules import Zero123Modules


@dataclass(frozen=True)
class CascadeBatch(TrainingBatch):
    """Pairs of views, and what Base-0123 made of their conditions: the fields of `Prompts`."""

    coarse: Float[Tensor, "b 3 h w"]
    near: Float[Tensor, "b k 3 h w"]
    near_poses: Float[Tensor, "b k 4"]

    @property
    def prompts(self) -> Prompts:
        """What Base-0123 made."""
        return Prompts(self.coarse, self.near, self.near_poses)


def with_prompts(pairs: TrainingBatch, prompts: Prompts) -> CascadeBatch:
    """Pairs of views with their prompts, on the device of the pairs."""
    prompts = prompts.to(pairs.condition.device)
    return CascadeBatch(
        pairs.target, pairs.condition, pairs.pose, prompts.coarse, prompts.near, prompts.near_poses.to(pairs.pose)
    )


def cascade_loss(modules: Zero123Modules, batch: CascadeBatch, draws: Draws, dropout: float) -> StepLoss:
    """Mean squared error of the Refiner's prediction, over the batch and of each sample.

    Dropout is Zero-1-to-3's: where it takes the embedding, that of the source and that of the coarse target are zero before
    `cc_projection`, with their poses kept. Near views are never dropped. The latent is the source's alone.

    Args:
        modules: the Refiner's, and the image encoder and VAE that are the Base's too.
        batch: training pairs with prompts.
        draws: the batch's random numbers.
        dropout: u of `dropout_masks`.
    """
    keep_embedding, keep_latent = dropout_masks(draws.uniform, dropout)
    embedding = embed_images(modules.image_encoder, batch.condition) * keep_embedding[:, None]
    source = modules.cc_projection(embedding, batch.pose)
    prompts = embed_prompts(modules.image_encoder, batch.prompts).keeping_target(keep_embedding)
    tokens = torch.cat([source, prompt_tokens(modules.cc_projection, prompts)], dim=1)
    return denoising_loss(modules, batch, draws, tokens, keep_latent)
