"""Camera sets against numbers worked out by hand from what each system published."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from render_support import QUALITY, tetrahedron

from blender_render.camera_sets import CameraSet, View
from blender_render.farm import Farm
from blender_render.parameters import RenderParameters
from blender_render.protocols import PROTOCOLS, camera_set
from blender_render.rendered_object import read_record, read_views
from catalog.folder import folder_assets
from catalog.parameters import CatalogParameters
from geometry.cameras import project
from stage.errors import ParameterError
from stage.executor import ExecutorParameters
from stage.files import write_text
from stage.packs import object_folder
from stage.seeds import generator
from stage.workspace import Workspace

# A number of views that each protocol has, and how many of them are inputs.
COUNTS = {
    "zero123": (12, 0),
    "syncdreamer": (16, 1),
    "syncdreamer_training": (32, 16),
    "six_views": (6, 0),
    "zero123plus": (7, 1),
    "zero123plus_v1_1": (7, 1),
    "viewfusion360": (36, 1),
    "viewfusion_free": (12, 1),
    "lgm": (104, 4),
    "zero_1_to_g": (16, 1),
    "zero_1_to_g_lvis": (6, 0),
    "zero_1_to_g_lvis_early": (6, 0),
    "zero_1_to_g_lara": (6, 0),
    "zero_1_to_g_training": (56, 1),
    "zero_1_to_g_lvis_training": (56, 1),
    "hammersley": (24, 0),
    "gso_free": (17, 1),
    "inside": (12, 0),
}
# What looks across a room from within does not look at its middle.
AROUND = sorted(set(COUNTS) - {"inside"})
# Where a ball of the object's longest side, and where its whole bounding sphere, is promised to be inside every picture.
WHOLE_SPHERE = ("hammersley",)


def made(protocol: str, seed: int = 0) -> CameraSet:
    return camera_set(protocol, generator(seed, "object", "cameras"), COUNTS[protocol][0], 64)


def spherical(some: tuple[View, ...]) -> np.ndarray:
    """Elevation and azimuth in degrees and radius of each view, from its camera's centre alone."""
    x, y, z = np.array([view.c2w[:3, 3] for view in some]).T
    radius = np.sqrt(x * x + y * y + z * z)
    return np.stack([np.rad2deg(np.arcsin(z / radius)), np.rad2deg(np.arctan2(y, x)) % 360, radius], axis=1)


def fov(some: tuple[View, ...]) -> np.ndarray:
    """Full field of view in degrees from focal length and width in pixels."""
    return np.array([np.rad2deg(2 * np.arctan(v.intrinsics.width / 2 / v.intrinsics.fx)) for v in some])


def test_every_protocol_is_tested_here() -> None:
    assert sorted(COUNTS) == sorted(PROTOCOLS)


@pytest.mark.parametrize("protocol", AROUND)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_cameras_are_rigid_and_look_at_the_origin_upright(protocol: str, seed: int) -> None:
    found = made(protocol, seed)
    assert len(found.views) == COUNTS[protocol][0]
    for view in found.views:
        rotation, position = view.c2w[:3, :3], view.c2w[:3, 3]
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)
        np.testing.assert_allclose(rotation[:, 2], position / np.linalg.norm(position), atol=1e-12)
        assert rotation[2, 0] == pytest.approx(0, abs=1e-12), "the horizon is level"
        assert rotation[2, 1] >= 0, "up is up"
        pixel, depth = project(np.zeros((1, 3)), view.c2w, view.intrinsics)
        np.testing.assert_allclose(pixel, [[32, 32]], atol=1e-9)
        assert depth > 0.5 * np.sqrt(3), "outside the object's bounding sphere"


@pytest.mark.parametrize("protocol", sorted(COUNTS))
def test_views_derive_from_the_seed_alone(protocol: str) -> None:
    first, again, other = made(protocol), made(protocol), made(protocol, 1)
    assert all(np.array_equal(a.c2w, b.c2w) for a, b in zip(first.views, again.views, strict=True))
    random = {"zero123", "syncdreamer_training", "zero123plus", "zero123plus_v1_1", "hammersley", "gso_free", "inside"}
    random |= {"zero_1_to_g_training", "zero_1_to_g_lvis_training", "viewfusion_free"}
    changed = any(not np.array_equal(a.c2w, b.c2w) for a, b in zip(first.views, other.views, strict=True))
    assert changed == (protocol in random)


@pytest.mark.parametrize("protocol", sorted(COUNTS))
def test_inputs_stand_first_and_are_no_targets(protocol: str) -> None:
    found = made(protocol)
    assert len(found.inputs) == COUNTS[protocol][1]
    assert found.views[: len(found.inputs)] == list(found.inputs)
    assert {id(view) for view in found.inputs}.isdisjoint(id(view) for view in found.targets)


def test_zero123plus_is_version_1_2() -> None:
    """Azimuths from the input's, elevations absolute: 20, −10; 4.0 at FOV 30° for a longest side of 2."""
    found = made("zero123plus")
    elevation, azimuth, radius = spherical(found.targets).T
    np.testing.assert_allclose(elevation, [20, -10, 20, -10, 20, -10])
    np.testing.assert_allclose(azimuth, [30, 90, 150, 210, 270, 330])
    np.testing.assert_allclose(radius, 2.0)
    np.testing.assert_allclose(fov(found.views), 30.0)
    ((elevation, azimuth, radius),) = spherical(found.inputs)
    assert -10 <= elevation <= 40
    assert (azimuth, radius) == pytest.approx((0, 2))


def test_zero123plus_version_1_1_looks_from_higher_and_lower() -> None:
    found = made("zero123plus_v1_1")
    elevation, azimuth, radius = spherical(found.targets).T
    np.testing.assert_allclose(elevation, [30, -20, 30, -20, 30, -20])
    np.testing.assert_allclose(azimuth, [30, 90, 150, 210, 270, 330])
    np.testing.assert_allclose(radius, 1.5)
    np.testing.assert_allclose(fov(found.views), 49.1343, atol=1e-4)


@pytest.mark.parametrize(("protocol", "degrees"), [("zero_1_to_g_lvis", 60.0), ("zero_1_to_g_lvis_early", 47.1)])
def test_zero_1_to_g_looks_at_lvis_from_the_six_views_through_another_lens(protocol: str, degrees: float) -> None:
    found = made(protocol)
    np.testing.assert_allclose(spherical(found.targets), spherical(made("six_views").targets))
    np.testing.assert_allclose(fov(found.views), degrees)


@pytest.mark.parametrize(
    ("protocol", "layout", "degrees"),
    [("zero_1_to_g_training", "six_views", 49.1343), ("zero_1_to_g_lvis_training", "zero_1_to_g_lvis", 60.0)],
)
def test_zero_1_to_g_trains_on_an_input_the_splatter_views_and_random_ones(
    protocol: str, layout: str, degrees: float
) -> None:
    found = made(protocol)
    ((elevation, azimuth, radius),) = spherical(found.inputs)
    assert -10 <= elevation <= 40
    assert (azimuth, radius) == pytest.approx((0, 1.5))
    for view, splatter in zip(found.targets[:6], made(layout).targets, strict=True):
        np.testing.assert_array_equal(view.c2w, splatter.c2w)
        assert view.intrinsics == splatter.intrinsics
    others = spherical(found.targets[6:])
    assert others[:, 2].min() >= 1.5
    assert others[:, 2].max() <= 2.2
    assert others[:, 0].min() < -45 < 45 < others[:, 0].max()
    assert {int(azimuth // 90) for azimuth in others[:, 1]} == {0, 1, 2, 3}
    np.testing.assert_allclose(fov(found.views), degrees, atol=1e-4)


def test_inputs_of_zero_1_to_gs_training_have_the_elevations_of_zero123plus() -> None:
    for seed in range(5):
        given = [made(protocol, seed).inputs[0] for protocol in ("zero_1_to_g_training", "zero123plus_v1_1")]
        np.testing.assert_array_equal(given[0].c2w, given[1].c2w)


def test_the_layout_on_laras_data_has_four_sides_and_two_beside_the_first() -> None:
    elevation, azimuth, radius = spherical(made("zero_1_to_g_lara").targets).T
    assert np.ptp(elevation) == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(azimuth, [0, 90, 180, 270, 30, 330], atol=1e-9)
    np.testing.assert_allclose(fov(made("zero_1_to_g_lara").views), 39.6)
    np.testing.assert_allclose(radius * np.sin(np.deg2rad(19.8)), 0.5 * np.sqrt(3))


def test_a_cube_is_whole_in_every_picture_of_the_layout_on_laras_data() -> None:
    corners = np.array(np.meshgrid(*[(-0.5, 0.5)] * 3)).reshape(3, -1).T
    for view in made("zero_1_to_g_lara").views:
        pixels, _ = project(corners, view.c2w, view.intrinsics)
        assert pixels.min() > 0
        assert pixels.max() < 64


def test_syncdreamer_targets_are_a_ring_and_its_inputs_stand_above_or_below_them() -> None:
    ring = spherical(made("syncdreamer").views).T
    np.testing.assert_allclose(ring[0], 30)
    np.testing.assert_allclose(ring[1], np.arange(16) * 22.5, atol=1e-9)
    np.testing.assert_allclose(ring[2], 1.5)
    training = made("syncdreamer_training")
    np.testing.assert_allclose(spherical(training.targets).T, ring, atol=1e-9)
    elevation, azimuth, radius = spherical(training.inputs).T
    np.testing.assert_allclose(azimuth, ring[1], atol=1e-9)
    np.testing.assert_allclose(radius, 1.5)
    assert elevation.min() >= -10
    assert elevation.max() <= 40
    assert np.ptp(elevation) > 20


def test_viewfusion_goes_round_in_steps_of_ten_degrees_from_the_input() -> None:
    elevation, azimuth, radius = spherical(made("viewfusion360").views).T
    np.testing.assert_allclose(azimuth, np.arange(36) * 10, atol=1e-9)
    np.testing.assert_allclose(elevation, 30)
    np.testing.assert_allclose(radius, 1.5)


def test_viewfusions_free_renders_look_down_from_anywhere_in_a_low_shell() -> None:
    found = camera_set("viewfusion_free", generator(0, "object", "cameras"), 400, 64)
    elevation, azimuth, radius = spherical(found.views).T
    assert (len(found.inputs), len(found.targets)) == (1, 399)
    for values, low, high in ((elevation, 0, 30), (azimuth % 360, 0, 360), (radius, 1.5, 2.2)):
        share = (values - low) / (high - low)
        assert share.min() >= 0
        assert share.max() <= 1
        # Uniform: the standard error of the mean of 400 is 0.014.
        assert share.mean() == pytest.approx(0.5, abs=0.06)


def test_lgm_is_four_inputs_on_the_horizon_and_a_spiral_from_top_to_bottom() -> None:
    found = made("lgm")
    elevation, azimuth, radius = spherical(found.inputs).T
    np.testing.assert_allclose(elevation, 0, atol=1e-9)
    np.testing.assert_allclose(azimuth, [0, 90, 180, 270], atol=1e-9)
    elevation, azimuth, radius = spherical(found.targets).T
    np.testing.assert_allclose(elevation, 90 - 1.8 * (np.arange(100) + 0.5), atol=1e-6)
    np.testing.assert_allclose(np.diff(np.unwrap(np.deg2rad(azimuth))), np.deg2rad(18), atol=1e-6)
    np.testing.assert_allclose(radius, 1.5)
    np.testing.assert_allclose(fov(found.views), 49.1343, atol=1e-4)


def test_zero_1_to_g_is_evaluated_on_the_horizon() -> None:
    elevation, azimuth, radius = spherical(made("zero_1_to_g").views).T
    np.testing.assert_allclose(elevation, 0, atol=1e-9)
    np.testing.assert_allclose(azimuth, np.arange(16) * 22.5, atol=1e-9)
    np.testing.assert_allclose(radius, 1.3)
    np.testing.assert_allclose(fov(made("zero_1_to_g").views), 39.6)


def test_hammersley_is_even_over_the_sphere_and_fills_every_picture_alike() -> None:
    """r·sin(FOV/2) = √3/2 for each view; heights are one in each of n bands, azimuths one in each of 8 sectors of 8."""
    found = made("hammersley").targets
    x, y, z = (np.array([view.c2w[:3, 3] for view in found]) / spherical(found)[:, 2:]).T
    bands = np.floor((1 - z) / 2 * len(found)).astype(int)
    assert sorted(bands) == list(range(24))
    radius, lens = spherical(found)[:, 2], fov(found)
    np.testing.assert_allclose(radius * np.sin(np.deg2rad(lens / 2)), np.sqrt(3) / 2)
    assert lens.min() >= 20
    assert lens.max() <= 70
    assert np.ptp(lens) > 15
    sectors = np.floor((np.arctan2(y, x)[:8] - np.arctan2(y, x)[0]) / (np.pi / 4) + 0.5) % 8
    assert sorted(sectors) == list(range(8))


def test_hammersley_closeness_is_uniform() -> None:
    """1/r² uniform between the distances of 20° and 70°."""
    many = camera_set("hammersley", generator(0, "object", "cameras"), 2000, 64).targets
    closeness = spherical(many)[:, 2] ** -2.0
    low, high = (np.sin(np.deg2rad(angle / 2)) ** 2 / 0.75 for angle in (20, 70))
    assert (
        np.abs(np.quantile(closeness, [0.25, 0.5, 0.75]) - (low + (high - low) * np.array([0.25, 0.5, 0.75]))).max()
        < 0.02
    )


def test_scanned_objects_are_seen_from_all_sides() -> None:
    """Directions uniform over the sphere, so that their heights are uniform; the first is the input."""
    many = camera_set("gso_free", generator(0, "object", "cameras"), 2000, 64)
    assert (len(many.inputs), len(many.targets)) == (1, 1999)
    heights = np.array([view.c2w[2, 2] for view in many.views])
    np.testing.assert_allclose(np.quantile(heights, [0.25, 0.5, 0.75]), [-0.5, 0, 0.5], atol=0.06)
    radius = spherical(many.views)[:, 2]
    assert radius.min() >= 1.5
    assert radius.max() <= 2.2


@pytest.mark.parametrize("protocol", WHOLE_SPHERE)
def test_the_whole_object_is_in_every_picture_where_that_is_promised(protocol: str) -> None:
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    for view in made(protocol).views:
        pixels, _ = project(corners, view.c2w, view.intrinsics)
        assert (np.abs(pixels - 32) <= 32).all()


@pytest.mark.parametrize(
    ("protocol", "views", "remedy"),
    [
        ("zero123plus", 6, "zero123plus has 7 views, not 6; set views to 7"),
        ("viewfusion360", 12, "viewfusion360 has 36 views, not 12; set views to 36"),
        ("zero_1_to_g_training", 7, "zero_1_to_g_training has at least 8 views, not 7; set views to 8"),
        ("lgm", 4, "lgm has at least 5 views, not 4; set views to 5"),
        ("syncdreamer_training", 7, "syncdreamer_training has as many inputs as targets, not 7 views; set views to 8"),
    ],
)
def test_a_number_of_views_that_a_protocol_does_not_have_is_refused(protocol: str, views: int, remedy: str) -> None:
    with pytest.raises(ParameterError, match=remedy):
        camera_set(protocol, generator(0, "object", "cameras"), views, 64)


@pytest.mark.parametrize(("protocol", "views"), [("hammersley", 3), ("zero_1_to_g", 2)])
def test_lenses_and_inputs_are_written_and_read_back(protocol: str, views: int, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_text(tmp_path / "inputs" / "a.obj", tetrahedron())
    assets = folder_assets(CatalogParameters(source="folder", path="inputs"), workspace)
    one = ExecutorParameters(workers=1)
    parameters = RenderParameters(protocol=protocol, views=views, resolution=16, quality=QUALITY, executor=one)
    farm = Farm(tmp_path / "renders", parameters, 0, workspace)
    assert farm.render(assets) == []
    folder = object_folder(farm.root, assets[0].uid)
    random = generator(0, assets[0].uid, f"cameras {protocol}")
    expected = camera_set(protocol, random, views, 16)
    for view, meant in zip(read_views(folder), expected.views, strict=True):
        np.testing.assert_array_equal(view.c2w, meant.c2w)
        assert view.intrinsics == meant.intrinsics
    assert read_record(folder)["input_views"] == len(expected.inputs)
    document = json.loads((folder / "transforms.json").read_text())
    assert ("fl_x" in document) == (protocol != "hammersley"), "what all views share stands once"
    assert all(("camera_angle_x" in frame) == (protocol == "hammersley") for frame in document["frames"])
