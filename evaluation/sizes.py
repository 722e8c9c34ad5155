"""Whether a model can be judged by pictures of another size than its training's."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from jaxtyping import Float

from stage.errors import InputError
from systems.gaussian_pipeline import GaussianPipeline
from systems.object_pipeline import ObjectPipeline


def check_resolution(pipeline: ObjectPipeline, resolution: int | None) -> None:
    """Refuse pictures of another size than a model makes; what is made of Gaussians has none.

    Args:
        pipeline: the trained model.
        resolution: `evaluate.resolution`.

    Raises:
        InputError: in that case.
    """
    if resolution is None or isinstance(pipeline, GaussianPipeline):
        return
    # A pipeline of another's making may not say what it was trained on. ViewFusion has the modules of its base.
    unet = pipeline.components.get("unet")
    unknown = unet is not None and unet.config.sample_size is None
    if unknown or resolution == pipeline.image_size:
        return
    raise InputError(
        f"the trained {type(pipeline).__name__} makes pictures of {pipeline.image_size} pixels, and evaluate.resolution "
        f"is {resolution}",
        f"set evaluate.resolution to {pipeline.image_size}; the figures are then of that size",
    )


def at_size(picture: Float[np.ndarray, "h w 3"], size: int) -> Float[np.ndarray, "{size} {size} 3"]:
    """A square picture at another size; the same one at its own."""
    if picture.shape[0] == size:
        return picture
    channels = torch.from_numpy(picture).permute(2, 0, 1)[None]
    resized = F.interpolate(channels, (size, size), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()
