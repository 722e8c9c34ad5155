"""What the pipelines of several systems share: an input view and pose vectors to pictures, in bounded batches.

A system's own pipeline makes pose vectors of the cameras that it is given, and calls `ViewPipeline.sample_poses`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.schedulers import KarrasDiffusionSchedulers
from jaxtyping import Float, Num
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from stage.errors import InputError
from systems.object_pipeline import ObjectPipeline, Pictures, SampledViews
from systems.zero123.compositing import picture_tensor
from systems.zero123.conditioning import CCProjection
from systems.zero123.encoding import condition_latent, embed_images
from systems.zero123.guidance import Condition, conditioned, guided
from systems.zero123.modules import Autoencoder
from systems.zero123.parameters import Background, NullCondition
from systems.zero123.sampler_options import CALLBACK_INPUTS, OutputType, SamplerOptions
from systems.zero123.schedulers import Generators, advance, noise, start


class ViewPipeline(ObjectPipeline):
    """A diffusers pipeline that sees an input view from other sides.

    Args:
        unet: the denoiser; noisy target latent and condition latent as input channels.
        cc_projection: joins embedding and pose.
        image_encoder: CLIP vision encoder with projection.
        vae: images to latents and back.
        scheduler: the noise schedule, of any class of `systems.zero123.schedulers`.
    """

    model_cpu_offload_seq = "image_encoder->cc_projection->unet->vae"
    _callback_tensor_inputs = CALLBACK_INPUTS

    def __init__(
        self,
        unet: UNet2DConditionModel,
        cc_projection: CCProjection,
        image_encoder: CLIPVisionModelWithProjection,
        vae: Autoencoder,
        scheduler: KarrasDiffusionSchedulers,
    ) -> None:
        super().__init__()
        self.register_modules(
            unet=unet, cc_projection=cc_projection, image_encoder=image_encoder, vae=vae, scheduler=scheduler
        )
        self._interrupt = False

    @property
    def image_size(self) -> int:
        """Width and height of the images that the pipeline was trained on, pixels."""
        return int(self.unet.config.sample_size * self._factor)

    @property
    def interrupt(self) -> bool:
        """Whether a callback has asked to leave out the remaining steps, by setting `_interrupt`."""
        return self._interrupt

    @property
    def _factor(self) -> int:
        """Pixels per latent, along a side."""
        blocks = getattr(self.vae.config, "block_out_channels", None)
        return int(2 ** (len(blocks) - 1) if blocks else self.vae.config.factor)

    @torch.no_grad()
    def sample_poses(
        self,
        images: Pictures,
        poses: Float[Tensor, "n e"],
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> SampledViews:
        """Sample the view at each pose from its input image, or from the one image that is given.

        Args:
            images: input views in [−1, 1] on white, one for all poses or one for each; or PIL images, which are put on white
                and brought to the training's size.
            poses: pose vector of each wanted view relative to its input, as `cc_projection` was trained with.
            **options: `SamplerOptions`.

        Raises:
            InputError: when shapes, values or options do not fit.
        """
        chosen = SamplerOptions(**options)
        given = self._tensor(images, chosen.background)
        self._check(given, poses)
        rows = Rows(len(poses) * chosen.num_images_per_pose, chosen.batch_size)
        condition = self._condition(given, poses, chosen.num_images_per_pose, chosen.null_condition, rows)
        made = self._made(condition, chosen, rows)
        # A tuple is what diffusers' pipelines give instead.
        return SampledViews(images=made) if chosen.return_dict else (made,)  # type: ignore[return-value]

    def _made(
        self, condition: Condition, options: SamplerOptions, rows: "Rows"
    ) -> Float[Tensor, "k _ _ _"] | Float[np.ndarray, "k h w 3"] | list[Image.Image]:
        """The pictures of some conditions, in the form that the options ask for."""
        latents = self._denoised(condition, options, rows)
        made = latents if options.output_type == "latent" else self._decode(latents, rows, options.output_type)
        self.maybe_free_model_hooks()
        return made

    def _denoised(self, condition: Condition, options: SamplerOptions, rows: "Rows") -> Float[Tensor, "k c y x"]:
        """The latents at the end of all steps."""
        self._interrupt = False
        steps, drop_first = options.num_inference_steps, options.drop_first_step
        timesteps = start(self.scheduler, steps, self._execution_device, drop_first)
        latents = self._first_latents(condition, options.latents, options.generator)
        for step, timestep in enumerate(self.progress_bar(timesteps)):
            if self._interrupt:
                continue
            prediction = self._denoise(latents, timestep, condition, options.guidance_scale, rows)
            latents = advance(self.scheduler, prediction, timestep, latents, options.eta, options.generator)
            if options.callback_on_step_end is not None:
                inputs = dict.fromkeys(options.callback_on_step_end_tensor_inputs, latents)
                latents = (options.callback_on_step_end(self, step, timestep, inputs) or {}).get("latents", latents)
        return latents

    def _tensor(self, images: Pictures, background: Background) -> Float[Tensor, "m 3 h w"]:
        if isinstance(images, Tensor):
            return images
        pictures = [images] if isinstance(images, Image.Image) else list(images)
        if not pictures or not all(isinstance(picture, Image.Image) for picture in pictures):
            raise InputError("the input is neither a tensor nor PIL images", "give a tensor (n, 3, height, width)")
        framed = [self.framed(picture) for picture in pictures]
        size = (self.image_size,) * 2 if self.unet.config.sample_size else framed[0].size
        return torch.stack([picture_tensor(picture, size, background) for picture in framed])

    def _condition(
        self,
        images: Float[Tensor, "m 3 h w"],
        poses: Float[Tensor, "n e"],
        repeats: int,
        null: NullCondition,
        rows: "Rows",
    ) -> Condition:
        """What each picture is made from; every image is encoded once."""
        images, poses = (given.to(self._execution_device, self.unet.dtype) for given in (images, poses))
        parts = rows.split(images)
        embedding = torch.cat([embed_images(self.image_encoder, part) for part in parts])
        latent = torch.cat([condition_latent(self.vae, part) for part in parts])
        # One image serves all poses.
        sources = torch.arange(len(poses), device=images.device).clamp(max=len(images) - 1)
        poses, sources = (given.repeat_interleave(repeats, dim=0) for given in (poses, sources))
        return conditioned(self.cc_projection, embedding, latent, poses, sources, null)

    def _first_latents(
        self, condition: Condition, latents: Tensor | None, generator: Generators
    ) -> Float[Tensor, "k c y x"]:
        shape = condition.latent.shape
        if latents is not None and latents.shape != shape:
            raise InputError(f"latents have shape {tuple(latents.shape)}", f"give {tuple(shape)}")
        drawn = noise(shape, generator) if latents is None else latents
        return drawn.to(condition.latent) * self.scheduler.init_noise_sigma

    def _denoise(
        self,
        latents: Float[Tensor, "k c y x"],
        timestep: Num[Tensor, ""],
        condition: Condition,
        scale: float,
        rows: "Rows",
    ) -> Float[Tensor, "k c y x"]:
        """The guided prediction, some pictures at a time."""
        scaled = self.scheduler.scale_model_input(latents, timestep)
        parts = [guided(self.unet, scaled[part], timestep, condition[part], scale) for part in rows]
        return torch.cat(parts)

    def _decode(
        self, latents: Float[Tensor, "k c y x"], rows: "Rows", output_type: OutputType
    ) -> Float[Tensor, "k 3 h w"] | Float[np.ndarray, "k h w 3"] | list[Image.Image]:
        scaled = latents / self.vae.config.scaling_factor
        decoded = torch.cat([self.vae.decode(scaled[part]).sample for part in rows])
        images = (decoded.float() / 2 + 0.5).clamp(0, 1).cpu()
        if output_type == "pt":
            return images
        arrays = images.movedim(1, -1).numpy()
        if output_type == "np":
            return arrays
        return [Image.fromarray(array) for array in (arrays * 255).round().astype(np.uint8)]

    def _check(self, images: Tensor, poses: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != 3:
            raise InputError(f"images have shape {tuple(images.shape)}", "give (n, 3, height, width)")
        if images.shape[2] % self._factor or images.shape[3] % self._factor:
            raise InputError(
                f"images have shape {tuple(images.shape)}", f"make height and width multiples of {self._factor} pixels"
            )
        dimensions = self.cc_projection.config.pose_dim
        if poses.ndim != 2 or poses.shape[1] != dimensions or len(poses) == 0:
            raise InputError(f"poses have shape {tuple(poses.shape)}", f"give (n, {dimensions})")
        if len(images) not in (1, len(poses)):
            raise InputError(f"{len(images)} images for {len(poses)} poses", "give one image, or one for each pose")


@dataclass(frozen=True)
class Rows:
    """Pictures of a call, some at a time."""

    count: int
    size: int | None

    def __iter__(self) -> Iterator[slice]:
        size = self.size or self.count
        return (slice(first, first + size) for first in range(0, self.count, size))

    def split(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """As large parts of a tensor of any length."""
        return tensor.split(self.size or len(tensor))
