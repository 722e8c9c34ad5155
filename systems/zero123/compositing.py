"""Pictures with transparency onto white, as Zero-1-to-3 sees them.

The published training data set pixels to white where alpha is exactly 0 and keep the raw colours of half-transparent ones
(cvlab-columbia/zero123 `ldm/data/simple.py` `load_im`); its demo composites by alpha (`gradio_new.py` `preprocess_image`).
"""

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from systems.zero123.parameters import Background


def on_white(
    rgb: Float[Tensor, "*shape 3"], alpha: Float[Tensor, "*shape 1"], background: Background = "alpha"
) -> Float[Tensor, "*shape 3"]:
    """Straight colours in [0, 1] on white.

    Args:
        rgb: sRGB.
        alpha: coverage in [0, 1].
        background: `alpha` composites; `zero_alpha` is the published training data's rule.
    """
    if background == "zero_alpha":
        return torch.where(alpha == 0, 1.0, rgb)
    return rgb * alpha + (1.0 - alpha)


def picture_tensor(
    picture: Image.Image, size: tuple[int, int], background: Background = "alpha"
) -> Float[Tensor, "3 h w"]:
    """A picture on white, bicubic to its size, in [−1, 1].

    Args:
        picture: of any mode; modes without transparency are opaque.
        size: width and height, pixels.
        background: as for `on_white`.
    """
    rgba = picture.convert("RGBA")
    if background == "zero_alpha":
        # Before the resizing, as published: afterwards hardly a pixel of an outline has alpha 0.
        values = torch.from_numpy(np.array(rgba)).float() / 255.0
        white = on_white(values[..., :3], values[..., 3:], background)
        rgb = Image.fromarray((white * 255.0).round().byte().numpy()).resize(size, Image.Resampling.BICUBIC)
    else:
        rgba = rgba.resize(size, Image.Resampling.BICUBIC)
        rgb = Image.alpha_composite(Image.new("RGBA", size, "white"), rgba).convert("RGB")
    return torch.from_numpy(np.asarray(rgb, dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1.0)
