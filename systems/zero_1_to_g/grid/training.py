"""Zero-1-to-G's first generation as the training engine sees it: a stage trains the decoder, another one the denoiser."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import DDIMScheduler
from jaxtyping import Float
from torch import Generator, Tensor, nn

from geometry.perceptual import Unavailable, find_lpips_network
from stage.errors import InputError
from stage.seeds import derive_seed
from systems.trainable import StepLoss, TrainableSystem, Views
from systems.zero123.pipeline_folder import read_pipeline
from systems.zero_1_to_g.grid.batch import GridBatch, GridDraws, draw, grid_batch
from systems.zero_1_to_g.grid.codes import KeptCodes, encoded
from systems.zero_1_to_g.grid.conditioning import picture_embeddings, reference_latents
from systems.zero_1_to_g.grid.loss import (
    is_guided,
    is_rendered,
    rendered_views,
    rendering_errors,
    splatter_errors,
)
from systems.zero_1_to_g.grid.modules import GridModules, build_modules, clean, noised
from systems.zero_1_to_g.grid.parameters import Zero1ToGGridParameters
from systems.zero_1_to_g.grid.pipeline import Zero1ToGGridPipeline
from systems.zero_1_to_g.grid.weights import is_zero123plus, zero123plus_modules

_log = logging.getLogger(__name__)


class Zero1ToGGridTraining(TrainableSystem):
    """The trainable system of either stage; its forward pass returns the loss.

    Args:
        parameters: stage, modules, losses.
        seed: of new weights.
        image_size: width and height of the training pictures, pixels.
        modules: its parts where they are there already.

    Raises:
        InputError: as `modules_of` does.
    """

    def __init__(
        self, parameters: Zero1ToGGridParameters, seed: int, image_size: int, modules: GridModules | None = None
    ) -> None:
        super().__init__()
        self.settings, self._image_size = parameters, image_size
        parts = modules or modules_of(parameters, seed)
        self.unet, self.vae, self.splatter_decoder = parts.unet, parts.vae, parts.splatter_decoder
        self.image_encoder, self.prompt, self.scheduler = parts.image_encoder, parts.prompt, parts.scheduler
        self.lpips = self._find_lpips()
        self.requires_grad_(False)
        for parameter in self._trained():
            parameter.requires_grad_(True)
        self._code_shape, self._reference_shape = self._latent_shapes()
        self.kept: KeptCodes | None = None
        """Codes on disk, where they are kept."""

    @property
    def timesteps_total(self) -> int:
        """T of the diffusion."""
        return int(self.scheduler.config.num_train_timesteps)

    @property
    def denoiser(self) -> nn.Module:
        """What the stage trains."""
        return self.splatter_decoder if self.settings.stage == "decoder" else self.unet

    @property
    def system(self) -> GridModules:
        """The parts of the system."""
        return GridModules(self.unet, self.vae, self.splatter_decoder, self.image_encoder, self.prompt, self.scheduler)

    def forward(self, batch: GridBatch, draws: GridDraws) -> StepLoss:
        """The loss of a batch."""
        codes = self._codes(batch, draws)
        if self.settings.stage == "unet":
            made = self._denoised(codes, batch, draws)
            latent = self.settings.loss.lambda_latent * (made.float() - codes.float()).square().flatten(1).mean(1)
            errors = latent + self._splatter_errors(made, batch, draws)
        else:
            if mixed := self.is_mixed(batch.epoch):
                with torch.no_grad():
                    codes = self._denoised(codes, batch, draws)
            errors = self._splatter_errors(codes, batch, draws)
            if not mixed:
                return StepLoss(errors.mean(), errors.detach(), torch.zeros_like(draws.timesteps))
        return StepLoss(errors.mean(), errors.detach(), draws.timesteps)

    def is_mixed(self, epoch: int) -> bool:
        """Whether the decoder's codes are the denoiser's in an epoch, counted from 0; as published, the first is."""
        interval = self.settings.mix_diffusion_interval
        return interval is not None and epoch % interval == 0

    def batch(self, views: Views) -> GridBatch:
        """A batch from views as `ViewChoice` orders them: the six of the grid, the supervision's, the input last."""
        settings = self.settings
        made = grid_batch(
            views,
            settings.input_size,
            settings.condition_background,
            settings.render_input_views,
            wants_splatters=settings.loss.lambda_splatter > 0,
        )
        if self.kept is None or settings.codes == "encoder":
            return made
        return replace(made, codes=self.kept.codes(self.vae, made.pictures))

    def draw(self, seeds: Sequence[int]) -> GridDraws:
        """The random numbers of a batch, one seed a sample."""
        return draw(seeds, self._code_shape, self._reference_shape, self.timesteps_total)

    @torch.no_grad()
    def predict(
        self, batch: GridBatch, seeds: Sequence[int], steps: int, guidance_scale: float
    ) -> Float[Tensor, "b 3 h w"]:
        """What the last camera before the input's sees, [0, 1], on the CPU.

        Of the Gaussians that the decoder makes of the views' own codes in stage `decoder`; in stage `unet` of those that are
        sampled from the input alone.
        """
        if self.settings.stage == "decoder":
            return rendered_views(self.splatter_decoder(encoded(self.vae, batch.pictures)), batch, view=-1)
        pipeline = self.pipeline(DDIMScheduler.from_config(self.scheduler.config))
        pipeline.set_progress_bar_config(disable=True)
        chance = Generator().manual_seed(derive_seed(0, " ".join(map(str, seeds)), "noise") % 2**63)
        options = {"guidance_scale": guidance_scale, "num_inference_steps": steps, "eta": 0.0, "generator": chance}
        return rendered_views(pipeline.sample_splatters(batch.condition, batch.elevations, **options), batch, view=-1)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """What the stage trains."""
        return {"decoder" if self.settings.stage == "decoder" else "denoiser": self._trained()}

    def keep_in(self, folder: Path) -> None:
        """Keep codes on disk, where `codes` is `cache`."""
        if self.settings.codes == "cache" and self.settings.cache_bytes:
            self.kept = KeptCodes(folder / "codes", self.settings.cache_bytes)

    def whole_modules(self) -> Sequence[nn.Module]:
        """The autoencoder encodes what is not kept yet before the forward pass."""
        return (self.vae,) if self.settings.codes == "cache" else ()

    def save(self, folder: Path) -> None:
        """Write the whole system as a diffusers pipeline folder with safetensors."""
        self.pipeline(self.scheduler).save_pretrained(folder, safe_serialization=True)

    def pipeline(self, scheduler: DDIMScheduler) -> Zero1ToGGridPipeline:
        """The system as it is sampled, of these very modules."""
        return Zero1ToGGridPipeline(
            **self.system.networks(),
            scheduler=scheduler,
            image_size=self._image_size,
            input_size=self.settings.input_size,
            condition_size=self.settings.condition_size,
            condition_background=self.settings.condition_background,
        )

    def _trained(self) -> list[nn.Parameter]:
        return self.splatter_decoder.trained() if self.settings.stage == "decoder" else list(self.unet.parameters())

    def _codes(self, batch: GridBatch, draws: GridDraws) -> Float[Tensor, "b c y x"]:
        with torch.no_grad():
            if batch.codes is not None:
                return batch.codes
            noise = draws.posterior if self.settings.codes == "encoder" else None
            return encoded(self.vae, batch.pictures, noise)

    def _denoised(
        self, codes: Float[Tensor, "b c y x"], batch: GridBatch, draws: GridDraws
    ) -> Float[Tensor, "b c y x"]:
        """What the denoiser takes a noised code for."""
        with torch.no_grad():
            tokens = self.prompt(picture_embeddings(self.image_encoder, batch.condition))
            latents = reference_latents(self.vae, batch.condition, self.settings.condition_size)
            reference = noised(self.scheduler, latents, draws.reference, draws.timesteps)
        noisy = noised(self.scheduler, codes, draws.noise, draws.timesteps)
        velocity = self.unet(noisy, draws.timesteps, tokens, reference=reference).sample
        return clean(self.scheduler, noisy, velocity, draws.timesteps)

    def _splatter_errors(
        self, codes: Float[Tensor, "b c y x"], batch: GridBatch, draws: GridDraws
    ) -> Float[Tensor, " b"]:
        """The losses of what the decoder makes of codes."""
        loss = self.settings.loss
        guided, rendered = is_guided(loss, batch.epoch), is_rendered(loss, self.lpips)
        errors = codes.new_zeros(len(codes), dtype=torch.float32)
        if not (guided or rendered):
            return errors
        splatters = self.splatter_decoder(codes)
        # Half precision moves silhouettes and loses small scales.
        with torch.autocast(codes.device.type, enabled=False):
            if guided and batch.splatters is not None:
                errors = errors + loss.lambda_splatter * splatter_errors(splatters, batch.splatters, loss.attributes)
            if rendered:
                errors = errors + rendering_errors(splatters, batch, draws.background, loss, self.lpips)
        return errors

    def _find_lpips(self) -> nn.Module | None:
        if self.settings.loss.lambda_lpips == 0:
            return None
        network = find_lpips_network()
        if isinstance(network, Unavailable):
            _log.warning("train.zero_1_to_g_grid.loss.lambda_lpips is left out: LPIPS is %s", network)
            return None
        return network

    @torch.no_grad()
    def _latent_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        code = encoded(self.vae, torch.zeros(1, 6, 3, *(self.settings.input_size,) * 2))
        reference = reference_latents(self.vae, torch.zeros(1, 3, 8, 8), self.settings.condition_size)
        return tuple(code.shape[1:]), tuple(reference.shape[1:])


def modules_of(parameters: Zero1ToGGridParameters, seed: int) -> GridModules:
    """The modules that a training begins with.

    Raises:
        InputError: when the folder is none, or damaged, or a part only exists pretrained, as the decoder does in stage `unet`.
    """
    folder = Path(parameters.pretrained) if parameters.pretrained else None
    if folder is None or is_zero123plus(folder):
        if parameters.stage == "unet":
            raise InputError(
                "train.zero_1_to_g_grid: stage unet keeps a decoder that has learnt nothing",
                "train stage decoder first, and name its pipeline folder in pretrained",
            )
        return zero123plus_modules(folder, parameters.decoder, seed) if folder else build_modules(parameters, seed)
    loaded = read_pipeline(Zero1ToGGridPipeline, folder)
    return GridModules(**{name: loaded.components[name] for name in GridModules.__dataclass_fields__})
