"""Anchors: where they stand, worked out by hand, and which of them a novel camera is conditioned on."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from geometry.cameras import look_at, look_at_origin
from systems.zeronvs.anchors import (
    PUBLISHED_STEPS,
    Anchors,
    anchor_cameras,
    centre_in_front,
    rotation_angle,
    sample_anchors,
)
from systems.zeronvs.pipeline import ZeroNvsPipeline

LEVEL = (0.0, 1.0, 0.0)
HALF = 3**0.5 / 2


def around(*azimuths_deg: float) -> Anchors:
    """An input at azimuth 0 on the horizon and anchors about the origin."""
    cameras = [look_at_origin(np.pi / 2, np.deg2rad(azimuth), 2.0) for azimuth in (0.0, *azimuths_deg)]
    pictures = torch.arange(len(cameras)).reshape(-1, 1, 1, 1) * torch.ones(3, 2, 2)
    return Anchors(pictures, np.stack(cameras), 0.7)


def test_a_quarter_turn_by_hand() -> None:
    # The input stands at the origin, looks along −z and has y for up; the centre is 2 before it, at (0, 0, −2). A quarter turn
    # about y, counter-clockwise seen from above, takes its place (0, 0, 2) from the centre to (2, 0, 0): it stands at
    # (2, 0, −2), looks along −x, and its right is −z.
    (turned,) = anchor_cameras(np.eye(4), centre_in_front(np.eye(4), 2.0), [np.pi / 2], LEVEL)
    expected = [[0, 0, 1, 2], [0, 1, 0, 0], [-1, 0, 0, -2], [0, 0, 0, 1]]
    np.testing.assert_allclose(turned, expected, atol=1e-12)


def test_the_published_anchors_by_hand() -> None:
    # About a point 1 before the input: at 120° and 240° it stands ±√3/2 beside and 1.5 beyond where it was.
    first, second = anchor_cameras(np.eye(4), np.array([0, 0, -1.0]), up=LEVEL)
    np.testing.assert_allclose(first[:3, 3], [HALF, 0, -1.5], atol=1e-12)
    np.testing.assert_allclose(second[:3, 3], [-HALF, 0, -1.5], atol=1e-12)
    np.testing.assert_allclose(first[:3, 2], [HALF, 0, -0.5], atol=1e-12)
    assert rotation_angle(first, second) == pytest.approx(2 * np.pi / 3)


@given(st.floats(0.2, 2.9), st.floats(-3, 3), st.floats(0.5, 4), st.floats(-3, 3))
def test_about_the_world_they_keep_polar_angle_and_distance(
    polar: float, azimuth: float, radius: float, turn: float
) -> None:
    camera = look_at_origin(polar, azimuth, radius)
    centre = centre_in_front(camera, radius)
    np.testing.assert_allclose(centre, 0, atol=1e-9)
    (turned,) = anchor_cameras(camera, centre, [turn])
    np.testing.assert_allclose(turned, look_at_origin(polar, azimuth + turn, radius), atol=1e-9)


def test_a_camera_that_does_not_look_at_the_centre_keeps_its_look_past_it() -> None:
    camera = look_at(np.array([2.0, 0, 1]), np.array([0.0, 1, 1]))
    turned = anchor_cameras(camera, np.zeros(3), [np.pi])
    np.testing.assert_allclose(turned[0][:3, 3], [-2, 0, 1], atol=1e-12)
    np.testing.assert_allclose(turned[0], look_at(np.array([-2.0, 0, 1]), np.array([0.0, -1, 1])), atol=1e-12)


@pytest.mark.parametrize(
    ("azimuth", "nearest"), [(0, 0), (59, 0), (61, 1), (120, 1), (179, 1), (181, 2), (299, 2), (301, 0)]
)
def test_the_nearest_is_the_least_turned(azimuth: float, nearest: int) -> None:
    anchors = around(120, 240)
    # Rotation alone counts: this one stands elsewhere and looks the same way.
    novel = look_at_origin(np.pi / 2, np.deg2rad(azimuth), 9.0)
    assert anchors.nearest(novel) == nearest
    picture, camera = anchors.nearest_view(novel)
    assert picture.shape == (1, 3, 2, 2)
    assert picture.unique().tolist() == [nearest]
    assert np.array_equal(camera, anchors.c2w[nearest])


def test_between_equal_angles_the_input_comes_first() -> None:
    assert around(120, 240).nearest(look_at_origin(np.pi / 2, np.deg2rad(60), 2.0)) == 0
    assert around(120, 240).nearest(look_at_origin(np.pi / 2, np.deg2rad(300), 2.0)) == 0
    assert around(120, 240).nearest(look_at_origin(np.pi / 2, np.deg2rad(180), 2.0)) == 1


def test_roll_is_a_turn_too() -> None:
    assert rotation_angle(np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0])) == pytest.approx(np.pi)


def test_anchors_are_sampled_once_each_from_the_input(
    zeronvs_pipeline: Callable[..., ZeroNvsPipeline], pictures: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, seen = zeronvs_pipeline("7dof"), {}
    forward = type(pipeline).sample_poses

    def watched(self: ZeroNvsPipeline, images: Any, poses: Tensor, **options: Any) -> Any:
        seen.update(images=images, poses=poses, steps=options["num_inference_steps"])
        return forward(self, images, poses, **{**options, "num_inference_steps": 2})

    monkeypatch.setattr(type(pipeline), "sample_poses", watched)
    camera, image = look_at_origin(1.2, 0.4, 1.5), pictures(1)
    anchors = sample_anchors(
        pipeline, image, camera, np.zeros(3), fov=0.9, scale=0.7, generator=torch.Generator().manual_seed(0)
    )
    assert seen["steps"] == PUBLISHED_STEPS == 500
    assert seen["images"] is image
    # Both are in the input's own axes: E of the first anchor is the turn by 120° seen from it.
    relative = np.linalg.inv(camera) @ look_at_origin(1.2, 0.4 + 2 * np.pi / 3, 1.5)
    np.testing.assert_allclose(seen["poses"][0].reshape(-1)[:16].reshape(4, 4)[:3, :3], relative[:3, :3], atol=1e-6)
    np.testing.assert_allclose(seen["poses"][0][[3, 7, 11]], relative[:3, 3] / 0.7, atol=1e-6)
    assert anchors.pictures.shape == (3, 3, 16, 16)
    assert torch.equal(anchors.pictures[:1], image)
    assert anchors.pictures.min() >= -1
    assert anchors.pictures[1:].min() < 0
    np.testing.assert_allclose(anchors.c2w[1:], anchor_cameras(camera, np.zeros(3)))
    assert anchors.scale == 0.7
