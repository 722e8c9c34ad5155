"""Zero-1-to-G's denoiser at toy size with random weights, and what it is given."""

from typing import Any

import torch
from torch import Tensor

from systems.zero123.modules import unet_options
from systems.zero123.parameters import ImageEncoderParameters, UNetParameters
from systems.zero_1_to_g.parameters import SplatterAutoencoderParameters, Zero1ToGParameters
from systems.zero_1_to_g.unet import AttributeUNet

TOKEN = 16
LATENT = 4
SIDE = 8
_UNET = UNetParameters(block_channels=(16, 32), norm_groups=4, attention_heads=2)


def toy_unet(seed: int = 0, unlike_zero: bool = True, **flags: bool) -> AttributeUNet:
    """Two levels, both attending.

    Args:
        seed: of the weights, which the flags do not change.
        unlike_zero: draw the output of cross-attribute attention, which is 0 in a new network.
        flags: of `AttributeUNet`.
    """
    torch.manual_seed(seed)
    unet = AttributeUNet(**flags, **unet_options(_UNET, LATENT, TOKEN))
    if unlike_zero and unet.config.cross_attribute:
        draw_joint_outputs(unet)
    return unet.eval()


def draw_joint_outputs(unet: AttributeUNet) -> None:
    """Let cross-attribute attention say something, as after some training."""
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if "attn_joint_mid.to_out" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=chance) * 0.3)


def toy_inputs(batch: int = 2, views: int = 3, attributes: int = 5, seed: int = 0) -> dict[str, Tensor]:
    """What the denoiser takes, by its arguments' names; each sample has its own timestep."""
    chance = torch.Generator().manual_seed(seed)
    grid = (batch, views, attributes)
    return {
        "sample": torch.randn(*grid, 2 * LATENT, SIDE, SIDE, generator=chance),
        "timestep": torch.randint(0, 1000, (batch,), generator=chance),
        "encoder_hidden_states": torch.randn(batch, 1, TOKEN, generator=chance),
        "class_labels": torch.randn(*grid, 16, generator=chance),
    }


@torch.no_grad()
def denoised(unet: AttributeUNet, inputs: dict[str, Tensor], **changes: Any) -> Tensor:
    """The prediction (b, v, a, 4, 8, 8)."""
    prediction: Tensor = unet(**(inputs | changes)).sample
    return prediction


def toy_parameters(**changes: Any) -> Zero1ToGParameters:
    """Parameters of the smallest sensible system."""
    values: dict[str, Any] = {
        "unet": _UNET,
        "autoencoder": SplatterAutoencoderParameters(factor=2),
        "image_encoder": ImageEncoderParameters(
            image_size=16, patch_size=8, hidden_size=16, layers=1, heads=2, embedding_dim=TOKEN
        ),
    }
    return Zero1ToGParameters(**(values | changes))
