"""The proof that ZeroNVS learns: a tiny model over-fits a few boxes, told of whole cameras in place of places on a sphere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_learning_proof import REQUIRED_DB, TRAIN, psnr

from stage.workspace import Workspace
from systems.pipelines import load_pipeline
from systems.zero123.conditioning import relative_poses
from systems.zero123.loss import batch_from_pairs
from systems.zeronvs.conditioning import fov_of
from training.data.batches import ViewChoice
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.data.writer import ShardParameters, write_shards
from training.parameters import TrainParameters
from training.run import train_here

# Nothing measures the scale of these boxes, whose cameras are 1.5 to 2.2 away.
SECTION: dict[str, Any] = {
    **{name: value for name, value in TRAIN.items() if name != "zero123"},
    "steps": 300,
    "checkpoint_every": 300,
    "system": "zeronvs",
    "zeronvs": {**TRAIN["zero123"], "mode": "7dof_unscaled"},
}


@pytest.mark.slow
def test_a_tiny_model_learns_four_boxes_by_their_cameras(
    render_boxes: Callable[..., Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = render_boxes(tmp_path / "boxes", views=4, train=4)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write_shards(ShardParameters(), workspace)
    train_here(TrainParameters.model_validate(SECTION), 0, workspace)

    plan = Plan((Mixed("boxes", 4, draws=12),), batch_size=48, seed=99)
    pairs = next(iter(PlannedLoader(plan, {"boxes": ShardReader(workspace.shards, "train")}, ViewChoice(drawn=2))))
    pictures = batch_from_pairs(pairs.rgba, relative_poses(pairs.c2w))
    images = load_pipeline(workspace.model)(
        pictures.condition,
        pairs.c2w[:, 0],
        pairs.c2w[:, 1],
        fov=[fov_of(lens, *pairs.rgba.shape[3:1:-1]) for lens in pairs.intrinsics[:, 0].numpy()],
        guidance_scale=1.0,
        num_inference_steps=10,
        eta=0.0,
        generator=torch.Generator().manual_seed(0),
    ).images.numpy()
    condition, target = ((views.numpy() + 1) / 2 for views in (pictures.condition, pictures.target))
    copied, sampled = psnr(condition, target), psnr(images, target)
    print(f"copy the input: {copied:.2f} dB, sampled: {sampled:.2f} dB")
    assert sampled > copied + REQUIRED_DB
