"""Real rooms seen from within: no hole in the background, cameras that stand free and look elsewhere, depth that agrees."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_geometry import winding_number, world_triangles
from render_support import QUALITY, Rendered, rgba
from reprojection import interpolation_errors, reprojected, share_in_front, views_and_depths

from blender_render.camera_sets import CameraSet, View
from blender_render.parameters import RenderParameters
from blender_render.protocols import camera_set
from blender_render.render import render
from blender_render.rendered_object import read_record, read_views
from catalog.build import build_catalog
from catalog.folder import folder_assets
from catalog.parameters import CatalogParameters
from catalog.procedural_scene import scene_recipe
from catalog.table import read_table, write_table
from stage.errors import InputError
from stage.executor import ExecutorParameters
from stage.files import write_text
from stage.seeds import derive_seed, generator
from stage.workspace import Workspace

PARAMETERS = RenderParameters(
    protocol="inside",
    views=8,
    resolution=32,
    quality=QUALITY,
    executor=ExecutorParameters(workers=2),
    max_failure_rate=1,
)
_CUBE = "v -1 -1 -1\nv 1 -1 -1\nv 1 1 -1\nv -1 1 -1\nv -1 -1 1\nv 1 -1 1\nv 1 1 1\nv -1 1 1\n"
_CUBE += "f 4 3 2 1\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8\n"


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Two rooms, rendered by the stage with two workers."""
    workspace = Workspace(tmp_path_factory.mktemp("rooms"))
    build_catalog(CatalogParameters(source="scene", objects=2, executor=ExecutorParameters(workers=1)), 0, workspace)
    assert render(PARAMETERS, 0, workspace) == []
    assets = read_table(workspace.catalog / "catalog.parquet")
    return Rendered(workspace, assets, workspace.scratch / "renders", PARAMETERS)


def planned(uid: str) -> CameraSet:
    return camera_set("inside", generator(0, uid, "cameras inside"), PARAMETERS.views, PARAMETERS.resolution)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_cameras_are_upright_near_the_middle_and_look_elsewhere_through_lenses_of_their_own(seed: int) -> None:
    some = camera_set("inside", generator(seed, "room", "cameras"), 12, 64)
    for view, spares in zip(some.views, some.spares, strict=True):
        for c2w in (view.c2w, *spares):
            np.testing.assert_allclose(c2w[:3, :3].T @ c2w[:3, :3], np.eye(3), atol=1e-12)
            assert c2w[2, 0] == pytest.approx(0, abs=1e-12), "the horizon is level"
            assert c2w[2, 1] > 0, "up is up"
            # Within the walls of the narrowest room, and below its ceiling.
            assert np.hypot(*c2w[:2, 3]) < 0.3 + 1e-9
            assert abs(c2w[2, 3]) < 0.13
    assert np.median([angle_to_the_origin(view) for view in some.views]) > 5
    lenses = np.rad2deg([view.intrinsics.fov_x for view in some.views])
    assert len(np.unique(lenses)) == 12
    assert 55 <= lenses.min() < lenses.max() <= 80


def angle_to_the_origin(view: View) -> float:
    """Degrees between where a camera looks and where the origin is."""
    towards = -view.c2w[:3, 3] / np.linalg.norm(view.c2w[:3, 3])
    return float(np.rad2deg(np.arccos(np.clip(-view.c2w[:3, 2] @ towards, -1, 1))))


def test_every_pixel_shows_a_surface_and_none_is_dark(rooms: Rendered) -> None:
    for asset in rooms.assets:
        folder = rooms.folder(asset.title)
        for number, (_, depth) in enumerate(views_and_depths(rooms, asset.title)):
            picture = rgba(folder, number)
            assert (picture[..., 3] == 1).all()
            assert depth.min() > 0.02
            assert depth.max() < np.sqrt(3)
            assert 0.25 < picture[..., :3].mean() < 0.9
            assert picture[..., :3].std() > 0.08, "something is to be seen"


def test_rendered_cameras_are_planned_ones_and_do_not_look_at_the_middle(rooms: Rendered) -> None:
    angles, taken = [], []
    for asset in rooms.assets:
        some = planned(asset.uid)
        for number, view in enumerate(read_views(rooms.folder(asset.title))):
            assert view.intrinsics == some.views[number].intrinsics
            poses = [some.views[number].c2w, *some.spares[number]]
            taken.append([bool(np.allclose(pose, view.c2w)) for pose in poses].index(True))
            angles.append(angle_to_the_origin(view))
    assert np.median(angles) > 10
    assert max(taken) > 0, "some first place is taken, or the search for another is not tried here"


def normalised_triangles(rooms: Rendered) -> Iterator[tuple[str, np.ndarray]]:
    """Each room's title and all triangles of its recipe as it was rendered: centred, its longest side 1."""
    for asset in rooms.assets:
        frame = read_record(rooms.folder(asset.title))["normalisation"]
        recipe = scene_recipe(derive_seed(0, asset.uid, "procedural"))
        triangles = np.concatenate(list(world_triangles(recipe).values()))
        yield asset.title, frame["scale"] * (triangles + np.array(frame["offset"]))


def test_no_camera_stands_in_anything(rooms: Rendered) -> None:
    for title, triangles in normalised_triangles(rooms):
        for view in read_views(rooms.folder(title)):
            assert winding_number(view.c2w[:3, 3], triangles) == pytest.approx(0, abs=1e-3)
            assert np.linalg.norm(triangles - view.c2w[:3, 3], axis=-1).min() > 0.04
        assert winding_number(np.array([0, 0, triangles[..., 2].min() + 1e-3]), triangles) > 0.9, "in the floor"


def test_depth_agrees_between_views(rooms: Rendered) -> None:
    found = list(reprojected(rooms))
    ahead = [(pixels[z > 0.05], z[z > 0.05], depth) for pixels, z, depth in found]
    assert np.mean([share_in_front(*one) for one in ahead if len(one[1])]) < 0.02
    errors = np.concatenate([interpolation_errors(*one, centre=0.5) for one in ahead])
    assert len(errors) > 5000
    assert np.median(np.abs(errors)) < 0.005
    shifted = np.concatenate([interpolation_errors(*one, centre=0.0) for one in ahead])
    assert np.median(np.abs(shifted)) > 2 * np.median(np.abs(errors)), "or this test could not fail"


def test_views_of_a_room_show_much_of_the_same(rooms: Rendered) -> None:
    shares = []
    for pixels, z, depth in reprojected(rooms):
        inside = (z > 0) & (pixels >= 0).all(axis=1) & (pixels < depth.shape[0]).all(axis=1)
        column, row = np.floor(pixels[inside]).astype(int).T
        shares.append((np.abs(depth[row, column] - z[inside]) < 0.03).sum() / len(z))
    assert np.mean(shares) > 0.35
    assert np.mean(np.array(shares) > 0.05) > 0.9


def test_what_is_no_room_is_left_out_with_a_reason(tmp_path: Path) -> None:
    """A solid cube: all that a camera in it sees is the back of a surface."""
    workspace = Workspace(tmp_path)
    write_text(tmp_path / "inputs" / "cube.obj", _CUBE)
    write_table(
        workspace.catalog / "catalog.parquet",
        folder_assets(CatalogParameters(source="folder", path="inputs"), workspace),
    )
    with pytest.raises(InputError, match="no object could be rendered"):
        render(PARAMETERS, 0, workspace)
    ledger = (workspace.scratch / "renders" / "ledger.jsonl").read_text()
    assert '"failure": "blank"' in ledger
    assert "none of the 24 places of view 0 stands free; is this a room?" in ledger
