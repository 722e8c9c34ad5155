"""The relative pose, its projection and the conditioning dropout against the published definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geometry.cameras import c2w_from_zero123, look_at_origin, zero123_from_c2w
from systems.zero123.conditioning import CCProjection, dropout_masks, pose_between, relative_pose

polars = st.floats(0.05, np.pi - 0.05)
azimuths = st.floats(-np.pi, np.pi)
radii = st.floats(1.0, 3.0)
positions = st.tuples(polars, azimuths, radii)


def published_pose(target_rt: np.ndarray, condition_rt: np.ndarray) -> list[float]:
    """`get_T` of cvlab-columbia/zero123 from two world-to-camera matrices, written out by itself."""

    def spherical(rt: np.ndarray) -> tuple[float, float, float]:
        x, y, z = -rt[:, :3].T @ rt[:, 3]
        return np.arctan2(np.sqrt(x * x + y * y), z), np.arctan2(y, x), np.sqrt(x * x + y * y + z * z)

    (polar_t, azimuth_t, radius_t), (polar_c, azimuth_c, radius_c) = spherical(target_rt), spherical(condition_rt)
    turn = (azimuth_t - azimuth_c) % (2 * np.pi)
    return [polar_t - polar_c, np.sin(turn), np.cos(turn), radius_t - radius_c]


def test_same_view_has_the_pose_0_0_1_0() -> None:
    view = look_at_origin(1.1, -2.0, 1.7)
    np.testing.assert_allclose(relative_pose(view, view), [0, 0, 1, 0], atol=1e-12)


def test_quarter_turn_up_and_away_by_hand() -> None:
    condition = look_at_origin(np.pi / 2, 0.0, 1.5)
    target = look_at_origin(np.pi / 3, np.pi / 2, 2.0)
    np.testing.assert_allclose(relative_pose(target, condition), [-np.pi / 6, 1.0, 0.0, 0.5], atol=1e-12)


def test_the_pose_back_has_the_opposite_angles() -> None:
    one, other = look_at_origin(0.7, 2.9, 1.5), look_at_origin(1.9, -2.9, 2.1)
    np.testing.assert_allclose(relative_pose(one, other), relative_pose(other, one) * [-1, -1, 1, -1], atol=1e-12)


@given(positions, positions)
def test_matrices_positions_and_published_files_agree(
    target: tuple[float, float, float], condition: tuple[float, float, float]
) -> None:
    target_c2w, condition_c2w = look_at_origin(*target), look_at_origin(*condition)
    expected = published_pose(zero123_from_c2w(target_c2w), zero123_from_c2w(condition_c2w))
    np.testing.assert_allclose(relative_pose(target_c2w, condition_c2w), expected, atol=1e-7)
    np.testing.assert_allclose(pose_between(target, condition), expected, atol=1e-7)
    back = c2w_from_zero123(zero123_from_c2w(target_c2w))
    np.testing.assert_allclose(relative_pose(back, condition_c2w), expected, atol=1e-7)


@given(positions, positions)
def test_roll_of_the_camera_does_not_count(
    target: tuple[float, float, float], condition: tuple[float, float, float]
) -> None:
    rolled = look_at_origin(*target)
    rolled[:3, :3] = rolled[:3, :3] @ np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    expected = relative_pose(look_at_origin(*target), look_at_origin(*condition))
    np.testing.assert_array_equal(relative_pose(rolled, look_at_origin(*condition)), expected)


def test_projection_starts_as_identity_on_the_embedding() -> None:
    projection = CCProjection(12)
    embedding = torch.randn(5, 12)
    token = projection(embedding, torch.zeros(5, 4))
    assert token.shape == (5, 1, 12)
    assert torch.equal(token[:, 0], embedding)
    assert torch.equal(projection.linear.bias, torch.zeros(12))


def test_pose_columns_keep_the_default_initialisation() -> None:
    torch.manual_seed(0)
    columns = CCProjection(60).linear.weight[:, 60:].detach()
    bound = 1 / np.sqrt(64)
    assert (columns != 0).all()
    assert columns.abs().max() <= bound
    assert columns.std().item() == pytest.approx(bound / np.sqrt(3), rel=0.15)


def test_published_projection_has_593664_parameters() -> None:
    assert sum(p.numel() for p in CCProjection(768).parameters()) == 593_664


@pytest.mark.parametrize(
    ("uniform", "embedding", "latent"),
    [
        (0.0, 0, 1),
        (0.2499, 0, 1),
        (0.25, 0, 0),
        (0.4999, 0, 0),
        (0.5, 1, 0),
        (0.7499, 1, 0),
        (0.75, 1, 1),
        (0.9999, 1, 1),
    ],
)
def test_dropout_thresholds(uniform: float, embedding: int, latent: int) -> None:
    # u = 1/4 is exact in binary, so the thresholds are met exactly.
    keep_embedding, keep_latent = dropout_masks(torch.tensor([uniform]), 0.25)
    assert (keep_embedding.item(), keep_latent.item()) == (embedding, latent)


def test_dropout_takes_five_percent_each_of_embedding_both_and_latent() -> None:
    uniform = (torch.arange(100_000) + 0.5) / 100_000
    keep_embedding, keep_latent = (mask.bool() for mask in dropout_masks(uniform, 0.05))
    shares = [
        (~keep_embedding & keep_latent).float().mean(),
        (~keep_embedding & ~keep_latent).float().mean(),
        (keep_embedding & ~keep_latent).float().mean(),
        (keep_embedding & keep_latent).float().mean(),
    ]
    np.testing.assert_allclose(shares, [0.05, 0.05, 0.05, 0.85], atol=2e-5)


def test_no_dropout_keeps_everything() -> None:
    keep_embedding, keep_latent = dropout_masks(torch.rand(1000), 0.0)
    assert keep_embedding.all()
    assert keep_latent.all()
