"""What the pipelines of several systems share: an input view and pose vectors to pictures, in bounded batches.

A system's own pipeline makes pose vectors of the cameras that it is given, and calls `ViewPipeline.sample_poses`.
"""

from collections.abc import Callable
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
from systems.object_pipeline import Pictures, SampledViews
from systems.zero123.conditioning import CCProjection
from systems.zero123.encoding import EncodedImages, condition_latent, embed_images
from systems.zero123.guidance import Condition, conditioned, guided
from systems.zero123.latent_pipeline import LatentPipeline, Rows
from systems.zero123.modules import Autoencoder
from systems.zero123.parameters import Background, NullCondition
from systems.zero123.sampler_options import OutputType, SamplerOptions
from systems.zero123.schedulers import Draw, noise


class ViewPipeline(LatentPipeline):
    """A diffusers pipeline that sees an input view from other sides.

    Args:
        unet: the denoiser; noisy target latent and condition latent as input channels.
        cc_projection: joins embedding and pose.
        image_encoder: CLIP vision encoder with projection.
        vae: images to latents and back.
        scheduler: the noise schedule, of any class of `systems.zero123.schedulers`.
    """

    model_cpu_offload_seq = "image_encoder->cc_projection->unet->vae"

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

    @property
    def takes_relative_poses(self) -> bool:
        """Whether the pose vectors of `sample_poses` are Zero-1-to-3's T, which ask for no scale and no field of view."""
        return True

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

    # What whoever brings conditions or predictions of his own builds on.

    def shown(self, images: Pictures, background: Background) -> Float[Tensor, "m 3 h w"]:
        """Input views as the modules see them, in [−1, 1].

        Raises:
            InputError: when they are no pictures, or of a size that latents cannot have.
        """
        given = self._tensor(images, background)
        self._check_images(given)
        return given

    @torch.no_grad()
    def encoded(self, images: Float[Tensor, "m 3 h w"], batch_size: int | None = None) -> EncodedImages:
        """What the denoiser sees of input views in [−1, 1], some at a time."""
        parts = Rows(len(images), batch_size).split(images.to(self._execution_device, self.unet.dtype))
        embedding = torch.cat([embed_images(self.image_encoder, part) for part in parts])
        return EncodedImages(embedding, torch.cat([condition_latent(self.vae, part) for part in parts]))

    @torch.no_grad()
    def sampled_from(self, condition: Condition, options: SamplerOptions) -> Any:  # noqa: ANN401 - in the form asked for
        """The pictures of some conditions, in the form that the options ask for."""
        return self._made(condition, options, Rows(len(condition.latent), options.batch_size))

    @torch.no_grad()
    def denoised_by(
        self,
        predict: Callable[[Float[Tensor, "k c y x"], Num[Tensor, ""]], Float[Tensor, "k c y x"]],
        like: Float[Tensor, "k c y x"],
        options: SamplerOptions,
        draw: Draw = noise,
    ) -> Float[Tensor, "k c y x"]:
        """The latents at the end of all steps of another denoiser; see `LatentPipeline`.

        Args:
            predict: its prediction of latents as the scheduler scales them, at a timestep.
            like: of the latents' shape, type and place.
            options: of the sampler.
            draw: what draws DDIM's fresh noise.
        """
        return self._denoised(self._noise(like.shape, options, like), options, predict, draw)

    @torch.no_grad()
    def decoded(self, latents: Float[Tensor, "k c y x"]) -> Float[Tensor, "k 3 h w"]:
        """The pictures of latents, in [0, 1], on the CPU."""
        scaled = latents / self.vae.config.scaling_factor
        return (self.vae.decode(scaled).sample.float() / 2 + 0.5).clamp(0, 1).cpu()

    def _made(
        self, condition: Condition, options: SamplerOptions, rows: Rows
    ) -> Float[Tensor, "k _ _ _"] | Float[np.ndarray, "k h w 3"] | list[Image.Image]:
        """The pictures of some conditions, in the form that the options ask for."""
        latents = self._sampled(condition, options, rows)
        made = latents if options.output_type == "latent" else self._decode(latents, rows, options.output_type)
        self.maybe_free_model_hooks()
        return made

    def _sampled(self, condition: Condition, options: SamplerOptions, rows: Rows) -> Float[Tensor, "k c y x"]:
        """The latents at the end of all steps."""

        def predict(latents: Tensor, timestep: Num[Tensor, ""]) -> Float[Tensor, "k c y x"]:
            return self._denoise(latents, timestep, condition, options.guidance_scale, rows)

        return self.denoised_by(predict, condition.latent, options)

    def _denoise(
        self,
        latents: Float[Tensor, "k c y x"],
        timestep: Num[Tensor, ""],
        condition: Condition,
        scale: float,
        rows: Rows,
    ) -> Float[Tensor, "k c y x"]:
        """The guided prediction of latents as the scheduler scales them, some pictures at a time."""
        return torch.cat([guided(self.unet, latents[part], timestep, condition[part], scale) for part in rows])

    def _condition(
        self,
        images: Float[Tensor, "m 3 h w"],
        poses: Float[Tensor, "n e"],
        repeats: int,
        null: NullCondition,
        rows: Rows,
    ) -> Condition:
        """What each picture is made from; every image is encoded once."""
        seen, poses = self.encoded(images, rows.size), poses.to(self._execution_device, self.unet.dtype)
        # One image serves all poses.
        sources = torch.arange(len(poses), device=poses.device).clamp(max=len(images) - 1)
        poses, sources = (given.repeat_interleave(repeats, dim=0) for given in (poses, sources))
        return conditioned(self.cc_projection, seen.embedding, seen.latent, poses, sources, null)

    def _decode(
        self, latents: Float[Tensor, "k c y x"], rows: Rows, output_type: OutputType
    ) -> Float[Tensor, "k 3 h w"] | Float[np.ndarray, "k h w 3"] | list[Image.Image]:
        return in_form(torch.cat([self.decoded(latents[part]) for part in rows]), output_type)

    def _check_images(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != 3:
            raise InputError(f"images have shape {tuple(images.shape)}", "give (n, 3, height, width)")
        if images.shape[2] % self._factor or images.shape[3] % self._factor:
            raise InputError(
                f"images have shape {tuple(images.shape)}", f"make height and width multiples of {self._factor} pixels"
            )

    def _check(self, images: Tensor, poses: Tensor) -> None:
        self._check_images(images)
        dimensions = self.cc_projection.config.pose_dim
        if poses.ndim != 2 or poses.shape[1] != dimensions or len(poses) == 0:
            raise InputError(f"poses have shape {tuple(poses.shape)}", f"give (n, {dimensions})")
        if len(images) not in (1, len(poses)):
            raise InputError(f"{len(images)} images for {len(poses)} poses", "give one image, or one for each pose")


def in_form(
    images: Float[Tensor, "k 3 h w"], output_type: OutputType
) -> Float[Tensor, "k 3 h w"] | Float[np.ndarray, "k h w 3"] | list[Image.Image]:
    """Pictures in [0, 1] as `pt`, `np` or `pil`."""
    if output_type == "pt":
        return images
    arrays = images.movedim(1, -1).numpy()
    if output_type == "np":
        return arrays
    return [Image.fromarray(array) for array in (arrays * 255).round().astype(np.uint8)]
