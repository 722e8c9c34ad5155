"""SJC's voxels: their density by hand, and its contrast."""

import math

import pytest
import torch

from reconstruction.fields.field import box_about_origin
from reconstruction.fields.latent_voxel_field import LatentVoxelField


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


def test_density_by_hand() -> None:
    field = LatentVoxelField(box_about_origin(1.0), 3, 4, shift=-1.0)
    assert field.channels == 4
    with torch.no_grad():
        field.density_values[..., 2] = 2.0  # the vertices at x = 1
        field.density_scale.fill_(math.log(3.0))
    points = torch.tensor([[1.0, 0, 0], [0.5, 0.2, 0], [-1.0, 0, 0], [1.2, 0, 0]])
    expected = [softplus(5.0), softplus(2.0), softplus(-1.0), 0.0]
    assert field.density(points).tolist() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(field(points).density, field.density(points))


def test_the_contrast_learns_and_features_begin_as_noise() -> None:
    field = LatentVoxelField(box_about_origin(1.0), 8)
    assert field.feature_values.std().item() == pytest.approx(1.0, abs=0.1)
    with torch.no_grad():
        field.density_values.fill_(0.5)
    field.density(torch.zeros(1, 3)).sum().backward()
    # d softplus(v·eˢ + b)/ds = sigmoid(v·eˢ + b)·v·eˢ
    assert field.density_scale.grad is not None
    assert field.density_scale.grad.item() == pytest.approx(0.5 / (1 + math.exp(0.5)), rel=1e-5)
