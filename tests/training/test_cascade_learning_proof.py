"""The proof that a cascade learns: a tiny Base over-fits a few boxes, and a Refiner that it prompts sees them better."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from proof_support import MODULES, REQUIRED_DB, four_boxes, mean_psnr, sampler, trained, training_pairs, unit

from stage.workspace import Workspace
from systems.cascade_zero123.pipeline import CascadePipeline
from systems.pipelines import load_pipeline
from systems.zero123.conditioning import relative_poses
from systems.zero123.loss import batch_from_pairs

CASCADE: dict[str, Any] = {
    **MODULES,
    "image_encoder": {**MODULES["image_encoder"], "train": False},
    "base": "fixed",
    "prompts": {"inference_steps": 8, "guidance_scale": 1.0, "eta": 0.0},
}


@pytest.mark.slow
def test_a_tiny_cascade_beats_its_own_base(
    render_boxes: Callable[..., Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    workspace = four_boxes(render_boxes, tmp_path / "boxes")
    base = shutil.copytree(trained(workspace, 150, zero123=MODULES), tmp_path / "base")
    section = {**CASCADE, "pretrained": str(base)}
    pipeline = load_pipeline(trained(workspace, 100, system="cascade_zero123", cascade_zero123=section))
    assert isinstance(pipeline, CascadePipeline)

    pairs = training_pairs(workspace)
    batch = batch_from_pairs(pairs.rgba, relative_poses(pairs.c2w))
    made = {"copy the input": unit(batch.condition)}
    for depth in (1, 2, 3):
        made[f"{depth} stages"] = pipeline(batch.condition, batch.pose, depth=depth, **sampler()).images.numpy()
    scores = {name: mean_psnr(images, unit(batch.target)) for name, images in made.items()}
    print(", ".join(f"{name}: {score:.2f} dB" for name, score in scores.items()))
    assert scores["2 stages"] > scores["copy the input"] + REQUIRED_DB
    assert scores["2 stages"] > scores["1 stages"]
