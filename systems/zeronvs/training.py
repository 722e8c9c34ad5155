"""ZeroNVS as the training engine sees it: Zero-1-to-3's module and loss, told of cameras in another way."""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler
from jaxtyping import Float
from torch import Tensor

from stage.errors import InputError
from systems.trainable import Views
from systems.zero123.foreign_weights import pipeline_class
from systems.zero123.loss import TrainingBatch, batch_from_pairs
from systems.zero123.modules import Zero123Modules, build_modules
from systems.zero123.pipeline_folder import read_pipeline
from systems.zero123.training import Zero123Training
from systems.zero123.view_pipeline import ViewPipeline
from systems.zeronvs.conditioning import fov_of, pose_dimensions, pose_vector, scale_of
from systems.zeronvs.initialisation import with_pose_columns
from systems.zeronvs.modes import scale_name
from systems.zeronvs.parameters import ZeroNvsParameters
from systems.zeronvs.pipeline import ZeroNvsPipeline


class ZeroNvsTraining(Zero123Training):
    """The trainable system.

    Args:
        parameters: modules, diffusion and conditioning.
        seed: of new weights; of the pose columns alone where a `Zero123Pipeline` is fine-tuned.
        image_size: width and height of the training pictures, pixels.
        modules: its parts where they are there already; a projection for poses of another length gets new pose columns.

    Raises:
        InputError: when the folder to begin from holds no pipeline, or one that was trained under another mode.
    """

    def __init__(
        self, parameters: ZeroNvsParameters, seed: int, image_size: int, modules: Zero123Modules | None = None
    ) -> None:
        if parameters.pretrained:
            _refuse_other_mode(Path(parameters.pretrained), parameters.mode)
        super().__init__(parameters, seed, image_size, modules)
        self._mode, self._units_per_metre = parameters.mode, parameters.units_per_metre
        self.cc_projection = with_pose_columns(self.cc_projection, pose_dimensions(parameters.mode), seed)

    def batch(self, views: Views) -> TrainingBatch:
        """A batch from pairs of views, the condition last; on the device of the pictures.

        Raises:
            InputError: naming a scene without the scale that the mode divides by.
        """
        return batch_from_pairs(views.rgba, self._poses(views), self._background)

    def pipeline(self, scheduler: DDIMScheduler) -> ZeroNvsPipeline:
        """The system as it is sampled, of these very modules."""
        return ZeroNvsPipeline(self.unet, self.cc_projection, self.image_encoder, self.vae, scheduler, mode=self._mode)

    @classmethod
    def first_modules(cls, parameters: ZeroNvsParameters, seed: int) -> Zero123Modules | ViewPipeline:  # type: ignore[override]
        """The modules that training begins with: of a folder of either system, or new ones."""
        folder = parameters.pretrained
        if folder and pipeline_class(Path(folder)) == ZeroNvsPipeline.__name__:
            return read_pipeline(ZeroNvsPipeline, Path(folder))
        return super().first_modules(parameters, seed)

    @classmethod
    def new_modules(cls, parameters: ZeroNvsParameters, seed: int) -> Zero123Modules:  # type: ignore[override]
        """The modules that the parameters describe, with weights drawn from the seed; raises as `build_modules` does."""
        return build_modules(parameters, seed, pose_dimensions(parameters.mode))

    def _poses(self, views: Views) -> Float[Tensor, "b e"]:
        height, width = views.rgba.shape[2:4]
        cameras, lenses = views.c2w.cpu().numpy(), views.intrinsics.cpu().numpy()
        vectors = [
            pose_vector(self._mode, target, condition, fov_of(lens[0], width, height), scale)
            for (target, condition), lens, scale in zip(cameras, lenses, self._scales(views), strict=True)
        ]
        return torch.from_numpy(np.stack(vectors)).float()

    def _scales(self, views: Views) -> list[float]:
        """The scale of each sample's condition view, scene units."""
        if self._mode == "7dof_metric_scale":
            return [float(self._units_per_metre or np.nan)] * len(views.uids)
        scales = [scale_of(self._mode, known) for known in views.scales[:, -1].cpu().numpy()]
        for uid, scale in zip(views.uids, scales, strict=True):
            if not scale > 0:
                raise InputError(
                    f"{uid} has no {scale_name(self._mode)}, by which the mode {self._mode} divides translations",
                    "give its shards the depth of its views, or set train.zeronvs.mode to one that does without",
                )
        return scales


def _refuse_other_mode(folder: Path, mode: str) -> None:
    """Refuse a `ZeroNvsPipeline` folder of another mode: its pose columns mean something else."""
    if pipeline_class(folder) != ZeroNvsPipeline.__name__:
        return
    trained = json.loads((folder / "model_index.json").read_text()).get("mode")
    if trained != mode:
        raise InputError(
            f"{folder} was trained under the mode {trained}, not {mode}",
            f"set train.zeronvs.mode to {trained}, or begin from a Zero123Pipeline folder",
        )
