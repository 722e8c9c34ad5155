"""Zero-1-to-3's training loss: the denoiser's error at a random timestep, under randomly dropped conditions."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from diffusers import DDIMScheduler
from jaxtyping import Float, Int, UInt8
from torch import Generator, Tensor

from systems.trainable import StepLoss
from systems.zero123.compositing import on_white
from systems.zero123.conditioning import dropout_masks
from systems.zero123.encoding import condition_latent, embed_images, target_latent
from systems.zero123.modules import Zero123Modules
from systems.zero123.parameters import Background


@dataclass(frozen=True)
class TrainingBatch:
    """Pairs of views: target and condition images in [−1, 1] and the pose of the target relative to the condition."""

    target: Float[Tensor, "b 3 h w"]
    condition: Float[Tensor, "b 3 h w"]
    pose: Float[Tensor, "b p"]


@dataclass(frozen=True)
class Draws:
    """The random numbers of a batch.

    Noise, timesteps in [0, T), one uniform number a sample for the dropout, and the noise of the VAE's posterior.
    """

    noise: Float[Tensor, "b c y x"]
    timesteps: Int[Tensor, " b"]
    uniform: Float[Tensor, " b"]
    posterior: Float[Tensor, "b c y x"]

    def to(self, device: torch.device) -> "Draws":
        """The same numbers on a device."""
        return Draws(
            self.noise.to(device), self.timesteps.to(device), self.uniform.to(device), self.posterior.to(device)
        )


def batch_from_pairs(
    rgba: UInt8[Tensor, "b 2 h w 4"], pose: Float[Tensor, "b p"], background: Background = "alpha"
) -> TrainingBatch:
    """A batch from pairs of views, the condition last.

    Args:
        rgba: sRGB pictures with straight alpha.
        pose: of the target relative to the condition, as the system is told of it.
        background: how pictures are put on white; see `on_white`.
    """
    values = rgba.float() / 255.0
    pictures = on_white(values[..., :3], values[..., 3:], background).permute(0, 1, 4, 2, 3) * 2 - 1
    return TrainingBatch(target=pictures[:, 0], condition=pictures[:, 1], pose=pose.to(rgba.device))


def shifted(uniform: Float[Tensor, ""], timesteps: int, shift: float) -> Int[Tensor, ""]:
    """A timestep in [0, T) from a uniform number: u' = s·u / (1 + (s − 1)·u), times T.

    s = 1 leaves them uniform; a larger s spends more of the training on noisy ones, where a picture's layout is decided.
    Source: Esser et al. 2024, equation 23, where it moves a schedule to another resolution.
    """
    moved = shift * uniform / (1.0 + (shift - 1.0) * uniform)
    return (moved * timesteps).long().clamp(max=timesteps - 1)


def draw(seeds: Sequence[int], latent_shape: tuple[int, ...], timesteps: int, shift: float = 1.0) -> Draws:
    """A batch's random numbers, each sample's from its own seed, so that they do not depend on how a batch is split up.

    Args:
        seeds: one a sample.
        latent_shape: (c, y, x).
        timesteps: T.
        shift: s of `shifted`.
    """
    generators = [Generator().manual_seed(seed) for seed in seeds]
    return Draws(
        noise=torch.stack([torch.randn(latent_shape, generator=g) for g in generators]),
        timesteps=torch.stack([shifted(torch.rand((), generator=g), timesteps, shift) for g in generators]),
        uniform=torch.stack([torch.rand((), generator=g) for g in generators]),
        posterior=torch.stack([torch.randn(latent_shape, generator=g) for g in generators]),
    )


def training_loss(modules: Zero123Modules, batch: TrainingBatch, draws: Draws, dropout: float) -> StepLoss:
    """Mean squared error of the denoiser's prediction, over the batch and of each sample.

    In training the null condition is a zero embedding *before* `cc_projection` (the pose is kept) and a zero latent
    (ddpm.py `get_input`).

    Args:
        modules: the system.
        batch: training pairs.
        draws: the batch's random numbers.
        dropout: u of `dropout_masks`.
    """
    keep_embedding, keep_latent = dropout_masks(draws.uniform, dropout)
    embedding = embed_images(modules.image_encoder, batch.condition) * keep_embedding[:, None]
    token = modules.cc_projection(embedding, batch.pose)
    return denoising_loss(modules, batch, draws, token, keep_latent)


def denoising_loss(
    modules: Zero123Modules,
    batch: TrainingBatch,
    draws: Draws,
    tokens: Float[Tensor, "b t d"],
    keep_latent: Float[Tensor, " b"],
) -> StepLoss:
    """Mean squared error of what the denoiser predicts under given cross-attention tokens.

    Args:
        modules: the system.
        batch: training pairs.
        draws: the batch's random numbers.
        tokens: of each sample.
        keep_latent: factors of the condition latents, of `dropout_masks`.
    """
    latent = target_latent(modules.vae, batch.target, draws.posterior)
    condition = condition_latent(modules.vae, batch.condition) * keep_latent[:, None, None, None]
    noisy = modules.scheduler.add_noise(latent, draws.noise, draws.timesteps)
    stacked = torch.cat([noisy, condition], dim=1)
    prediction = modules.unet(stacked, draws.timesteps, encoder_hidden_states=tokens).sample.float()
    goal = goal_of(modules.scheduler, latent, draws.noise, draws.timesteps).float()
    errors = F.mse_loss(prediction.detach(), goal, reduction="none").flatten(1).mean(1)
    return StepLoss(F.mse_loss(prediction, goal), errors, draws.timesteps)


def goal_of(
    scheduler: DDIMScheduler,
    latent: Float[Tensor, "b c y x"],
    noise: Float[Tensor, "b c y x"],
    timesteps: Int[Tensor, " b"],
) -> Float[Tensor, "b c y x"]:
    """What a denoiser should predict under the schedule's prediction type."""
    match scheduler.config.prediction_type:
        case "epsilon":
            return noise
        case "sample":
            return latent
        case "v_prediction":
            return scheduler.get_velocity(latent, noise, timesteps)
    raise ValueError(f"no training goal for prediction type {scheduler.config.prediction_type}")
