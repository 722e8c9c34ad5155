"""Images to what the denoiser sees: CLIP input, image embedding, condition latent, target latent."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from systems.zero123.modules import Autoencoder

# CLIP's own input normalisation (openai/CLIP, clip.py).
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class EncodedImages:
    """What the denoiser sees of input views, whatever the pose."""

    embedding: Float[Tensor, "m d"]
    """Of CLIP."""
    latent: Float[Tensor, "m c y x"]
    """`condition_latent`."""


def clip_input(images: Float[Tensor, "b 3 h w"], size: int) -> Float[Tensor, "b 3 s s"]:
    """CLIP's input from images in [−1, 1]: bicubic to its size (aligned corners, no antialiasing), mean and spread removed.

    Source: `FrozenCLIPImageEmbedder.preprocess` of cvlab-columbia/zero123 `ldm/modules/encoders/modules.py`.
    """
    resized = F.interpolate(images, size=(size, size), mode="bicubic", align_corners=True, antialias=False)
    mean = torch.tensor(_CLIP_MEAN, device=images.device, dtype=images.dtype)[:, None, None]
    std = torch.tensor(_CLIP_STD, device=images.device, dtype=images.dtype)[:, None, None]
    return ((resized + 1.0) / 2.0 - mean) / std


def embed_images(encoder: CLIPVisionModelWithProjection, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
    """The projected CLIP embedding of images in [−1, 1]."""
    return encoder(clip_input(images, encoder.config.image_size)).image_embeds


def condition_latent(vae: Autoencoder, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c y x"]:
    """Latent of the input view: the posterior's mode, not scaled (ddpm.py `get_input`: only the target is)."""
    return vae.encode(images).latent_dist.mode()


def target_latent(
    vae: Autoencoder, images: Float[Tensor, "b 3 h w"], noise: Float[Tensor, "b c y x"]
) -> Float[Tensor, "b c y x"]:
    """Latent of the target view: the posterior's sample that the noise picks, times the VAE's scaling factor."""
    posterior = vae.encode(images).latent_dist
    return (posterior.mode() + posterior.std * noise) * vae.config.scaling_factor
