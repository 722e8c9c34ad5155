"""NeuS' weights on a plane and a sphere: largest at the surface, and those of the paper."""

import numpy as np
import pytest
import torch
from scipy.stats import logistic

from reconstruction.fields.distance_field import DistanceField
from reconstruction.fields.field import box_about_origin
from reconstruction.marching.distance_sampling import distance_edges
from reconstruction.marching.neus_weights import piece_alphas, section_alphas
from reconstruction.marching.rays import Rays, near_far
from reconstruction.marching.volume import alpha_weights, density_alphas

EDGES = torch.linspace(0.0, 2.0, 4001, dtype=torch.float64)
MIDDLES = 0.5 * (EDGES[1:] + EDGES[:-1])
STEP = 2.0 / 4000


def weights_along(distance, sharpness: float) -> torch.Tensor:
    """Of the pieces of a ray on which the signed distance is a function of t."""
    return alpha_weights(section_alphas(distance(EDGES[:-1]), distance(EDGES[1:]), sharpness)[None])[0]


@pytest.mark.parametrize("sharpness", [20.0, 100.0, 1000.0])
@pytest.mark.parametrize("cosine", [1.0, 0.5, 0.1])
def test_a_plane_has_its_largest_weight_at_the_surface(cosine, sharpness):
    """Section 3.1: w(t) = |cos θ| φₛ(f(t)) for a single plane, which is largest at f = 0; its integral over a piece is exact."""
    weights = weights_along(lambda t: cosine * (1.0 - t), sharpness)
    assert MIDDLES[weights.argmax()].item() == pytest.approx(1.0, abs=STEP)
    reached = logistic.cdf(cosine * (1.0 - EDGES.numpy()), scale=1.0 / sharpness)
    np.testing.assert_allclose(weights, (reached[:-1] - reached[1:]) / reached[0], atol=1e-12)


@pytest.mark.parametrize("sharpness", [50.0, 200.0, 1000.0])
@pytest.mark.parametrize("offset", [0.0, 0.2, 0.35])
def test_a_sphere_has_its_largest_weight_at_the_first_surface(offset, sharpness):
    """Unbiased to the first order: the second, 2 (d cos θ/dt) / (s² cos³ θ), is all that is off. The front hides the rest."""
    radius, middle = 0.5, 1.0
    weights = weights_along(lambda t: torch.sqrt((t - middle) ** 2 + offset**2) - radius, sharpness)
    half = np.sqrt(radius**2 - offset**2)
    bias = 2.0 * (offset**2 / radius**3) / (sharpness**2 * (half / radius) ** 3)
    assert MIDDLES[weights.argmax()].item() == pytest.approx(middle - half - bias, abs=STEP)
    assert weights[middle < MIDDLES].sum() < 1e-3
    assert weights.sum().item() == pytest.approx(1.0, abs=1e-3)


def test_a_plain_density_is_biased():
    """Why NeuS was made: with the density φₛ(f) the weight is largest before the surface."""
    density = torch.tensor(logistic.pdf(1.0 - MIDDLES.numpy(), scale=1.0 / 50.0))
    weights = alpha_weights(density_alphas(density[None], torch.full((1, 4000), STEP, dtype=torch.float64)))[0]
    assert MIDDLES[weights.argmax()] < 1.0 - 10 * STEP


def test_leaving_and_grazing_take_no_light():
    deep = section_alphas(torch.tensor([-3.0, -0.2, 0.3]), torch.tensor([-2.9, 0.1, 0.4]), 200.0)
    torch.testing.assert_close(deep, torch.zeros(3))
    entering = section_alphas(torch.tensor([-2.0]), torch.tensor([-2.1]), 200.0)
    assert entering.item() == pytest.approx(1.0 - np.exp(-20.0))


def test_a_piece_by_its_middle_is_the_same_on_a_plane():
    directions = torch.nn.functional.normalize(torch.tensor([[0.6, 0.0, -0.8]]), dim=-1).expand(40, 3)
    normal = torch.tensor([[0.0, 0.0, 1.0]]).expand(40, 3)
    t = torch.linspace(0.0, 1.0, 41)
    distance = 0.4 - 0.8 * t
    steps = t[1:] - t[:-1]
    by_middle = piece_alphas(0.5 * (distance[1:] + distance[:-1]), normal, directions, steps, 30.0)
    torch.testing.assert_close(by_middle, section_alphas(distance[:-1], distance[1:], 30.0))
    # Annealed, a ray that leaves the plane takes light, too.
    leaving = piece_alphas(torch.zeros(40), normal, -directions, steps, 30.0, annealing=0.0)
    assert leaving.min() > 0.0
    assert piece_alphas(torch.zeros(40), normal, -directions, steps, 30.0).max() == 0.0


def test_samples_gather_at_the_surface():
    torch.manual_seed(0)
    field = DistanceField(box_about_origin(), layers=2, width=64, frequencies=0)
    rays = Rays(torch.tensor([[0.0, 0.05, 2.0]] * 2), torch.tensor([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]), torch.ones(2))
    edges = distance_edges(field, rays, near_far(rays, field.extent), 16, 18)
    assert edges.shape == (2, 35)
    assert (edges[:, 1:] >= edges[:, :-1]).all()
    assert edges[0, 0].item() == pytest.approx(1.4)
    assert edges[0, -1].item() == pytest.approx(2.6)
    with torch.no_grad():
        near_surface = field.distance(rays[:1].at(edges[:1])[0]).abs() < 0.025
    # Of even edges, 0.075 apart, one at the most would be.
    assert near_surface.sum() >= 14
    # A ray that misses the box has nothing to be divided into.
    assert edges[1].abs().max() == 0.0
    jittered = distance_edges(field, rays, near_far(rays, field.extent), 16, 0, torch.Generator().manual_seed(0))
    even = distance_edges(field, rays, near_far(rays, field.extent), 16, 0)
    assert 0.0 < (jittered - even)[0].abs().max() <= 0.5 * 1.2 / 16
