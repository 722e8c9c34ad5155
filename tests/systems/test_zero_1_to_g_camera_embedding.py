"""The embedding of camera and attribute, against numbers by hand and what turning the world must not change."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geometry.cameras import look_at_origin, spherical_from_position
from systems.zero_1_to_g.camera_embedding import (
    EMBEDDING_DIMENSIONS,
    attribute_camera_embedding,
    elevation_and_azimuth,
    relative_angles,
    sample_embeddings,
)

angles = st.floats(-3.0, 3.0)


def test_sine_and_cosine_of_angles_and_of_the_one_hot_attribute() -> None:
    half, third = math.pi / 2, math.pi / 6
    made = attribute_camera_embedding(torch.tensor(third), torch.tensor(-third), torch.tensor(half), torch.tensor(3))
    one, zero = math.sin(1.0), math.cos(1.0)
    sines = [0.5, -0.5, 1.0, 0.0, 0.0, 0.0, one, 0.0]
    cosines = [3**0.5 / 2, 3**0.5 / 2, 0.0, 1.0, 1.0, 1.0, zero, 1.0]
    assert made.shape == (EMBEDDING_DIMENSIONS,) == (16,)
    assert made.tolist() == pytest.approx(sines + cosines, abs=1e-6)


def test_embeddings_of_a_batch_are_those_of_its_images() -> None:
    e_condition = torch.tensor([0.1, 0.2])
    higher, turn = torch.tensor([[0.0, 0.3, -0.4]] * 2), torch.tensor([[0.5, 1.5, 2.5], [0.6, 1.6, 2.6]])
    made = sample_embeddings(e_condition, higher, turn)
    assert made.shape == (2, 3, 5, 16)
    alone = attribute_camera_embedding(e_condition[1], higher[1, 2], turn[1, 2], torch.tensor(4))
    assert torch.equal(made[1, 2, 4], alone)
    chosen = sample_embeddings(e_condition, higher, turn, torch.tensor([[2], [0]]))
    assert torch.equal(chosen[:, :, 0], torch.stack([made[0, :, 2], made[1, :, 0]]))
    assert torch.equal(sample_embeddings(e_condition, higher, turn, torch.tensor([1, 4])), made[:, :, [1, 4]])


@given(angles, angles, angles)
def test_a_full_turn_changes_nothing(e_condition: float, higher: float, turn: float) -> None:
    values = torch.tensor([e_condition, higher, turn], dtype=torch.float64)
    attribute = torch.tensor(0)
    once, again = (attribute_camera_embedding(*values[:2], values[2] + full, attribute) for full in (0, 2 * math.pi))
    torch.testing.assert_close(once, again, rtol=0, atol=1e-12)


def test_views_and_attributes_have_embeddings_of_their_own() -> None:
    turn = torch.deg2rad(torch.tensor([[30.0, 90.0, 150.0, 210.0, 270.0, 330.0]]))
    made = sample_embeddings(torch.tensor([0.3]), torch.zeros(1, 6), turn).reshape(30, 16)
    assert torch.cdist(made, made).fill_diagonal_(1.0).min() > 0.5


def test_elevation_is_over_the_horizon_and_azimuth_from_x() -> None:
    polar, azimuth = np.deg2rad([[90.0, 60.0, 110.0], [0.0, 90.0, -135.0]])
    c2w = torch.from_numpy(np.stack([look_at_origin(p, a, 1.5) for p, a in zip(polar, azimuth, strict=True)]))
    elevation, around = elevation_and_azimuth(c2w)
    assert torch.rad2deg(elevation).tolist() == pytest.approx([0.0, 30.0, -20.0], abs=1e-10)
    assert torch.rad2deg(around).tolist() == pytest.approx([0.0, 90.0, -135.0], abs=1e-10)


@given(st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=3).filter(lambda p: np.linalg.norm(p) > 1e-3))
def test_elevation_and_azimuth_are_those_of_the_conventions(position: list[float]) -> None:
    c2w = torch.eye(4, dtype=torch.float64)
    c2w[:3, 3] = torch.tensor(position, dtype=torch.float64)
    polar, azimuth, _ = spherical_from_position(np.array(position))
    found = [float(each) for each in elevation_and_azimuth(c2w)]
    assert found == pytest.approx([math.pi / 2 - polar, azimuth], abs=1e-12)


@given(st.floats(-math.pi, math.pi))
def test_relative_angles_do_not_depend_on_where_x_points(turned: float) -> None:
    azimuths = np.deg2rad([30.0, 90.0, 150.0, 210.0, 270.0, 330.0]) + turned
    polar = np.deg2rad([60.0, 110.0] * 3)
    views = torch.from_numpy(np.stack([look_at_origin(*pair, 1.5) for pair in zip(polar, azimuths, strict=True)]))
    condition = torch.from_numpy(look_at_origin(math.radians(80.0), turned, 1.5))
    e_condition, higher, turn = relative_angles(views[None], condition[None])
    assert math.degrees(e_condition) == pytest.approx(10.0)
    assert torch.rad2deg(higher[0]).tolist() == pytest.approx([20.0, -30.0] * 3)
    assert torch.rad2deg(turn[0]).tolist() == pytest.approx([30.0, 90.0, 150.0, -150.0, -90.0, -30.0])
