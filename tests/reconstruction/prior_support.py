"""Priors whose answers are known: Gaussian data, renders of a true object, and tiny random pipelines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from tiny_modules import IMAGE_ENCODER
from torch import Tensor

from blender_render.camera_sets import View
from geometry.cameras import Intrinsics, look_at_origin
from reconstruction.methods.input_view import InputView
from systems.cascade_zero123.pipeline import CascadePipeline
from systems.zero123.conditioning import POSE_DIMENSIONS
from systems.zero123.modules import build_modules
from systems.zero123.parameters import (
    AutoencoderParameters,
    ImageEncoderParameters,
    UNetParameters,
    Zero123Parameters,
)
from systems.zero123.pipeline import Zero123Pipeline
from systems.zeronvs.conditioning import pose_dimensions
from systems.zeronvs.pipeline import ZeroNvsPipeline

SIZE = 16
FOV = float(np.deg2rad(49.1))


def alphas() -> Float[Tensor, "1000"]:
    """Stable Diffusion's ᾱ."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1.0 - betas, dim=0).float()


def camera(azimuth_deg: float, elevation_deg: float = 20.0, radius: float = 2.0, size: int = SIZE) -> View:
    """Looks at the origin."""
    polar, azimuth = np.deg2rad([90.0 - elevation_deg, azimuth_deg])
    return View(look_at_origin(polar, azimuth, radius), Intrinsics.from_fov(FOV, size))


@dataclass
class KnownPrior:
    """A prior that thinks a picture from a camera to be N(x̂, s²) with a known x̂. Latents are pictures in [−1, 1].

    So ε̂ = √(1−ᾱ)·(x_t − √ᾱ·x̂)/(ᾱ·s² + 1 − ᾱ).
    """

    clean: Callable[[View], Float[Tensor, "3 h w"]]
    source: View
    size: int = SIZE
    spread: float = 0.0
    """s: how far it thinks that pictures may be from x̂."""
    asked: list[tuple[int, float, View]] = field(default_factory=list)
    """Timestep, guidance scale and camera of each question."""
    sampled: list[tuple[int, int]] = field(default_factory=list)
    """Views and steps of each sampling."""

    device, fingerprint = torch.device("cpu"), "known"
    alphas_cumprod = alphas()

    @property
    def image_size(self) -> int:
        """Width and height."""
        return self.size

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """That of its pictures."""
        return 3, self.size, self.size

    @property
    def white(self) -> Tensor:
        """White."""
        return torch.ones(self.latent_shape)

    def encode(self, images: Tensor) -> Tensor:
        """The pictures themselves."""
        return images

    def decode(self, latents: Tensor) -> Tensor:
        """To [0, 1]."""
        return latents / 2.0 + 0.5

    def denoise(self, noisy: Tensor, timesteps: Tensor, cameras: Sequence[View], guidance_scale: float) -> Tensor:
        """ε̂ of the clean pictures."""
        self.asked += [(int(t), guidance_scale, c) for t, c in zip(timesteps, cameras, strict=True)]
        kept = self.alphas_cumprod[timesteps].reshape(-1, 1, 1, 1)
        clean = torch.stack([self.clean(camera) for camera in cameras])
        variance = kept * self.spread**2 + 1.0 - kept
        return (1.0 - kept).sqrt() * (noisy - kept.sqrt() * clean) / variance

    def sample(
        self,
        cameras: Sequence[View],
        steps: int,
        guidance_scale: float,  # noqa: ARG002 - of pipelines
        seed: int,  # noqa: ARG002 - of pipelines
    ) -> Tensor:
        """The clean pictures."""
        self.sampled.append((len(cameras), steps))
        return torch.stack([self.clean(camera) for camera in cameras])

    def knowing(self, image: Tensor, source: View) -> "KnownPrior":  # noqa: ARG002 - of pipelines
        """The same renders, whatever the picture."""
        return KnownPrior(self.clean, source, self.size, self.spread, self.asked)


def input_view(size: int = SIZE) -> InputView:
    """A dark disc on white."""
    across = torch.arange(size) + 0.5 - size / 2
    mask = ((across[:, None] ** 2 + across**2) < (0.3 * size) ** 2).float()
    colour = torch.tensor([0.5, -0.5, -1.0])[:, None, None]
    return InputView(colour * mask + (1.0 - mask), mask, camera(0.0, size=size))


def _parameters() -> Zero123Parameters:
    return Zero123Parameters(
        unet=UNetParameters(block_channels=(32, 64)),
        autoencoder=AutoencoderParameters(factor=4, scaling_factor=0.3),
        image_encoder=ImageEncoderParameters(**IMAGE_ENCODER),
    )


def _parts(dimensions: int = POSE_DIMENSIONS, seed: int = 0):
    parts = build_modules(_parameters(), seed, dimensions)
    parts.unet.register_to_config(sample_size=SIZE // 4)
    return parts


def zero123_pipeline() -> Zero123Pipeline:
    """Random weights, 16×16 pixels."""
    parts = _parts()
    return _quiet(Zero123Pipeline(parts.unet, parts.cc_projection, parts.image_encoder, parts.vae, parts.scheduler))


def zeronvs_pipeline(mode: str = "7dof_quantile_scale") -> ZeroNvsPipeline:
    """Random weights, 16×16 pixels."""
    parts = _parts(pose_dimensions(mode))
    return _quiet(
        ZeroNvsPipeline(parts.unet, parts.cc_projection, parts.image_encoder, parts.vae, parts.scheduler, mode)
    )


def cascade_pipeline() -> CascadePipeline:
    """Random weights, 16×16 pixels, hasty prompts."""
    parts, base = _parts(), _parts(seed=1)
    pipeline = CascadePipeline(
        parts.unet,
        parts.cc_projection,
        base.unet,
        base.cc_projection,
        parts.image_encoder,
        parts.vae,
        parts.scheduler,
        prompt_steps=2,
    )
    return _quiet(pipeline)


def _quiet(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
