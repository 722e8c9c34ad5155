"""Sampling with Zero-1-to-G: one picture to the Gaussians of six splatter images.

pipeline = Zero1ToGPipeline.from_pretrained(folder)
made = pipeline(Image.open("chair.png"), elevation_deg=20, num_inference_steps=50, guidance_scale=3.0)
write_ply(Path("chair.ply"), made.gaussians[0])

Gaussians are in the input's frame: Z up, the input's camera at azimuth 0.
"""

from dataclasses import asdict
from typing import Any

import torch
from diffusers.schedulers import KarrasDiffusionSchedulers
from jaxtyping import Float, Num
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from geometry.attribute_images import ZERO_1_TO_G, AttributeRanges
from geometry.attribute_tensors import decode_attributes
from stage.errors import InputError
from systems.gaussian_pipeline import GaussianPipeline, Splatters
from systems.object_pipeline import Pictures
from systems.zero123.encoding import embed_images
from systems.zero123.latent_pipeline import LatentPipeline, Rows
from systems.zero123.modules import Autoencoder
from systems.zero123.sampler_options import SamplerOptions
from systems.zero_1_to_g.camera_embedding import sample_embeddings
from systems.zero_1_to_g.denoising import Condition, condition_latent, guided
from systems.zero_1_to_g.modules import Zero1ToGModules
from systems.zero_1_to_g.parameters import ViewLayout, Zero1ToGParameters
from systems.zero_1_to_g.unet import AttributeUNet

_LAYOUT = ViewLayout()


class Zero1ToGPipeline(LatentPipeline, GaussianPipeline):
    """Zero-1-to-G as a diffusers pipeline; see `GaussianPipeline` for what it is asked.

    Args:
        unet: the denoiser of attribute images.
        image_encoder: CLIP vision encoder with projection.
        vae: attribute images to latents and back.
        scheduler: the noise schedule.
        azimuths_deg: of the sampled views from the input camera, counter-clockwise seen from above, degrees.
        elevations_deg: of the sampled views over the horizon, degrees.
        ranges: what attribute images map to [−1, 1], the fields of `AttributeRanges`; the published ones when None.

    Raises:
        InputError: when there is not one elevation for each azimuth.
    """

    model_cpu_offload_seq = "image_encoder->unet->vae"

    def __init__(
        self,
        unet: AttributeUNet,
        image_encoder: CLIPVisionModelWithProjection,
        vae: Autoencoder,
        scheduler: KarrasDiffusionSchedulers,
        azimuths_deg: list[float] | None = None,
        elevations_deg: list[float] | None = None,
        ranges: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, image_encoder=image_encoder, vae=vae, scheduler=scheduler)
        azimuths, elevations = azimuths_deg or _LAYOUT.azimuths_deg, elevations_deg or _LAYOUT.elevations_deg
        if len(azimuths) != len(elevations):
            raise InputError(
                f"{len(azimuths)} azimuths and {len(elevations)} elevations of views", "give as many of each"
            )
        self.register_to_config(
            azimuths_deg=list(azimuths), elevations_deg=list(elevations), ranges=ranges or _plain(ZERO_1_TO_G)
        )

    @property
    def ranges(self) -> AttributeRanges:
        """What attribute images map to [−1, 1]."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in self.config.ranges.items()
        }
        return AttributeRanges(**values)

    @torch.no_grad()
    def sample_splatters(
        self,
        images: Pictures,
        elevations: Float[Tensor, " n"],
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> Splatters:
        """Sample the splatter images of each input view, in the input's frame; see `GaussianPipeline`.

        Args:
            images: input views in [−1, 1] on white, or PIL images.
            elevations: of the input cameras over the horizon, radians.
            **options: `SamplerOptions` but for those of pictures. `batch_size` counts objects, and so do generators; `latents`
                have the shape (objects, views, 5, c, y, x).

        Raises:
            InputError: when shapes, values or options do not fit.
        """
        latents = self.sample_latents(images, elevations, **options)
        splatters = self.decoded(latents, SamplerOptions(**options).batch_size)
        self.maybe_free_model_hooks()
        return splatters

    @torch.no_grad()
    def sample_latents(
        self,
        images: Pictures,
        elevations: Float[Tensor, " n"],
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> Float[Tensor, "n v 5 c y x"]:
        """The latents of the attribute images, as the denoiser sees them; arguments as for `sample_splatters`."""
        chosen = SamplerOptions(**options)
        given = self._tensor(images, chosen.background)
        self._check(given, elevations, chosen)
        rows = Rows(len(given), chosen.batch_size)
        condition = self._condition(given, elevations, rows)
        views = condition.embedding.shape[1:3]
        shape = (len(given), *views, *condition.latent.shape[1:])

        def prediction(latents: Tensor, timestep: Num[Tensor, ""]) -> Tensor:
            scale = chosen.guidance_scale
            return torch.cat([guided(self.unet, latents[part], timestep, condition[part], scale) for part in rows])

        return self._denoised(self._noise(shape, chosen, condition.latent), chosen, prediction)

    @torch.no_grad()
    def decoded(self, latents: Float[Tensor, "n v 5 c y x"], batch_size: int | None = None) -> Splatters:
        """The splatter images of latents.

        Args:
            latents: as the denoiser sees them.
            batch_size: most objects that the VAE sees at once; all when None.
        """
        scaled = latents / self.vae.config.scaling_factor
        parts = [self._images(scaled[part]) for part in Rows(len(latents), batch_size)]
        return decode_attributes(torch.cat(parts).float(), self.ranges)

    def _images(self, latents: Float[Tensor, "n v 5 c y x"]) -> Float[Tensor, "n v 5 3 h w"]:
        images: Float[Tensor, "m 3 h w"] = self.vae.decode(latents.flatten(0, 2)).sample
        return images.unflatten(0, latents.shape[:3])

    def _condition(self, images: Float[Tensor, "n 3 h w"], elevations: Float[Tensor, " n"], rows: Rows) -> Condition:
        images = images.to(self._execution_device, self.unet.dtype)
        parts = rows.split(images)
        token = torch.cat([embed_images(self.image_encoder, part) for part in parts])
        latent = torch.cat([condition_latent(self.vae, part) for part in parts])
        return Condition(token[:, None], latent, self._embedding(elevations.to(images.device)))

    def _embedding(self, elevations: Float[Tensor, " n"]) -> Float[Tensor, "n v 5 16"]:
        """Of all attributes of all views, for input cameras of these elevations."""
        given = elevations.float()
        azimuth, elevation = (
            torch.tensor(angles, device=given.device).deg2rad().expand(len(given), -1)
            for angles in (self.config.azimuths_deg, self.config.elevations_deg)
        )
        return sample_embeddings(given, elevation - given[:, None], azimuth)

    def _check(self, images: Tensor, elevations: Tensor, options: SamplerOptions) -> None:
        side = self.image_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, side, side):
            raise InputError(f"images have shape {tuple(images.shape)}", f"give (n, 3, {side}, {side})")
        if elevations.shape != (len(images),):
            raise InputError(
                f"elevations have shape {tuple(elevations.shape)}", f"give one for each of {len(images)} images"
            )
        if options.num_images_per_pose != 1:
            raise InputError("an input has one set of Gaussians at a time", "give it several times")


def pipeline_of(modules: Zero1ToGModules, parameters: Zero1ToGParameters) -> Zero1ToGPipeline:
    """The pipeline of these very modules."""
    layout = parameters.layout
    return Zero1ToGPipeline(
        modules.unet,
        modules.image_encoder,
        modules.vae,
        modules.scheduler,
        list(layout.azimuths_deg),
        list(layout.elevations_deg),
        _plain(parameters.ranges),
    )


def _plain(ranges: AttributeRanges) -> dict[str, Any]:
    """As JSON gives it back."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(ranges).items()}
