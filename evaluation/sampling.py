"""Sampling a trained pipeline for evaluation: the same object gives the same pictures, alone or after others.

Noise derives from (run seed, uid). A batch's size decides how a matrix product is summed, and with it the last bits of every
picture in the batch: so objects are sampled in groups of `evaluate.objects_per_batch` in order of uid, the same ones whatever
was sampled before. By default a group is one object.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging
from jaxtyping import Float
from torch import Tensor
from transformers.utils import logging as transformers_logging

from blender_render.camera_sets import View
from evaluation.parameters import EvaluateParameters
from evaluation.predictions import Prediction
from evaluation.protocol import INPUT_VIEW, ObjectViews
from evaluation.scales import object_scale
from stage.seeds import derive_seed
from systems.gaussian_pipeline import GaussianPipeline, pictures_of, seen_gaussians
from systems.object_pipeline import ObjectPipeline
from systems.pipelines import load_pipeline
from systems.viewfusion.parameters import ViewFusionParameters
from systems.viewfusion.pipeline import ViewFusionPipeline
from systems.zero123.object_batches import sample_objects
from systems.zero123.parameters import SchedulerName
from systems.zero123.schedulers import scheduler_named
from systems.zero123.view_pipeline import ViewPipeline


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


def predict(pipeline: ObjectPipeline, views: ObjectViews, parameters: EvaluateParameters, seed: int) -> Prediction:
    """The model's answer for an object's target views, from its input view.

    Args:
        pipeline: the trained model.
        views: the object.
        parameters: sampler settings.
        seed: the run's seed.

    Raises:
        InputError: when the system needs a scale that cannot be measured.
    """
    scale = object_scale(pipeline, views, parameters.scale)
    return predict_group(pipeline, [views], [scale], parameters, seed)[0]


def predict_group(
    pipeline: ObjectPipeline,
    group: Sequence[ObjectViews],
    scales: Sequence[float | None],
    parameters: EvaluateParameters,
    seed: int,
) -> list[Prediction]:
    """The model's answers for the target views of objects, from their input views, in common batches where the system can.

    An object is made once by a model that makes Gaussians: all its pictures show the same ones.

    Args:
        pipeline: the trained model.
        group: the objects.
        scales: of each; see `object_scale`.
        parameters: sampler settings.
        seed: the run's seed.
    """
    start = time.perf_counter()
    if isinstance(pipeline, GaussianPipeline):
        made = _made_of_gaussians(pipeline, group, parameters, seed)
    elif len(group) > 1 and (poses := _pose_vectors(pipeline, group, scales)):
        made = _sampled_together(pipeline, group, poses, parameters, seed)
    else:
        pairs = zip(group, scales, strict=True)
        made = [_sampled(pipeline, views, scale, parameters, seed) for views, scale in pairs]
    seconds = (time.perf_counter() - start) / sum(len(views.target_cameras) for views in group)
    return [replace(prediction, seconds=seconds) for prediction in made]


def _made_of_gaussians(
    pipeline: GaussianPipeline, group: Sequence[ObjectViews], parameters: EvaluateParameters, seed: int
) -> list[Prediction]:
    generators = _generators(group, seed)
    options = _options(parameters) | {"generator": generators if len(group) > 1 else generators[0]}
    scenes = pipeline.sample_scenes(_conditions(group), [views.cameras[INPUT_VIEW] for views in group], **options)
    return [_seen(splatters, views, parameters) for splatters, views in zip(scenes, group, strict=True)]


def _seen(splatters: Float[Tensor, "v 14 h w"], views: ObjectViews, parameters: EvaluateParameters) -> Prediction:
    if not bool(splatters.isfinite().all()):
        # Neither a set of Gaussians nor a rasteriser takes such numbers.
        return Prediction(np.full((len(views.target_cameras), *views.condition.shape), np.nan, np.float32))
    pictures = [pictures_of(splatters, batch) for batch in _batches(views, parameters.batch_size)]
    return Prediction(_channels_last(pictures), seen_gaussians(splatters))


def _pose_vectors(
    pipeline: ObjectPipeline, group: Sequence[ObjectViews], scales: Sequence[float | None]
) -> list[Float[Tensor, "_ e"]]:
    """Those of each object; none where views of several objects cannot share a batch."""
    pairs = zip(group, scales, strict=True)
    told = [pipeline.pose_vectors(v.cameras[INPUT_VIEW], v.target_cameras, scale) for v, scale in pairs]
    return [poses for poses in told if poses is not None]


def _sampled_together(
    pipeline: ObjectPipeline,
    group: Sequence[ObjectViews],
    poses: Sequence[Float[Tensor, "_ e"]],
    parameters: EvaluateParameters,
    seed: int,
) -> list[Prediction]:
    assert isinstance(pipeline, ViewPipeline)  # noqa: S101 - no other has pose vectors
    options = _options(parameters) | {"batch_size": parameters.batch_size}
    made = sample_objects(pipeline, _conditions(group), poses, _generators(group, seed), **options)
    return [Prediction(_channels_last([pictures])) for pictures in made]


def _sampled(
    pipeline: ObjectPipeline, views: ObjectViews, scale: float | None, parameters: EvaluateParameters, seed: int
) -> Prediction:
    options = _options(parameters) | {"generator": _generators([views], seed)[0]}
    if pipeline.views_depend_on_each_other:
        options["batch_size"] = parameters.batch_size
    # Views that are made from one another are asked for together.
    size = len(views.target_cameras) if pipeline.views_depend_on_each_other else parameters.batch_size
    camera, batches = views.cameras[INPUT_VIEW], _batches(views, size)
    condition = _conditions([views])
    pictures = [pipeline.sample_views(condition, camera, batch, scale, **options).images for batch in batches]
    return Prediction(_channels_last(pictures))


def _conditions(group: Sequence[ObjectViews]) -> Float[Tensor, "n 3 h w"]:
    return torch.stack([torch.from_numpy(views.condition).permute(2, 0, 1) * 2.0 - 1.0 for views in group])


def _generators(group: Sequence[ObjectViews], seed: int) -> list[torch.Generator]:
    seeds = [derive_seed(seed, views.asset.uid, "evaluation noise") for views in group]
    return [torch.Generator().manual_seed(each) for each in seeds]


def _batches(views: ObjectViews, size: int) -> list[tuple[View, ...]]:
    targets = views.target_cameras
    return [targets[n : n + size] for n in range(0, len(targets), size)]


def _options(parameters: EvaluateParameters) -> dict[str, Any]:
    return {
        "guidance_scale": parameters.guidance_scale,
        "num_inference_steps": parameters.inference_steps,
        "eta": parameters.eta,
        "drop_first_step": parameters.drop_first_step,
        "null_condition": parameters.null_condition,
    }


def _channels_last(pictures: list[Float[Tensor, "_ 3 h w"]]) -> Float[np.ndarray, "t h w 3"]:
    return torch.cat(pictures).permute(0, 2, 3, 1).numpy()
