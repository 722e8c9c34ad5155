"""What Zero-1-to-G's denoiser is told, and its prediction with and without classifier-free guidance."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from systems.zero123.encoding import target_latent
from systems.zero123.modules import Autoencoder
from systems.zero_1_to_g.unet import AttributeUNet


@dataclass(frozen=True)
class Condition:
    """The conditions of n objects; without a condition token and latent are zero."""

    token: Float[Tensor, "n 1 d"]
    """Projected CLIP embedding of the input, the only key and value of cross-attention."""
    latent: Float[Tensor, "n c y x"]
    """Of the input, as `condition_latent` gives it."""
    embedding: Float[Tensor, "n v a 16"]
    """Which attribute an image is, and from which camera."""

    def __getitem__(self, rows: slice) -> "Condition":
        """Some of the objects."""
        return Condition(self.token[rows], self.latent[rows], self.embedding[rows])

    def beside_null(self) -> "Condition":
        """The same objects without a condition, then with it."""
        return Condition(
            torch.cat([torch.zeros_like(self.token), self.token]),
            torch.cat([torch.zeros_like(self.latent), self.latent]),
            torch.cat([self.embedding] * 2),
        )


def condition_latent(vae: Autoencoder, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c y x"]:
    """Latent of the input: the posterior's mode, times the VAE's scaling factor.

    Unlike Zero-1-to-3's it is scaled (`scale_input_latents: true` of Wonder3D's configurations, mengxuyiGit/Wonder3D).
    """
    return target_latent(vae, images, torch.zeros((), device=images.device, dtype=images.dtype))


def predicted(
    unet: AttributeUNet, latents: Float[Tensor, "n v a c y x"], timesteps: Int[Tensor, "n a"], condition: Condition
) -> Float[Tensor, "n v a c y x"]:
    """What the denoiser makes of noisy latents.

    Args:
        unet: the denoiser.
        latents: of v views of a attributes.
        timesteps: of each object's attributes.
        condition: of each object.
    """
    given = torch.cat([latents, condition.latent[:, None, None].expand_as(latents)], dim=3)
    prediction: Float[Tensor, "n v a c y x"] = unet(
        given, timesteps[:, None], condition.token, condition.embedding.to(given.dtype)
    ).sample
    return prediction


def guided(
    unet: AttributeUNet,
    latents: Float[Tensor, "n v a c y x"],
    timestep: Num[Tensor, ""],
    condition: Condition,
    scale: float,
) -> Float[Tensor, "n v a c y x"]:
    """The prediction without condition, moved by `scale` towards that with it, in one pass; scale 1 asks for the latter alone."""
    count, attributes = len(latents), latents.shape[2]
    if scale == 1.0:
        return predicted(unet, latents, timestep.expand(count, attributes), condition)
    both = torch.cat([latents] * 2)
    pair = predicted(unet, both, timestep.expand(2 * count, attributes), condition.beside_null())
    without, with_condition = pair.chunk(2)
    return without + scale * (with_condition - without)
