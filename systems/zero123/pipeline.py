"""Sampling with Zero-1-to-3: one image and relative poses to the images seen from there.

pipeline = Zero123Pipeline.from_pretrained(folder)
pipeline.scheduler = scheduler_named("dpm", pipeline.scheduler)
views = pipeline(Image.open("chair.png"), poses_from_degrees([30, 60, 90]), num_inference_steps=20, output_type="pil").images
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from systems.object_pipeline import Camera, Pictures, SampledViews
from systems.zero123.conditioning import relative_pose
from systems.zero123.pipeline_folder import read_pipeline
from systems.zero123.view_pipeline import ViewPipeline


def load_pipeline(folder: Path) -> "Zero123Pipeline":
    """The pipeline that was saved in a folder, without asking any hub.

    Raises:
        InputError: when the folder holds none, or one that is damaged.
    """
    return read_pipeline(Zero123Pipeline, folder)


class Zero123Pipeline(ViewPipeline):
    """Zero-1-to-3 as a diffusers pipeline; see `ViewPipeline` for its parts."""

    def __call__(
        self,
        images: Pictures,
        poses: Float[Tensor, "n 4"],
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> SampledViews:
        """Sample the view at each pose from its input image, or from the one image that is given.

        Args:
            images: input views in [−1, 1] on white, one for all poses or one for each; or PIL images, which are put on white
                and brought to the training's size.
            poses: T of each wanted view relative to its input.
            **options: `SamplerOptions`.

        Raises:
            InputError: when shapes, values or options do not fit.
        """
        return self.sample_poses(images, poses, **options)

    def sample_views(
        self,
        images: Pictures,
        condition: Camera,
        targets: Sequence[Camera],
        scale: float | None = None,
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> SampledViews:
        """Sample an object from wanted cameras, of which only the positions about the origin count; see `ViewPipeline`."""
        return self.sample_poses(images, self.pose_vectors(condition, targets, scale), **options)

    def pose_vectors(
        self,
        condition: Camera,
        targets: Sequence[Camera],
        scale: float | None = None,  # noqa: ARG002 - other systems'
    ) -> Float[Tensor, "n 4"]:
        """T of each target relative to the condition."""
        poses = np.stack([relative_pose(target.c2w, condition.c2w) for target in targets])
        return torch.from_numpy(poses).float()
