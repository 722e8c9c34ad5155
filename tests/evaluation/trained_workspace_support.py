"""A workspace with everything that the stage reads: two rendered objects, one held out, their shards, and a tiny pipeline."""

from pathlib import Path

from tiny_pipelines_support import save_tiny_pipeline

from blender_render.parameters import QualityParameters, RenderParameters
from blender_render.render import render
from catalog.build import build_catalog
from catalog.parameters import CatalogParameters
from catalog.split import SplitParameters
from evaluation.parameters import EvaluateParameters
from stage.executor import ExecutorParameters
from stage.workspace import Workspace
from training.data.writer import ShardParameters, write_shards

EXECUTOR = ExecutorParameters(workers=1)
QUALITY = QualityParameters(samples=1, denoise=False, device="cpu")
PARAMETERS = EvaluateParameters(
    views=4, inference_steps=2, training_objects=1, quality=QUALITY, executor=EXECUTOR, batch_size=2
)
# Under this seed one of two objects falls into each half.
SEED = 0


def make_trained_workspace(folder: Path) -> Workspace:
    """Two rendered procedural objects of 16 pixels, one held out, in shards, with a pipeline."""
    workspace = Workspace(folder)
    split = SplitParameters(val=0.0, test=0.5)
    build_catalog(CatalogParameters(objects=2, split=split, executor=EXECUTOR), SEED, workspace)
    render(RenderParameters(views=4, resolution=16, quality=QUALITY, executor=EXECUTOR), SEED, workspace)
    write_shards(ShardParameters(), workspace)
    save_tiny_pipeline(workspace.model)
    return workspace
