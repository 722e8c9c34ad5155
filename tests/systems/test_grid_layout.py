"""Six views in one picture, and the ranges of Zero123++."""

import numpy as np
import pytest
import torch

from geometry.splatter_tensor import grid_from_views, views_from_grid
from stage.errors import InputError
from systems.zero_1_to_g.grid.layout import (
    grid_of,
    scaled_image,
    scaled_latents,
    unscaled_image,
    unscaled_latents,
    views_of,
)


def test_views_lie_row_by_row() -> None:
    """Three rows of two: views 0 and 1 at the top, 2 and 3 below."""
    views = torch.arange(6.0)[:, None, None, None].expand(6, 1, 2, 3)
    expected = [[0, 0, 0, 1, 1, 1]] * 2 + [[2, 2, 2, 3, 3, 3]] * 2 + [[4, 4, 4, 5, 5, 5]] * 2
    assert grid_of(views)[0].tolist() == expected


def test_a_grid_is_cut_into_its_views() -> None:
    views = torch.randn(2, 6, 14, 4, 5)
    grid = grid_of(views)
    assert grid.shape == (2, 14, 12, 10)
    assert torch.equal(views_of(grid), views)


def test_the_published_size() -> None:
    assert grid_of(torch.zeros(1, 6, 3, 320, 320)).shape == (1, 3, 960, 640)
    assert views_of(torch.zeros(1, 14, 384, 256)).shape == (1, 6, 14, 128, 128)


def test_arrays_and_tensors_agree() -> None:
    views = np.random.default_rng(0).normal(size=(6, 3, 4, 5))
    grid = grid_from_views(views)
    np.testing.assert_array_equal(grid_of(torch.from_numpy(views)).numpy(), grid)
    np.testing.assert_array_equal(views_of(torch.from_numpy(grid)).numpy(), views_from_grid(grid))


def test_ranges_of_zero123plus() -> None:
    values = torch.tensor([-1.0, 0.0, 0.22, 0.8]).reshape(1, 1, 1, 4)
    torch.testing.assert_close(scaled_image(values), torch.tensor([-0.625, 0.0, 0.1375, 0.5]).reshape(1, 1, 1, 4))
    torch.testing.assert_close(scaled_latents(values), torch.tensor([-0.915, -0.165, 0.0, 0.435]).reshape(1, 1, 1, 4))
    torch.testing.assert_close(unscaled_image(scaled_image(values)), values)
    torch.testing.assert_close(unscaled_latents(scaled_latents(values)), values)


def test_what_is_no_grid_is_refused() -> None:
    with pytest.raises(InputError, match="5 views where a grid of 3 by 2 has 6"):
        grid_of(torch.zeros(5, 3, 4, 4))
    with pytest.raises(InputError, match="4×4 cannot be cut"):
        views_of(torch.zeros(3, 4, 4))
