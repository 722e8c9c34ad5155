"""What becomes of the things that assets bring besides surfaces: lights, motion, hidden parts, textures from elsewhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gltf_support import gltf, requiring
from render_support import SMALL, Rendered, rgba, tetrahedron

from blender_render.farm import Farm
from blender_render.parameters import AssetParameters
from blender_render.render import render
from blender_render.rendered_object import read_record
from catalog.folder import folder_assets
from catalog.parameters import CatalogParameters
from catalog.table import write_table
from stage.executor import ExecutorParameters
from stage.files import write_bytes, write_text
from stage.workspace import Workspace

HERE = Path(__file__).resolve().parent
PARAMETERS = SMALL.model_copy(update={"executor": ExecutorParameters(workers=2, timeout_seconds=60.0, attempts=1)})
ELSEWHERE = {
    "absolute": "{outside}/secret.png",
    "upwards": "../secret.png",
    "backwards": "..\\secret.png",
    "share": "\\\\server\\share\\secret.png",
    "address": "http://127.0.0.1:9/secret.png",
    "link": "link.png",
    "after options": "-s 1 1 1 -clamp on ../secret.png",
}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Assets that Blender wrote and some by hand, rendered; the texture they should not read blocks whoever opens it."""
    workspace = Workspace(tmp_path_factory.mktemp("outside") / "workspace")
    objects = workspace.root / "inputs"
    objects.mkdir(parents=True)
    subprocess.run([sys.executable, HERE / "compose_assets.py", objects], check=True, capture_output=True)
    secret = workspace.root / "secret.png"
    secret.unlink()
    os.mkfifo(secret)
    (objects / "link.png").symlink_to(secret)
    for name, reference in ELSEWHERE.items():
        write_text(objects / f"{name}.obj", f"mtllib {name}.mtl\n" + tetrahedron(f"# {name}\nusemtl m\n"))
        texture = reference.format(outside=workspace.root)
        write_text(objects / f"{name}.mtl", f"newmtl m\nKd 1 0 0\nmap_Kd {texture}\n")
    for name, document in _hidden_nodes().items():
        write_bytes(objects / f"{name}.gltf", document)
    assets = folder_assets(CatalogParameters(source="folder", path="inputs"), workspace)
    write_table(workspace.catalog / "catalog.parquet", assets)
    render(PARAMETERS, 0, workspace)
    return Rendered(workspace, assets, workspace.scratch / "renders")


def _hidden_nodes() -> dict[str, bytes]:
    """Three nodes of which the second is invisible and the third its child; the extension used, or required."""
    unseen = {"mesh": 0, "translation": [9, 0, 0], "extensions": {"KHR_node_visibility": {"visible": False}}}
    nodes = [{"mesh": 0}, {**unseen, "children": [2]}, {"mesh": 0, "translation": [9, 0, 0]}]
    values = {"scenes": [{"nodes": [0, 1]}], "nodes": nodes}
    other_scene = {"scenes": [{"nodes": [0]}, {"nodes": [1]}], "nodes": [{"mesh": 0}, nodes[2]]}
    return {
        "hidden, used": gltf(**values, extensionsUsed=["KHR_node_visibility"]),
        "hidden, required": gltf(**values, **requiring("KHR_node_visibility")),
        "in another scene": gltf(**other_scene),
    }


def record(rendered: Rendered, title: str) -> dict:
    return read_record(rendered.folder(title))


def opaque(rendered: Rendered, title: str) -> np.ndarray:
    """RGB of the opaque pixels of all views."""
    views = np.concatenate([rgba(rendered.folder(title), view).reshape(-1, 4) for view in range(SMALL.views)])
    return views[views[:, 3] > 0.99][:, :3]


def test_every_one_is_rendered(imported: Rendered) -> None:
    table = pd.read_parquet(imported.workspace.renders / "objects.parquet").set_index("title")
    assert table[~table["complete"]]["message"].to_dict() == {}


@pytest.mark.parametrize(("title", "middle"), [("rigged.glb", 0.75), ("rigged.fbx", 1.5)])
def test_what_moves_stands_at_rest(title: str, middle: float, imported: Rendered) -> None:
    """The post is four high and upright, which it is in no frame; the box beside it is where its animation starts.

    Blender's FBX exporter lets the box's animation move the skeleton too.
    """
    found = record(imported, title)
    assert found["normalisation"]["scale"] == pytest.approx(1 / 4, abs=1e-4)
    assert found["normalisation"]["offset"] == pytest.approx([-middle, 0, -2], abs=1e-3)
    animated, rigged = found["warnings"]
    assert animated.startswith("animated: ")
    assert "the first frame (1) is rendered" in animated
    assert rigged == "rigged: 1 skeletons, rendered in their rest pose"


@pytest.mark.parametrize("title", ["lit.glb", "lit.fbx"])
def test_lights_of_an_asset_are_gone(title: str, imported: Rendered) -> None:
    assert opaque(imported, title).max() < 0.95, "the asset's sun would burn it out"


def test_what_hung_on_a_light_is_where_it_was(imported: Rendered) -> None:
    found = record(imported, "lit.glb")
    assert found["statistics"]["meshes"] == 2
    assert found["normalisation"]["scale"] == pytest.approx(1 / 4, abs=1e-4)
    assert found["normalisation"]["offset"] == pytest.approx([0, 0, -1.5], abs=1e-3)


@pytest.mark.parametrize("title", ["roots.glb", "roots.fbx"])
def test_several_roots_keep_their_arrangement(title: str, imported: Rendered) -> None:
    found = record(imported, title)
    assert found["normalisation"]["scale"] == pytest.approx(1 / 4, abs=1e-4)
    assert found["normalisation"]["offset"] == pytest.approx([-1.5, 0, 0], abs=1e-3)


@pytest.mark.parametrize(
    "title", ["hidden.fbx", "hidden, used.gltf", "hidden, required.gltf", "in another scene.gltf"]
)
def test_hidden_objects_stay_hidden(title: str, imported: Rendered) -> None:
    """They stand nine away, so that the rest would be a ninth of the size and a tenth of the picture."""
    found = record(imported, title)
    assert found["statistics"]["meshes"] == 1
    assert found["normalisation"]["scale"] == pytest.approx(1, abs=1e-4)
    assert min(found["coverage"]) > 0.05


def test_a_transparent_material_keeps_its_alpha(imported: Rendered) -> None:
    """Two walls of 0.3 behind one another: 1 − 0.7²."""
    alpha = np.concatenate([rgba(imported.folder("see through.glb"), view)[..., 3] for view in range(SMALL.views)])
    assert np.median(alpha[alpha > 0.05]) == pytest.approx(0.51, abs=0.05)


@pytest.mark.parametrize("title", [*(f"{name}.obj" for name in ELSEWHERE), "textured.fbx"])
def test_a_texture_elsewhere_is_not_even_opened_and_counts_as_missing(title: str, imported: Rendered) -> None:
    name = "link.png" if title == "link.obj" else "secret.png"
    found = record(imported, title)
    assert found["missing_textures"] == {name: 1}
    assert found["warnings"] == [f"missing texture: {name}"]
    assert np.ptp(opaque(imported, title), axis=1).max() < 0.2, "no magenta"


def test_a_texture_beside_the_asset_stands_in_for_one_of_that_name_elsewhere(
    imported: Rendered, shared_assets: Path, tmp_path: Path
) -> None:
    """As when the path is that of the machine on which somebody made the asset."""
    picture = (shared_assets / "objects" / "spot").glob("*.png")
    write_bytes(tmp_path / "inputs" / "skin.png", next(picture).read_bytes())
    write_text(tmp_path / "inputs" / "own.obj", "mtllib own.mtl\n" + tetrahedron("usemtl m\n"))
    write_text(tmp_path / "inputs" / "own.mtl", "newmtl m\nmap_Kd C:\\Users\\artist\\skin.png\n")
    workspace = Workspace(tmp_path)
    assets = folder_assets(CatalogParameters(source="folder", path="inputs"), workspace)
    assert Farm(tmp_path / "renders", PARAMETERS, 0, workspace).render(assets) == []
    assert read_record(Rendered(workspace, assets, tmp_path / "renders").folder("own.obj"))["missing_textures"] == {}


def test_assets_that_lack_textures_can_be_excluded(imported: Rendered, tmp_path: Path) -> None:
    strict = PARAMETERS.model_copy(update={"assets": AssetParameters(missing_textures="exclude")})
    chosen = [imported.asset("upwards.obj"), imported.asset("roots.glb")]
    (failed,) = Farm(tmp_path, strict, 0, imported.workspace).render(chosen)
    assert (failed.uid, str(failed.failure)) == (chosen[0].uid, "missing-texture")
    assert failed.message == "missing textures: secret.png"
    row = json.loads((tmp_path / "ledger.jsonl").read_text().splitlines()[0])
    assert row["attempt"] == 1
