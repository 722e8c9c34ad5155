"""Fields at points: what they begin as, their derivatives and their bounds."""

import numpy as np
import pytest
import torch

from reconstruction.fields.distance_field import DistanceField
from reconstruction.fields.encodings import GridEncoding, sines, sines_width
from reconstruction.fields.field import box_about_origin
from reconstruction.fields.implicit_field import ImplicitField
from reconstruction.fields.voxel_field import VoxelField
from reconstruction.surrounding_cameras import Extent

BOX = box_about_origin()


def points(count: int = 200, half: float = 0.55) -> torch.Tensor:
    return (2 * torch.rand(count, 3, generator=torch.Generator().manual_seed(1)) - 1) * half


def tiny_grid(**options: int) -> GridEncoding:
    return GridEncoding(**{"levels": 3, "table": 600, "coarsest": 4, "finest": 16} | options)


def test_voxels_are_read_trilinearly_in_the_world():
    """A grid of linear values gives that linear function of the place, along the right axes."""
    extent = Extent(np.array([-0.5, -1.0, -0.25]), np.array([0.5, 1.0, 0.75]))
    field = VoxelField(extent, resolution=33, channels=2, shift=0.0, colours="latent")
    axes = [torch.linspace(*bounds, 33) for bounds in zip(extent.lower, extent.upper, strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    with torch.no_grad():
        field.density_values.copy_((2 * x - y + 3 * z).permute(2, 1, 0))
        field.feature_values[0, 0].copy_(x.permute(2, 1, 0))
        field.feature_values[0, 1].copy_((y - z).permute(2, 1, 0))
    places = points(half=0.24) * torch.tensor([2.0, 4.0, 2.0]) + torch.tensor([0.0, 0.0, 0.25])
    values = field(places)
    expected = torch.nn.functional.softplus(places @ torch.tensor([2.0, -1.0, 3.0]))
    torch.testing.assert_close(values.density, expected)
    torch.testing.assert_close(values.features, torch.stack([places[:, 0], places[:, 1] - places[:, 2]], dim=1))
    outward = -torch.tensor([2.0, -1.0, 3.0]) / np.sqrt(14.0)
    torch.testing.assert_close(field.normals(places[:20]), outward.expand(20, 3), atol=5e-3, rtol=0)


def test_voxels_begin_as_published():
    field = VoxelField(box_about_origin(1.0), channels=4, colours="latent", resolution=8)
    values = field(points())
    torch.testing.assert_close(values.density, torch.full((200,), float(np.log1p(np.exp(-1.0)))))
    assert values.features.abs().max() == 0.0


@pytest.mark.parametrize(
    "field",
    [
        VoxelField(BOX, resolution=8),
        ImplicitField(BOX, encoding=tiny_grid()),
        DistanceField(BOX, layers=2, width=16, frequencies=2, colour_layers=1),
    ],
    ids=lambda field: type(field).__name__,
)
def test_what_all_fields_keep(field):
    inside, outside = points(), torch.tensor([[0.7, 0.0, 0.0], [0.0, -0.61, 0.0]])
    values = field(inside)
    assert values.density.min() >= 0.0
    assert 0.0 <= values.features.min() <= values.features.max() <= 1.0
    torch.testing.assert_close(field.density(inside), values.density)
    assert field.density(outside).abs().max() == 0.0
    lengths = field.normals(inside).norm(dim=-1)
    assert ((lengths - 1.0).abs() < 1e-4).logical_or(lengths == 0.0).all()
    with torch.no_grad():
        torch.testing.assert_close(field.normals(inside), field.normals(inside.clone()))
    steps, directions = torch.full((200,), 0.05), torch.tensor([[0.0, 0.0, 1.0]]).expand(200, 3)
    shaded = field.shade(inside, directions, steps, with_normals=True)
    assert 0.0 <= shaded.alphas.min() <= shaded.alphas.max() <= 1.0
    shaded.alphas.sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in field.parameters())


def test_the_implicit_field_begins_as_a_ball():
    field = ImplicitField(BOX, encoding=tiny_grid())
    at = field.density(torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.55, 0.0, 0.0]]))
    assert at[0] > 8.0
    assert at[0] > 10 * at[1] > 100 * at[2]
    away = torch.tensor([[0.2, 0.1, -0.1]])
    torch.testing.assert_close(field.normals(away), away / away.norm(), atol=0.05, rtol=0)


@pytest.mark.parametrize(("layers", "width"), [(2, 64), (3, 64), (4, 64), (4, 256), (8, 256)])
def test_the_distance_begins_as_a_sphere(layers, width):
    """Negative inside, growing outwards with a slope of about 1, and 0 at about the radius (SAL, theorem 1)."""
    torch.manual_seed(layers)
    field = DistanceField(BOX, layers=layers, width=width, radius=0.5)
    directions = torch.nn.functional.normalize(points(), dim=-1)
    radii = torch.linspace(0.05, 1.0, 20)
    with torch.no_grad():
        at = torch.stack([field.distance(radius * directions) for radius in radii])
    assert at[0].max() < 0.0
    assert (at[1:] > at[:-1]).float().mean() > 0.99
    crossing = (at < 0.0).float().sum(dim=0) * 0.05
    assert crossing.mean().item() == pytest.approx(0.5, abs=0.06)
    assert crossing.std() < 0.15
    assert field.gradient(0.5 * directions).norm(dim=-1).median().item() == pytest.approx(1.0, abs=0.3)


def test_the_gradient_of_the_distance_is_that_of_differences():
    torch.manual_seed(0)
    field = DistanceField(BOX, layers=4, width=16, frequencies=3, colour_layers=1).double()
    places, small = points(20).double(), 1e-6
    ahead, behind = (
        torch.stack(
            [field.distance(places + sign * small * axis) for axis in torch.eye(3, dtype=torch.float64)], dim=1
        )
        for sign in (1, -1)
    )
    torch.testing.assert_close(field.gradient(places), (ahead - behind) / (2 * small), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("table", [600, 10**6])
def test_grids_are_continuous_and_twice_differentiable(table):
    torch.manual_seed(0)
    encoding = tiny_grid(table=table).double()
    with torch.no_grad():
        for values in encoding.tables:
            values.normal_()
    # A vertex of the finest grid, from both sides.
    vertex = torch.tensor([[0.25, -0.5, 0.75]], dtype=torch.float64)
    torch.testing.assert_close(encoding(vertex - 1e-9), encoding(vertex + 1e-9), atol=1e-6, rtol=0)
    assert encoding(vertex).shape == (1, encoding.width)
    places = (points(3) / 0.6).double().requires_grad_()
    assert torch.autograd.gradcheck(encoding, places)
    assert torch.autograd.gradgradcheck(encoding, places)


def test_a_table_as_large_as_the_grid_keeps_vertices_apart():
    encoding = GridEncoding(levels=1, features=1, table=10**6, coarsest=4, finest=4)
    with torch.no_grad():
        encoding.tables[0].copy_(torch.arange(125.0)[:, None])
    axis = torch.linspace(-1.0, 1.0, 5)
    places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    torch.testing.assert_close(encoding(places)[:, 0], torch.arange(125.0))


def test_sines_have_their_octaves():
    encoded = sines(torch.tensor([[0.5, -0.25]]), 2)
    assert encoded.shape == (1, sines_width(2, 2))
    expected = [0.5, -0.25, *np.sin([0.5, -0.25]), *np.cos([0.5, -0.25]), *np.sin([1.0, -0.5]), *np.cos([1.0, -0.5])]
    np.testing.assert_allclose(encoded[0], expected, rtol=1e-6)
