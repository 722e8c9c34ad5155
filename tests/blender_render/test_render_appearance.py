"""What assets look like: upright, in their own colours, transparent where they are; repairs leave a warning."""

import numpy as np
import pytest
from render_support import SMALL, Rendered, rgba, surface_points
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from blender_render.rendered_object import read_record

BAD = {
    "empty.obj": "empty",
    "empty_nodes.glb": "empty",
    "index_out_of_range.obj": "empty",
    "missing_buffer.gltf": "parse",
    "nan_vertices.obj": "degenerate",
    "not_a_glb.glb": "parse",
    "random_bytes.glb": "parse",
    "truncated.glb": "parse",
    "uri_outside_folder.gltf": "unsafe",
    "zero_bytes.glb": "parse",
    "zero_extent.obj": "degenerate",
}


def colours(rendered: Rendered, title: str) -> np.ndarray:
    """RGB of the opaque pixels of all views."""
    views = np.concatenate([rgba(rendered.folder(title), view).reshape(-1, 4) for view in range(SMALL.views)])
    return views[views[:, 3] > 0.99][:, :3]


def interior_alpha(rendered: Rendered, title: str) -> np.ndarray:
    """Alpha of the pixels two away from any edge of the object or the picture: no edge makes them transparent."""
    found = []
    for view in range(SMALL.views):
        alpha = rgba(rendered.folder(title), view)[..., 3]
        found.append(alpha[binary_erosion(alpha > 0, np.ones((5, 5)))])
    return np.concatenate(found)


def normalised_obj(rendered: Rendered, title: str) -> np.ndarray:
    """Vertices of an OBJ file, its up axis turned to +Z, centred, longest side 1."""
    asset = rendered.asset(title)
    lines = asset.location(rendered.workspace).read_text().splitlines()
    points = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], dtype=float)
    if asset.up_axis == "Y":
        points = points[:, [0, 2, 1]] * [1, -1, 1]
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - 0.5 * (low + high)) / (high - low).max()


def test_every_real_asset_is_rendered_and_every_broken_one_refused(real: Rendered) -> None:
    titles = {asset.uid: asset.title for asset in real.assets}
    failed = {titles[outcome.uid]: str(outcome.failure) for outcome in real.farm().render(real.assets)}
    assert failed == BAD


@pytest.mark.parametrize(
    "title", ["spot/spot.obj", "CHICKEN_NESTING", "Chefmate_8_Frypan", "Glazed_Rim_Porcelain_Ramekin"]
)
def test_an_object_stands_as_its_file_means_it(title: str, real: Rendered) -> None:
    """Every point that the depth passes see lies on the mesh, turned upright: Y-up by default, Z-up for scanned ones."""
    vertices, points = normalised_obj(real, title), surface_points(real.folder(title))
    distance = cKDTree(vertices).query(points)[0]
    assert np.quantile(distance, 0.95) < 0.04
    upside_down = cKDTree(vertices * [1, -1, -1]).query(points)[0]
    assert np.quantile(upside_down, 0.95) > 2 * np.quantile(distance, 0.95)


def test_a_scanned_objects_texture_is_found_where_it_lies(real: Rendered) -> None:
    assert read_record(real.folder("Chefmate_8_Frypan"))["warnings"] == []
    assert colours(real, "Chefmate_8_Frypan").mean() < 0.4, "the pan is black"
    assert colours(real, "Glazed_Rim_Porcelain_Ramekin").mean() > 0.5, "the bowl is white"


def test_a_missing_texture_is_a_warning_and_a_neutral_grey(real: Rendered) -> None:
    assert read_record(real.folder("CHICKEN_NESTING"))["warnings"] == ["missing texture: texture.png"]
    seen = colours(real, "CHICKEN_NESTING")
    assert np.ptp(seen.mean(axis=0)) < 0.02
    assert np.ptp(seen, axis=1).max() < 0.2, "no magenta"


def test_textures_have_their_colours(real: Rendered) -> None:
    red, green, blue = colours(real, "BoxTextured.glb").T
    assert ((blue > red + 0.2) & (blue > green + 0.1)).mean() > 0.1, "sky"
    assert ((green > red + 0.1) & (green > blue + 0.1)).mean() > 0.05, "hills"
    red, green, blue = colours(real, "Duck.glb").mean(axis=0)
    assert red > green > blue + 0.3, "a yellow duck"


def test_vertex_colours_are_seen(real: Rendered) -> None:
    """All of this cube's vertices are (1, 0, 1)."""
    red, green, blue = colours(real, "cubevc.glb").T
    # Not quite all: the surface is glossy and the surroundings are white.
    assert (green < 0.5 * np.minimum(red, blue)).mean() > 0.95


def test_vertex_colours_lie_where_they_belong(neighbours: Rendered) -> None:
    seen = colours(neighbours, "two colours.ply")
    red, blue = seen[:, 0] > seen[:, 2] + 0.3, seen[:, 2] > seen[:, 0] + 0.3
    assert red.mean() > 0.3
    assert blue.mean() > 0.3
    for view in range(SMALL.views):
        pixels = rgba(neighbours.folder("two colours.ply"), view)
        rows = np.arange(32)[:, None] * np.ones(32)
        reddish = (pixels[..., 3] > 0.99) & (pixels[..., 0] > pixels[..., 2] + 0.3)
        bluish = (pixels[..., 3] > 0.99) & (pixels[..., 2] > pixels[..., 0] + 0.3)
        assert rows[bluish].mean() < rows[reddish].mean(), "blue above red"


def test_a_transparent_object_keeps_partial_alpha(neighbours: Rendered) -> None:
    alpha = interior_alpha(neighbours, "half transparent.obj")
    # Two faces of 0.3 lie behind one another: 1 − 0.7².
    assert alpha.mean() == pytest.approx(0.51, abs=0.05)
    assert (alpha < 0.95).mean() > 0.9


def test_an_opaque_object_is_opaque(real: Rendered) -> None:
    """In the alpha test asset every pane, blended or masked, stands before an opaque wall."""
    for title in ("BoxTextured.glb", "Duck.glb", "AlphaBlendModeTest.glb"):
        assert (interior_alpha(real, title) > 0.99).all()


def test_an_animated_asset_warns(real: Rendered) -> None:
    (warning,) = read_record(real.folder("CesiumMilkTruck.glb"))["warnings"]
    assert warning.startswith("animated: 1 actions")


def test_an_asset_without_a_fault_has_no_warning(real: Rendered) -> None:
    for title in ("Duck.glb", "BoxTextured.glb", "spot/spot.obj", "nested.glb", "pins.glb"):
        assert read_record(real.folder(title))["warnings"] == []
