"""A model that knows one object, whatever it is shown: a box whose sides have their own colours, drawn from any camera."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reconstruction.marching.rays import camera_rays
from systems.object_pipeline import ObjectPipeline, SampledViews

HALF = (0.25, 0.457, 0.35)
"""Half its sides along X, Y and Z (up): from the picture's camera it takes 80 % of the width, as pictures are framed."""
RED, BLUE, GREEN = (0.85, 0.1, 0.1), (0.1, 0.1, 0.85), (0.1, 0.6, 0.2)
"""Of the side towards +X, where the picture's camera is; of the one towards −X; of the others."""
_FINER = 3


class AlwaysTheBox(ObjectPipeline):
    """Whatever it is shown."""

    image_size = 48

    def __init__(self) -> None:
        super().__init__()
        self.register_to_config()

    def sample_views(self, images: Any, condition: Any, targets: Any, scale: Any = None, **options: Any) -> Any:  # noqa: ARG002 - of the interface
        """The box from each camera, in as many steps as are asked for."""
        for step in range(options["num_inference_steps"]):
            options["callback_on_step_end"](self, step, torch.tensor(step), {})
        return SampledViews(torch.stack([drawn(target) for target in targets]))


def drawn(camera: Any) -> Tensor:
    """The box on white, (3, h, w), antialiased: where each ray enters all three pairs of planes (slabs) at once."""
    lens = camera.intrinsics
    rays = camera_rays(camera.c2w, lens.resized(lens.width * _FINER, lens.height * _FINER), torch.zeros(1))
    half = torch.tensor(HALF)
    near = (-rays.origins - half * rays.directions.sign()) / rays.directions
    far = (-rays.origins + half * rays.directions.sign()) / rays.directions
    side = near.argmax(dim=-1)
    towards = rays.directions.gather(-1, side[:, None])[:, 0] < 0
    colours = torch.tensor(GREEN).expand(len(side), 3).clone()
    colours[(side == 0) & towards] = torch.tensor(RED)
    colours[(side == 0) & ~towards] = torch.tensor(BLUE)
    colours[near.amax(dim=-1) > far.amin(dim=-1)] = 1.0
    return colours.reshape(lens.height, _FINER, lens.width, _FINER, 3).mean(dim=(1, 3)).permute(2, 0, 1)


def write_picture(path: Path, camera: Any) -> Path:
    """The box as people would upload it, cut out."""
    rgb = drawn(camera).permute(1, 2, 0).numpy()
    alpha = (rgb.min(axis=-1, keepdims=True) < 0.9).astype(np.float32)
    Image.fromarray((np.concatenate([rgb, alpha], axis=-1) * 255).round().astype(np.uint8)).save(path)
    return path
