"""Training Zero-1-to-G's denoiser: the stages `attributes` and `joint`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import DDIMScheduler
from jaxtyping import Float
from torch import Generator, Tensor, nn

from geometry.attribute_tensors import turned
from stage.errors import InputError
from stage.seeds import derive_seed
from systems.gaussian_pipeline import pictures_of
from systems.trainable import StepLoss, TrainableSystem, Views
from systems.zero123.schedulers import scheduler_named
from systems.zero_1_to_g.batch import Zero1ToGBatch, batch_from_views
from systems.zero_1_to_g.loss import Drawing, Draws, LossSettings, training_loss
from systems.zero_1_to_g.modules import Zero1ToGModules, first_modules
from systems.zero_1_to_g.parameters import Zero1ToGParameters
from systems.zero_1_to_g.pipeline import Zero1ToGPipeline, pipeline_of
from systems.zero_1_to_g.stand_in import with_splatters


class Zero1ToGDiffusion(TrainableSystem):
    """The trainable system; its forward pass returns the loss, so that distributed wrappers see every gradient.

    Args:
        parameters: modules and diffusion, of the stage `attributes` or `joint`.
        seed: of new weights.
        image_size: width and height of pictures and splatter images, pixels.
        modules: its parts where they are there already.
    """

    def __init__(
        self, parameters: Zero1ToGParameters, seed: int, image_size: int, modules: Zero1ToGModules | None = None
    ) -> None:
        super().__init__()
        self.chosen = parameters
        self._loss = LossSettings(parameters.dropout, parameters.snr_gamma)
        parts = modules or first_modules(parameters, seed)
        self.unet, self.image_encoder, self.vae = parts.unet, parts.image_encoder, parts.vae
        # The noise of training is DDIM's; other classes, which a folder may name for sampling, scale it differently.
        self.scheduler = scheduler_named("ddim", parts.scheduler)
        self.vae.requires_grad_(False)
        self.image_encoder.requires_grad_(parameters.image_encoder.train)
        self.drawing = self._drawing(image_size)
        # What a pipeline of it samples.
        self.unet.register_to_config(sample_size=self.drawing.latents[-1])

    def forward(self, batch: Zero1ToGBatch, draws: Draws) -> StepLoss:
        """The loss of a batch."""
        return training_loss(self.system, batch, draws, self._loss)

    @property
    def timesteps_total(self) -> int:
        """T of the diffusion."""
        return int(self.scheduler.config.num_train_timesteps)

    @property
    def denoiser(self) -> nn.Module:
        """The network that is trained."""
        return self.unet

    @property
    def system(self) -> Zero1ToGModules:
        """The parts of the system."""
        return Zero1ToGModules(self.unet, self.image_encoder, self.vae, self.scheduler)

    def batch(self, views: Views) -> Zero1ToGBatch:
        """A batch from views with splatter images, the condition last.

        Raises:
            InputError: as `batch_from_views`, and when there are not as many splatter images as the layout has views.
        """
        made = batch_from_views(views, self.chosen.ranges, self.chosen.background)
        count, wanted = made.attributes.shape[1], self.drawing.latents[0]
        if count != wanted:
            raise InputError(
                f"the samples have splatter images of {count} views and train.zero_1_to_g.layout has {wanted}",
                "give the azimuths and elevations of those that there are",
            )
        return made

    def stand_in(self, views: Views) -> Zero1ToGBatch:
        """A batch of the shapes that `batch` gives, from pictures alone: all values of all Gaussians one half."""
        return self.batch(with_splatters(views, self.drawing.latents[0]))

    def draw(self, seeds: Sequence[int]) -> Draws:
        """The random numbers of a batch, one seed a sample."""
        return self.drawing.draw(seeds)

    def predict(
        self, batch: Zero1ToGBatch, seeds: Sequence[int], steps: int, guidance_scale: float
    ) -> Float[Tensor, "b 3 h w"]:
        """Sample the splatter images of a batch, by DDIM without fresh noise, and rasterise each from its first supervision view.

        Pictures in [0, 1] on white, on the CPU.
        """
        pipeline = self.pipeline(
            DDIMScheduler.from_config(self.scheduler.config)
        )  # the training's own keeps its state
        pipeline.set_progress_bar_config(disable=True)
        splatters = pipeline.sample_splatters(
            batch.condition,
            batch.elevation,
            guidance_scale=guidance_scale,
            num_inference_steps=steps,
            eta=0.0,
            generator=[Generator().manual_seed(derive_seed(seed, "splatters", "noise") % 2**63) for seed in seeds],
        )
        in_scene = turned(splatters, batch.azimuth[:, None].expand(splatters.shape[:2]))
        return torch.cat([pictures_of(one, [camera]) for one, camera in zip(in_scene, batch.wanted, strict=True)])

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The trained parameters: the embedding of cameras and attributes, and the others."""
        apart = {id(parameter) for parameter in self.unet.class_embedding.parameters()}
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return {
            "denoiser": [parameter for parameter in trained if id(parameter) not in apart],
            "camera_embedding": [parameter for parameter in trained if id(parameter) in apart],
        }

    def learning_rate_factors(self) -> dict[str, float]:
        """The embedding learns ten times as fast, as published, unless the parameters say otherwise."""
        return {"camera_embedding": self.chosen.embedding_factor}

    def save(self, folder: Path) -> None:
        """Write the system as a diffusers pipeline folder with safetensors."""
        self.pipeline(self.scheduler).save_pretrained(folder, safe_serialization=True)

    def pipeline(self, scheduler: DDIMScheduler) -> Zero1ToGPipeline:
        """The system as it is sampled, of these very modules."""
        return pipeline_of(replace(self.system, scheduler=scheduler), self.chosen)

    @torch.no_grad()
    def _drawing(self, image_size: int) -> Drawing:
        latent = self.vae.encode(torch.zeros(1, 3, image_size, image_size)).latent_dist.mode()
        parameters = self.chosen
        channels, *sides = latent.shape[1:]
        return Drawing(
            (len(parameters.layout.azimuths_deg), channels, *sides),
            self.timesteps_total,
            parameters.timestep_shift,
            joint=parameters.stage == "joint",
            synchronised=parameters.synchronised_timesteps,
        )
