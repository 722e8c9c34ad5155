"""The rasteriser against formulas, against a brute-force double-precision picture, and on an analytic sphere."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from geometry import cameras
from geometry.cameras import Intrinsics
from geometry.gaussian_tensors import GaussianTensors
from geometry.gaussians import Gaussians, concatenate
from geometry.rasterizer import rasterize
from geometry.splatter import fuse, splatter_from_passes
from stage.errors import InputError

# At (2, 0, 0) looking at the origin; with f = 33 a unit at the origin is 16.5 px wide.
SIDE = cameras.look_at(np.array([2.0, 0.0, 0.0]))
CAMERA = Intrinsics(fx=33.0, fy=33.0, cx=16.5, cy=16.5, width=33, height=33)
RED, GREEN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def ball(mean=(0.0, 0.0, 0.0), scale=0.1, opacity=0.8, colour=RED) -> Gaussians:
    return Gaussians(
        means=np.array([mean]),
        quaternions=np.array([[1.0, 0.0, 0.0, 0.0]]),
        scales=np.broadcast_to(scale, (1, 3)),
        opacities=np.array([opacity]),
        colours=np.array([colour]),
    )


def picture(gaussians, c2w=SIDE, intrinsics=CAMERA, background=(1.0, 1.0, 1.0)):
    seen = rasterize(GaussianTensors.of(gaussians), c2w[None], intrinsics, background)
    return seen.rgb[0].numpy(), seen.alpha[0].numpy()


def brute_force(gaussians, c2w, intrinsics, background):
    """The same equations pixel by pixel in float64, J W by finite differences of `cameras.project`: RGB, α, depth, normals."""
    means = gaussians.means.astype(np.float64)
    centres, depth = cameras.project(means, c2w, intrinsics)
    step = 1e-6
    moved = [
        cameras.project(means + step * axis, c2w, intrinsics)[0]
        - cameras.project(means - step * axis, c2w, intrinsics)[0]
        for axis in np.eye(3)
    ]
    jacobians = np.stack(moved, axis=2) / (2 * step)
    axes = Rotation.from_quat(np.roll(gaussians.quaternions, -1, axis=1)).as_matrix()
    y, x = np.mgrid[: intrinsics.height, : intrinsics.width] + 0.5
    through, ended, sums = np.ones_like(x), np.zeros(x.shape, dtype=bool), np.zeros((*x.shape, 7))
    for i in np.argsort(depth):
        flat = jacobians[i] @ axes[i] @ np.diag(gaussians.scales[i].astype(np.float64))
        conic = np.linalg.inv(flat @ flat.T + 0.3 * np.eye(2))
        offset = np.stack([x, y], axis=-1) - centres[i]
        alpha = gaussians.opacities[i] * np.exp(-0.5 * np.einsum("hwi,ij,hwj->hw", offset, conic, offset))
        alpha = np.where(alpha < 1 / 255, 0.0, np.minimum(alpha, 0.999))
        ended |= through * (1 - alpha) <= 1e-4
        alpha = np.where(ended, 0.0, alpha)
        normal = axes[i][:, gaussians.scales[i].argmin()]
        normal = normal * np.sign(normal @ (c2w[:3, 3] - means[i]))
        sums += (through * alpha)[..., None] * [*gaussians.colours[i], depth[i], *normal]
        through *= 1 - alpha
    seen = through < 1
    length = np.linalg.norm(sums[..., 4:], axis=-1, keepdims=True)
    return (
        sums[..., :3] + through[..., None] * background,
        1 - through,
        np.where(seen, sums[..., 3] / np.where(seen, 1 - through, 1.0), 0.0),
        np.where(seen[..., None], sums[..., 4:] / np.where(seen[..., None], length, 1.0), 0.0),
    )


def test_profile_of_one_gaussian():
    rgb, alpha = picture(ball())
    # Standard deviation 0.1 · 33 / 2 = 1.65 px, widened by 0.3 px².
    offsets = np.arange(33) - 16.0
    squared = offsets[:, None] ** 2 + offsets[None, :] ** 2
    expected = 0.8 * np.exp(-0.5 * squared / (1.65**2 + 0.3))
    expected = np.where(expected < 1 / 255, 0.0, expected)
    np.testing.assert_allclose(alpha, expected, atol=1e-5)
    np.testing.assert_allclose(rgb[..., 0], 1.0, atol=1e-6)
    np.testing.assert_allclose(rgb[..., 1], 1.0 - expected, atol=1e-5)


def test_a_gaussian_lies_where_its_centre_projects():
    # +Y is right and +Z up: (0, 0.3, 0.4) is 4.95 px right of the middle and 6.6 px above it.
    _, alpha = picture(ball((0.0, 0.3, 0.4), scale=0.02))
    row, column = np.unravel_index(alpha.argmax(), alpha.shape)
    assert (row, column) == (9, 21)


def test_an_elongated_gaussian_follows_its_rotation():
    # The long axis, local y, is turned by 90° about X onto Z, which is up in the picture: 3.3 px, and 0.3 px² more.
    half = np.sqrt(0.5)
    upright = Gaussians(
        np.zeros((1, 3)), [[half, half, 0.0, 0.0]], [[0.01, 0.2, 0.01]], np.array([0.9]), np.array([RED])
    )
    _, alpha = picture(upright)
    assert alpha[11, 16] == pytest.approx(0.9 * np.exp(-0.5 * 5**2 / (3.3**2 + 0.3)), abs=1e-5)
    assert alpha[16, 11] == 0.0


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1 / 250)])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_equals_brute_force(cloud, seed, dtype, tolerance):
    intrinsics = Intrinsics(fx=40.0, fy=36.0, cx=20.0, cy=13.0, width=43, height=27)
    c2w, background = cameras.look_at_origin(1.0, 0.6, 2.2), (0.2, 0.5, 1.0)
    gaussians = cloud(60, seed)
    seen = rasterize(GaussianTensors.of(gaussians, dtype=dtype), c2w[None], intrinsics, background)
    rgb, alpha, depth, normals = brute_force(gaussians, c2w, intrinsics, background)
    assert seen.rgb.shape == (1, 27, 43, 3)
    assert seen.rgb.dtype == dtype
    # In float32 a Gaussian may fall on the other side of the cut, where α jumps by 1/255.
    np.testing.assert_allclose(seen.alpha[0], alpha, atol=tolerance)
    np.testing.assert_allclose(seen.rgb[0], rgb, atol=tolerance)
    clear = alpha > 0.1
    np.testing.assert_allclose(seen.depth[0][clear], depth[clear], atol=10 * tolerance)
    np.testing.assert_allclose(seen.normals[0][clear], normals[clear], atol=20 * tolerance)
    assert np.mean(np.abs(seen.alpha[0].numpy() - alpha) > 1e-4) < 0.005


def test_two_overlapping_gaussians():
    near, far = ball((0.5, 0.0, 0.0), colour=RED, opacity=0.6), ball((-0.5, 0.0, 0.0), colour=GREEN, opacity=0.9)
    seen = rasterize(GaussianTensors.of(concatenate([far, near])), SIDE[None], CAMERA, (0.0, 0.0, 0.0))
    # Scales of 0.1 at 1.5 and 2.5 from the camera, three pixels right of the middle.
    near_alpha = 0.6 * np.exp(-0.5 * 9 / (2.2**2 + 0.3))
    far_alpha = 0.9 * np.exp(-0.5 * 9 / (1.32**2 + 0.3))
    weights = np.array([near_alpha, (1 - near_alpha) * far_alpha])
    np.testing.assert_allclose(seen.rgb[0, 16, 19], [*weights, 0.0], atol=1e-6)
    np.testing.assert_allclose(seen.alpha[0, 16, 19], weights.sum(), atol=1e-6)
    np.testing.assert_allclose(seen.depth[0, 16, 19], weights @ [1.5, 2.5] / weights.sum(), atol=1e-5)
    assert seen.depth[0, 0, 0] == 0.0


def test_normals_are_the_shortest_axes_turned_to_the_camera():
    half = np.sqrt(0.5)
    # The shortest axis, local z, is turned by 90° about Y onto X, or by −90° onto −X.
    for sign in (1.0, -1.0):
        flat = dataclasses.replace(ball(), quaternions=[[half, 0.0, sign * half, 0.0]], scales=[[0.2, 0.1, 0.01]])
        seen = rasterize(GaussianTensors.of(flat), SIDE[None], CAMERA)
        np.testing.assert_allclose(seen.normals[0, 16, 16], [1.0, 0.0, 0.0], atol=1e-6)
        assert (seen.normals[0, 0, 0] == 0).all()


def test_alpha_is_capped():
    _, alpha = picture(ball(opacity=1.0))
    assert alpha[16, 16] == pytest.approx(0.999, abs=1e-6)


def test_a_batch_equals_single_pictures(cloud):
    gaussians = GaussianTensors.of(cloud(200))
    poses = np.stack([SIDE, cameras.look_at_origin(0.4, 2.0, 1.8), cameras.look_at_origin(2.0, -1.0, 2.5)])
    lenses = [CAMERA, dataclasses.replace(CAMERA, fx=25.0), dataclasses.replace(CAMERA, cy=10.0)]
    together = rasterize(gaussians, poses, lenses)
    for number, (pose, lens) in enumerate(zip(poses, lenses, strict=True)):
        alone = rasterize(gaussians, pose[None], lens)
        for field in dataclasses.fields(alone):
            assert torch.equal(getattr(together, field.name)[number], getattr(alone, field.name)[0])


def test_a_point_of_view_may_be_anywhere_on_the_frustum_s_edge():
    # Half of the splat is outside, and the affine approximation is taken where its centre is.
    _, alpha = picture(ball((0.0, 1.0, 0.0)))
    deviation = (33.0 * 0.1 / 2.0) ** 2 * (1 + 0.25) + 0.3
    expected = 0.8 * np.exp(-0.5 * (33.0 - (np.arange(33) + 0.5)) ** 2 / deviation)
    np.testing.assert_allclose(alpha[16], np.where(expected < 1 / 255, 0.0, expected), atol=1e-5)


def test_beyond_the_margin_the_affine_approximation_is_that_of_the_margin():
    # At a slope of 3 where the picture ends at 0.5 and its margin at 0.65: (33 · 0.3 / 0.5)² (1 + 0.65²) px² wide, 99 px away.
    _, alpha = picture(ball((1.5, 1.5, 0.0), scale=0.3))
    deviation = (33.0 * 0.3 / 0.5) ** 2 * (1 + 0.65**2) + 0.3
    expected = 0.8 * np.exp(-0.5 * (16.5 + 99.0 - (np.arange(33) + 0.5)) ** 2 / deviation)
    assert expected[-1] < 1 / 255
    assert (alpha == 0).all()
    _, alpha = picture(ball((1.5, 1.5, 0.0), scale=0.9))
    deviation = (33.0 * 0.9 / 0.5) ** 2 * (1 + 0.65**2) + 0.3
    expected = 0.8 * np.exp(-0.5 * (16.5 + 99.0 - (np.arange(33) + 0.5)) ** 2 / deviation)
    np.testing.assert_allclose(alpha[16], expected, atol=1e-5)


@pytest.mark.parametrize("x", [2.0, 1.995, 2.5, 100.0])
def test_what_is_behind_or_too_near_is_invisible(x):
    rgb, alpha = picture(ball((x, 0.0, 0.0), scale=1.0))
    assert (alpha == 0).all()
    assert (rgb == 1).all()


def test_what_lies_far_beside_the_picture_is_harmless():
    rgb, alpha = picture(concatenate([ball((1.98, 50.0, -80.0), scale=0.01), ball()]))
    expected_rgb, expected_alpha = picture(ball())
    np.testing.assert_array_equal(alpha, expected_alpha)
    np.testing.assert_array_equal(rgb, expected_rgb)


@pytest.mark.parametrize("scales", [(1e4, 1e4, 1e-7), (1e-7, 1e4, 1e-7), (1e3, 1e3, 1e3)])
def test_huge_and_thin_gaussians_stay_finite_and_below_their_opacity(scales):
    for quaternion in np.random.default_rng(0).normal(size=(20, 1, 4)):
        rgb, alpha = picture(dataclasses.replace(ball(opacity=0.5), scales=[scales], quaternions=quaternion))
        assert np.isfinite(rgb).all()
        assert alpha.min() >= 0.0
        assert alpha.max() <= 0.5 + 1e-3


def test_nothing_gives_the_background():
    rgb, alpha = picture(concatenate([]), background=(0.1, 0.2, 0.3))
    assert (alpha == 0).all()
    np.testing.assert_allclose(rgb, np.broadcast_to([0.1, 0.2, 0.3], (33, 33, 3)), atol=1e-7)


def test_nothing_and_what_is_invisible_have_gradients_of_zero():
    for gaussians in (concatenate([]), ball((5.0, 0.0, 0.0)), ball(opacity=0.0), ball((0.0, 50.0, 0.0), scale=0.01)):
        tensors = GaussianTensors.of(gaussians)
        tensors.means.requires_grad_()
        tensors.opacities.requires_grad_()
        seen = rasterize(tensors, SIDE[None], CAMERA)
        (seen.rgb.sum() + seen.alpha.sum() + seen.depth.sum() + seen.normals.sum()).backward()
        assert (tensors.means.grad == 0).all()
        assert (tensors.opacities.grad == 0).all()


def test_the_caller_s_threads_are_left_alone(cloud):
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    tensors = GaussianTensors.of(cloud(20))
    tensors.colours.requires_grad_()
    try:
        rasterize(tensors, SIDE[None], CAMERA).rgb.sum().backward()
        assert torch.get_num_threads() == before + 1
        with pytest.raises(IndexError):
            rasterize(dataclasses.replace(tensors, scales=tensors.scales[:3]), SIDE[None], CAMERA)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("count", "lenses", "complaint"),
    [
        (0, CAMERA, "0 cameras"),
        (2, [CAMERA], "2 cameras with 1 intrinsics"),
        (2, [CAMERA, dataclasses.replace(CAMERA, width=40)], r"different sizes \[\(33, 33\), \(40, 33\)\]"),
    ],
)
def test_cameras_that_do_not_fit_together(count, lenses, complaint):
    with pytest.raises(InputError, match=complaint):
        rasterize(GaussianTensors.of(ball()), np.tile(SIDE, (count, 1, 1)), lenses)


def test_order_of_the_gaussians_does_not_matter(cloud):
    gaussians = cloud(500)
    shuffled = gaussians.select(np.random.default_rng(1).permutation(500))
    for one, other in zip(picture(gaussians), picture(shuffled), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_long_list_composites_in_parts_as_a_whole():
    # Three chunks of faint Gaussians in one place: α = 1 − (1 − a)ⁿ, and they must not end early.
    count, opacity = 1200, 0.006
    stack = Gaussians(
        means=np.stack([np.linspace(-0.2, 0.2, count), np.zeros(count), np.zeros(count)], axis=1),
        quaternions=np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)),
        scales=np.full((count, 3), 0.1),
        opacities=np.full(count, opacity),
        colours=np.tile(RED, (count, 1)),
    )
    _, alpha = picture(stack)
    assert alpha[16, 16] == pytest.approx(1 - (1 - opacity) ** count, abs=1e-4)


def psnr(picture: np.ndarray, truth: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((picture - truth) ** 2)))


def compare(gaussians, truth):
    """IoU of the silhouettes, PSNR inside the true one, and the lowest α there."""
    rgb, alpha = picture(gaussians, truth.c2w, truth.intrinsics)
    shown, mask = alpha > 0.5, truth.mask
    iou = (shown & mask).sum() / (shown | mask).sum()
    return iou, psnr(rgb[mask], truth.rgb[mask]), alpha[mask].min()


def splats(passes):
    return splatter_from_passes(
        passes.rgb, passes.position, passes.depth, passes.normal, passes.c2w, passes.intrinsics
    )


def test_splats_of_a_view_give_that_view_again(sphere_passes):
    passes = sphere_passes(1.2, 0.0, size=128)
    iou, inside, least = compare(splats(passes).gaussians, passes)
    # Measured 0.977, 29.3 dB, 0.987: the footprint and the low-pass filter fatten the silhouette by three quarters of
    # a pixel, the nearer of two overlapping splats wins, which shifts a slanted pattern by a part of a pixel, and one
    # layer of them lets a hundredth through.
    assert iou > 0.96
    assert inside > 26.5
    assert least > 0.98


def test_fused_splats_give_an_unseen_view(sphere_passes):
    poses = [(1.2, azimuth) for azimuth in np.arange(4) * np.pi / 2] + [(0.1, 0.0), (3.0, 0.0)]
    fused = fuse([splats(sphere_passes(*pose, size=128)) for pose in poses])
    iou, inside, least = compare(fused, sphere_passes(0.7, 0.8, size=128))
    # Measured 0.947, 26.7 dB, 0.997: splats on the surface make the silhouette fatter by more than a pixel
    # (geometry.inset puts them inside).
    assert iou > 0.94
    assert inside > 26.5
    assert least > 0.98
