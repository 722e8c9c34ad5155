"""Objects sampled together against one after the other: `python -m benchmarks.evaluation_batches [--quick]`.

The model of `params.yaml` with random weights, 64² and 8 steps. 15 targets an object fill a processor's batches by
themselves, 3 do not: both are timed with the same objects in groups of 1 and of 8, in turn. The figure is the median ratio
with 3 targets. The pictures are compared first: they differ by rounding alone.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from blender_render.camera_sets import View
from catalog.table import Asset
from evaluation.parameters import EvaluateParameters
from evaluation.protocol import ObjectViews
from evaluation.sampling import load_for_sampling, predict_group
from geometry.cameras import Intrinsics, look_at_origin
from systems.object_pipeline import ObjectPipeline
from systems.zero123.modules import build_modules
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.pipeline import Zero123Pipeline

_SIZE, _GROUP, _GOAL = 64, 8, 1.5
_FEW, _MANY = 3, 15


def made_pipeline(folder: Path) -> ObjectPipeline:
    """The default's, with random weights."""
    values = yaml.safe_load(Path("params.yaml").read_text())["train"]["zero123"]
    m = build_modules(Zero123Parameters.model_validate(values), 0)
    Zero123Pipeline(m.unet, m.cc_projection, m.image_encoder, m.vae, m.scheduler).save_pretrained(folder)
    return load_for_sampling(folder)


def object_views(number: int, targets: int) -> ObjectViews:
    """An object of noise, seen from anywhere."""
    random = np.random.default_rng(number)
    pictures = random.random((targets + 1, _SIZE, _SIZE, 3)).astype(np.float32)
    lens = Intrinsics.from_fov(0.86, _SIZE)
    poses = [look_at_origin(*random.uniform((0.3, 0, 1.5), (2.8, 6.2, 2.2))) for _ in range(targets + 1)]
    uid = f"{number:08x}"
    asset = Asset(uid, "", "", "", "", 0, "", "", "", "", uid, (), "", True, "")
    return ObjectViews(asset, pictures, tuple(View(pose, lens) for pose in poses))


def sampled(pipeline: ObjectPipeline, objects: Sequence[ObjectViews], size: int) -> tuple[float, np.ndarray]:
    """Pictures a second, and the pictures."""
    parameters = EvaluateParameters(inference_steps=8, batch_size=32, objects_per_batch=size)
    start, made = time.perf_counter(), []
    for first in range(0, len(objects), size):
        group = objects[first : first + size]
        made += predict_group(pipeline, group, [None] * len(group), parameters, 0)
    pictures = np.stack([prediction.pictures for prediction in made])
    return pictures.shape[0] * pictures.shape[1] / (time.perf_counter() - start), pictures


def main() -> int:
    """Time both protocols; the exit status."""
    rounds = 1 if "--quick" in sys.argv else 3
    with tempfile.TemporaryDirectory() as folder:
        pipeline = made_pipeline(Path(folder))
        ratios = {targets: [_ratio(pipeline, targets) for _ in range(rounds)] for targets in (_MANY, _FEW)}
    gain = statistics.median(ratios[_FEW])
    print(f"{_MANY} targets: {statistics.median(ratios[_MANY]):.2f} times as fast")
    print(f"evaluation_batches: {gain:.2f} times as fast with {_FEW} targets (goal {_GOAL})")
    return int(gain < _GOAL)


def _ratio(pipeline: ObjectPipeline, targets: int) -> float:
    objects = [object_views(number, targets) for number in range(_GROUP)]
    (slow, alone), (fast, together) = (sampled(pipeline, objects, size) for size in (1, _GROUP))
    assert np.abs(alone - together).max() < 1e-4
    print(f"{targets} targets: {slow:.1f} pictures/s one by one, {fast:.1f} in groups of {_GROUP}")
    return fast / slow


if __name__ == "__main__":
    sys.exit(main())
