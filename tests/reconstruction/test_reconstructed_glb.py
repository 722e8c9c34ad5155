"""The GLB of a field, looked at in Blender by the input's camera: it shows the input."""

import os
from pathlib import Path

import known_object
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from blender_render.camera_sets import View
from geometry.cameras import Intrinsics, look_at_origin
from reconstruction.field_mesh import mesh_of
from reconstruction.fields.field import Field, FieldValues, box_about_origin
from reconstruction.optimisation.parameters import FieldMeshParameters
from reconstruction.parameters import TextureParameters
from reconstruction.reconstruct import write_files
from stage.executor import ExecutorParameters, Job
from stage.executor_local import LocalExecutor

HERE = Path(__file__).resolve().parent
SIZE = 64


class KnownField(Field):
    """The known object as a density, half of which lies at its surface, in its parts' colours."""

    def __init__(self) -> None:
        super().__init__(box_about_origin(), 3)
        self.most = nn.Parameter(torch.tensor(100.0))

    def forward(self, points: Tensor) -> FieldValues:
        """Density and colours."""
        found = known_object.distances(points)
        density = self.most * torch.sigmoid(-60.0 * found.amin(dim=-1))
        return FieldValues(density, known_object.COLOURS[found.argmin(dim=-1)])


@pytest.fixture(scope="module")
def camera() -> View:
    """Of an input that shows all three parts."""
    lens = Intrinsics.from_fov(known_object.FOV, SIZE)
    return View(look_at_origin(np.deg2rad(65.0), np.deg2rad(50.0), known_object.RADIUS), lens)


@pytest.fixture(scope="module")
def shown(camera: View, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """What Blender renders of the file, RGBA in [0, 1]."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("glb")
    field = KnownField()
    density = field.density(torch.rand(100_000, 3) * 1.2 - 0.6).detach()
    mean = float(density.mean()) * 1.2**3 / 2.0**3
    mesh = mesh_of(field, FieldMeshParameters(resolution=64, threshold=50.0 / mean))
    write_files(folder / "model.glb", mesh, TextureParameters(faces=4000, size=256))
    payload = {"glb": str(folder / "model.glb"), "picture": str(folder / "seen.png"), "c2w": camera.c2w.tolist()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
        job = Job("model", payload | {"fov": known_object.FOV, "size": SIZE})
        (outcome,) = LocalExecutor(ExecutorParameters(workers=1)).run("glb_reader:photograph_glb", [job])
    assert outcome.ok, outcome.message
    assert sorted(outcome.result["objects"]) == ["CAMERA", "MESH"]
    return np.asarray(Image.open(folder / "seen.png")) / 255.0


def test_its_outline_is_the_inputs(shown: np.ndarray, camera: View) -> None:
    """Neither turned nor mirrored nor scaled nor moved: the object has no symmetry."""
    wanted, seen = np.asarray(known_object.render(camera))[..., 3] > 127, shown[..., 3] > 0.5
    assert (wanted & seen).sum() / (wanted | seen).sum() > 0.95


def test_its_texture_shows_each_part_where_the_input_does(shown: np.ndarray, camera: View) -> None:
    wanted = np.asarray(known_object.render(camera)) / 255.0
    inside = (wanted[..., 3] > 0.99) & (shown[..., 3] > 0.99)

    def part(rgb: np.ndarray) -> np.ndarray:
        """Whose colour it is, however bright."""
        hues, colours = rgb / np.linalg.norm(rgb, axis=-1, keepdims=True), known_object.COLOURS.numpy()
        return (hues @ (colours / np.linalg.norm(colours, axis=1, keepdims=True)).T).argmax(axis=-1)

    parts = part(wanted[inside][:, :3])
    assert set(parts) == {0, 1, 2}
    assert (part(shown[inside][:, :3]) == parts).mean() > 0.95
