"""Zero-1-to-G's training loss: the denoiser's error at random timesteps, weighed by the signal-to-noise ratio.

Random numbers are drawn one seed a sample, so that they do not depend on how a batch is split up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from geometry.attribute_images import ATTRIBUTES
from systems.trainable import StepLoss
from systems.zero123.encoding import embed_images, target_latent
from systems.zero123.loss import goal_of, shifted
from systems.zero_1_to_g.batch import Zero1ToGBatch
from systems.zero_1_to_g.camera_embedding import sample_embeddings
from systems.zero_1_to_g.denoising import Condition, condition_latent, predicted
from systems.zero_1_to_g.modules import Zero1ToGModules
from systems.zero_1_to_g.schedule import min_snr_weights


@dataclass(frozen=True)
class Draws:
    """The random numbers of a batch, whose samples learn a of the five attributes each."""

    attributes: Int[Tensor, "b a"]
    """Which ones, numbers in `ATTRIBUTES`."""
    noise: Float[Tensor, "b v a c y x"]
    timesteps: Int[Tensor, "b a"]
    """In [0, T), of all views of an attribute."""
    uniform: Float[Tensor, " b"]
    """In [0, 1), for the dropout."""
    posterior: Float[Tensor, "b v a c y x"]
    """The noise of the VAE's posterior."""

    def to(self, device: torch.device) -> "Draws":
        """The same numbers on a device."""
        return Draws(**{name: value.to(device) for name, value in vars(self).items()})


@dataclass(frozen=True)
class Drawing:
    """How a batch's random numbers are drawn."""

    latents: tuple[int, int, int, int]
    """(v, c, y, x) of one attribute."""
    timesteps: int
    """T."""
    shift: float = 1.0
    """Of `systems.zero123.loss.shifted`."""
    joint: bool = True
    """All attributes of a sample, and not one at random."""
    synchronised: bool = True
    """All attributes of a sample at one timestep."""

    def draw(self, seeds: Sequence[int]) -> Draws:
        """The random numbers of samples of these seeds."""
        samples = [self._of_sample(Generator().manual_seed(seed)) for seed in seeds]
        return Draws(**{name: torch.stack([sample[name] for sample in samples]) for name in samples[0]})

    def _of_sample(self, chance: Generator) -> dict[str, Tensor]:
        total = len(ATTRIBUTES)
        attributes = torch.arange(total) if self.joint else torch.randint(total, (1,), generator=chance)
        views, *latent = self.latents
        shape = (views, len(attributes), *latent)
        uniform = torch.rand(1 if self.synchronised else len(attributes), generator=chance)
        return {
            "attributes": attributes,
            "noise": torch.randn(shape, generator=chance),
            "timesteps": shifted(uniform, self.timesteps, self.shift).expand(len(attributes)),
            "uniform": torch.rand((), generator=chance),
            "posterior": torch.randn(shape, generator=chance),
        }


@dataclass(frozen=True)
class LossSettings:
    """How samples lose their condition, and how timesteps are weighed."""

    dropout: float = 0.05
    """Share of samples without a condition."""
    snr_gamma: float | None = 5.0
    """γ of min-SNR; all timesteps alike when None."""


def training_loss(modules: Zero1ToGModules, batch: Zero1ToGBatch, draws: Draws, settings: LossSettings) -> StepLoss:
    """Weighed mean squared error of what the denoiser predicts of each sample's drawn attributes.

    Where a sample's condition is dropped its token and its condition latent are zero; the embedding of cameras and attributes
    stays, as it does under guidance.

    Args:
        modules: the system.
        batch: attribute images and conditions.
        draws: the batch's random numbers.
        settings: dropout and weights.
    """
    latents = attribute_latents(modules, batch, draws)
    # The schedule knows one timestep a row.
    flat, noise, timesteps = (_flat(each) for each in (latents, draws.noise, _of_views(draws)))
    noisy = modules.scheduler.add_noise(flat, noise, timesteps).view_as(latents)
    condition = _condition(modules, batch, draws, settings.dropout)
    prediction = predicted(modules.unet, noisy, draws.timesteps, condition).float()
    goal = goal_of(modules.scheduler, flat, noise, timesteps).view_as(latents).float()
    errors = (prediction - goal).square().mean(dim=(1, 3, 4, 5))
    if settings.snr_gamma is not None:
        errors = errors * min_snr_weights(modules.scheduler, draws.timesteps, settings.snr_gamma)
    of_samples = errors.mean(dim=1)
    return StepLoss(of_samples.mean(), of_samples.detach(), draws.timesteps[:, 0])


def attribute_latents(modules: Zero1ToGModules, batch: Zero1ToGBatch, draws: Draws) -> Float[Tensor, "b v a c y x"]:
    """Latents of the drawn attributes' images: the posterior's samples, times the VAE's scaling factor."""
    rows = torch.arange(len(draws.attributes), device=draws.attributes.device)[:, None]
    images = batch.attributes.transpose(1, 2)[rows, draws.attributes].transpose(1, 2)
    with torch.no_grad():
        latents = target_latent(modules.vae, images.flatten(0, 2), draws.posterior.flatten(0, 2))
    return latents.view(draws.posterior.shape)


def _condition(modules: Zero1ToGModules, batch: Zero1ToGBatch, draws: Draws, dropout: float) -> Condition:
    kept = (draws.uniform >= dropout).to(batch.condition.dtype)
    return Condition(
        embed_images(modules.image_encoder, batch.condition)[:, None] * kept[:, None, None],
        condition_latent(modules.vae, batch.condition) * kept[:, None, None, None],
        sample_embeddings(batch.elevation, batch.delta_elevation, batch.delta_azimuth, draws.attributes),
    )


def _of_views(draws: Draws) -> Int[Tensor, "b v a"]:
    views = draws.noise.shape[1]
    return draws.timesteps[:, None].expand(-1, views, -1)


def _flat(values: Tensor) -> Tensor:
    """Rows of (b v a)."""
    return values.flatten(0, 2)
