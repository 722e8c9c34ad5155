"""Our view pipelines as priors: Zero-1-to-3, ZeroNVS and Cascade-Zero123, of one input picture that is encoded once.

prior = prior_of(load_pipeline(folder), picture, camera)
epsilon = prior.denoise(noisy, timesteps, cameras, guidance_scale=3.0)

A prior is told of a camera what its pipeline is told: the pose relative to the input's camera, in the field's world. Modules are
frozen; gradients flow through `encode` and `decode` to the pictures alone.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geometry.cameras import spherical_from_position
from reconstruction.optimisation.fingerprint import digest, weights_digest
from stage.errors import InputError
from stage.files import json_sha256
from stage.seeds import derive_seed
from systems.cascade_zero123.conditioning import PromptEmbeddings, near_poses
from systems.cascade_zero123.guidance import prompted
from systems.cascade_zero123.pipeline import CascadePipeline
from systems.cascade_zero123.stages import asked
from systems.object_pipeline import Camera, ObjectPipeline
from systems.zero123.conditioning import pose_between, relative_pose
from systems.zero123.encoding import condition_latent, embed_images
from systems.zero123.guidance import Condition, conditioned, guided
from systems.zero123.parameters import NullCondition
from systems.zero123.sampler_options import SamplerOptions
from systems.zero123.view_pipeline import ViewPipeline


def prior_of(
    pipeline: ObjectPipeline, image: Float[Tensor, "1 3 h w"], source: Camera, scale: float | None = None
) -> "LatentPrior":
    """The prior that a pipeline is of an input picture.

    Args:
        pipeline: of Zero-1-to-3, ZeroNVS or Cascade-Zero123.
        image: the input in [−1, 1], of the size that the pipeline was trained with.
        source: its camera, in the field's world.
        scale: of the scene, where the pipeline wants one; see `ObjectPipeline.sample_views`.

    Raises:
        InputError: when the pipeline is of a system that scores no single views.
    """
    if isinstance(pipeline, CascadePipeline):
        return CascadePrior(pipeline, image, source, scale)
    if isinstance(pipeline, ViewPipeline):
        return LatentPrior(pipeline, image, source, scale)
    raise InputError(
        f"{type(pipeline).__name__} is no prior of single views",
        "take a pipeline of zero123, zeronvs or cascade_zero123, or reconstruct from its views",
    )


class LatentPrior:
    """Zero-1-to-3's or ZeroNVS's denoiser of views of one object; see `reconstruction.priors.prior.Prior`.

    Args:
        pipeline: its modules are frozen.
        image: the input in [−1, 1].
        source: its camera, in the field's world.
        scale: of the scene, where the pipeline wants one.
        null_condition: what guidance leads away from; see `guidance.conditioned`.

    Raises:
        InputError: when the picture is none that the pipeline takes.
    """

    def __init__(
        self,
        pipeline: ViewPipeline,
        image: Float[Tensor, "1 3 h w"],
        source: Camera,
        scale: float | None = None,
        null_condition: NullCondition = "after_projection",
    ) -> None:
        self.pipeline, self.source, self.scale = pipeline, source, scale
        self.null_condition: NullCondition = null_condition
        for module in pipeline.components.values():
            if isinstance(module, torch.nn.Module):
                module.requires_grad_(False).eval()
        self.image = pipeline.shown(image, "alpha").to(self.device, torch.float32)
        self._seen = pipeline.encoded(self.image)
        with torch.no_grad():
            self._white = self.encode(torch.ones_like(self.image))[0]

    @property
    def device(self) -> torch.device:
        """Where the denoiser is."""
        return self.pipeline.unet.device

    @property
    def image_size(self) -> int:
        """Width and height of its pictures, pixels."""
        return int(self.image.shape[-1])

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a view's latent."""
        channels, height, width = self._white.shape
        return channels, height, width

    @property
    def alphas_cumprod(self) -> Float[Tensor, "1000"]:
        """ᾱ of the pipeline's training."""
        return self.pipeline.scheduler.alphas_cumprod.to(self.device, torch.float32)

    @property
    def white(self) -> Float[Tensor, "c h w"]:
        """The latent of a white picture."""
        return self._white

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the weights, the picture, its camera, and how it is told of views."""
        parts = self.pipeline.components.items()
        modules = {name: part for name, part in parts if isinstance(part, torch.nn.Module)}
        known = digest(self.image, torch.from_numpy(self.source.c2w).float())
        return json_sha256([weights_digest(modules), known, self.scale, self.null_condition])

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c y x"]:
        """Scaled latents of images in [−1, 1]: the posterior's mode, so that they are a function of the images."""
        latents = condition_latent(self.pipeline.vae, images.to(self.device, self.pipeline.vae.dtype))
        return latents.float() * self.pipeline.vae.config.scaling_factor

    def decode(self, latents: Float[Tensor, "b c y x"]) -> Float[Tensor, "b 3 h w"]:
        """Images of scaled latents, in [0, 1] where the decoder keeps to it: they are not clipped, so that gradients pass."""
        unscaled = latents.to(self.device, self.pipeline.vae.dtype) / self.pipeline.vae.config.scaling_factor
        return self.pipeline.vae.decode(unscaled).sample.float() / 2.0 + 0.5

    @torch.no_grad()
    def denoise(
        self,
        noisy: Float[Tensor, "b c y x"],
        timesteps: Int[Tensor, " b"],
        cameras: Sequence[Camera],
        guidance_scale: float,
    ) -> Float[Tensor, "b c y x"]:
        """The noise that the denoiser predicts, under guidance, whatever it was trained to predict."""
        steps = timesteps.to(self.device)
        given = noisy.to(self.device, self.pipeline.unet.dtype)
        told = self._condition(self.poses(cameras))
        answer = guided(self.pipeline.unet, given, steps, told, guidance_scale).float()
        alphas = self.alphas_cumprod[steps].reshape(-1, 1, 1, 1)
        return predicted_noise(answer, noisy.to(answer), alphas, self.pipeline.scheduler.config.prediction_type)

    def poses(self, cameras: Sequence[Camera]) -> Float[Tensor, "b e"]:
        """What the pipeline is told of cameras, relative to the input's."""
        told = self.pipeline.pose_vectors(self.source, cameras, self.scale)
        if told is None:
            told = torch.from_numpy(np.stack([relative_pose(c.c2w, self.source.c2w) for c in cameras])).float()
        return told.to(self.device, self.pipeline.unet.dtype)

    @torch.no_grad()
    def sample(
        self, cameras: Sequence[Camera], steps: int, guidance_scale: float, seed: int
    ) -> Float[Tensor, "n 3 h w"]:
        """Pictures in [−1, 1] that the pipeline samples from cameras, each of a seed of its own."""
        generators = [
            torch.Generator().manual_seed(derive_seed(seed, str(row), "view")) for row in range(len(cameras))
        ]
        made = self.pipeline.sample_views(
            self.image,
            self.source,
            cameras,
            self.scale,
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            generator=generators,
        ).images
        return made.to(self.image) * 2.0 - 1.0

    def knowing(self, image: Float[Tensor, "1 3 h w"], source: Camera) -> "LatentPrior":
        """The same modules with another picture for their condition."""
        return type(self)(self.pipeline, image, source, self.scale, self.null_condition)

    def _condition(self, poses: Float[Tensor, "b e"]) -> Condition:
        sources = torch.zeros(len(poses), dtype=torch.long, device=self.device)
        seen = self._seen
        return conditioned(
            self.pipeline.cc_projection, seen.embedding, seen.latent, poses, sources, self.null_condition
        )


class CascadePrior(LatentPrior):
    """Refiner-0123 as a prior, which is shown what Base-0123 makes of the input.

    Near views are sampled once. The coarse target, which the published system samples anew for every view that it is asked for,
    is sampled once for each cell of `CELL_DEG` degrees in azimuth and polar angle, when a camera first falls into it: the Refiner
    is told its embedding and no pose of it. Seeds derive from the cell, so that the order of cameras changes nothing.
    """

    CELL_DEG = 30.0

    def __init__(
        self,
        pipeline: CascadePipeline,
        image: Float[Tensor, "1 3 h w"],
        source: Camera,
        scale: float | None = None,
        null_condition: NullCondition = "after_projection",
    ) -> None:
        super().__init__(pipeline, image, source, scale, null_condition)
        self._cascade = pipeline
        self._polar = spherical_from_position(source.c2w[:3, 3])[0]
        self._coarse: dict[tuple[int, int], Float[Tensor, "1 d"]] = {}
        self._offsets: Float[Tensor, "1 k 3"] | None = None
        self._near: Float[Tensor, "1 k d"] | None = None

    def _condition(self, poses: Float[Tensor, "b 4"]) -> Condition:
        near, offsets = self._near_views()
        coarse = torch.cat([self._coarse_view(pose) for pose in poses.float().cpu()])
        told = near_poses(poses, offsets.to(poses).expand(len(poses), -1, -1))
        prompts = PromptEmbeddings(coarse, near.expand(len(poses), -1, -1), told)
        source = super()._condition(poses)
        return prompted(source, self._cascade.cc_projection, prompts, self.null_condition)

    def _near_views(self) -> tuple[Float[Tensor, "1 k d"], Float[Tensor, "1 k 3"]]:
        """Embeddings and places of the near views."""
        if self._near is None or self._offsets is None:
            same = torch.tensor([[0.0, 0.0, 1.0, 0.0]])
            views = asked(same, 1, self._cascade.offsets, [self._polar])
            self._near = self._sampled(views.poses[1:], "near")[None]
            self._offsets = views.offsets
        return self._near, self._offsets

    def _coarse_view(self, pose: Float[Tensor, "4"]) -> Float[Tensor, "1 d"]:
        """Embedding of the Base's view of the cell that a pose lies in."""
        cell = math.radians(self.CELL_DEG)
        azimuth = math.atan2(float(pose[1]), float(pose[2]))
        key = (round(float(pose[0]) / cell), round(azimuth / cell) % round(2.0 * math.pi / cell))
        if key not in self._coarse:
            centre = pose_between((key[0] * cell, key[1] * cell, 0.0), (0.0, 0.0, 0.0))
            self._coarse[key] = self._sampled(torch.from_numpy(centre).float()[None], f"coarse {key}")
        return self._coarse[key]

    def _sampled(self, poses: Float[Tensor, "n 4"], purpose: str) -> Float[Tensor, "n d"]:
        """Embeddings of what Base-0123 makes of the input."""
        generators = [
            torch.Generator().manual_seed(derive_seed(0, str(row), f"{purpose} view")) for row in range(len(poses))
        ]
        options = replace(self._cascade.draft_options(SamplerOptions()), generator=generators)
        made = self._cascade.base.sample_poses(self.image, poses, **vars(options)).images
        shown = (made * 2.0 - 1.0).to(self.device, self._cascade.unet.dtype)
        return embed_images(self._cascade.image_encoder, shown)


def predicted_noise(
    answer: Float[Tensor, "b c y x"],
    noisy: Float[Tensor, "b c y x"],
    alphas_cumprod: Float[Tensor, "b 1 1 1"],
    prediction_type: str,
) -> Float[Tensor, "b c y x"]:
    """ε̂ of a prediction: itself, √ᾱ·v + √(1−ᾱ)·x_t of a velocity, (x_t − √ᾱ·x̂)/√(1−ᾱ) of a sample (Salimans and Ho 2022).

    Raises:
        InputError: for another type of prediction.
    """
    kept, noise = alphas_cumprod.sqrt(), (1.0 - alphas_cumprod).sqrt()
    if prediction_type == "epsilon":
        return answer
    if prediction_type == "v_prediction":
        return kept * answer + noise * noisy
    if prediction_type == "sample":
        return (noisy - kept * answer) / noise
    raise InputError(f"the denoiser predicts {prediction_type}", "take one that predicts noise, velocity or sample")
