"""The proof that ZeroNVS learns: a tiny model over-fits a few boxes, told of whole cameras in place of places on a sphere."""

from collections.abc import Callable
from pathlib import Path

import pytest
from proof_support import MODULES, REQUIRED_DB, four_boxes, mean_psnr, sampler, trained, training_pairs, unit

from stage.workspace import Workspace
from systems.pipelines import load_pipeline
from systems.zero123.conditioning import relative_poses
from systems.zero123.loss import batch_from_pairs
from systems.zeronvs.conditioning import fov_of

# Nothing measures the scale of these boxes, whose cameras are 1.5 to 2.2 away.
SECTION = {**MODULES, "mode": "7dof_unscaled"}


@pytest.mark.slow
def test_a_tiny_model_learns_four_boxes_by_their_cameras(
    render_boxes: Callable[..., Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    workspace = four_boxes(render_boxes, tmp_path / "boxes")
    pipeline = load_pipeline(trained(workspace, 240, system="zeronvs", zeronvs=SECTION))
    pairs = training_pairs(workspace)
    pictures = batch_from_pairs(pairs.rgba, relative_poses(pairs.c2w))
    fov = [fov_of(lens, *pairs.rgba.shape[3:1:-1]) for lens in pairs.intrinsics[:, 0].numpy()]
    images = pipeline(pictures.condition, pairs.c2w[:, 0], pairs.c2w[:, 1], fov=fov, **sampler()).images.numpy()
    copied, sampled = (mean_psnr(made, unit(pictures.target)) for made in (unit(pictures.condition), images))
    print(f"copy the input: {copied:.2f} dB, sampled: {sampled:.2f} dB")
    assert sampled > copied + REQUIRED_DB
