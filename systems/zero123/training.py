"""Zero-1-to-3 as the training engine sees it: one module whose forward pass is the loss, and how its result is saved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from jaxtyping import Float
from torch import Generator, Tensor, nn

from stage.seeds import derive_seed
from systems.object_pipeline import SampledViews
from systems.trainable import StepLoss, TrainableSystem, Views
from systems.zero123.conditioning import relative_poses
from systems.zero123.loss import Draws, TrainingBatch, batch_from_pairs, draw, training_loss
from systems.zero123.modules import Zero123Modules, build_modules
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.pipeline import Zero123Pipeline, load_pipeline
from systems.zero123.schedulers import scheduler_named
from systems.zero123.view_pipeline import ViewPipeline


class Zero123Training(TrainableSystem):
    """The trainable system; its forward pass returns the loss, so that distributed wrappers see every gradient.

    Args:
        parameters: modules and diffusion.
        seed: of new weights.
        image_size: width and height of the training pictures, pixels.
        modules: its parts where they are there already.
    """

    def __init__(
        self, parameters: Zero123Parameters, seed: int, image_size: int, modules: Zero123Modules | None = None
    ) -> None:
        super().__init__()
        self._dropout, self._shift = parameters.dropout, parameters.timestep_shift
        self._background = parameters.background
        parts = modules or self.first_modules(parameters, seed)
        self.unet, self.cc_projection = parts.unet, parts.cc_projection
        self.image_encoder, self.vae = parts.image_encoder, parts.vae
        # The noise of training is DDIM's; other classes, which a folder may name for sampling, scale it differently.
        self.scheduler = scheduler_named("ddim", parts.scheduler)
        self.vae.requires_grad_(False)
        self.image_encoder.requires_grad_(parameters.image_encoder.train)
        self.latent_shape = self._latent_shape(image_size)

    def forward(self, batch: TrainingBatch, draws: Draws) -> StepLoss:
        """The loss of a batch."""
        return training_loss(self.system, batch, draws, self._dropout)

    @property
    def timesteps_total(self) -> int:
        """T of the diffusion."""
        return int(self.scheduler.config.num_train_timesteps)

    @property
    def denoiser(self) -> nn.Module:
        """The network that is trained, apart from `cc_projection` and perhaps the image encoder."""
        return self.unet

    @property
    def system(self) -> Zero123Modules:
        """The parts of the system."""
        return Zero123Modules(self.unet, self.cc_projection, self.image_encoder, self.vae, self.scheduler)

    def batch(self, views: Views) -> TrainingBatch:
        """A batch from pairs of views, the condition last; on the device of the pictures."""
        return batch_from_pairs(views.rgba, relative_poses(views.c2w), self._background)

    def draw(self, seeds: Sequence[int]) -> Draws:
        """The random numbers of a batch, one seed a sample."""
        return draw(seeds, self.latent_shape, self.timesteps_total, self._shift)

    def predict(
        self, batch: TrainingBatch, seeds: Sequence[int], steps: int, guidance_scale: float
    ) -> Float[Tensor, "b 3 h w"]:
        """Sample the targets of a batch, by DDIM without fresh noise: pictures in [0, 1], on the CPU."""
        scheduler = DDIMScheduler.from_config(self.scheduler.config)  # the training's own keeps its state
        pipeline = self.pipeline(scheduler)
        pipeline.set_progress_bar_config(disable=True)
        chance = Generator().manual_seed(derive_seed(0, " ".join(map(str, seeds)), "noise") % 2**63)
        options = {"guidance_scale": guidance_scale, "num_inference_steps": steps, "eta": 0.0, "generator": chance}
        images: Float[Tensor, "b 3 h w"] = self.sampled(pipeline, batch, **options).images
        return images

    def sampled(self, pipeline: Any, batch: TrainingBatch, **options: Any) -> SampledViews:  # noqa: ANN401 - of the system's own
        """The targets of a batch as `pipeline` samples them, under `SamplerOptions`."""
        sampled: SampledViews = pipeline.sample_poses(batch.condition, batch.pose, **options)
        return sampled

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The trained parameters: `cc_projection`, and the others."""
        apart = {id(parameter) for parameter in self.cc_projection.parameters()}
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return {
            "denoiser": [parameter for parameter in trained if id(parameter) not in apart],
            "cc_projection": [parameter for parameter in trained if id(parameter) in apart],
        }

    def learning_rate_factors(self) -> dict[str, float]:
        """`cc_projection` learns ten times as fast (ddpm.py, lines 1411–1416); the new input channels do not."""
        return {"cc_projection": 10.0}

    def save(self, folder: Path) -> None:
        """Write the system as a diffusers pipeline folder with safetensors."""
        self.unet.register_to_config(sample_size=self.latent_shape[-1])
        self.pipeline(self.scheduler).save_pretrained(folder, safe_serialization=True)

    def pipeline(self, scheduler: DDIMScheduler) -> ViewPipeline:
        """The system as it is sampled, of these very modules."""
        return Zero123Pipeline(self.unet, self.cc_projection, self.image_encoder, self.vae, scheduler)

    @classmethod
    def first_modules(cls, parameters: Zero123Parameters, seed: int) -> Zero123Modules | Zero123Pipeline:
        """The modules that training begins with."""
        return (
            load_pipeline(Path(parameters.pretrained)) if parameters.pretrained else cls.new_modules(parameters, seed)
        )

    @classmethod
    def new_modules(cls, parameters: Zero123Parameters, seed: int) -> Zero123Modules:
        """The modules that the parameters describe, with weights drawn from the seed; raises as `build_modules` does."""
        return build_modules(parameters, seed)

    @torch.no_grad()
    def _latent_shape(self, image_size: int) -> tuple[int, ...]:
        latent = self.vae.encode(torch.zeros(1, 3, image_size, image_size)).latent_dist.mode()
        return tuple(latent.shape[1:])
