"""The stage `autoencoder`: a new AutoencoderKL learns pictures, where no published one is at hand.

It stands for Stable Diffusion's, which knows pictures and no attribute images, so that the stage `decoder` can be tried at any
size. Objects stand on backgrounds of any colour: attribute images have black ones, and the VAE of photographs knows them. Loss:
mean squared error plus a little of the posterior's divergence from a normal one (Rombach et al. 2022, "High-Resolution Image
Synthesis with Latent Diffusion Models", appendix G; without their perceptual and adversarial terms).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Generator, Tensor, nn

from geometry.picture_losses import on_background
from stage.errors import ParameterError
from systems.trainable import StepLoss, TrainableSystem, Views
from systems.zero_1_to_g.modules import first_modules
from systems.zero_1_to_g.parameters import Zero1ToGParameters
from systems.zero_1_to_g.pipeline import pipeline_of


@dataclass(frozen=True)
class Draws:
    """The random numbers of a batch, the same for all views of a sample."""

    backgrounds: Float[Tensor, "b 3"]
    """RGB in [0, 1], on which pictures are composited."""
    posterior: Float[Tensor, "b c y x"]
    """What picks latents from their posteriors."""

    def to(self, device: torch.device) -> "Draws":
        """The same on a device."""
        return Draws(self.backgrounds.to(device), self.posterior.to(device))


class Zero1ToGAutoencoder(TrainableSystem):
    """The trainable system; its forward pass returns the loss, so that distributed wrappers see every gradient.

    Args:
        parameters: of the stage `autoencoder`.
        seed: of new weights.
        image_size: width and height of the training pictures, pixels.

    Raises:
        ParameterError: when the autoencoder has no weights to train.
    """

    def __init__(self, parameters: Zero1ToGParameters, seed: int, image_size: int) -> None:
        super().__init__()
        self.chosen, self._seed = parameters, seed
        self.vae = first_modules(parameters, seed).vae
        if not isinstance(self.vae, AutoencoderKL):
            raise ParameterError(
                f"train.zero_1_to_g.stage: a {type(self.vae).__name__} has no weights to train",
                "set train.zero_1_to_g.autoencoder.kind to kl",
            )
        self.vae.requires_grad_(True)
        self._latents = self._latent_shape(image_size)

    def forward(self, batch: Float[Tensor, "b v h w 4"], draws: Draws) -> StepLoss:
        """The loss of a batch of views."""
        pictures = composited(batch, draws.backgrounds).flatten(0, 1)
        posterior = self.vae.encode(pictures).latent_dist
        noise = draws.posterior[:, None].expand(-1, batch.shape[1], -1, -1, -1).flatten(0, 1)
        latents = posterior.mean + posterior.std * noise
        squares = (self.vae.decode(latents).sample.float() - pictures).square()
        divergence = posterior.kl().float() / squares[0].numel()
        weight = self.chosen.autoencoder.kl_weight
        errors = (squares.flatten(1).mean(dim=1) + weight * divergence).unflatten(0, batch.shape[:2]).mean(dim=1)
        return StepLoss(
            errors.mean(), errors.detach(), torch.zeros(len(errors), dtype=torch.long, device=errors.device)
        )

    @property
    def timesteps_total(self) -> int:
        """There is no diffusion: all samples are of one time."""
        return 1

    @property
    def denoiser(self) -> nn.Module:
        """The network that is trained."""
        return self.vae

    def batch(self, views: Views) -> Float[Tensor, "b v h w 4"]:
        """The pictures of all views, sRGB in [0, 1] with straight alpha."""
        return views.rgba.float() / 255.0

    def draw(self, seeds: Sequence[int]) -> Draws:
        """The random numbers of a batch, each sample's from its own seed."""
        generators = [Generator().manual_seed(seed) for seed in seeds]
        return Draws(
            backgrounds=torch.stack([torch.rand(3, generator=each) for each in generators]),
            posterior=torch.stack([torch.randn(self._latents, generator=each) for each in generators]),
        )

    @torch.no_grad()
    def predict(
        self,
        batch: Float[Tensor, "b v h w 4"],
        seeds: Sequence[int],  # noqa: ARG002 - nothing is sampled
        steps: int,  # noqa: ARG002 - likewise
        guidance_scale: float,  # noqa: ARG002 - likewise
    ) -> Float[Tensor, "b 3 h w"]:
        """The first view of each sample on white, encoded and decoded: pictures in [0, 1], on the CPU."""
        (pictures,) = composited(batch[:, :1], batch.new_ones(len(batch), 3)).unbind(1)
        return ((self.vae(pictures).sample.float() + 1.0) / 2.0).clamp(0.0, 1.0).cpu()

    def parameter_groups(self) -> Mapping[str, Sequence[nn.Parameter]]:
        """Encoder and decoder."""
        return {"autoencoder": list(self.vae.parameters())}

    def save(self, folder: Path) -> None:
        """Write the system as a diffusers pipeline folder with safetensors; its denoiser has not learnt anything yet."""
        modules = replace(first_modules(self.chosen, self._seed), vae=self.vae)
        pipeline_of(modules, self.chosen).save_pretrained(folder, safe_serialization=True)

    @torch.no_grad()
    def _latent_shape(self, image_size: int) -> tuple[int, ...]:
        latent = self.vae.encode(torch.zeros(1, 3, image_size, image_size)).latent_dist.mode()
        return tuple(latent.shape[1:])


def composited(rgba: Float[Tensor, "b v h w 4"], backgrounds: Float[Tensor, "b 3"]) -> Float[Tensor, "b v 3 h w"]:
    """Pictures in [−1, 1], those of a sample on its own colour."""
    each = backgrounds[:, None].expand(-1, rgba.shape[1], -1).flatten(0, 1)
    return (on_background(rgba.flatten(0, 1), each) * 2.0 - 1.0).movedim(-1, -3).unflatten(0, rgba.shape[:2])
