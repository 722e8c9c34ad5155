"""Transforming, cropping, pruning and thinning out: by hand, and by what a camera sees."""

import numpy as np
import pytest
from gaussian_samples import FIELDS, cloud, covariances, rotation, some
from hypothesis import given, settings
from hypothesis import strategies as st

from geometry.cameras import Intrinsics, look_at_origin
from geometry.gaussian_operations import crop_to_box, crop_to_sphere, deduplicate, prune, transform
from geometry.gaussian_tensors import GaussianTensors
from geometry.gaussians import Gaussians
from geometry.rasterizer import rasterize
from geometry.similarity import Similarity
from geometry.spherical_harmonics import colours_towards
from stage.errors import InputError

SEEDS = st.integers(0, 2**32 - 1)
SCALES = st.floats(0.1, 10.0)
LENS = Intrinsics.from_fov(np.radians(49.1), 24)


def points(x: list[float], **changes: np.ndarray) -> Gaussians:
    """Gaussians on the x axis."""
    means = np.stack([x, np.zeros(len(x)), np.zeros(len(x))], axis=1)
    return some(len(x), means=means, **changes)


def similarity(seed: int, scale: float) -> Similarity:
    return Similarity(rotation(seed), scale, np.random.default_rng(seed).uniform(-2, 2, 3))


def same_rotations(a: Gaussians, b: Gaussians) -> np.ndarray:
    """Whether quaternions mean the same rotation: they may differ in sign."""
    return np.abs(np.sum(a.quaternions * b.quaternions, axis=1))


@settings(max_examples=40, deadline=None)
@given(SEEDS, SCALES, st.sampled_from([0, 1, 3]))
def test_the_inverse_transform_gives_the_gaussians_back(seed, scale, degree):
    gaussians, there = cloud(6, seed, degree), similarity(seed, scale)
    back = transform(transform(gaussians, there), there.inverse())
    # Two float32 roundings, those of the means at a size of scale·|x| + |t| ≤ 12 and magnified by 1 / scale.
    np.testing.assert_allclose(back.means, gaussians.means, atol=(12.0 / scale + 1.0) * 2.0**-22)
    np.testing.assert_allclose(back.scales, gaussians.scales, rtol=2.0**-22)
    np.testing.assert_allclose(same_rotations(back, gaussians), 1.0, atol=1e-6)
    np.testing.assert_array_equal(back.opacities, gaussians.opacities)
    np.testing.assert_array_equal(back.colours, gaussians.colours)
    np.testing.assert_allclose(back.harmonics, gaussians.harmonics, atol=5e-6)


@settings(max_examples=20, deadline=None)
@given(SEEDS, SCALES)
def test_covariances_and_colours_follow(seed, scale):
    gaussians, there = cloud(6, seed, degree=3), similarity(seed, scale)
    moved = transform(gaussians, there)
    turned = there.rotation @ covariances(gaussians) @ there.rotation.T
    np.testing.assert_allclose(covariances(moved), scale**2 * turned, rtol=1e-4, atol=1e-7 * scale**2)
    eye = np.array([2.0, 1.0, -1.0])
    along, along_moved = gaussians.means - eye, moved.means - there.apply(eye[None])
    seen = [
        colours_towards(g.colours, g.harmonics, d / np.linalg.norm(d, axis=1, keepdims=True))
        for g, d in [(gaussians, along), (moved, along_moved)]
    ]
    np.testing.assert_allclose(seen[1], seen[0], atol=2e-5)


@settings(max_examples=10, deadline=None)
@given(SEEDS, SCALES)
def test_a_camera_that_moves_along_sees_the_same_picture(seed, scale):
    gaussians, there = cloud(30, seed, degree=3), similarity(seed, scale)
    c2w = look_at_origin(1.1, 0.3, 2.0)
    moved = np.eye(4)
    moved[:3, :3], moved[:3, 3] = there.rotation @ c2w[:3, :3], there.apply(c2w[None, :3, 3])[0]
    before = rasterize(GaussianTensors.of(gaussians), c2w[None], LENS)
    after = rasterize(GaussianTensors.of(transform(gaussians, there)), moved[None], LENS)
    # Where rounding takes a Gaussian across the cut-off at α = 1/255 a pixel may change by that much.
    for name in ("rgb", "alpha"):
        difference = np.abs(getattr(before, name).numpy() - getattr(after, name).numpy())
        assert difference.max() < 1.0 / 255.0 + 1e-3
        assert difference.mean() < 2e-5
    solid = before.alpha.numpy() > 0.5
    np.testing.assert_allclose(after.depth.numpy()[solid], scale * before.depth.numpy()[solid], rtol=5e-3)


def test_no_gaussians_can_be_transformed():
    assert len(transform(some(0), similarity(0, 2.0))) == 0


def test_crop_to_a_box_includes_its_faces():
    kept = crop_to_box(points([-1.0, 0.0, 0.5, 1.0, 1.5]), np.array([0.0, -1, -1]), np.array([1.0, 1, 1]))
    np.testing.assert_array_equal(kept.means[:, 0], [0.0, 0.5, 1.0])


def test_crop_to_a_sphere_is_about_its_centre():
    kept = crop_to_sphere(points([-1.0, 0.0, 1.0, 3.0, 3.1]), np.array([2.0, 0.0, 0.0]), 1.0)
    np.testing.assert_array_equal(kept.means[:, 0], [1.0, 3.0])


def test_prune_by_opacity_and_by_the_largest_scale():
    sizes = np.array([[0.1, 0.1, 0.1], [0.1, 0.1, 5.0], [1e-4, 1e-5, 1e-4], [1e-5, 0.1, 1e-5]])
    gaussians = points([0.0, 1.0, 2.0, 3.0], scales=sizes, opacities=np.array([0.004, 1.0, 1.0, 0.005]))
    assert prune(gaussians, least_opacity=0.005).means[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert prune(gaussians, greatest_scale=1.0).means[:, 0].tolist() == [0.0, 2.0, 3.0]
    assert prune(gaussians, least_scale=1e-3).means[:, 0].tolist() == [0.0, 1.0, 3.0]
    assert len(prune(gaussians)) == 4
    assert len(prune(some(0))) == 0


def test_of_a_voxel_the_most_opaque_stays_or_the_best_scored():
    gaussians = points([0.1, 0.9, -0.1, 1.1], opacities=np.array([0.5, 0.6, 0.1, 0.1]))
    np.testing.assert_allclose(deduplicate(gaussians, 1.0).means[:, 0], [0.9, -0.1, 1.1])
    score = np.array([1.0, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(deduplicate(gaussians, 1.0, score).means[:, 0], [0.1, -0.1, 1.1])
    assert len(deduplicate(some(0), 1.0)) == 0


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.floats(0.02, 2.0))
def test_thinning_out_leaves_one_a_voxel_and_all_voxels(seed, edge):
    gaussians = cloud(200, seed)
    thinned = deduplicate(gaussians, edge)
    cells, left = (np.floor(g.means.astype(float) / edge) for g in (gaussians, thinned))
    assert len(np.unique(left, axis=0)) == len(left)
    assert {tuple(cell) for cell in left} == {tuple(cell) for cell in cells}
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(deduplicate(thinned, edge), field), getattr(thinned, field))


@pytest.mark.parametrize("edge", [0.0, -1.0, float("nan"), 1e-300])
def test_a_useless_edge_is_refused(edge):
    with pytest.raises(InputError, match="voxel edge"):
        deduplicate(points([1.0]), edge)
