"""Zero-1-to-3 from Stable Diffusion image-variations, whose network knows neither a condition latent nor a pose.

Source: cvlab-columbia/zero123 `main.py` (`finetune_from`) and `ldm/models/diffusion/ddpm.py`, lines 526–529.
"""

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from stage.errors import InputError
from systems.zero123.conditioning import POSE_DIMENSIONS, CCProjection


def widen_input(unet: UNet2DConditionModel, channels: int) -> None:
    """Give a denoiser more input channels, in place: the old ones keep their weights and the new ones, behind, get zeros.

    So it starts by computing what it computed before, whatever the new channels hold.

    Args:
        unet: the denoiser.
        channels: of its input, from then on.

    Raises:
        InputError: when it has more channels already.
    """
    old = unet.conv_in
    if old.in_channels > channels:
        raise InputError(f"the UNet has {old.in_channels} input channels", f"give one of at most {channels}")
    new = nn.Conv2d(channels, old.out_channels, old.kernel_size, old.stride, old.padding)
    zeros = torch.zeros(old.out_channels, channels - old.in_channels, *old.kernel_size).to(old.weight)
    new.weight = nn.Parameter(torch.cat([old.weight.detach(), zeros], dim=1))
    new.bias = old.bias
    unet.conv_in = new
    unet.register_to_config(in_channels=channels)


def new_projection(embedding_dim: int, seed: int, pose_dimensions: int = POSE_DIMENSIONS) -> CCProjection:
    """A `cc_projection` that passes the embedding on; its pose columns are drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CCProjection(embedding_dim, pose_dimensions)
