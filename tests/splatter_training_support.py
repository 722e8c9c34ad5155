"""The stages that train Zero-1-to-G's autoencoder, at 16×16 pixels: their parameters, and views with splatter images."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_modules import IMAGE_ENCODER
from torch import Tensor

from geometry.attribute_images import ZERO_1_TO_G
from geometry.attribute_tensors import gaussians_of
from geometry.cameras import Intrinsics, look_at_origin
from geometry.rasterizer import rasterize
from geometry.splatter import splatter_from_passes
from geometry.splatter_tensor import channels_from_gaussians
from systems.trainable import SplatterImages, Views
from systems.zero_1_to_g.autoencoder_training import Zero1ToGAutoencoder
from systems.zero_1_to_g.decoder_training import Zero1ToGDecoder
from systems.zero_1_to_g.parameters import Zero1ToGParameters

SIDE, RADIUS = 16, 0.4
LENS = Intrinsics.from_fov(0.8, SIDE)
SECTION: dict[str, Any] = {
    "stage": "autoencoder",
    "unet": {"block_channels": (16, 16), "attention_heads": 2},
    "autoencoder": {"kind": "kl", "block_channels": (8, 16), "norm_groups": 4},
    "image_encoder": IMAGE_ENCODER,
}


def parameters(**changes: Any) -> Zero1ToGParameters:
    """Of the stage `autoencoder`; keywords replace keys."""
    return Zero1ToGParameters.model_validate({**SECTION, **changes})


def autoencoder(**changes: Any) -> Zero1ToGAutoencoder:
    """A new one."""
    return Zero1ToGAutoencoder(parameters(**changes), 0, SIDE)


def decoder(folder: Path, **losses: Any) -> Zero1ToGDecoder:
    """The stage `decoder` of a folder."""
    return Zero1ToGDecoder(parameters(stage="decoder", pretrained=str(folder), decoder_loss=losses), 0)


def ball(azimuth: float, polar: float = 1.2) -> Tensor:
    """Channels of a ball around the origin, each point in the colour of its place, as a camera at distance 2 sees it."""
    c2w = look_at_origin(polar, azimuth, 2.0)
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    rays = np.stack([(columns - LENS.cx) / LENS.fx, -(rows - LENS.cy) / LENS.fy, -np.ones_like(rows)], axis=-1)
    directions = rays @ c2w[:3, :3].T
    eye = c2w[:3, 3]
    a, b, c = (directions**2).sum(-1), directions @ eye, eye @ eye - RADIUS**2
    hit = b**2 > a * c
    depth = np.where(hit, (-b - np.sqrt(np.maximum(b**2 - a * c, 0.0))) / a, 0.0)
    points = eye + depth[..., None] * directions
    colours = np.clip(0.5 + points, 0.0, 1.0)
    view = splatter_from_passes(colours, points, depth, points / RADIUS, c2w, LENS)
    channels = torch.from_numpy(channels_from_gaussians(view.gaussians, SIDE, SIDE))
    # So few pixels make Gaussians at the outline larger than attribute images hold.
    channels[4:7] = channels[4:7].clamp(max=float(np.exp(ZERO_1_TO_G.scale[1])))
    return channels


@cache
def views(turn: float = 0.0, samples: int = 2) -> Views:
    """Two supervising views and the condition of a ball, and its splatter images from three sides.

    Args:
        turn: about Z, of the whole scene, radians.
        samples: of the batch, all of the same ball.
    """
    channels = torch.stack([ball(azimuth + turn) for azimuth in (0.4, 2.5, 4.6)])
    # Colours are of places in the scene that is not turned.
    x, y, z = (channels[:, number] for number in range(3))
    cos, sin = np.cos(turn), np.sin(turn)
    channels[:, 11:] = (0.5 + torch.stack([cos * x + sin * y, cos * y - sin * x, z], dim=1)).clamp(0, 1)
    c2w = np.stack([look_at_origin(1.1, azimuth + turn, 2.0) for azimuth in (1.0, 3.0, 0.7)])
    seen = rasterize(gaussians_of(channels), c2w, LENS, (0.0, 0.0, 0.0))
    straight = seen.rgb / seen.alpha.clamp(min=1e-6)[..., None]
    rgba = (torch.cat([straight, seen.alpha[..., None]], dim=-1).clamp(0, 1) * 255).round().to(torch.uint8)
    lens = torch.tensor([LENS.fx, LENS.fy, LENS.cx, LENS.cy])
    splatter_c2w = np.stack([look_at_origin(1.2, azimuth + turn, 2.0) for azimuth in (0.4, 2.5, 4.6)])
    return Views(
        ("ball",) * samples,
        np.tile([1, 2, 0], (samples, 1)),
        rgba.expand(samples, -1, -1, -1, -1),
        torch.from_numpy(c2w).float().expand(samples, -1, -1, -1),
        lens.expand(samples, 3, 4),
        torch.full((samples, 3, 3), torch.nan),
        SplatterImages(
            channels.half().expand(samples, -1, -1, -1, -1),
            torch.from_numpy(splatter_c2w).float().expand(samples, -1, -1, -1),
            lens.expand(samples, 3, 4),
        ),
    )
