"""Surfaces of assets: the triangles that are rendered, in the frame that they are rendered in."""

import base64
import json
from pathlib import Path

import igl
import numpy as np
import pytest
from render_support import Rendered, contents, surface_points, tetrahedron

from blender_render.surfaces import export_surfaces, read_surface
from catalog.folder import folder_assets
from catalog.parameters import CatalogParameters
from catalog.table import Asset
from stage.errors import InputError
from stage.executor import ExecutorParameters
from stage.failures import FailureClass
from stage.files import write_text
from stage.packs import object_folder
from stage.workspace import Workspace

EXECUTOR = ExecutorParameters(workers=1)


def written(workspace: Workspace) -> list[Asset]:
    """An OBJ, a mirrored instance with a hidden neighbour as glTF, and a broken file."""
    objects = workspace.root / "inputs"
    write_text(objects / "a tetrahedron.obj", tetrahedron())
    write_text(objects / "b mirrored.gltf", _mirrored())
    write_text(objects / "c broken.obj", "v 0 0 0\n")
    return list(folder_assets(CatalogParameters(path=str(objects)), workspace))


def _mirrored() -> str:
    """One tetrahedron of outward faces that two nodes show: as it is, and mirrored beside it."""
    positions = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype="<f4")
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]], dtype="<u2")
    data = base64.b64encode(positions.tobytes() + faces.tobytes()).decode()
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0, 1]}],
        "nodes": [{"mesh": 0}, {"mesh": 0, "scale": [-1, 1, 1], "translation": [-1, 0, 0]}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 1]},
            {"bufferView": 1, "componentType": 5123, "count": 12, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": 48},
            {"buffer": 0, "byteOffset": 48, "byteLength": 24},
        ],
        "buffers": [{"byteLength": 72, "uri": f"data:application/octet-stream;base64,{data}"}],
    }
    return json.dumps(document)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory):
    """The three files' surfaces: workspace, assets by title, failures."""
    workspace = Workspace(tmp_path_factory.mktemp("surfaces"))
    assets = written(workspace)
    failures = export_surfaces(assets, workspace.scratch / "surfaces", EXECUTOR, workspace)
    return workspace, {asset.title: asset for asset in assets}, failures


def folder(exported, title: str) -> Path:
    workspace, assets, _ = exported
    return object_folder(workspace.scratch / "surfaces", assets[title].uid)


def test_a_tetrahedron_is_its_four_triangles_centred_with_a_longest_side_of_one(exported) -> None:
    surface = read_surface(folder(exported, "a tetrahedron.obj"))
    assert len(surface.faces) == 4
    np.testing.assert_allclose(surface.bounds, [[-0.5] * 3, [0.5] * 3], atol=1e-6)
    assert surface.volume == pytest.approx(1 / 6, abs=1e-6)


def test_mirrored_instances_still_face_outward(exported) -> None:
    surface = read_surface(folder(exported, "b mirrored.gltf"))
    assert len(surface.faces) == 8
    # From −2 to −1 and from 0 to 1, three units brought to one.
    assert surface.volume == pytest.approx(2 / 6 / 27, abs=1e-6)
    np.testing.assert_allclose(surface.bounds[1], [1 / 2, 1 / 6, 1 / 6], atol=1e-6)


def test_a_broken_file_is_a_failure_with_its_class(exported) -> None:
    _, assets, failures = exported
    assert [(o.uid, o.failure) for o in failures] == [(assets["c broken.obj"].uid, FailureClass.EMPTY)]


def test_a_second_export_keeps_what_is_there_and_the_same_input_gives_the_same_bytes(exported, tmp_path) -> None:
    workspace, assets, _ = exported
    place, chosen = folder(exported, "a tetrahedron.obj"), [assets["a tetrahedron.obj"]]
    before, written_at = contents(place), (place / "surface.safetensors").stat().st_mtime_ns
    assert export_surfaces(chosen, workspace.scratch / "surfaces", EXECUTOR, workspace) == []
    assert (place / "surface.safetensors").stat().st_mtime_ns == written_at
    assert export_surfaces(chosen, tmp_path, EXECUTOR, workspace) == []
    assert contents(object_folder(tmp_path, chosen[0].uid)) == before


def test_damage_is_one_line(exported, tmp_path) -> None:
    (tmp_path / "surface.safetensors").write_bytes(b"short")
    with pytest.raises(InputError, match=r"surface\.safetensors cannot be read .*; delete its folder and run again"):
        read_surface(tmp_path)


def test_the_surface_lies_where_the_pictures_show_the_object(procedural: Rendered, tmp_path: Path) -> None:
    asset = procedural.assets[0]
    assert export_surfaces([asset], tmp_path, EXECUTOR, procedural.workspace) == []
    surface = read_surface(object_folder(tmp_path, asset.uid))
    points = surface_points(object_folder(procedural.root, asset.uid))
    assert len(points) > 500
    squared = igl.point_mesh_squared_distance(points, surface.vertices, surface.faces)[0]
    # The depth is stored in thousandths.
    assert np.sqrt(squared).max() < 2e-3
