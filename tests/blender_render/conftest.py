"""Renderings that several tests look at, each made once: composed objects, real assets, good and bad neighbours."""

from pathlib import Path

import pytest
from render_support import SMALL, Rendered, glb, tetrahedron, write_see_through

from blender_render.render import render
from catalog.build import build_catalog
from catalog.folder import folder_assets
from catalog.gso import gso_assets
from catalog.parameters import CatalogParameters
from catalog.table import read_table, write_table
from stage.executor import ExecutorParameters
from stage.files import write_bytes, write_text
from stage.workspace import Workspace


@pytest.fixture(scope="session")
def procedural(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Three composed objects, rendered by the stage with two workers."""
    workspace = Workspace(tmp_path_factory.mktemp("procedural"))
    build_catalog(CatalogParameters(objects=3, executor=ExecutorParameters(workers=1)), 0, workspace)
    assert render(SMALL, 0, workspace) == []
    assets = read_table(workspace.catalog / "catalog.parquet")
    return Rendered(workspace, assets, workspace.scratch / "renders")


@pytest.fixture(scope="session")
def real(shared_assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """All real assets, scanned objects and broken files, rendered together."""
    workspace = Workspace(tmp_path_factory.mktemp("real"))
    assets = [
        *folder_assets(CatalogParameters(path=str(shared_assets / "objects")), workspace),
        *folder_assets(CatalogParameters(path=str(shared_assets / "bad")), workspace),
        *gso_assets(CatalogParameters(path=str(shared_assets / "gso")), workspace),
    ]
    write_table(workspace.catalog / "catalog.parquet", assets)
    render(SMALL, 0, workspace)
    return Rendered(workspace, assets, workspace.scratch / "renders")


@pytest.fixture(scope="session")
def neighbours(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Good objects among bad ones, all written by hand."""
    workspace = Workspace(tmp_path_factory.mktemp("neighbours"))
    objects = workspace.root / "inputs"
    for number in range(3):
        write_text(objects / f"good {number}.obj", tetrahedron(f"# {number}\n"))
    write_text(objects / "stray vertex.ply", _stray_vertex())
    write_text(objects / "two colours.ply", _two_colours())
    write_see_through(objects, "half transparent", 0.3)
    write_see_through(objects, "invisible", 0.0)
    write_bytes(objects / "no bytes.glb", b"")
    write_text(objects / "error page.glb", "<!DOCTYPE html><title>404</title>")
    write_bytes(objects / "cut short.glb", glb(b'{"asset":{"version":"2.0"}}', length=4000))
    write_text(objects / "bad index.gltf", _bad_index())
    write_text(
        objects / "outside.gltf", '{"asset":{"version":"2.0"},"buffers":[{"uri":"../secret.bin","byteLength":4}]}'
    )
    write_text(objects / "not a number.obj", tetrahedron().replace("v 0 1 0", "v 0 nan 0"))
    write_text(objects / "no extent.obj", "v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n")
    write_text(objects / "beyond measure.obj", tetrahedron().replace("v 1 0 0", "v 1e12 0 0"))
    write_text(objects / "no faces.obj", "v 0 0 0\nv 1 0 0\n")
    write_text(objects / "gone.obj", tetrahedron("# gone\n"))
    write_text(objects / "changed.obj", tetrahedron("# before\n"))
    assets = folder_assets(CatalogParameters(source="folder", path="inputs"), workspace)
    write_table(workspace.catalog / "catalog.parquet", assets)
    (objects / "gone.obj").unlink()
    write_text(objects / "changed.obj", tetrahedron("# after\n"))
    render(SMALL, 0, workspace)
    return Rendered(workspace, assets, workspace.scratch / "renders")


def _ply(properties: str, vertices: list[str], faces: list[str]) -> str:
    header = f"ply\nformat ascii 1.0\nelement vertex {len(vertices)}\n{properties}element face {len(faces)}\n"
    body = "\n".join([*vertices, *faces])
    return f"{header}property list uchar int vertex_indices\nend_header\n{body}\n"


_PLACE = "property float x\nproperty float y\nproperty float z\n"
_COLOUR = "property uchar red\nproperty uchar green\nproperty uchar blue\n"


def _stray_vertex() -> str:
    corners = ["0 0 0", "1 0 0", "0 1 0", "0 0 1", "50 50 50"]
    return _ply(_PLACE, corners, ["3 0 2 1", "3 0 1 3", "3 1 2 3", "3 0 3 2"])


def _two_colours() -> str:
    """A standing square whose lower half is red and whose upper half is blue."""
    low, high = "255 0 0", "0 0 255"
    corners = [f"0 {y} {z} {low if z < 0 else high}" for z in (-1, -0.01, 0.01, 1) for y in (-1, 1)]
    return _ply(_PLACE + _COLOUR, corners, ["4 0 1 3 2", "4 4 5 7 6"])


def _bad_index() -> str:
    return (
        '{"asset":{"version":"2.0"},"scene":0,"scenes":[{"nodes":[0]}],"nodes":[{"mesh":0}],'
        '"meshes":[{"primitives":[{"attributes":{"POSITION":99}}]}]}'
    )
