"""Rays, volume rendering and occupancy against closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import Tensor

from geometry.cameras import Intrinsics, look_at_origin, project
from reconstruction.fields.field import Field, FieldValues, box_about_origin
from reconstruction.fields.voxel_field import VoxelField
from reconstruction.marching.march import march
from reconstruction.marching.occupancy import OccupancyGrid
from reconstruction.marching.rays import Rays, camera_rays, near_far
from reconstruction.marching.volume import alpha_weights, composite, density_alphas

LENS = Intrinsics.from_fov(np.deg2rad(49.1), 24)
DEVIATION = 0.15


class Cloud(Field):
    """A Gaussian of density about the origin, whose colour is the place."""

    def __init__(self, peak: float = 12.0, radius: float = np.inf) -> None:
        super().__init__(box_about_origin(), channels=3)
        self.peak = torch.nn.Parameter(torch.tensor(peak, dtype=torch.float64))
        self.radius = radius

    def forward(self, points: Tensor) -> FieldValues:
        """See `Field`."""
        square = points.square().sum(dim=-1)
        density = self.peak * torch.exp(-0.5 * square / DEVIATION**2)
        return FieldValues(torch.where(square < self.radius**2, density, 0.0), 0.5 + points)


def rays_of(polar: float = 1.1, azimuth: float = 0.7, radius: float = 1.8) -> Rays:
    return camera_rays(look_at_origin(polar, azimuth, radius), LENS, torch.zeros(1, dtype=torch.float64))


def integral(
    origin: np.ndarray, direction: np.ndarray, ends: np.ndarray, peak: float
) -> tuple[np.ndarray, float, float]:
    """Colour, opacity and mean distance along a ray: the integrals of Max 1995, by adaptive quadrature."""

    def density(t: float) -> float:
        return float(peak * np.exp(-0.5 * np.sum((origin + t * direction) ** 2) / DEVIATION**2))

    def shown(t: float, what: float) -> float:
        return float(np.exp(-quad(density, ends[0], t, epsabs=1e-11)[0]) * density(t) * what)

    def total(what) -> float:
        return quad(lambda t: shown(t, what(t)), *ends, epsabs=1e-9, limit=200)[0]

    colour = [total(lambda t, axis=axis: 0.5 + origin[axis] + t * direction[axis]) for axis in range(3)]
    opacity = total(lambda _: 1.0)
    return np.array(colour), opacity, total(lambda t: t) / opacity


def test_volume_rendering_is_the_integral():
    rays = rays_of()[torch.tensor([300, 292, 205])]
    ends = near_far(rays, box_about_origin())
    with torch.no_grad():
        shown = march(Cloud(), rays, ends, samples=800)
    for n in range(len(rays)):
        colour, opacity, distance = integral(
            rays.origins[n].numpy(), rays.directions[n].numpy(), ends[n].numpy(), peak=12.0
        )
        np.testing.assert_allclose(shown.features[n], colour, atol=2e-6)
        assert float(shown.opacity[n]) == pytest.approx(opacity, abs=2e-6)
        assert float(shown.distance[n]) == pytest.approx(distance, abs=2e-5)
        assert float(shown.depth[n]) == pytest.approx(distance * float(rays.cosines[n]), abs=2e-5)


def test_random_samples_have_the_integral_for_their_mean():
    """Few samples at the middles of pieces are off by more than the mean over many draws."""
    rays = rays_of()[torch.tensor([300])]
    ends = near_far(rays, box_about_origin())
    exact = march(Cloud(), rays, ends, samples=2000).opacity.item()
    drawn = [
        march(Cloud(), rays, ends, 24, generator=torch.Generator().manual_seed(seed)).opacity.item()
        for seed in range(200)
    ]
    assert np.std(drawn) > 1e-4
    assert np.mean(drawn) == pytest.approx(exact, abs=3e-3)


def test_a_constant_density_has_its_exponential():
    steps = torch.full((1, 50), 0.02, dtype=torch.float64)
    weights = alpha_weights(density_alphas(torch.full_like(steps, 3.0), steps))
    assert weights.sum().item() == pytest.approx(1 - np.exp(-3.0))
    torch.testing.assert_close(weights, alpha_weights(1 - torch.exp(-3.0 * steps)))


def test_a_wall_hides_what_is_behind_and_the_background():
    weights = alpha_weights(torch.tensor([[0.0, 1.0, 0.5], [0.0, 0.0, 0.0]]))
    features = torch.tensor([[[9.0], [0.3], [0.9]]] * 2)
    shown = composite(
        weights, features, torch.tensor([[1.0, 2.0, 3.0]] * 2), torch.tensor([0.5, 0.5]), torch.tensor([1.0])
    )
    torch.testing.assert_close(shown.features, torch.tensor([[0.3], [1.0]]))
    torch.testing.assert_close(shown.depth, torch.tensor([1.0, 0.0]))


@settings(max_examples=40, deadline=None)
@given(
    polar=st.floats(0.05, 3.0),
    azimuth=st.floats(-3.1, 3.1),
    radius=st.floats(0.8, 3.0),
    fx=st.floats(8.0, 60.0),
    fy=st.floats(8.0, 60.0),
    cx=st.floats(-3.0, 12.0),
    cy=st.floats(-3.0, 12.0),
    distance=st.floats(0.1, 5.0),
)
def test_rays_go_through_their_pixels(polar, azimuth, radius, fx, fy, cx, cy, distance):
    lens, c2w = Intrinsics(fx, fy, cx, cy, width=7, height=5), look_at_origin(polar, azimuth, radius)
    rays = camera_rays(c2w, lens, torch.zeros(1, dtype=torch.float64))
    pixels, depth = project((rays.origins + distance * rays.directions).numpy(), c2w, lens)
    rows, columns = np.divmod(np.arange(35), 7)
    np.testing.assert_allclose(pixels, np.stack([columns + 0.5, rows + 0.5], axis=1), atol=1e-6)
    np.testing.assert_allclose(depth, distance * rays.cosines.numpy(), rtol=1e-9)
    np.testing.assert_allclose(rays.directions.norm(dim=-1), 1.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-2.0, 2.0), min_size=6, max_size=6))
def test_near_and_far_bound_the_box(numbers):
    origin, direction = np.array(numbers[:3]), np.array(numbers[3:])
    if np.linalg.norm(direction) < 0.1:
        return
    direction /= np.linalg.norm(direction)
    rays = Rays(torch.tensor(origin[None]), torch.tensor(direction[None]), torch.ones(1, dtype=torch.float64))
    near, far = near_far(rays, box_about_origin())[0].tolist()
    inside = [t for t in np.linspace(0.0, 6.0, 2001) if np.all(np.abs(origin + t * direction) <= 0.6)]
    if inside:
        assert near <= inside[0] + 1e-9
        assert far >= inside[-1] - 1e-9
        assert far - near <= inside[-1] - inside[0] + 0.0061
    else:
        assert far - near <= 0.0031


def test_a_ray_along_an_axis_and_one_that_misses():
    origins = torch.tensor([[2.0, 0.0, 0.0], [2.0, 0.7, 0.0], [0.0, 0.0, 0.0]])
    rays = Rays(origins, torch.tensor([[-1.0, 0.0, 0.0]] * 3), torch.ones(3))
    found = near_far(rays, box_about_origin())
    torch.testing.assert_close(found, torch.tensor([[1.4, 2.6], [0.0, 0.0], [0.0, 0.6]]))
    shown = march(Cloud().float(), rays[1:2], found[1:2], 8, torch.tensor([0.2, 0.4, 0.6]))
    torch.testing.assert_close(shown.features, torch.tensor([[0.2, 0.4, 0.6]]))
    assert shown.evaluated == 0


def test_skipping_what_is_empty_changes_nothing():
    field, rays = Cloud(radius=0.3), rays_of()
    occupancy = OccupancyGrid(field.extent, resolution=24).double()
    assert occupancy.share == 1.0
    occupancy.update(field)
    ends = near_far(rays, field.extent)
    white = torch.ones(3, dtype=torch.float64)
    with_all, skipping = (march(field, rays, ends, 48, white, None, skip, True) for skip in (None, occupancy))
    for name in ("features", "opacity", "depth", "normals"):
        torch.testing.assert_close(getattr(skipping, name), getattr(with_all, name), atol=1e-12, rtol=0)
    assert skipping.evaluated < 0.25 * with_all.evaluated
    gradients = [torch.autograd.grad(shown.features.sum(), field.peak)[0] for shown in (with_all, skipping)]
    torch.testing.assert_close(*gradients)


def test_occupancy_forgets_what_went_away():
    field = Cloud(radius=0.3)
    occupancy = OccupancyGrid(field.extent, resolution=16, least=0.5)
    for seed in range(3):
        occupancy.update(field, torch.Generator().manual_seed(seed))
    before = occupancy.share
    assert 0.05 < before < 0.5
    assert bool(occupancy(torch.zeros(1, 3))[0])
    assert not bool(occupancy(torch.tensor([[0.55, 0.55, 0.55]]))[0])
    assert not bool(occupancy(torch.tensor([[0.7, 0.0, 0.0]]))[0])
    with torch.no_grad():
        field.peak.zero_()
    for _ in range(80):
        occupancy.update(field)
    assert occupancy.share == 0.0


def test_gradients_are_those_of_differences():
    torch.manual_seed(0)
    field = VoxelField(box_about_origin(), resolution=6).double()
    with torch.no_grad():
        field.density_values.normal_(1.0, 2.0)
        field.feature_values.normal_()
    rays = rays_of()[200:330:13]
    ends = near_far(rays, field.extent)

    def shown(density: Tensor, features: Tensor) -> Tensor:
        with torch.nn.utils.stateless._reparametrize_module(
            field, {"density_values": density, "feature_values": features}
        ):
            seen = march(field, rays, ends, 12, torch.ones(3, dtype=torch.float64))
        return torch.cat([seen.features.flatten(), seen.depth])

    inputs = [value.detach().clone().requires_grad_() for value in (field.density_values, field.feature_values)]
    assert torch.autograd.gradcheck(shown, inputs, fast_mode=True)
