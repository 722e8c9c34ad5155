"""Sampling with Zero-1-to-3: one image and relative poses to the images seen from there.

pipeline = Zero123Pipeline.from_pretrained(folder)
images = pipeline(image, poses, guidance_scale=3.0, num_inference_steps=50).images
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from diffusers.utils import BaseOutput
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Generator, Tensor, nn
from transformers import CLIPVisionModelWithProjection

from stage.errors import InputError
from systems.zero123.conditioning import POSE_DIMENSIONS, CCProjection
from systems.zero123.encoding import condition_latent, embed_images
from systems.zero123.foreign_weights import refuse_foreign
from systems.zero123.modules import Autoencoder


def load_pipeline(folder: Path) -> "Zero123Pipeline":
    """The pipeline that was saved in a folder, without asking any hub.

    Raises:
        InputError: when the folder holds none, or one that is damaged.
    """
    refuse_foreign(folder)
    if not (folder / "model_index.json").is_file():
        raise InputError(f"{folder} is no diffusers pipeline", "run viewforge train, or name a folder that is one")
    try:
        pipeline = Zero123Pipeline.from_pretrained(folder, local_files_only=True)
        absent = _absent_weights(pipeline, folder)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{folder} cannot be loaded: {str(error).splitlines()[0]}", "restore it with dvc pull"
        ) from None
    if absent:
        raise InputError(f"{folder} lacks the weights {absent[0]}", "restore it with dvc pull")
    return pipeline


def _absent_weights(pipeline: "Zero123Pipeline", folder: Path) -> list[str]:
    """Weights that no file of the folder holds: the libraries draw them at random and only log it."""
    absent = []
    for name, module in pipeline.components.items():
        if isinstance(module, nn.Module):
            stored: set[str] = set()
            for path in (folder / name).glob("*.safetensors"):
                with safe_open(path, framework="pt") as weights:
                    stored.update(weights.keys())
            absent += [f"{name}.{key}" for key in sorted(module.state_dict().keys() - stored)]
    return absent


@dataclass
class Zero123Output(BaseOutput):
    """Sampled images (n, 3, h, w) in [0, 1]."""

    images: Float[Tensor, "n 3 h w"]


class Zero123Pipeline(DiffusionPipeline):
    """Zero-1-to-3 as a diffusers pipeline.

    Args:
        unet: the denoiser; noisy target latent and condition latent as input channels.
        cc_projection: joins embedding and pose.
        image_encoder: CLIP vision encoder with projection.
        vae: images to latents and back.
        scheduler: the noise schedule.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        cc_projection: CCProjection,
        image_encoder: CLIPVisionModelWithProjection,
        vae: Autoencoder,
        scheduler: DDIMScheduler,
    ) -> None:
        super().__init__()
        self.register_modules(
            unet=unet, cc_projection=cc_projection, image_encoder=image_encoder, vae=vae, scheduler=scheduler
        )

    @property
    def image_size(self) -> int:
        """Width and height of the images that the pipeline was trained on, pixels."""
        return int(self.unet.config.sample_size * self._factor)

    @property
    def _factor(self) -> int:
        """Pixels per latent, along a side."""
        blocks = getattr(self.vae.config, "block_out_channels", None)
        return int(2 ** (len(blocks) - 1) if blocks else self.vae.config.factor)

    @torch.no_grad()
    def __call__(
        self,
        images: Float[Tensor, "n 3 h w"],
        poses: Float[Tensor, "n 4"],
        *,
        guidance_scale: float = 3.0,
        num_inference_steps: int = 50,
        eta: float = 1.0,
        generator: Generator | None = None,
    ) -> Zero123Output:
        """Sample the view at each pose from each input image.

        Args:
            images: input views in [−1, 1], composited on white.
            poses: T of each wanted view relative to its input.
            guidance_scale: classifier-free guidance; 1 does without.
            num_inference_steps: DDIM steps.
            eta: DDIM's share of fresh noise; 0 is deterministic.
            generator: source of noise, on the CPU so that devices agree.

        Raises:
            InputError: when shapes do not fit.
        """
        self._check(images, poses)
        device, dtype = self.unet.device, self.unet.dtype
        images, poses = images.to(device, dtype), poses.to(device, dtype)
        token = self.cc_projection(embed_images(self.image_encoder, images), poses)
        condition = condition_latent(self.vae, images)
        latents = torch.randn(condition.shape, generator=generator).to(condition)
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        latents = latents * self.scheduler.init_noise_sigma
        for timestep in self.progress_bar(self.scheduler.timesteps):
            prediction = self._denoise(latents, condition, token, timestep, guidance_scale)
            # From pure noise fresh noise changes nothing, and DDIM's variance would be 0/0 there.
            share = eta if self.scheduler.alphas_cumprod[int(timestep)] > 0 else 0.0
            noise = torch.randn(latents.shape, generator=generator).to(latents) if share > 0 else None
            latents = self.scheduler.step(prediction, timestep, latents, eta=share, variance_noise=noise).prev_sample
        decoded = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        return Zero123Output(images=(decoded.float() / 2 + 0.5).clamp(0, 1).cpu())

    def _denoise(
        self,
        latents: Float[Tensor, "n c y x"],
        condition: Float[Tensor, "n c y x"],
        token: Float[Tensor, "n 1 d"],
        timestep: Tensor,
        guidance_scale: float,
    ) -> Float[Tensor, "n c y x"]:
        """The guided prediction.

        At inference the null condition is a zero token *after* `cc_projection` and a zero latent (gradio_new.py
        `sample_model`), unlike in training.
        """
        if guidance_scale == 1.0:
            return self.unet(torch.cat([latents, condition], dim=1), timestep, encoder_hidden_states=token).sample
        both = torch.cat([torch.cat([latents] * 2), torch.cat([torch.zeros_like(condition), condition])], dim=1)
        tokens = torch.cat([torch.zeros_like(token), token])
        without, with_condition = self.unet(both, timestep, encoder_hidden_states=tokens).sample.chunk(2)
        return without + guidance_scale * (with_condition - without)

    def _check(self, images: Tensor, poses: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != 3:
            raise InputError(f"images have shape {tuple(images.shape)}", "give (n, 3, height, width)")
        if images.shape[2] % self._factor or images.shape[3] % self._factor:
            raise InputError(
                f"images have shape {tuple(images.shape)}", f"make height and width multiples of {self._factor} pixels"
            )
        if tuple(poses.shape) != (len(images), POSE_DIMENSIONS):
            raise InputError(
                f"poses have shape {tuple(poses.shape)} for {len(images)} images",
                f"give ({len(images)}, {POSE_DIMENSIONS})",
            )
