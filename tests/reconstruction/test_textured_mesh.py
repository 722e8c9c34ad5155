"""The GLB of a mesh, imported again by Blender."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mesh_support import HALF, SIDES, box, small

from geometry.triangle_mesh import TriangleMesh
from reconstruction.gaussian_mesh import mesh_from_gaussians
from reconstruction.parameters import TextureParameters
from reconstruction.texturing import write_textured
from stage.errors import InputError, StageFailedError
from stage.executor import ExecutorParameters, Job
from stage.executor_local import LocalExecutor

HERE = Path(__file__).resolve().parent
FACES, SIDE = 600, 128


@pytest.fixture(scope="module")
def mesh() -> TriangleMesh:
    torch.set_num_threads(1)
    return mesh_from_gaussians(box(), small(resolution=32, views=16))


@pytest.fixture(scope="module")
def written(mesh, tmp_path_factory):
    """The file, and what was said of it."""
    path = tmp_path_factory.mktemp("glb") / "box.glb"
    return path, write_textured(path, mesh, TextureParameters(faces=FACES, size=SIDE))


@pytest.fixture(scope="module")
def imported(written):
    """What Blender finds in the file."""
    middles = [np.eye(3)[axis] * sign * HALF[axis] for axis, sign in SIDES]
    payload = {"glb": str(written[0]), "points": [point.tolist() for point in middles]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
        (outcome,) = LocalExecutor(ExecutorParameters(workers=1)).run("glb_reader:look_at_glb", [Job("box", payload)])
    assert outcome.ok, outcome.message
    return outcome.result


def test_blender_imports_it_upright_and_in_place(imported):
    """Each of the box's sides has another length."""
    np.testing.assert_allclose(imported["bounds"], [-HALF, HALF], atol=0.02)


def test_it_has_a_texture_and_no_more_faces_than_wanted(imported, written):
    assert imported["textures"] == [[SIDE, SIDE, "PNG"]]
    assert imported["faces"] <= FACES
    assert written[1]["faces"] == imported["faces"]
    assert 0.1 < written[1]["used"] < 1.0


def test_sides_have_their_colours(imported):
    np.testing.assert_allclose(imported["colours"], list(SIDES.values()), atol=0.05)


def test_the_same_mesh_gives_the_same_bytes(mesh, written, tmp_path):
    again = tmp_path / "again.glb"
    write_textured(again, mesh, TextureParameters(faces=FACES, size=SIDE))
    assert again.read_bytes() == written[0].read_bytes()


def test_a_failure_keeps_the_file_of_before(mesh, tmp_path, monkeypatch):
    path = tmp_path / "box.glb"
    path.write_bytes(b"before")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr("reconstruction.texturing._HANDLER", "glb_reader:hang")
    with pytest.raises(StageFailedError, match=r"box\.glb: Blender failed .* took longer than 0\.5 s"):
        write_textured(path, mesh, TextureParameters(faces=FACES, size=SIDE, timeout_seconds=0.5))
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_refused(mesh, tmp_path):
    with pytest.raises(InputError, match=r"box\.obj: a textured mesh is a \.glb file"):
        write_textured(tmp_path / "box.obj", mesh, TextureParameters())
    with pytest.raises(InputError, match="without colours"):
        write_textured(tmp_path / "box.glb", TriangleMesh(mesh.vertices, mesh.faces), TextureParameters())
