"""Scores of Gaussians against pictures, and what an object's record says that it suffers from."""

import numpy as np
import pytest

from blender_render.camera_sets import View, six_views
from blender_render.closed_form import Shot, albedo_picture, closed_form
from blender_render.parameters import SplatterParameters
from blender_render.passes import GeometryPasses
from blender_render.splatter_quality import quality
from geometry.cameras import Intrinsics, look_at_origin, opencv_from_opengl
from geometry.gaussian_tensors import GaussianTensors
from geometry.gaussians import Gaussians, concatenate
from geometry.rasterizer import rasterize

SIZE = 64
VIEW = View(look_at_origin(1.2, 0.4, 1.8), Intrinsics.from_fov(0.85, SIZE))


def blob(colour: tuple[float, float, float] = (0.8, 0.2, 0.1), y: float = 0.0) -> Gaussians:
    return Gaussians([[0, y, 0]], [[1, 0, 0, 0]], [[0.15, 0.15, 0.15]], [0.98], [colour])


def picture(gaussians: Gaussians) -> Shot:
    """What the rasteriser itself sees, as an 8-bit picture with straight alpha."""
    seen = rasterize(GaussianTensors.of(gaussians), VIEW.c2w[None], VIEW.intrinsics, (0.0, 0.0, 0.0))
    alpha = seen.alpha[0].numpy()[..., None]
    values = np.concatenate([seen.rgb[0].numpy() / np.maximum(alpha, 1e-6), alpha], axis=-1)
    return Shot(VIEW, np.rint(values.clip(0, 1) * 255).astype(np.uint8))


def test_a_picture_of_themselves_is_as_near_as_8_bits_allow() -> None:
    scores = quality(blob(), [picture(blob())] * 2)
    assert scores["psnr"][0] == scores["psnr"][1] > 50
    assert min(scores["ssim"]) > 0.999
    assert min(scores["alpha_iou"]) > 0.99


def test_another_colour_has_its_psnr_and_the_same_silhouette() -> None:
    shot = picture(blob())
    alpha = shot.rgba[..., 3] / 255.0
    (score,) = quality(blob((0.6, 0.2, 0.1)), [shot])["psnr"]
    # On white the difference of the first channel is 0.2·alpha.
    assert score == pytest.approx(-10 * np.log10(np.mean((0.2 * alpha) ** 2) / 3), abs=0.1)
    assert quality(blob((0.6, 0.2, 0.1)), [shot])["alpha_iou"][0] > 0.99


def test_silhouettes_beside_each_other_share_nothing_and_empty_ones_all() -> None:
    assert quality(blob(y=-0.5), [picture(blob(y=0.5))])["alpha_iou"] == [0.0]
    nothing = Shot(VIEW, np.zeros((SIZE, SIZE, 4), dtype=np.uint8))
    assert quality(concatenate([]), [nothing]) == {"psnr": [100.0], "ssim": [1.0], "alpha_iou": [1.0]}


def wall(view: View, *, half: float, alpha: int = 255) -> Shot:
    """A square of half a side `half` through the origin, parallel to the picture."""
    eye, axes = view.c2w[:3, 3], opencv_from_opengl(view.c2w)[:3, :3]
    lens, z = view.intrinsics, float(np.linalg.norm(eye))
    rows, columns = np.mgrid[: lens.height, : lens.width] + 0.5
    x, y = (columns - lens.cx) / lens.fx * z, (rows - lens.cy) / lens.fy * z
    inside = (np.abs(x) <= half) & (np.abs(y) <= half)
    position = np.where(inside[..., None], eye + np.stack([x, y, np.full_like(x, z)], axis=-1) @ axes.T, 0.0)
    normal = np.where(inside[..., None], -axes[:, 2], 0.0)
    rgba = np.where(inside[..., None], [200, 100, 50, alpha], 0).astype(np.uint8)
    return Shot(view, rgba, GeometryPasses(np.where(inside, z, 0.0), position, normal))


@pytest.mark.parametrize(
    ("changes", "said"),
    [({}, ""), ({"alpha": 120}, "transparent"), ({"half": 3.0}, "cut off"), ({"half": 0.02}, "thin")],
)
def test_the_record_says_what_a_score_suffers_from(changes: dict, said: str) -> None:
    some = six_views(np.random.default_rng(0), 6, SIZE).views[:1]
    shots = [wall(view, **{"half": 0.3, **changes}) for view in some]
    if said == "thin":
        # Its back, right behind it.
        shots.append(wall(View(look_at_origin(np.deg2rad(120), np.deg2rad(210), 1.5), some[0].intrinsics), half=0.02))
    form = closed_form(shots, SplatterParameters())
    assert form.falls_short == said
    assert all(0.0 <= share <= 1.0 for share in form.shares.values())


def test_opacity_is_what_the_picture_shows_of_a_surface_that_light_goes_through() -> None:
    view = six_views(np.random.default_rng(0), 6, SIZE).views[0]
    form = closed_form([wall(view, half=0.3, alpha=102)], SplatterParameters(opacity=0.9))
    np.testing.assert_allclose(form.fused.opacities, 0.9 * 102 / 255, atol=1e-6)


def test_an_albedo_picture_is_on_the_srgb_curve_and_opaque_where_there_is_a_surface() -> None:
    albedo = np.full((2, 2, 3), [0.0, 0.2158605, 1.0])
    depth = np.array([[1.0, 0.0], [2.0, 0.0]])
    rgba = albedo_picture(GeometryPasses(depth, albedo, albedo, albedo))
    np.testing.assert_array_equal(rgba[0, 0], [0, 128, 255, 255])
    np.testing.assert_array_equal(rgba[..., 3], [[255, 0], [255, 0]])
