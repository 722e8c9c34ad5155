"""Losses on depth, normals and opacity whose values are known."""

import math

import pytest
import torch

from reconstruction.methods.anchored_sds import gated
from reconstruction.methods.field_losses import (
    depth_smoothness,
    emptiness,
    filled_depth,
    input_foreground,
    input_mask,
    input_picture,
    near_view_consistency,
    normal_smoothness,
    opaqueness,
    orientation,
    sparsity,
    surface_smoothness,
)


def test_a_slope_is_half_of_both_mean_differences() -> None:
    # d = 2·column + 3·row: |Δ| is 2 across and 3 down everywhere.
    depth = 2.0 * torch.arange(4.0) + 3.0 * torch.arange(5.0)[:, None]
    assert depth_smoothness(depth).item() == pytest.approx(2.5)
    assert depth_smoothness(torch.full((3, 3), 7.0)).item() == 0.0


def test_depth_goes_on_behind_the_field() -> None:
    filled = filled_depth(torch.tensor([0.0, 0.5, 2.0]), torch.tensor([0.0, 0.25, 1.0]), 10.0)
    assert filled.tolist() == [10.0, 8.0, 2.0]


def test_near_views_differ_by_picture_and_depth() -> None:
    view, depth = torch.zeros(4, 2, 2), torch.ones(2, 2)
    near, near_depth = view.clone(), depth.clone()
    near[0, 0, 0], near_depth[0, 0] = -1.6, 3.0
    # 1.6 of 16 numbers, 2 of 4.
    assert near_view_consistency(view, depth, near, near_depth).item() == pytest.approx(0.1 + 0.5)
    assert near_view_consistency(view, depth, view, depth).item() == 0.0


def test_emptiness_by_hand_and_lower_when_weight_is_in_one_place() -> None:
    assert emptiness(torch.tensor([0.5, 0.0])).item() == pytest.approx(-0.25 * math.log(6) / 2)
    assert emptiness(torch.tensor([1.0, 0.0])) < emptiness(torch.tensor([0.5, 0.5]))


def test_normals_that_face_the_camera_cost_nothing() -> None:
    directions = torch.tensor([[0.0, 0, -1], [0.0, 0, -1], [0.0, 0, -1]])
    normals = torch.tensor([[0.0, 0, 1], [0.0, 0, -1], [0.6, 0, -0.8]])
    weights = torch.tensor([0.9, 0.5, 0.25], requires_grad=True)
    # 0 + 0.5·1² + 0.25·0.8², over the two rays that see anything.
    loss = orientation(weights, normals.requires_grad_(), directions, torch.tensor([1.0, 0.0, 0.7]))
    assert loss.item() == pytest.approx((0.5 + 0.25 * 0.64) / 2)
    loss.backward()
    assert weights.grad is None
    assert normals.grad is not None
    assert normals.grad[0].abs().sum() == 0


def test_orientation_of_nothing_is_nothing() -> None:
    assert orientation(torch.zeros(0), torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(4)).item() == 0.0
    assert surface_smoothness(torch.zeros(0, 3), torch.zeros(0, 3)).item() == 0.0


def test_a_bend_of_normals_by_hand() -> None:
    # Two columns that differ by (1, 0, 1)/…: squared differences 1, 0, 1 in each of the rows, mean 2/3; rows are alike.
    normals = torch.zeros(3, 2, 3)
    normals[:, 0, 0], normals[:, 1, 2] = 1.0, 1.0
    assert normal_smoothness(normals).item() == pytest.approx(2 / 3)
    assert surface_smoothness(normals[:, 0], normals[:, 1]).item() == pytest.approx(2 / 3)


def test_opacity_costs_by_hand() -> None:
    assert sparsity(torch.tensor([0.0, 0.75])).item() == pytest.approx((0.1 + math.sqrt(0.5725)) / 2)
    assert opaqueness(torch.tensor([0.5])).item() == pytest.approx(math.log(2))
    assert opaqueness(torch.tensor([1.0])).item() < 0.01


def test_the_input_counts_on_any_background() -> None:
    picture, mask = torch.full((3, 2, 2), 0.5), torch.tensor([[1.0, 0.0], [0.5, 0.0]])
    for colour in (torch.ones(3, 1, 1), torch.tensor([0.1, 0.9, 0.4])[:, None, None]):
        shown = picture * mask + colour * (1.0 - mask)
        assert input_foreground(shown, colour, picture, mask).item() == 0.0
    off = picture * mask + (1.0 - mask)
    off[:, 0, 0] += 0.2
    assert input_foreground(off, torch.ones(3, 1, 1), picture, mask).item() == pytest.approx(0.04 / 4)
    assert input_mask(torch.zeros(2, 2), mask).item() == pytest.approx((1 + 0.25) / 4)
    assert input_picture(torch.zeros(3, 2, 2), picture).item() == 0.25


def test_the_gate_passes_the_picture_and_stops_the_gradient() -> None:
    picture = torch.rand(1, 3, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    keep = torch.tensor([[1.0, 0.0], [0.0, 1.0]])[None, None]
    passed = gated(picture, keep)
    assert torch.equal(passed, picture)
    passed.sum().backward()
    assert picture.grad is not None
    assert torch.equal(picture.grad, keep.expand_as(picture))
