"""`viewforge reconstruct` in a workspace: its section of params.yaml, and the run that it leaves in the workspace's MLflow."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow.tracking import MlflowClient
from PIL import Image

from blender_render.camera_sets import View
from blender_render.rendered_object import write_cameras
from geometry.cameras import Intrinsics, look_at_origin
from stage.packs import object_folder

SIZE = 16
PARAMETERS = {
    "seed": 3,
    "reconstruct": {
        "method": "neus",
        "small": True,
        "loop": {"steps": 3, "report_every": 1},
        "neus": {"rays": 32, "foreground_rays": 8, "layers": 2, "width": 16},
        "mesh": {"resolution": 16},
        "texture": {"faces": 100, "size": 32},
        "tracking": {"trackers": ["mlflow"], "system_metrics_seconds": None, "patience_seconds": 120},
    },
}


def write_ball(folder: Path) -> None:
    """Four views of a grey ball from the horizon."""
    folder.mkdir(parents=True)
    across = np.arange(SIZE) + 0.5 - SIZE / 2
    rgba = np.full((SIZE, SIZE, 4), 128, np.uint8)
    rgba[..., 3] = 255 * (across[:, None] ** 2 + across**2 < (0.3 * SIZE) ** 2)
    cameras = [View(look_at_origin(np.pi / 2, n * np.pi / 2, 1.5), Intrinsics.from_fov(0.857, SIZE)) for n in range(4)]
    for number in range(4):
        Image.fromarray(rgba).save(folder / f"{number:03d}.png")
    write_cameras(folder, cameras, ())


@pytest.mark.slow
def test_a_command_without_options_does_as_the_workspace_says_and_is_a_run(viewforge, tmp_path: Path) -> None:
    write_ball(object_folder(tmp_path / "scratch" / "renders", "ball"))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMETERS))
    result = viewforge("reconstruct", "ball", "--frames", "2", "--size", "16", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "reconstruct: neus of ball, 3 steps" in result.stdout
    client = MlflowClient(f"sqlite:///{tmp_path.resolve() / 'mlflow' / 'mlflow.db'}")
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "reconstruct neus ball")
    assert run.data.params["reconstruct.loop.seed"] == "3"
    assert {"reconstruct/loss", "reconstruct/colour", "reconstruct/eikonal"} <= set(run.data.metrics)
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"images", "model.glb", "model.ply", "model.mp4", "model.png"}

    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"reconstruct": {"metod": "sjc"}}))
    mistaken = viewforge("reconstruct", "ball", cwd=tmp_path)
    assert mistaken.returncode == 1
    assert "params.yaml: reconstruct.metod; did you mean method?" in mistaken.stderr
