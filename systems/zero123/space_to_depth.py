"""A named stand-in for the VAE at tiny sizes: space-to-depth, which moves blocks of pixels into channels.

It has `AutoencoderKL`'s interface as far as Zero-1-to-3 uses it, no weights and no loss: decoding an encoding gives
the image back.
"""

from types import SimpleNamespace

import torch.nn.functional as F  # noqa: N812 - torch's own name
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Generator, Tensor, nn

# Objects stand on white: with white at 0 a short training need not first learn the background, nor convolutions their padding.
_WHITE = 1.0


class SpaceToDepth(ModelMixin, ConfigMixin):
    """Latents of shape (b, 3·f², h/f, w/f), white being 0, from images (b, 3, h, w) in [−1, 1].

    Args:
        factor: side f of the blocks.
        scaling_factor: latents are multiplied by it, as a VAE's are, to bring their spread near 1.
    """

    @register_to_config
    def __init__(self, factor: int = 8, scaling_factor: float = 1.0) -> None:  # noqa: ARG002 - read from config
        super().__init__()
        # ModelMixin looks for a parameter to tell its device and type.
        self.anchor = nn.Parameter(Tensor([0.0]), requires_grad=False)

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        return 3 * self.config.factor**2

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> SimpleNamespace:
        """The latent as a distribution without spread: `.latent_dist.sample()` and `.mode()` agree."""
        latents = F.pixel_unshuffle(images - _WHITE, self.config.factor)
        return SimpleNamespace(latent_dist=_Point(latents))

    def decode(self, latents: Float[Tensor, "b c h w"]) -> SimpleNamespace:
        """`.sample` is the image of a latent."""
        return SimpleNamespace(sample=F.pixel_shuffle(latents, self.config.factor) + _WHITE)


class _Point:
    """A distribution with all its mass on one latent."""

    std = 0.0

    def __init__(self, latents: Float[Tensor, "b c h w"]) -> None:
        self._latents = latents

    def sample(self, generator: Generator | None = None) -> Float[Tensor, "b c h w"]:  # noqa: ARG002 - VAE interface
        """The latent."""
        return self._latents

    def mode(self) -> Float[Tensor, "b c h w"]:
        """The latent."""
        return self._latents
