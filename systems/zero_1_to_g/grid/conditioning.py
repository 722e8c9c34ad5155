"""What Zero123++'s denoiser is told of the input picture: cross-attention tokens, and the latent of its reference attention.

Source: SUDO-AI-3D/zero123plus `diffusers-support/pipeline.py`, `Zero123PlusPipeline.__call__`.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from systems.zero123.modules import Autoencoder
from systems.zero_1_to_g.grid.layout import scaled_image


class ImagePrompt(ModelMixin, ConfigMixin):
    """The text embedding of "", and how much of the picture's embedding each of its tokens takes: T + w · I.

    The text encoder is asked for nothing but "", whose embedding is a constant: it is computed once, when a folder of Zero123++
    is read (`weights.py`), and is a weight of ours from then on.

    Args:
        tokens: of the text encoder; CLIP's: 77.
        dimension: of a token and of the picture's embedding; CLIP ViT-H/14's: 1024.
    """

    @register_to_config
    def __init__(self, tokens: int = 77, dimension: int = 1024) -> None:
        super().__init__()
        self.text = nn.Parameter(torch.zeros(tokens, dimension), requires_grad=False)
        # As Zero123++ begins to train them (Shi et al. 2023, section 2.4: i / L).
        self.ramping_coefficients = nn.Parameter(torch.arange(tokens) / tokens, requires_grad=False)

    def forward(self, embeddings: Float[Tensor, "b d"]) -> Float[Tensor, "b t d"]:
        """The tokens of pictures by their CLIP embeddings."""
        return self.text + self.ramping_coefficients[:, None] * embeddings[:, None]

    def null(self, count: int) -> Float[Tensor, "b t d"]:
        """The tokens that guidance leads away from: of no picture."""
        return self.text.expand(count, -1, -1)


def picture_embeddings(
    encoder: CLIPVisionModelWithProjection, pictures: Float[Tensor, "b 3 h w"]
) -> Float[Tensor, "b d"]:
    """CLIP's projected embeddings of pictures in [−1, 1]: bicubic to its size with antialiasing, mean and spread removed."""
    resized = _resized(pictures, encoder.config.image_size) / 2.0 + 0.5
    mean, std = (resized.new_tensor(values)[:, None, None] for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    return encoder(((resized - mean) / std).to(encoder.dtype)).image_embeds


def reference_latents(vae: Autoencoder, pictures: Float[Tensor, "b 3 h w"], size: int) -> Float[Tensor, "b c y x"]:
    """Latents of input pictures: the posterior's mode, neither times the scaling factor nor shifted, unlike codes.

    Args:
        vae: the autoencoder.
        pictures: in [−1, 1].
        size: they are made so many pixels wide and high.
    """
    scaled = scaled_image(_resized(pictures, size))
    return vae.encode(scaled.to(vae.dtype)).latent_dist.mode()


def null_latents(vae: Autoencoder, count: int, size: int) -> Float[Tensor, "b c y x"]:
    """The latents that guidance leads away from: of grey pictures."""
    grey = torch.zeros(1, 3, size, size, device=vae.device, dtype=vae.dtype)
    return vae.encode(grey).latent_dist.mode().expand(count, -1, -1, -1)


def _resized(pictures: Float[Tensor, "b 3 h w"], size: int) -> Float[Tensor, "b 3 s s"]:
    if pictures.shape[-2:] == (size, size):
        return pictures
    made = F.interpolate(pictures.float(), size=(size, size), mode="bicubic", antialias=True, align_corners=False)
    return made.clamp(-1.0, 1.0)
