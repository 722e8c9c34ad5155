"""Zero-1-to-G's denoiser from Stable Diffusion image-variations, and the joint stage's from that of single attributes.

A network begins by computing what the one that it comes from computes: new input channels have zero columns, and the new class
embedding and cross-attribute attention put out zero. (The released code draws the class embedding at random,
`zero_init_camera_projection: false` in mengxuyiGit/Wonder3D `configs/train/stage1-mix-6views-lvis.yaml`.) Only cross-view
attention, which has no weights of its own, changes an image's output from the first step, where a sample has several views.
"""

import torch
from diffusers import UNet2DConditionModel

from stage.errors import InputError
from systems.zero123.initialisation import widen_input
from systems.zero_1_to_g.attention import silence
from systems.zero_1_to_g.unet import AttributeUNet


def attribute_unet_from(
    unet: UNet2DConditionModel, seed: int, cross_view: bool = True, cross_attribute: bool = False
) -> AttributeUNet:
    """The denoiser of attribute images that starts as a denoiser of pictures.

    Args:
        unet: without a class embedding, its input as wide as its output, as image-variations', or twice so; is changed.
        seed: of the class embedding's first layer.
        cross_view: whether views attend to each other.
        cross_attribute: whether attributes do.

    Raises:
        InputError: when the denoiser has a class embedding or more input channels.
    """
    if unet.config.class_embed_type is not None:
        raise InputError(
            f"the UNet has a class embedding of its own, {unet.config.class_embed_type}",
            "give one without, as lambdalabs/sd-image-variations-diffusers has",
        )
    widen_input(unet, 2 * unet.config.out_channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = AttributeUNet(cross_view, cross_attribute=False, **_options(unet))
    missing = made.load_state_dict(unet.state_dict(), strict=False).missing_keys
    if unexpected := [name for name in missing if not name.startswith("class_embedding.")]:
        raise InputError(f"the UNet lacks the weights {unexpected[0]}", "give one of Stable Diffusion's kind")
    silence(made.class_embedding.linear_2)
    if cross_attribute:
        made.add_cross_attribute()
    return made


def _options(unet: UNet2DConditionModel) -> dict[str, object]:
    """The options that a UNet was made with, without what else its configuration says."""
    known = UNet2DConditionModel._get_init_keys(UNet2DConditionModel)
    return {name: value for name, value in unet.config.items() if name in known}
