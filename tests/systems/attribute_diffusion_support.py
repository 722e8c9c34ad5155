"""The smallest Zero-1-to-G, and views with splatter images of chance for it."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from tiny_modules import IMAGE_ENCODER
from torch import Tensor

from geometry.cameras import look_at_origin
from systems.trainable import SplatterImages, Views
from systems.zero_1_to_g.diffusion_training import Zero1ToGDiffusion
from systems.zero_1_to_g.parameters import Zero1ToGParameters

SIDE = 8
AZIMUTHS, ELEVATIONS = (30.0, 150.0), (30.0, -20.0)
SECTION: dict[str, Any] = {
    "unet": {"block_channels": [16, 16], "attention_heads": 2},
    "autoencoder": {"factor": 2, "scaling_factor": 0.5},
    "image_encoder": IMAGE_ENCODER,
    "layout": {"azimuths_deg": AZIMUTHS, "elevations_deg": ELEVATIONS},
    "prediction_type": "sample",
}


def parameters(**changes: Any) -> Zero1ToGParameters:
    """Of the smallest system."""
    return Zero1ToGParameters.model_validate({**SECTION, **changes})


def system(**changes: Any) -> Zero1ToGDiffusion:
    """The smallest system, in the state that it is sampled in."""
    torch.manual_seed(4)
    made = Zero1ToGDiffusion(parameters(**changes), 3, SIDE)
    # New cross-attribute attention puts out zero; here it is to count.
    for name, weights in made.unet.named_parameters():
        if "attn_joint_mid.to_out" in name:
            torch.nn.init.normal_(weights, std=0.3)
    return made.eval()


def camera(elevation_deg: float, azimuth_deg: float) -> Tensor:
    """c2w of a camera that looks at the origin."""
    return torch.from_numpy(look_at_origin(np.deg2rad(90.0 - elevation_deg), np.deg2rad(azimuth_deg), 1.5)).float()


def splatters(samples: int, turn_deg: float = 0.0, side: int = SIDE) -> SplatterImages:
    """Gaussians of chance for the cameras of the layout, which are turned about Z."""
    chance = torch.Generator().manual_seed(1)
    shape = (samples, len(AZIMUTHS), 1, side, side)
    values = torch.rand((samples, len(AZIMUTHS), 14, side, side), generator=chance)
    position, opacity, scale, rotation, colour = values.split((3, 1, 3, 4, 3), dim=2)
    rotation = rotation * 2.0 - 1.0 + torch.tensor([2.0, 0, 0, 0]).view(1, 1, 4, 1, 1)
    channels = torch.cat([position - 0.5, opacity, 0.01 + 0.05 * scale, rotation, colour], dim=2)
    assert channels[:, :, :1].shape == shape
    c2w = torch.stack([camera(e, a + turn_deg) for a, e in zip(AZIMUTHS, ELEVATIONS, strict=True)])
    lens = torch.tensor([side, side, side / 2, side / 2])
    return SplatterImages(channels.half(), c2w.expand(samples, -1, -1, -1), lens.expand(samples, len(AZIMUTHS), -1))


def views(samples: int = 2, azimuth_deg: float = 0.0, elevation_deg: float = 20.0) -> Views:
    """A supervision view and the condition of some objects, of whose pictures one quarter is transparent."""
    chance = torch.Generator().manual_seed(2)
    rgba = torch.randint(0, 256, (samples, 2, SIDE, SIDE, 4), generator=chance, dtype=torch.uint8)
    rgba[:, :, : SIDE // 2, : SIDE // 2, 3] = 0
    c2w = torch.stack([camera(10.0, azimuth_deg + 75.0), camera(elevation_deg, azimuth_deg)])
    lens = torch.tensor([SIDE, SIDE, SIDE / 2, SIDE / 2])
    made = Views(
        uids=tuple(f"object {number}" for number in range(samples)),
        numbers=np.tile(np.arange(2), (samples, 1)),
        rgba=rgba,
        c2w=c2w.expand(samples, -1, -1, -1),
        intrinsics=lens.expand(samples, 2, 4),
        scales=torch.full((samples, 2, 3), torch.nan),
    )
    return replace(made, splatters=splatters(samples, azimuth_deg))
