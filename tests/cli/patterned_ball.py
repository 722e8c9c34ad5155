"""A ball with a pattern from known elevations, and a model of Zero-1-to-3's kind that turns it as well as any could."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geometry.cameras import Intrinsics, look_at_origin, opencv_from_opengl
from systems.object_pipeline import SampledViews
from systems.zero123.modules import build_modules
from systems.zero123.parameters import AutoencoderParameters, ImageEncoderParameters, UNetParameters, Zero123Parameters
from systems.zero123.pipeline import Zero123Pipeline


def modules():
    """Those of a tiny Zero-1-to-3 of 64 pixels."""
    parameters = Zero123Parameters(
        unet=UNetParameters(block_channels=(32, 32)),
        autoencoder=AutoencoderParameters(factor=4),
        image_encoder=ImageEncoderParameters(
            image_size=16, patch_size=8, hidden_size=16, layers=1, heads=2, embedding_dim=16
        ),
    )
    built = build_modules(parameters, 0)
    built.unet.register_to_config(sample_size=16)
    return built.unet, built.cc_projection, built.image_encoder, built.vae, built.scheduler


class PatternedBall(Zero123Pipeline):
    """In the place of a trained model: turns a ball with a pattern, of which the picture is from an elevation of 30°."""

    image_size = 96

    def __call__(self, images: Tensor, poses: Tensor, **_: Any) -> SampledViews:
        """The ball from each pose."""
        assert images.shape == (1, 3, 96, 96)
        turns = [(float(t[0]), math.atan2(t[1], t[2])) for t in poses]
        return SampledViews(images=torch.from_numpy(np.stack([ball(*turn) for turn in turns])).float())


def ball(polar: float, azimuth: float, elevation_deg: float = 30.0) -> np.ndarray:
    """A ball of radius 0.5 on white, seen from 1.8, turned by so much: (3, 96, 96) in [0, 1]."""
    lens = Intrinsics.from_fov(2 * math.atan(16 / 35), 96)
    c2w = opencv_from_opengl(look_at_origin(math.pi / 2 - math.radians(elevation_deg) + polar, azimuth, 1.8))
    rows, columns = np.mgrid[:96, :96] + 0.5
    rays = np.stack([(columns - 48) / lens.fx, (rows - 48) / lens.fy, np.ones((96, 96))], axis=-1) @ c2w[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    along = rays @ c2w[:3, 3]
    root = along**2 - (1.8**2 - 0.5**2)
    points = c2w[:3, 3] + (-along - np.sqrt(np.maximum(root, 0.0)))[..., None] * rays
    waves = np.random.default_rng(1).normal(0.0, 28.0, (12, 3))
    shade = 0.5 + 0.09 * np.cos(points @ waves.T + np.arange(12)).sum(axis=-1)
    grey = np.where(root > 0, np.clip(shade, 0.05, 0.9), 1.0)
    return np.stack([grey] * 3)
