"""What every prior is: a diffusion model of latents that knows one picture of an object, and is asked of others.

All tensors are on `device`. Images are NCHW; latents are scaled as the UNet sees them. Noise levels are timesteps 0 to 999 of
the model's training: xₜ = √ᾱₜ x₀ + √(1 − ᾱₜ) ε (Ho et al. 2020, eq. 4).
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from systems.object_pipeline import Camera


class Prior(Protocol):
    """A denoiser of views of one object."""

    @property
    def device(self) -> torch.device:
        """Where its tensors live."""

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the latent of a view."""

    @property
    def image_size(self) -> int:
        """Width and height of its pictures, pixels."""

    @property
    def alphas_cumprod(self) -> Float[Tensor, "1000"]:
        """ᾱ of each timestep of the training."""

    @property
    def white(self) -> Float[Tensor, "c h w"]:
        """The latent of a white picture: what is behind an object."""

    @property
    def source(self) -> Camera:
        """Camera of the picture that it knows, in the field's world."""

    @property
    def fingerprint(self) -> str:
        """Of weights and of what it knows: another one answers otherwise."""

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c y x"]:
        """Latents of images in [−1, 1], differentiably."""

    def decode(self, latents: Float[Tensor, "b c y x"]) -> Float[Tensor, "b 3 h w"]:
        """Images in [0, 1] of latents, differentiably."""

    def denoise(
        self,
        noisy: Float[Tensor, "b c y x"],
        timesteps: Int[Tensor, " b"],
        cameras: Sequence[Camera],
        guidance_scale: float,
    ) -> Float[Tensor, "b c y x"]:
        """The noise ε that it predicts in noisy latents, without gradients.

        Args:
            noisy: xₜ.
            timesteps: t of each.
            cameras: of each, in the field's world; what the model is told of them is the prior's matter.
            guidance_scale: classifier-free; 1 asks for the conditional prediction alone.
        """

    def knowing(self, image: Float[Tensor, "1 3 h w"], source: Camera) -> "Prior":
        """The same model with another picture, in [−1, 1], for its condition, as anchors are."""
