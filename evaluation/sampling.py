"""Sampling a trained pipeline for evaluation: the same object gives the same pictures, alone or among others.

Noise derives from (run seed, uid), and a batch never mixes objects: a batch's size decides how a matrix product is summed,
and with it the last bits of every picture in the batch.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging
from jaxtyping import Float
from torch import Tensor
from transformers.utils import logging as transformers_logging

from evaluation.parameters import EvaluateParameters
from evaluation.protocol import INPUT_VIEW, ObjectViews
from evaluation.scales import object_scale
from geometry.gaussians import Gaussians
from stage.seeds import derive_seed
from systems.gaussian_pipeline import GaussianPipeline, pictures_of, seen_gaussians
from systems.object_pipeline import ObjectPipeline
from systems.pipelines import load_pipeline
from systems.viewfusion.parameters import ViewFusionParameters
from systems.viewfusion.pipeline import ViewFusionPipeline
from systems.zero123.parameters import SchedulerName
from systems.zero123.schedulers import scheduler_named


def load_for_sampling(
    folder: Path, scheduler: SchedulerName | None = None, view_fusion: ViewFusionParameters | None = None
) -> ObjectPipeline:
    """The trained pipeline without progress bars, on the GPU when there is one.

    Args:
        folder: the pipeline's.
        scheduler: how it steps; as it was saved when None.
        view_fusion: make views from each other; each by itself when None.

    Raises:
        InputError: when the folder holds none, or a damaged one, or one whose views cannot be fused.
    """
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    pipeline = load_pipeline(folder)
    if scheduler:
        pipeline.scheduler = scheduler_named(scheduler, pipeline.scheduler)
    if view_fusion:
        pipeline = ViewFusionPipeline(pipeline, view_fusion)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def deterministic_torch() -> Iterator[None]:
    """Only deterministic kernels inside the block."""
    before = torch.are_deterministic_algorithms_enabled()
    # cuBLAS reads it when it starts, and refuses deterministic products without it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model answers for one object."""

    pictures: Float[np.ndarray, "t h w 3"]
    """Of the target views, RGB in [0, 1]."""
    gaussians: Gaussians | None = None
    """What the pictures show, in the scene's frame; None of a model that makes pictures alone."""


def predict(pipeline: ObjectPipeline, views: ObjectViews, parameters: EvaluateParameters, seed: int) -> Prediction:
    """The model's answer for an object's target views, from its input view.

    An object is made once by a model that makes Gaussians: all its pictures show the same ones.

    Args:
        pipeline: the trained model.
        views: the object.
        parameters: sampler settings.
        seed: the run's seed.

    Raises:
        InputError: when the system needs a scale that cannot be measured.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, views.asset.uid, "evaluation noise"))
    condition = (torch.from_numpy(views.condition).permute(2, 0, 1) * 2.0 - 1.0)[None]
    camera, targets = views.cameras[INPUT_VIEW], views.cameras[INPUT_VIEW + 1 :]
    size = len(targets) if pipeline.views_depend_on_each_other else parameters.batch_size
    batches = [targets[n : n + size] for n in range(0, len(targets), size)]
    options = _options(parameters, generator)
    scale = object_scale(pipeline, views, parameters.scale)
    if isinstance(pipeline, GaussianPipeline):
        splatters = pipeline.sample_scene(condition, camera, **options)
        pictures = [pictures_of(splatters, batch) for batch in batches]
        return Prediction(_channels_last(pictures), seen_gaussians(splatters))
    pictures = [pipeline.sample_views(condition, camera, batch, scale, **options).images for batch in batches]
    return Prediction(_channels_last(pictures))


def _options(parameters: EvaluateParameters, generator: torch.Generator) -> dict[str, Any]:
    return {
        "guidance_scale": parameters.guidance_scale,
        "num_inference_steps": parameters.inference_steps,
        "eta": parameters.eta,
        "drop_first_step": parameters.drop_first_step,
        "null_condition": parameters.null_condition,
        "generator": generator,
    }


def _channels_last(pictures: list[Float[Tensor, "_ 3 h w"]]) -> Float[np.ndarray, "t h w 3"]:
    return torch.cat(pictures).permute(0, 2, 3, 1).numpy()
