"""The attention backend of a denoiser: xformers on a GPU where it loads, PyTorch's scaled-dot-product attention otherwise."""

import importlib.util

import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import nn

from stage.errors import ParameterError


def use_attention(denoiser: nn.Module, backend: str) -> str:
    """Select a backend; the one that was selected.

    Args:
        denoiser: a diffusers network with attention.
        backend: auto, sdpa or xformers.

    Raises:
        ParameterError: when xformers is asked for and cannot be used here.
    """
    usable = torch.cuda.is_available() and importlib.util.find_spec("xformers") is not None
    if backend == "xformers" and not usable:
        raise ParameterError(
            "train.hardware.attention = xformers needs a CUDA GPU and the package", "pip install viewforge[gpu]"
        )
    if usable and backend != "sdpa":
        denoiser.enable_xformers_memory_efficient_attention()  # type: ignore[operator]
        return "xformers"
    denoiser.set_attn_processor(AttnProcessor2_0())  # type: ignore[operator]
    return "sdpa"
