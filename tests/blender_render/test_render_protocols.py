"""Camera protocols: each is what its system published, and all cameras look at the object."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml
from render_support import tetrahedron
from scipy.stats import ks_2samp

from blender_render.light_rigs import light_position
from blender_render.parameters import QualityParameters
from blender_render.protocols import FOV, PROTOCOLS, View, cameras
from catalog.folder import folder_assets
from catalog.parameters import CatalogParameters
from catalog.table import write_table
from geometry.cameras import spherical_from_position
from stage.errors import ParameterError
from stage.files import write_text
from stage.seeds import generator
from stage.workspace import Workspace


def views(protocol: str, count: int, subject: str = "object") -> list[View]:
    return cameras(protocol, generator(0, subject, "cameras"), count, 64)


def spherical(some: list[View]) -> np.ndarray:
    """Elevation and azimuth in degrees, and radius, of each view."""
    found = np.array([spherical_from_position(view.c2w[:3, 3]) for view in some])
    return np.stack([90 - np.rad2deg(found[:, 0]), np.rad2deg(found[:, 1]) % 360, found[:, 2]], axis=1)


@pytest.mark.parametrize(("protocol", "count"), [("zero123", 50), ("syncdreamer", 16), ("six_views", 6)])
def test_every_camera_looks_at_the_origin_upright_through_the_same_lens(protocol: str, count: int) -> None:
    for view in views(protocol, count):
        right, up, backward, position = view.c2w[:3].T
        np.testing.assert_allclose(backward, position / np.linalg.norm(position), atol=1e-12)
        np.testing.assert_allclose(view.c2w[:3, :3].T @ view.c2w[:3, :3], np.eye(3), atol=1e-12)
        assert np.linalg.det(view.c2w) == pytest.approx(1)
        assert up[2] >= 0
        assert right[2] == pytest.approx(0, abs=1e-12)
        assert np.rad2deg(view.intrinsics.fov_x) == pytest.approx(49.13, abs=0.01)
        assert (view.intrinsics.width, view.intrinsics.height) == (64, 64)


def test_zero123_fills_the_shell_between_its_radii() -> None:
    radii = spherical(views("zero123", 2000))[:, 2]
    assert radii.min() >= 1.5
    assert radii.max() <= 2.2
    assert ks_2samp(radii, np.random.default_rng(1).uniform(1.5, 2.2, 20_000)).pvalue > 0.001


def test_zero123_directions_are_points_of_a_cube_as_in_the_published_script() -> None:
    """Normalised, not rejected to a ball: corners are likelier than faces."""
    published = np.random.default_rng(1).uniform(-1, 1, (20_000, 3))
    published /= np.linalg.norm(published, axis=1, keepdims=True)
    found = np.array([view.c2w[:3, 2] for view in views("zero123", 4000)])
    for measure in (lambda d: d[:, 2], lambda d: np.abs(d).max(axis=1)):
        assert ks_2samp(measure(found), measure(published)).pvalue > 0.001


def test_zero123_views_differ_between_objects_and_runs_and_are_the_same_again() -> None:
    first = views("zero123", 3)
    assert all(np.array_equal(a.c2w, b.c2w) for a, b in zip(first, views("zero123", 3), strict=True))
    assert not np.array_equal(first[0].c2w, views("zero123", 3, "another")[0].c2w)


def test_more_views_keep_the_first_ones() -> None:
    assert all(
        np.array_equal(a.c2w, b.c2w) for a, b in zip(views("zero123", 4), views("zero123", 12)[:4], strict=True)
    )


def test_syncdreamer_circles_at_thirty_degrees() -> None:
    elevation, azimuth, radius = spherical(views("syncdreamer", 16)).T
    np.testing.assert_allclose(elevation, 30)
    np.testing.assert_allclose(azimuth, np.arange(16) * 22.5, atol=1e-9)
    np.testing.assert_allclose(radius, 1.5)


def test_the_six_views_alternate_between_above_and_below() -> None:
    elevation, azimuth, radius = spherical(views("six_views", 6)).T
    np.testing.assert_allclose(elevation, [30, -20, 30, -20, 30, -20])
    np.testing.assert_allclose(azimuth, [30, 90, 150, 210, 270, 330])
    np.testing.assert_allclose(radius, 1.5)


def test_another_number_of_the_six_views_is_refused() -> None:
    with pytest.raises(ParameterError, match="six_views has 6 views, not 5; set views to 6"):
        views("six_views", 5)


@pytest.mark.parametrize(("name", "nearest"), [("zero-123", "zero123"), ("sync_dreamer", "syncdreamer")])
def test_an_unknown_protocol_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ParameterError, match=f"unknown camera protocol '{name}'; did you mean {nearest}"):
        views(name, 4)


def test_a_protocol_far_from_all_lists_them() -> None:
    with pytest.raises(ParameterError) as caught:
        views("orthographic", 4)
    assert all(name in str(caught.value) for name in PROTOCOLS)


def test_the_help_names_every_protocol_and_light(viewforge: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
    words = re.findall(r"\w+", viewforge("render", "--help").stdout)
    lights = get_args(QualityParameters.model_fields["lighting"].annotation)
    assert set(PROTOCOLS) | set(lights) <= set(words)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"protocol": "orbit"}, "unknown camera protocol 'orbit'; valid keys are gso_free, hammersley"),
        ({"quality": {"lighting": "sun"}}, "'zero123', 'four_suns', 'uniform', 'trellis' or 'hdri'"),
        ({"assets": {"missing_textures": "drop"}}, "'render' or 'exclude'"),
    ],
)
def test_a_wrong_name_in_the_parameters_is_answered_with_the_right_ones(
    values: dict[str, object], told: str, tmp_path: Path, viewforge: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    write_text(tmp_path / "inputs" / "a.obj", tetrahedron())
    assets = folder_assets(CatalogParameters(source="folder", path="inputs"), Workspace(tmp_path))
    write_table(Workspace(tmp_path).catalog / "catalog.parquet", assets)
    write_text(tmp_path / "params.yaml", yaml.safe_dump({"seed": 0, "render": values}))
    result = viewforge("render", "-w", tmp_path)
    assert result.returncode == 1
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_the_lens_is_the_published_one() -> None:
    assert pytest.approx(2 * np.arctan(16 / 35)) == FOV


def test_the_key_light_stands_above_the_object_and_outside_it() -> None:
    places = np.array([light_position(generator(0, f"{number}", "light")) for number in range(300)])
    assert (places[:, 2] > 1.0).all()
    assert (np.linalg.norm(places, axis=1) < 3.5 + 1e-9).all()
    assert abs(places[:, :2].mean()) < 0.3, "from all sides"
