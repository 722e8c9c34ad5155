"""What a model stands beside: baselines that cost nothing, and the best that its autoencoder could let through.

Each answers, for one object, with a picture for every target view, RGB on white in [0, 1]. A model that does not beat copying
the input and the mean image has learned nothing worth having. A latent diffusion model cannot do better than the truth itself
does after encoding and decoding: what the autoencoder loses, no denoiser gives back.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from geometry.perceptual import Unavailable

if TYPE_CHECKING:
    from systems.object_pipeline import ObjectPipeline


def copy_input(condition: Float[np.ndarray, "h w 3"], targets: int) -> Float[np.ndarray, "t h w 3"]:
    """The input view for every target: the object does not turn at all."""
    return np.broadcast_to(condition, (targets, *condition.shape))


def mean_image(views: Iterable[Float[np.ndarray, "_ h w 3"]]) -> Float[np.ndarray, "h w 3"]:
    """The mean over all views of all training objects, which has the least squared error of all constant answers.

    Args:
        views: the views of each object; an object with more views weighs more.

    Raises:
        ValueError: when there is no view.
    """
    total, count = None, 0
    for pictures in views:
        # float64: a sum of a million float32 pictures would no longer notice the next one.
        batch = pictures.sum(axis=0, dtype=np.float64)
        total = batch if total is None else total + batch
        count += len(pictures)
    if total is None:
        raise ValueError("no view to take the mean of")
    return (total / count).astype(np.float32)


@dataclass(frozen=True)
class Reencoding:
    """True views through a model's own autoencoder: the posterior's mode, decoded.

    Args:
        vae: diffusers' `AutoencoderKL`, or what has its interface.
        batch_size: views at once. A batch holds views of one object only, so that no object's result depends on others.
    """

    vae: Any
    batch_size: int

    def __call__(self, pictures: Float[np.ndarray, "t h w 3"]) -> Float[np.ndarray, "t h w 3"]:
        """The pictures after encoding and decoding; the scaling of latents cancels."""
        images = torch.from_numpy(np.ascontiguousarray(pictures, np.float32)).permute(0, 3, 1, 2) * 2.0 - 1.0
        with torch.no_grad():
            decoded = torch.cat([self._through(batch) for batch in images.split(self.batch_size)])
        return (decoded / 2.0 + 0.5).clamp(0.0, 1.0).permute(0, 2, 3, 1).numpy()

    def _through(self, images: Float[torch.Tensor, "b 3 h w"]) -> Float[torch.Tensor, "b 3 h w"]:
        latents = self.vae.encode(images.to(self.vae.device, self.vae.dtype)).latent_dist.mode()
        decoded: Float[torch.Tensor, "b 3 h w"] = self.vae.decode(latents).sample.float().cpu()
        return decoded


def find_reencoding(pipeline: "ObjectPipeline", batch_size: int) -> Reencoding | Unavailable:
    """The upper bound of a model's pictures, if its autoencoder is one of pictures.

    Args:
        pipeline: the trained model.
        batch_size: views at once.
    """
    # diffusers takes seconds to import, which scoring pictures of other programs need not wait for.
    from systems.gaussian_pipeline import GaussianPipeline

    if isinstance(pipeline, GaussianPipeline):
        return Unavailable("this model's pictures are rendered from Gaussians and never pass through its autoencoder")
    # Not an attribute: ViewFusion has the modules of its base.
    vae = pipeline.components.get("vae")
    if vae is None:
        return Unavailable(f"a {type(pipeline).__name__} has no autoencoder")
    return Reencoding(vae, batch_size)
