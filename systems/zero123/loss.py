"""Zero-1-to-3's training loss: the denoiser's error at a random timestep, under randomly dropped conditions."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from diffusers import DDIMScheduler
from jaxtyping import Float, Int
from torch import Generator, Tensor

from systems.zero123.conditioning import dropout_masks
from systems.zero123.encoding import condition_latent, embed_images, target_latent
from systems.zero123.modules import Zero123Modules


@dataclass(frozen=True)
class TrainingBatch:
    """Pairs of views: target and condition images in [−1, 1] and the pose T of the target relative to the condition."""

    target: Float[Tensor, "b 3 h w"]
    condition: Float[Tensor, "b 3 h w"]
    pose: Float[Tensor, "b 4"]


def training_loss(
    modules: Zero123Modules, batch: TrainingBatch, generator: Generator, dropout: float
) -> Float[Tensor, ""]:
    """Mean squared error of the denoiser's prediction.

    In training the null condition is a zero embedding *before* `cc_projection` (the pose is kept) and a zero latent
    (ddpm.py `get_input`).

    Args:
        modules: the system.
        batch: training pairs.
        generator: source of timesteps, noise and dropout, on the CPU so that devices agree.
        dropout: u of `dropout_masks`.
    """
    latent = target_latent(modules.vae, batch.target)
    noise = torch.randn(latent.shape, generator=generator).to(latent)
    steps = modules.scheduler.config.num_train_timesteps
    timesteps = torch.randint(0, steps, (len(latent),), generator=generator).to(latent.device)
    keep_embedding, keep_latent = dropout_masks(torch.rand(len(latent), generator=generator).to(latent), dropout)
    embedding = embed_images(modules.image_encoder, batch.condition) * keep_embedding[:, None]
    condition = condition_latent(modules.vae, batch.condition) * keep_latent[:, None, None, None]
    noisy = modules.scheduler.add_noise(latent, noise, timesteps)
    token = modules.cc_projection(embedding, batch.pose)
    prediction = modules.unet(torch.cat([noisy, condition], dim=1), timesteps, encoder_hidden_states=token).sample
    return F.mse_loss(prediction.float(), _goal(modules.scheduler, latent, noise, timesteps).float())


def _goal(
    scheduler: DDIMScheduler,
    latent: Float[Tensor, "b c y x"],
    noise: Float[Tensor, "b c y x"],
    timesteps: Int[Tensor, " b"],
) -> Float[Tensor, "b c y x"]:
    """What the denoiser should predict under the schedule's prediction type."""
    match scheduler.config.prediction_type:
        case "epsilon":
            return noise
        case "sample":
            return latent
        case "v_prediction":
            return scheduler.get_velocity(latent, noise, timesteps)
    raise ValueError(f"no training goal for prediction type {scheduler.config.prediction_type}")
