"""Methods on a prior with renders of the true object in the place of a denoiser: they find its outline from views nobody gave.

Sizes and rates are those of `viewforge reconstruct --small`; steps are fewer.
"""

from pathlib import Path
from typing import Any

import known_object
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image, ImageDraw
from prior_support import KnownPrior
from torch import Tensor

from blender_render.camera_sets import View
from geometry.cameras import Intrinsics, invert_rigid, look_at_origin, opencv_from_opengl
from reconstruction.methods.camera_sampling import sized
from reconstruction.methods.input_view import InputView, scaled
from reconstruction.methods.prior_methods import PriorMethod, learning_view, prior_task
from reconstruction.methods.prior_task import PriorTask
from reconstruction.optimisation.loop import optimise
from reconstruction.optimisation.parameters import ReconstructParameters
from reconstruction.optimisation.presets import small
from reconstruction.reconstruct import coloured_mesh, write_files
from stage.parameters import merged

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480), pytest.mark.minutes(2)]
SIZE, SEEN = 32, 64
# Of the pictures in which a mesh is drawn.
FINER = 8
# An oracle knows no guidance, whose scale, 100 for SJC and 7.5 for anchored SDS, is what the published weights of their other
# losses are in balance with. It has no doubt either: at little noise SJC's gradient, (x − x̂)/σ, would grow without bound.
# Anchored SDS is published for scenes, which fill their pictures: of an object background and outline of the input are known.
ORACLE: dict[str, dict[str, Any]] = {
    "sjc": {
        "score_weight": 100.0,
        "near_view_weight": 1e3,
        "depth_smoothness_weight": 1e3,
        "skipped_cleanest": 300,
    },
    "sds": {},
    "anchored_sds": {"background": "white", "mask_weight": 50.0, "learning_rate": 0.01, "sds_weight": 0.75},
}
STEPS = {"sjc": 150, "sds": 96, "anchored-sds": 112}
# Anchored SDS looks from 5° to 80°, as published, and knows nothing of what is seen from below alone.
UNSEEN_DEG = {"sjc": (50.0, -5.0), "sds": (50.0, -5.0), "anchored-sds": (50.0, 10.0)}


@torch.enable_grad()
def true_picture(camera: View) -> tuple[Tensor, Tensor]:
    """On white in [−1, 1], and coverage."""
    rgba = torch.from_numpy(np.asarray(known_object.render(camera)) / 255.0).float().movedim(-1, 0)
    return (rgba[:3] * rgba[3:] + 1.0 - rgba[3:]) * 2.0 - 1.0, rgba[3]


def true_input() -> InputView:
    lens = Intrinsics.from_fov(known_object.FOV, SEEN)
    camera = View(look_at_origin(np.deg2rad(70), 0.0, known_object.RADIUS), lens)
    return InputView(*true_picture(camera), camera)


def parameters_of(method: PriorMethod) -> ReconstructParameters:
    loop = {"steps": STEPS[method], "checkpoint_every": STEPS[method], "preview_every": 0}
    chosen = merged(small(method), {"method": method, "loop": loop, **ORACLE, "mesh": {"resolution": 64}})
    return ReconstructParameters.model_validate(merged(chosen, {"texture": {"faces": 2000, "size": 64}}))


def task_of(method: PriorMethod, parameters: ReconstructParameters) -> PriorTask:
    """In the world that the method learns in, where the oracle renders the object as large as it is there."""
    view = learning_view(method, true_input(), parameters)
    prior = KnownPrior(lambda camera: true_picture(scaled(sized(camera, SIZE), 1 / view.scale))[0], view.camera, SIZE)
    return prior_task(method, "known", prior, view, parameters)


def overlap(shown: Tensor, camera: View) -> float:
    """IoU with the object's coverage, from half on."""
    wanted = true_picture(camera)[1] > 0.5
    return float((shown & wanted).sum() / (shown | wanted).sum())


def opacity(task: PriorTask, camera: View) -> Tensor:
    """What the field covers by half, from a camera in the object's world."""
    white = torch.ones(task.field.channels)
    return task._show(scaled(camera, task.scale), 96, white).opacity > 0.5


def outline(path: Path, camera: View) -> Tensor:
    """The pixels that a GLB's triangles cover by half, as its viewer turns it upright."""
    mesh = trimesh.load(path, force="mesh")
    points = np.stack([mesh.vertices[:, 0], -mesh.vertices[:, 2], mesh.vertices[:, 1]], axis=1)
    w2c, lens = invert_rigid(opencv_from_opengl(camera.c2w)), camera.intrinsics
    local = points @ w2c[:3, :3].T + w2c[:3, 3]
    # Pillow paints whatever a polygon's edge touches, which is half a pixel too much all around.
    pixels = (local[:, :2] / local[:, 2:] * [lens.fx, lens.fy] + [lens.cx, lens.cy]) * FINER - 0.5
    drawn = Image.new("1", (lens.width * FINER, lens.height * FINER))
    for triangle in pixels[mesh.faces]:
        ImageDraw.Draw(drawn).polygon([tuple(corner) for corner in triangle], fill=1)
    return torch.from_numpy(np.array(drawn).reshape(lens.height, FINER, lens.width, FINER).mean(axis=(1, 3)) > 0.5)


def test_the_outline_of_the_true_mesh_is_the_objects(tmp_path: Path) -> None:
    """What is measured below is what a mesh lacks, and not how it is drawn."""
    true = known_object.mesh()
    up = np.stack([true.vertices[:, 0], true.vertices[:, 2], -true.vertices[:, 1]], axis=1)
    trimesh.Trimesh(up, true.faces, process=False).export(tmp_path / "true.glb")
    for camera in known_object.cameras(3, SEEN, elevations_deg=(50.0, -5.0)):
        assert overlap(outline(tmp_path / "true.glb", camera), camera) > 0.97


@torch.no_grad()
@pytest.mark.parametrize("method", ["sjc", "sds", "anchored-sds"])
def test_the_outline_is_recovered_from_unseen_views(method: PriorMethod, tmp_path: Path) -> None:
    """By the field, and by the GLB that it becomes."""
    torch.set_num_threads(1)
    parameters = parameters_of(method)
    task = task_of(method, parameters)
    unseen = known_object.cameras(6, SEEN, elevations_deg=UNSEEN_DEG[method])
    before = np.mean([overlap(opacity(task, camera), camera) for camera in unseen])
    with torch.enable_grad():
        optimise(task, tmp_path, parameters.loop)
    after = [overlap(opacity(task, camera), camera) for camera in unseen]
    print(f"{method}: IoU {np.round(after, 3)} after {STEPS[method]} steps, {before:.3f} before")
    assert before < 0.5
    assert min(after) >= 0.85
    path = tmp_path / "model.glb"
    with torch.enable_grad():
        assert write_files(path, coloured_mesh(task, parameters.mesh), parameters.texture)["open_edges"] == 0
    seen = [overlap(outline(path, camera), camera) for camera in unseen]
    print(f"{method}: IoU {np.round(seen, 3)} of the GLB")
    assert min(seen) >= 0.85
