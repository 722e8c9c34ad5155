"""Sampling with Zero-1-to-G's first generation: one picture to the Gaussians of six views.

pipeline = Zero1ToGGridPipeline.from_pretrained(folder)
made = pipeline(Image.open("chair.png"), num_inference_steps=75, guidance_scale=4.0)
write_ply(Path("chair.ply"), made.gaussians[0])
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.schedulers import KarrasDiffusionSchedulers
from jaxtyping import Float, Num
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from stage.errors import InputError
from systems.gaussian_pipeline import GaussianPipeline, Splatters
from systems.object_pipeline import Pictures
from systems.zero123.latent_pipeline import LatentPipeline, Rows
from systems.zero123.modules import Autoencoder
from systems.zero123.parameters import Background
from systems.zero123.sampler_options import SamplerOptions
from systems.zero123.schedulers import noise
from systems.zero_1_to_g.grid.conditioning import ImagePrompt, null_latents, picture_embeddings, reference_latents
from systems.zero_1_to_g.grid.layout import COLUMNS, ROWS
from systems.zero_1_to_g.grid.modules import noised
from systems.zero_1_to_g.grid.reference_attention import ReferenceUNet
from systems.zero_1_to_g.grid.splatter_decoder import SplatterDecoder


@dataclass(frozen=True)
class _Condition:
    """What the denoiser is told of some inputs; of twice as many rows, those of no picture first, under guidance."""

    tokens: Float[Tensor, "m t d"]
    latents: Float[Tensor, "m c v u"]
    """Clean."""


class Zero1ToGGridPipeline(LatentPipeline, GaussianPipeline):
    """A diffusers pipeline from one picture to splatter images.

    Args:
        unet: makes codes.
        vae: encodes the input picture.
        splatter_decoder: codes to splatter images.
        image_encoder: CLIP.
        prompt: cross-attention tokens.
        scheduler: the noise schedule, of any class of `systems.zero123.schedulers`.
        image_size: width and height of the pictures of the training, pixels.
        input_size: of each view of the grid that codes are of, pixels.
        condition_size: of the input picture as it is encoded, pixels.
        condition_background: grey that PIL images with transparency are put on; tensors have their background.
    """

    model_cpu_offload_seq = "image_encoder->prompt->vae->unet->splatter_decoder"

    def __init__(
        self,
        unet: ReferenceUNet,
        vae: Autoencoder,
        splatter_decoder: SplatterDecoder,
        image_encoder: CLIPVisionModelWithProjection,
        prompt: ImagePrompt,
        scheduler: KarrasDiffusionSchedulers,
        image_size: int = 320,
        input_size: int = 320,
        condition_size: int = 512,
        condition_background: float = 1.0,
    ) -> None:
        super().__init__()
        self.register_modules(
            unet=unet,
            vae=vae,
            splatter_decoder=splatter_decoder,
            image_encoder=image_encoder,
            prompt=prompt,
            scheduler=scheduler,
        )
        self.register_to_config(
            image_size=image_size,
            input_size=input_size,
            condition_size=condition_size,
            condition_background=condition_background,
        )

    @property
    def image_size(self) -> int:
        """Width and height of the pictures that the pipeline was trained on, pixels."""
        return int(self.config.image_size)

    @torch.no_grad()
    def sample_splatters(
        self,
        images: Pictures,
        elevations: Float[Tensor, " n"],  # noqa: ARG002 - Zero123++ is not told of it
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> Splatters:
        """Sample the splatter images of each input view, in the input's frame and on the pipeline's device.

        Args:
            images: input views in [−1, 1], on the background of the training, or PIL images, which are put on it.
            elevations: of the input cameras; the network is not told of them.
            **options: `SamplerOptions`. Of them `guidance_scale`, `num_inference_steps`, `eta`, `batch_size`, `generator`,
                `latents`, `drop_first_step` and the callback are heeded; the `output_type` `latent` gives codes.

        Raises:
            InputError: when shapes, values or options do not fit.
        """
        chosen = SamplerOptions(**options)
        if chosen.output_type not in ("pt", "latent") or chosen.num_images_per_pose != 1:
            raise InputError(
                f"{chosen.num_images_per_pose} splatter images of a view as {chosen.output_type}",
                "ask for one, as pt, or for its code, as latent",
            )
        given = self._tensor(images, chosen.background)
        if given.ndim != 4 or given.shape[1] != 3:
            raise InputError(f"images have shape {tuple(given.shape)}", "give (n, 3, height, width)")
        codes = self._codes(given.to(self._execution_device, self.unet.dtype), chosen)
        if chosen.output_type == "latent":
            return codes
        parts = Rows(len(codes), chosen.batch_size).split(codes)
        made: Splatters = torch.cat([self.splatter_decoder(part) for part in parts])
        self.maybe_free_model_hooks()
        return made

    def _codes(self, images: Float[Tensor, "n 3 h w"], options: SamplerOptions) -> Float[Tensor, "n c y x"]:
        """The codes at the end of all steps."""
        rows = Rows(len(images), options.batch_size)
        scale = options.guidance_scale
        conditions = [self._condition(part, scale != 1.0) for part in rows.split(images)]
        clean = (len(images), *conditions[0].latents.shape[1:])

        def prediction(codes: Tensor, timestep: Num[Tensor, ""]) -> Tensor:
            # Fresh in each step, as published, and of the generator that the noise is of.
            fresh = noise(clean, options.generator).to(codes)
            parts = zip(rows.split(codes), rows.split(fresh), conditions, strict=True)
            return torch.cat([self._velocity(*part, timestep, scale) for part in parts])

        return self._denoised(self._noise(self._shape(len(images)), options, images), options, prediction)

    def _velocity(
        self,
        codes: Float[Tensor, "n c y x"],
        fresh: Float[Tensor, "n c v u"],
        condition: _Condition,
        timestep: Tensor,
        scale: float,
    ) -> Float[Tensor, "n c y x"]:
        """The prediction without a picture, moved by `scale` towards that with it; 1 asks for the latter alone."""
        repeats = len(condition.latents) // len(codes)
        reference = noised(self.scheduler, condition.latents, torch.cat([fresh] * repeats), timestep)
        made = self.unet(torch.cat([codes] * repeats), timestep, condition.tokens, reference=reference).sample
        if repeats == 1:
            return made
        without, with_picture = made.chunk(2)
        return without + scale * (with_picture - without)

    def _condition(self, images: Float[Tensor, "n 3 h w"], guided: bool) -> _Condition:
        tokens = self.prompt(picture_embeddings(self.image_encoder, images))
        latents = reference_latents(self.vae, images, self.config.condition_size)
        if not guided:
            return _Condition(tokens, latents)
        nothing = null_latents(self.vae, len(images), self.config.condition_size)
        return _Condition(torch.cat([self.prompt.null(len(images)), tokens]), torch.cat([nothing, latents]))

    def _shape(self, count: int) -> tuple[int, int, int, int]:
        """Of the codes of so many inputs."""
        side = self.config.input_size // self._factor
        return count, self.unet.config.in_channels, ROWS * side, COLUMNS * side

    def _pictures(
        self,
        framed: Sequence[Image.Image],
        background: Background,  # noqa: ARG002 - that of the training
    ) -> list[Float[Tensor, "3 h w"]]:
        return [self._on_grey(picture) for picture in framed]

    def _on_grey(self, picture: Image.Image) -> Float[Tensor, "3 h w"]:
        grey = round(255 * self.config.condition_background)
        size = (self.image_size,) * 2
        rgba = picture.convert("RGBA").resize(size, Image.Resampling.BICUBIC)
        rgb = Image.alpha_composite(Image.new("RGBA", size, (grey, grey, grey, 255)), rgba).convert("RGB")
        return torch.from_numpy(np.asarray(rgb, dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1.0)
