"""Colours that depend on the direction against gsplat's reference, and normals that face the eye."""

import dataclasses

import numpy as np
import pytest
import torch
from gsplat.cuda._torch_impl import _spherical_harmonics
from scipy.spatial.transform import Rotation

from geometry.gaussian_tensors import GaussianTensors
from geometry.view_features import colours_seen, normals_seen

EYE = torch.tensor([1.5, -0.7, 0.4], dtype=torch.float64)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_colours_are_those_of_gsplat(cloud, degree):
    gaussians = GaussianTensors.of(cloud(50), dtype=torch.float64)
    coefficients = torch.randn(
        50, (degree + 1) ** 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    # The part that is the same from everywhere is 0.5 + C0 · f_dc.
    constant = 0.5 + 0.28209479177387814 * coefficients[:, 0]
    gaussians = dataclasses.replace(gaussians, colours=constant, harmonics=coefficients[:, 1:])
    theirs = (_spherical_harmonics(degree, gaussians.means - EYE, coefficients) + 0.5).clamp(min=0.0)
    assert (theirs == 0).any()
    torch.testing.assert_close(colours_seen(gaussians, EYE), theirs, atol=1e-7, rtol=0)


def test_colours_without_harmonics_are_the_same_from_everywhere(cloud):
    gaussians = GaussianTensors.of(cloud(5), dtype=torch.float64)
    assert torch.equal(colours_seen(gaussians, EYE), gaussians.colours)


def test_normals_are_unit_face_the_eye_and_lie_along_the_shortest_axis(cloud):
    gaussians = cloud(50)
    tensors = GaussianTensors.of(gaussians, dtype=torch.float64)
    normals = normals_seen(tensors, EYE).numpy()
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-9)
    assert (np.sum((EYE.numpy() - gaussians.means) * normals, axis=1) >= 0).all()
    axes = Rotation.from_quat(np.roll(gaussians.quaternions, -1, axis=1)).as_matrix()
    along = np.einsum("nij,ni->nj", axes, normals)
    assert (np.abs(along).argmax(axis=1) == gaussians.scales.argmin(axis=1)).all()
