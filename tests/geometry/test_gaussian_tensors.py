"""The twin on PyTorch's side: there and back, with harmonics and without."""

import dataclasses

import numpy as np
import pytest
import torch
from gaussian_samples import FIELDS, some

from geometry.gaussian_tensors import GaussianTensors


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_there_and_back_bit_for_bit(degree):
    gaussians = some(degree=degree)
    back = GaussianTensors.of(gaussians).gaussians()
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(back, field), getattr(gaussians, field))


def test_there_are_no_harmonics_where_none_are():
    assert GaussianTensors.of(some()).harmonics is None
    assert GaussianTensors.of(some(degree=2), dtype=torch.float64).harmonics.shape == (5, 8, 3)


def test_opacities_that_an_optimiser_took_too_far_are_clipped():
    tensors = dataclasses.replace(GaussianTensors.of(some(2)), opacities=torch.tensor([-0.1, 1.1], requires_grad=True))
    assert tensors.gaussians().opacities.tolist() == [0.0, 1.0]
