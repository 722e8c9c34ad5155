"""Sampling with Cascade-Zero123: one image and relative poses to the images seen from there, in stages.

pipeline = CascadePipeline.from_pretrained(folder)
made = pipeline(Image.open("chair.png"), poses_from_degrees([30, 60, 90]), output_type="pil")
made.images, made.stages[0].coarse, made.stages[0].near
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.schedulers import KarrasDiffusionSchedulers
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from geometry.cameras import spherical_from_position
from stage.errors import InputError
from systems.cascade_zero123.conditioning import PromptEmbeddings, embed_prompts
from systems.cascade_zero123.guidance import prompted
from systems.cascade_zero123.prompt_parameters import NearViewParameters, PromptParameters
from systems.cascade_zero123.prompts import Offset, Prompts, prompt_offsets
from systems.cascade_zero123.stages import Asked, Stage, asked
from systems.object_pipeline import Camera, Pictures, SampledViews
from systems.zero123.conditioning import CCProjection, relative_pose
from systems.zero123.encoding import embed_images
from systems.zero123.latent_pipeline import Rows
from systems.zero123.modules import Autoencoder
from systems.zero123.pipeline import Zero123Pipeline
from systems.zero123.sampler_options import SamplerOptions
from systems.zero123.view_pipeline import ViewPipeline

_PUBLISHED = PromptParameters()
_PUBLISHED_NEAR = [[view.polar_deg, view.azimuth_deg, view.radius] for view in _PUBLISHED.near]


@dataclass
class CascadeOutput(SampledViews):
    """Sampled images, as of every pipeline, and what they were made from."""

    stages: list[Stage] = field(default_factory=list)
    """What each stage before the last made; empty where Base-0123 was asked alone."""


class CascadePipeline(ViewPipeline):
    """Cascade-Zero123 as a diffusers pipeline; see `ViewPipeline` for its other parts.

    Args:
        unet: the Refiner's denoiser.
        cc_projection: the Refiner's, of all its tokens.
        base_unet: the Base's denoiser.
        base_projection: the Base's `cc_projection`.
        image_encoder: CLIP vision encoder with projection, of both.
        vae: images to latents and back, of both.
        scheduler: the noise schedule, of both.
        near_views: [polar, azimuth, radius] of each near view less those of the input, degrees and object sizes; the published
            three when None.
        prompt_steps: of the sampler, in the stages before the last.
        prompt_guidance_scale: classifier-free guidance in these stages.
        prompt_eta: DDIM's share of fresh noise in these stages.
    """

    model_cpu_offload_seq = "image_encoder->base_projection->base_unet->cc_projection->unet->vae"

    def __init__(
        self,
        unet: UNet2DConditionModel,
        cc_projection: CCProjection,
        base_unet: UNet2DConditionModel,
        base_projection: CCProjection,
        image_encoder: CLIPVisionModelWithProjection,
        vae: Autoencoder,
        scheduler: KarrasDiffusionSchedulers,
        near_views: list[list[float]] | None = None,
        prompt_steps: int = _PUBLISHED.inference_steps,
        prompt_guidance_scale: float = _PUBLISHED.guidance_scale,
        prompt_eta: float = _PUBLISHED.eta,
    ) -> None:
        super().__init__(unet, cc_projection, image_encoder, vae, scheduler)
        self.register_modules(base_unet=base_unet, base_projection=base_projection)
        near = _PUBLISHED_NEAR if near_views is None else near_views
        self.register_to_config(
            near_views=near,
            prompt_steps=prompt_steps,
            prompt_guidance_scale=prompt_guidance_scale,
            prompt_eta=prompt_eta,
        )
        self._offsets = prompt_offsets([NearViewParameters(polar_deg=p, azimuth_deg=a, radius=r) for p, a, r in near])

    @property
    def base(self) -> Zero123Pipeline:
        """Base-0123 alone, of these very modules."""
        return self._alone(self.base_unet, self.base_projection)

    @property
    def offsets(self) -> tuple[Offset, ...]:
        """Where near views lie from an input."""
        return self._offsets

    @property
    def refiner(self) -> Zero123Pipeline:
        """Refiner-0123 without prompts, of these very modules: plain Zero-1-to-3."""
        return self._alone(self.unet, self.cc_projection)

    def __call__(
        self,
        images: Pictures,
        poses: Float[Tensor, "n 4"],
        *,
        depth: int = 2,
        polars: float | Sequence[float] | None = None,
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> CascadeOutput:
        """Sample the view at each pose from its input image, or from the one image that is given, in stages.

        The first stage is Base-0123, the others are Refiner-0123. A stage before the last samples the wanted views and the near
        views of each input, which the next one is shown. Options are those of the last stage; before it `prompt_steps`,
        `prompt_guidance_scale` and `prompt_eta` of the configuration hold, one picture is drawn of each view, and callbacks are
        not called. With a generator for each picture a view takes that of its first picture, and the near views of an input
        that of its first view: where each view has an image of its own, its pictures do not depend on the others.

        Args:
            images: input views in [−1, 1] on white, one for all poses or one for each; or PIL images, which are put on white
                and brought to the training's size. Near views are sampled once of each image.
            poses: T of each wanted view relative to its input.
            depth: stages; 1 is Base-0123 alone, 2 the published cascade.
            polars: polar angle of the inputs, radians, one or one for each, so that near views end at the poles as in training.
                Where nobody knows it they lie wherever their offsets lead.
            **options: `SamplerOptions`.

        Raises:
            InputError: when shapes, values or options do not fit.
        """
        return self.sample_poses(images, poses, depth=depth, polars=polars, **options)

    def sample_views(
        self,
        images: Pictures,
        condition: Camera,
        targets: Sequence[Camera],
        scale: float | None = None,  # noqa: ARG002 - other systems'
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`, and `depth`
    ) -> CascadeOutput:
        """Sample an object from wanted cameras, of which only the positions about the origin count; see `ViewPipeline`."""
        poses = np.stack([relative_pose(target.c2w, condition.c2w) for target in targets])
        polar = spherical_from_position(condition.c2w[:3, 3])[0]
        return self.sample_poses(images, torch.from_numpy(poses).float(), polars=polar, **options)

    @torch.no_grad()
    def sample_poses(
        self,
        images: Pictures,
        poses: Float[Tensor, "n 4"],
        *,
        depth: int = 2,
        polars: float | Sequence[float] | None = None,
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> CascadeOutput:
        """Sample the view at each pose in stages; as `__call__`."""
        if depth < 1:
            raise InputError(f"a cascade of {depth} stages", "take 1 or more")
        chosen = SamplerOptions(**options)
        given = self._tensor(images, chosen.background)
        self._check(given, poses)
        if depth == 1:
            return _output(self._based(given, poses, chosen), [], chosen)
        views = asked(poses, len(given), self._offsets, _for_each(polars, len(given)))
        drafts = self._drafts(chosen, views)
        of_views = given if len(given) == 1 else given[views.inputs]
        made = self._based(of_views, views.poses, drafts)
        stages = [views.stage(made)]
        for _ in range(depth - 2):
            made = self._refined(of_views, views.poses, self._shown(views, made, chosen.batch_size), drafts)
            stages.append(views.stage(made))
        wanted = self._shown(views, made, chosen.batch_size)[torch.arange(views.wanted)]
        return _output(self._refined(given, poses, wanted, chosen), stages, chosen)

    @torch.no_grad()
    def refine(
        self,
        images: Pictures,
        poses: Float[Tensor, "n 4"],
        prompts: Prompts,
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> CascadeOutput:
        """Sample the view at each pose by Refiner-0123 alone, from prompts that are there already, a row for each pose.

        Raises:
            InputError: when shapes, values or options do not fit.
        """
        chosen = SamplerOptions(**options)
        given = self._tensor(images, chosen.background)
        self._check(given, poses)
        if not len(poses) == len(prompts.coarse) == len(prompts.near) == len(prompts.near_poses):
            raise InputError(f"{len(prompts.coarse)} prompts for {len(poses)} poses", "give one row for each pose")
        place = {"device": self._execution_device, "dtype": self.unet.dtype}
        pictures = Prompts(*(part.to(**place) for part in (prompts.coarse, prompts.near, prompts.near_poses)))
        shown = embed_prompts(self.image_encoder, pictures)
        return _output(self._refined(given, poses, shown, chosen), [], chosen)

    def _alone(self, unet: UNet2DConditionModel, projection: CCProjection) -> Zero123Pipeline:
        alone = Zero123Pipeline(unet, projection, self.image_encoder, self.vae, self.scheduler)
        alone.set_progress_bar_config(**getattr(self, "_progress_bar_config", {}))
        return alone

    def draft_options(self, chosen: SamplerOptions) -> SamplerOptions:
        """How the stages before the last sample, beside options of the last one: as training's prompts."""
        return SamplerOptions(
            guidance_scale=self.config.prompt_guidance_scale,
            num_inference_steps=self.config.prompt_steps,
            eta=self.config.prompt_eta,
            batch_size=chosen.batch_size,
            generator=chosen.generator,
        )

    def _drafts(self, chosen: SamplerOptions, views: Asked) -> SamplerOptions:
        generator = views.generators(chosen.generator, chosen.num_images_per_pose)
        return self.draft_options(replace(chosen, generator=generator))

    def _based(self, images: Float[Tensor, "m 3 h w"], poses: Float[Tensor, "n 4"], options: SamplerOptions) -> Any:  # noqa: ANN401
        """What Base-0123 makes, in the form that the options ask for."""
        return self.base.sample_poses(images, poses, **vars(replace(options, return_dict=True))).images

    def _refined(
        self,
        images: Float[Tensor, "m 3 h w"],
        poses: Float[Tensor, "n 4"],
        shown: PromptEmbeddings,
        options: SamplerOptions,
    ) -> Any:  # noqa: ANN401 - in the form that the options ask for
        """What Refiner-0123 makes of inputs and prompts."""
        repeats, null = options.num_images_per_pose, options.null_condition
        rows = Rows(len(poses) * repeats, options.batch_size)
        source = self._condition(images, poses, repeats, null, rows)
        each = torch.arange(len(poses)).repeat_interleave(repeats)
        condition = prompted(source, self.cc_projection, shown[each], null)
        return self._made(condition, options, rows)

    def _shown(self, views: Asked, pictures: Float[Tensor, "r 3 h w"], batch_size: int | None) -> PromptEmbeddings:
        """What a stage is shown of the one before: every picture is embedded once."""
        given = (pictures * 2 - 1).to(self._execution_device, self.unet.dtype)
        parts = given.split(batch_size or len(given))
        return views.prompts(torch.cat([embed_images(self.image_encoder, part) for part in parts]))


def _output(images: Any, stages: list[Stage], options: SamplerOptions) -> CascadeOutput:  # noqa: ANN401 - any form
    # A tuple is what diffusers' pipelines give instead.
    return CascadeOutput(images=images, stages=stages) if options.return_dict else (images, stages)  # type: ignore[return-value]


def _for_each(polars: float | Sequence[float] | None, inputs: int) -> list[float | None]:
    """A polar angle for each input."""
    if not isinstance(polars, Sequence):
        return [polars] * inputs
    if len(polars) != inputs:
        raise InputError(f"{len(polars)} polar angles for {inputs} images", "give one, or one for each image")
    return list(polars)
