"""The attention backend of a denoiser: xformers on a GPU where it loads, PyTorch's scaled-dot-product attention otherwise."""

import importlib.util

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0

from stage.errors import ParameterError


def use_attention(unet: UNet2DConditionModel, backend: str) -> str:
    """Select a backend; the one that was selected.

    Args:
        unet: the denoiser.
        backend: auto, sdpa or xformers.

    Raises:
        ParameterError: when xformers is asked for and cannot be used here.
    """
    usable = torch.cuda.is_available() and importlib.util.find_spec("xformers") is not None
    if backend == "xformers" and not usable:
        raise ParameterError(
            "train.attention = xformers needs a CUDA GPU and the package", "pip install viewforge[gpu]"
        )
    if usable and backend != "sdpa":
        unet.enable_xformers_memory_efficient_attention()
        return "xformers"
    unet.set_attn_processor(AttnProcessor2_0())
    return "sdpa"
