"""The proof that the whole of it learns: a tiny model over-fits a few boxes and says what they look like from elsewhere."""

from collections.abc import Callable
from pathlib import Path

import pytest
from proof_support import MODULES, REQUIRED_DB, four_boxes, mean_psnr, sampler, trained, training_pairs, unit

from stage.workspace import Workspace
from systems.zero123.conditioning import relative_poses
from systems.zero123.loss import batch_from_pairs
from systems.zero123.pipeline import load_pipeline


@pytest.mark.slow
@pytest.mark.minutes(1)
def test_a_tiny_model_learns_four_boxes(
    render_boxes: Callable[..., Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    workspace = four_boxes(render_boxes, tmp_path / "boxes")
    pipeline = load_pipeline(trained(workspace, 500, zero123=MODULES))
    pairs = training_pairs(workspace)
    batch = batch_from_pairs(pairs.rgba, relative_poses(pairs.c2w))
    images = pipeline(batch.condition, batch.pose, **sampler()).images.numpy()
    copied, sampled = (mean_psnr(made, unit(batch.target)) for made in (unit(batch.condition), images))
    print(f"copy the input: {copied:.2f} dB, sampled: {sampled:.2f} dB")
    assert sampled > copied + REQUIRED_DB
