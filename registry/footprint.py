"""What a model costs: the bytes of its files, and the time of a picture on the machine that promotes it."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blender_render.protocols import cameras
from evaluation.sampling import load_for_sampling
from registry.policy import Limits
from systems.viewfusion.parameters import ViewFusionParameters

_MIB = 2**20
_PICTURES = 3
_OPTIONS = ("guidance_scale", "eta", "drop_first_step", "null_condition")
# Systems that are told of a scale take any; the time does not depend on it.
_SCALE = 1.0


@dataclass(frozen=True)
class Footprint:
    """What one model costs.

    Args:
        size_mib: of its files.
        seconds_per_picture: median over single pictures after a first one, of fused views that of an orbit of 15; None where no
            gate asks.
    """

    size_mib: float
    seconds_per_picture: float | None = None


def measured(folder: Path, sampler: Mapping[str, Any], limits: Limits) -> Footprint:
    """Measure what a gate limits.

    Args:
        folder: the pipeline's.
        sampler: settings of the evaluation (`basis_of`).
        limits: those of the gate; the time is measured where it has one.
    """
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / _MIB
    timed = limits.seconds_per_picture is not None
    return Footprint(round(size, 3), _seconds_per_picture(folder, sampler) if timed else None)


def _seconds_per_picture(folder: Path, sampler: Mapping[str, Any]) -> float:
    scheduler, fusion = sampler.get("scheduler"), sampler.get("view_fusion")
    pipeline = load_for_sampling(
        folder, None if scheduler == "as saved" else scheduler, ViewFusionParameters(**fusion) if fusion else None
    )
    condition, *others = cameras("syncdreamer", np.random.default_rng(0), 16, pipeline.image_size)
    # Views that are made from one another are made together, and each takes longer than the one before.
    orbit = pipeline.views_depend_on_each_other
    targets, times = (others, 1) if orbit else (others[:1], _PICTURES)
    picture = torch.zeros(1, 3, pipeline.image_size, pipeline.image_size)
    options = {name: sampler[name] for name in _OPTIONS if name in sampler}
    options["num_inference_steps"] = sampler.get("inference_steps")
    scale = _SCALE if pipeline.needs_scale else None
    seconds = []
    for _ in range(times + 1):
        generator = torch.Generator().manual_seed(0)
        started = time.perf_counter()
        pipeline.sample_views(picture, condition, targets, scale, generator=generator, **options)
        seconds.append((time.perf_counter() - started) / len(targets))
    return round(statistics.median(seconds[1:]), 4)
