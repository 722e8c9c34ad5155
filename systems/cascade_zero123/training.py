"""Cascade-Zero123 as the training engine sees it: Refiner-0123 learns from what a frozen Base-0123 shows it."""

from typing import Any

from diffusers import DDIMScheduler, UNet2DConditionModel

from systems.cascade_zero123.loss import CascadeBatch, cascade_loss, with_prompts
from systems.cascade_zero123.parameters import CascadeParameters
from systems.cascade_zero123.pipeline import CascadeOutput, CascadePipeline
from systems.cascade_zero123.prompts import Prompts
from systems.cascade_zero123.self_prompting import SelfPrompting
from systems.trainable import StepLoss, Views
from systems.zero123.conditioning import CCProjection
from systems.zero123.loss import Draws
from systems.zero123.modules import Zero123Modules
from systems.zero123.training import Zero123Training


class CascadeTraining(SelfPrompting, Zero123Training):
    """The trainable system: the Refiner's UNet and `cc_projection` are trained; both networks have the same frozen encoders.

    Args:
        parameters: modules, diffusion and prompts.
        seed: of new weights, and of the prompts' noise.
        image_size: width and height of the training pictures, pixels.
        modules: what both networks begin as, where it is there already.
    """

    def __init__(
        self, parameters: CascadeParameters, seed: int, image_size: int, modules: Zero123Modules | None = None
    ) -> None:
        super().__init__(parameters, seed, image_size, modules)
        self.settings = parameters.prompts
        self.prompt_itself(self.system, parameters, seed)

    @property
    def base_unet(self) -> UNet2DConditionModel:
        """The Base's denoiser."""
        return self.base.unet

    @property
    def base_projection(self) -> CCProjection:
        """The Base's `cc_projection`."""
        return self.base.cc_projection

    def forward(self, batch: CascadeBatch, draws: Draws) -> StepLoss:  # type: ignore[override] # a batch with prompts
        """The loss of a batch."""
        return cascade_loss(self.system, batch, draws, self._dropout)

    def batch(self, views: Views) -> CascadeBatch:
        """A batch from pairs of views, the condition last, with the prompts that the Base makes of the conditions."""
        return with_prompts(super().batch(views), self.prompter.prompts(views))

    def stand_in(self, views: Views) -> CascadeBatch:
        """A batch in which the conditions stand for what the Base would make of them."""
        pairs = super().batch(views)
        count = len(self.settings.near)
        near = pairs.condition[:, None].expand(-1, count, -1, -1, -1)
        return with_prompts(pairs, Prompts(pairs.condition, near, pairs.pose[:, None].expand(-1, count, -1)))

    def sampled(  # type: ignore[override] # a batch with prompts
        self,
        pipeline: Any,  # noqa: ANN401 - as the parent's
        batch: CascadeBatch,
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> CascadeOutput:
        """The targets of a batch from the source and the prompts: the Base made these, so all of the cascade is in them."""
        made: CascadeOutput = pipeline.refine(batch.condition, batch.pose, batch.prompts, **options)
        return made

    def pipeline(self, scheduler: DDIMScheduler) -> CascadePipeline:
        """The system as it is sampled, of these very modules."""
        near = [[view.polar_deg, view.azimuth_deg, view.radius] for view in self.settings.near]
        return CascadePipeline(
            self.unet,
            self.cc_projection,
            self.base_unet,
            self.base_projection,
            self.image_encoder,
            self.vae,
            scheduler,
            near_views=near,
            prompt_steps=self.settings.inference_steps,
            prompt_guidance_scale=self.settings.guidance_scale,
            prompt_eta=self.settings.eta,
        )
