"""Sampling a trained pipeline for evaluation: the same object gives the same pictures, alone or among others.

Noise derives from (run seed, uid), and a batch never mixes objects: a batch's size decides how a matrix product is summed,
and with it the last bits of every picture in the batch.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging
from jaxtyping import Float
from transformers.utils import logging as transformers_logging

from evaluation.parameters import EvaluateParameters
from evaluation.protocol import INPUT_VIEW, ObjectViews
from evaluation.scales import object_scale
from stage.seeds import derive_seed
from systems.object_pipeline import ObjectPipeline
from systems.pipelines import load_pipeline
from systems.zero123.parameters import SchedulerName
from systems.zero123.schedulers import scheduler_named


def load_for_sampling(folder: Path, scheduler: SchedulerName | None = None) -> ObjectPipeline:
    """The trained pipeline without progress bars, on the GPU when there is one.

    Args:
        folder: the pipeline's.
        scheduler: how it steps; as it was saved when None.

    Raises:
        InputError: when the folder holds none, or a damaged one.
    """
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    pipeline = load_pipeline(folder)
    if scheduler:
        pipeline.scheduler = scheduler_named(scheduler, pipeline.scheduler)
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


def predict(
    pipeline: ObjectPipeline, views: ObjectViews, parameters: EvaluateParameters, seed: int
) -> Float[np.ndarray, "t h w 3"]:
    """The model's pictures of an object's target views, from its input view, RGB in [0, 1].

    Args:
        pipeline: the trained model.
        views: the object.
        parameters: sampler settings.
        seed: the run's seed.

    Raises:
        InputError: when the system needs a scale that cannot be measured.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, views.asset.uid, "evaluation noise"))
    condition = torch.from_numpy(views.condition).permute(2, 0, 1) * 2.0 - 1.0
    scale = object_scale(pipeline, views, parameters.scale)
    targets = views.cameras[INPUT_VIEW + 1 :]
    batches = [targets[n : n + parameters.batch_size] for n in range(0, len(targets), parameters.batch_size)]
    pictures = [
        pipeline.sample_views(
            condition[None],
            views.cameras[INPUT_VIEW],
            batch,
            scale,
            guidance_scale=parameters.guidance_scale,
            num_inference_steps=parameters.inference_steps,
            eta=parameters.eta,
            drop_first_step=parameters.drop_first_step,
            null_condition=parameters.null_condition,
            generator=generator,
        ).images
        for batch in batches
    ]
    return torch.cat(pictures).permute(0, 2, 3, 1).numpy()
