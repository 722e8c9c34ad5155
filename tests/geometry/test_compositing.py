"""Front to back: when a pixel ends, that rounds, groups and slabs never show, and gradients against finite differences."""

import dataclasses

import numpy as np
import pytest
import torch

from geometry import cameras, compositing, tiles
from geometry.cameras import Intrinsics
from geometry.gaussian_tensors import GaussianTensors
from geometry.gaussians import Gaussians
from geometry.rasterizer import rasterize

SIDE = cameras.look_at(np.array([2.0, 0.0, 0.0]))
LENS = Intrinsics(fx=33.0, fy=33.0, cx=16.5, cy=16.5, width=33, height=33)
FIELDS = ("means", "quaternions", "scales", "opacities", "colours", "harmonics")
OUTPUTS = ("rgb", "alpha", "depth", "normals")


def stack(opacities) -> Gaussians:
    """One behind the other as seen from SIDE, 0.1 apart; the i-th of the colour of the i-th axis, then black."""
    count = len(opacities)
    return Gaussians(
        means=np.stack([0.5 - 0.1 * np.arange(count), np.zeros(count), np.zeros(count)], axis=1),
        quaternions=np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)),
        scales=np.full((count, 3), 0.2),
        opacities=np.array(opacities),
        colours=np.eye(count)[:, :3],
    )


def with_harmonics(gaussians, dtype=torch.float64) -> GaussianTensors:
    tensors = GaussianTensors.of(gaussians, dtype=dtype)
    harmonics = torch.randn(len(tensors), 3, 3, generator=torch.Generator().manual_seed(0), dtype=dtype)
    tensors = dataclasses.replace(tensors, harmonics=0.05 * harmonics)
    for name in FIELDS:
        getattr(tensors, name).requires_grad_()
    return tensors


def all_outputs(tensors, c2w=SIDE, lens=LENS):
    seen = rasterize(tensors, c2w[None], lens, (0.3, 0.6, 0.9))
    return [getattr(seen, name) for name in OUTPUTS]


def gradients(tensors, outputs):
    generator = torch.Generator().manual_seed(1)
    loss = sum((part * torch.randn(part.shape, generator=generator, dtype=part.dtype)).sum() for part in outputs)
    return torch.autograd.grad(loss, [getattr(tensors, name) for name in FIELDS])


def test_a_pixel_ends_before_the_splat_that_would_make_it_opaque():
    # Transmittances 0.02, 0.002, and then 2e-5, which is less than 1e-4: the third and the fourth do not count.
    seen = rasterize(GaussianTensors.of(stack([0.98, 0.9, 0.99, 0.5])), SIDE[None], LENS, (0.0, 0.0, 0.0))
    np.testing.assert_allclose(seen.rgb[0, 16, 16], [0.98, 0.02 * 0.9, 0.0], atol=1e-6)
    np.testing.assert_allclose(seen.alpha[0, 16, 16], 1 - 0.002, atol=1e-6)


def test_a_faint_splat_behind_an_almost_opaque_one_counts():
    # Transmittances 0.001, 0.0005, 0.00025, 0.000125; the fifth would leave 0.0000625.
    seen = rasterize(GaussianTensors.of(stack([1.0, 0.5, 0.5, 0.5, 0.5])), SIDE[None], LENS, (0.0, 0.0, 0.0))
    np.testing.assert_allclose(seen.rgb[0, 16, 16], [0.999, 0.0005, 0.00025], atol=1e-6)
    np.testing.assert_allclose(seen.alpha[0, 16, 16], 1 - 0.000125, atol=1e-6)


@pytest.mark.parametrize("greatest", [0.5, 0.9, 0.99])
def test_what_ending_early_leaves_out_is_bounded(monkeypatch, cloud, greatest):
    gaussians = cloud(2000)
    tensors = GaussianTensors.of(dataclasses.replace(gaussians, opacities=gaussians.opacities * greatest))
    early = rasterize(tensors, SIDE[None], LENS)
    monkeypatch.setattr(compositing, "_OPAQUE", 0.0)
    whole = rasterize(tensors, SIDE[None], LENS)
    assert (early.alpha < whole.alpha).any()
    # A pixel ends at a transmittance t with t·(1 − α) ≤ 1e-4.
    bound = 1e-4 / (1 - greatest)
    assert float((early.alpha - whole.alpha).abs().max()) <= bound
    assert float((early.rgb - whole.rgb).abs().max()) <= bound


def test_what_is_behind_a_wall_changes_no_bit(cloud):
    wall = Gaussians(
        means=np.array([[1.0, 0.0, 0.0], [0.99, 0.0, 0.0], [0.98, 0.0, 0.0], [0.97, 0.0, 0.0]]),
        quaternions=np.tile([1.0, 0.0, 0.0, 0.0], (4, 1)),
        scales=np.full((4, 3), [0.001, 100.0, 100.0]),
        opacities=np.full(4, 0.98),
        colours=np.full((4, 3), 0.5),
    )
    behind = cloud(300)
    both = {
        field.name: np.concatenate([getattr(wall, field.name), getattr(behind, field.name)])
        for field in dataclasses.fields(wall)
    }
    alone, hidden = (with_harmonics(gaussians, torch.float32) for gaussians in (wall, Gaussians(**both)))
    hidden.harmonics.data[:4] = alone.harmonics.data
    for one, other in zip(all_outputs(alone), all_outputs(hidden), strict=True):
        assert torch.equal(one, other)
    for gradient in gradients(hidden, all_outputs(hidden)):
        assert gradient[:4].abs().sum() > 0
        assert (gradient[4:] == 0).all()


@pytest.mark.parametrize("sizes", [{"_ENTRIES": 1, "_LEAST_ROUND": 3, "_GROUP": 2}, {"_LEAST_ROUND": 1000}])
def test_rounds_groups_and_slabs_do_not_show(monkeypatch, cloud, sizes):
    tensors = with_harmonics(cloud(40))
    once = all_outputs(tensors)
    for name, size in sizes.items():
        monkeypatch.setattr(compositing, name, size)
    monkeypatch.setattr(tiles, "_SLAB", 50)
    again = all_outputs(tensors)
    for one, other in zip(once, again, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
    for one, other in zip(gradients(tensors, once), gradients(tensors, again), strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


def test_the_same_input_gives_the_same_bytes(cloud):
    first, second = (with_harmonics(cloud(500), torch.float32) for _ in range(2))
    pictures = [all_outputs(tensors) for tensors in (first, second)]
    for one, other in zip(*pictures, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(gradients(first, pictures[0]), gradients(second, pictures[1]), strict=True):
        assert torch.equal(one, other)


def few(opacities=(0.9, 0.4, 0.7), places=((0.2, -0.1, 0.1), (-0.2, 0.2, 0.15), (0.1, 0.1, -0.25))) -> Gaussians:
    rng = np.random.default_rng(5)
    return Gaussians(
        means=np.array(places),
        quaternions=rng.normal(size=(3, 4)),
        scales=np.array([[0.3, 0.25, 0.2], [0.35, 0.22, 0.28], [0.4, 0.3, 0.25]]),
        opacities=np.array(opacities),
        colours=rng.uniform(0.3, 0.7, (3, 3)),
    )


def differences(functionals, tensors, name, step=1e-6):
    """Central differences of each of some numbers by every element of one field."""
    values = getattr(tensors, name).detach()
    columns = []
    for index in np.ndindex(*values.shape):
        moved = torch.zeros_like(values)
        moved[index] = step
        ends = [functionals(dataclasses.replace(tensors, **{name: values + sign * moved})) for sign in (1, -1)]
        columns.append((ends[0] - ends[1]) / (2 * step))
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize(
    "gaussians",
    [
        pytest.param(few(), id="plain"),
        # Beyond the frustum's margin, where J is held at the border.
        pytest.param(few(places=[[0.5, 1.9, 0.3], [0.0, -2.2, 1.4], [-0.5, 0.2, -1.9]]), id="edge"),
        # At the greatest α, and in pixels that have ended.
        pytest.param(few(opacities=(1.0, 1.0, 1.0), places=[[0.1, 0, 0], [0, 0.01, 0], [-0.1, 0, 0.01]]), id="capped"),
    ],
)
def test_gradients_are_those_of_finite_differences(gaussians):
    lens = Intrinsics(fx=8.0, fy=7.0, cx=4.0, cy=3.5, width=9, height=6)
    tensors = with_harmonics(gaussians)
    generator = torch.Generator().manual_seed(1)
    shapes = [part.shape for part in all_outputs(tensors, SIDE, lens)]
    weights = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]

    def functionals(moved):
        """One number of each output, by random weights of its pixels."""
        parts = zip(all_outputs(moved, SIDE, lens), weights, strict=True)
        return torch.stack([(part * weight).sum() for part, weight in parts])

    numbers = functionals(tensors)
    for name in FIELDS:
        with torch.no_grad():
            expected = differences(functionals, tensors, name)
        for output, number, column in zip(OUTPUTS, numbers, expected, strict=True):
            gradient = torch.autograd.grad(number, getattr(tensors, name), retain_graph=True)[0].flatten()
            message = f"{output} by {name}: {gradient} where differences give {column}"
            assert torch.allclose(gradient, column, atol=1e-5, rtol=1e-5), message
        assert expected.abs().sum() > 0
