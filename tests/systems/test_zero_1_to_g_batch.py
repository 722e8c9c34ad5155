"""What Zero-1-to-G learns from: in the input's frame, on white, and refused where something is missing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from attribute_diffusion_support import AZIMUTHS, ELEVATIONS, SIDE, camera, splatters, views
from hypothesis import given, settings
from hypothesis import strategies as st

from geometry.attribute_images import ZERO_1_TO_G
from geometry.attribute_tensors import decode_attributes, turned
from stage.errors import InputError
from systems.trainable import SplatterImages
from systems.zero_1_to_g.batch import batch_from_views


def test_a_gaussian_before_the_input_lies_on_x() -> None:
    # The input stands at azimuth 90°; half of the range's 0.7 in its direction, and 0.14 to its right.
    channels = torch.zeros(1, 1, 14, SIDE, SIDE, dtype=torch.float16)
    channels[:, :, :3] = torch.tensor([0.14, 0.35, -0.07])[:, None, None]
    channels[:, :, 3], channels[:, :, 4:7], channels[:, :, 7] = 0.5, float(np.exp(-6.0)), 1.0
    of_one = replace(
        views(1, azimuth_deg=90.0),
        splatters=SplatterImages(channels, camera(0.0, 120.0)[None, None], torch.zeros(1, 1, 4)),
    )
    batch = batch_from_views(of_one, ZERO_1_TO_G)
    position, opacity, scale, rotation, colour = batch.attributes[0, 0, :, :, 0, 0]
    assert position.tolist() == pytest.approx([0.5, -0.2, -0.1], abs=1e-3)
    assert opacity.tolist() == pytest.approx([0.0] * 3, abs=1e-6)
    assert scale.tolist() == pytest.approx([0.0] * 3, abs=1e-3)
    # The axes turn with it: by −90° about Z, −π/2 of 3.
    assert rotation.tolist() == pytest.approx([0.0, 0.0, -np.pi / 6], abs=1e-3)
    assert colour.tolist() == [-1.0] * 3
    assert batch.delta_azimuth.rad2deg().tolist() == [[pytest.approx(30.0, abs=1e-3)]]


@settings(max_examples=20, deadline=None)
@given(turn=st.floats(-180.0, 180.0))
def test_where_north_is_does_not_matter(turn: float) -> None:
    straight, other = views(), views(azimuth_deg=turn)
    assert straight.splatters is not None
    angle = torch.full(straight.splatters.channels.shape[:2], float(np.deg2rad(turn)))
    moved = turned(straight.splatters.channels.float(), angle)
    batch = batch_from_views(straight, ZERO_1_TO_G)
    same = batch_from_views(replace(other, splatters=replace(splatters(2, turn), channels=moved)), ZERO_1_TO_G)
    # Rotations by nearly half a turn may jump to their opposite, which the shape does not tell apart.
    torch.testing.assert_close(same.attributes[:, :, :3], batch.attributes[:, :, :3], atol=2e-3, rtol=0)
    torch.testing.assert_close(
        _axes(decode_attributes(same.attributes)), _axes(decode_attributes(batch.attributes)), atol=5e-3, rtol=0
    )
    torch.testing.assert_close(same.elevation, batch.elevation, atol=1e-5, rtol=0)
    torch.testing.assert_close(same.delta_elevation, batch.delta_elevation, atol=1e-5, rtol=0)
    torch.testing.assert_close(same.delta_azimuth.cos(), batch.delta_azimuth.cos(), atol=1e-5, rtol=0)
    torch.testing.assert_close(same.delta_azimuth.sin(), batch.delta_azimuth.sin(), atol=1e-5, rtol=0)


def _axes(channels: torch.Tensor) -> torch.Tensor:
    """Products of each quaternion's components but for its sign."""
    quaternion = channels[:, :, 7:11]
    return quaternion[:, :, :, None] * quaternion[:, :, None]


def test_cameras_are_told_relative_to_the_input() -> None:
    batch = batch_from_views(views(azimuth_deg=40.0, elevation_deg=-5.0), ZERO_1_TO_G)
    assert batch.elevation.rad2deg().tolist() == pytest.approx([-5.0, -5.0], abs=1e-3)
    assert batch.azimuth.rad2deg().tolist() == pytest.approx([40.0, 40.0], abs=1e-3)
    assert batch.delta_azimuth[0].rad2deg().tolist() == pytest.approx(AZIMUTHS, abs=1e-3)
    assert batch.delta_elevation[0].rad2deg().tolist() == pytest.approx([e + 5.0 for e in ELEVATIONS], abs=1e-3)


def test_the_condition_is_the_last_view_on_white() -> None:
    given_views = views()
    batch = batch_from_views(given_views, ZERO_1_TO_G)
    assert (batch.condition[:, :, : SIDE // 2, : SIDE // 2] == 1.0).all()
    colour, alpha = given_views.rgba[1, -1, -1, -1, :3] / 255.0, given_views.rgba[1, -1, -1, -1, 3] / 255.0
    expected = (colour * alpha + 1.0 - alpha) * 2.0 - 1.0
    torch.testing.assert_close(batch.condition[1, :, -1, -1], expected)
    assert [camera.intrinsics.width for camera in batch.wanted] == [SIDE, SIDE]
    np.testing.assert_allclose(batch.wanted[0].c2w, given_views.c2w[0, 0].numpy(), atol=1e-6)


def test_what_cannot_be_learnt_from_is_refused() -> None:
    with pytest.raises(InputError, match=r"no splatter images.*include"):
        batch_from_views(replace(views(), splatters=None), ZERO_1_TO_G)
    with pytest.raises(InputError, match=r"pictures of 8 pixels beside splatter images of 16.*train.data.size to 16"):
        batch_from_views(replace(views(), splatters=splatters(2, side=16)), ZERO_1_TO_G)
