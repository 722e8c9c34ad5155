"""Cameras of CO3D and RealEstate10K through our conventions and back, through OpenCV's, PyTorch3D's and OpenGL's: to 1e-6."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preparation_support import clip_line
from scipy.spatial.transform import Rotation

from geometry.cameras import (
    Intrinsics,
    c2w_from_pytorch3d,
    c2w_from_real_estate10k,
    invert_rigid,
    ndc_from_intrinsics,
    opencv_from_opengl,
    pytorch3d_from_c2w,
)
from training.data.importers.real_estate10k import camera_lines, camera_of
from training.data.preparation.framing import Framing
from training.data.zeronvs_cameras import camera_from, metadata_of
from training.data.zeronvs_cameras import camera_of as camera_of_co3d

LENGTHS = st.floats(-50.0, 50.0)
QUATERNIONS = st.tuples(*[st.floats(-1.0, 1.0)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)


@st.composite
def poses(draw) -> np.ndarray:
    """Any rigid c2w."""
    c2w = np.eye(4)
    c2w[:3, :3] = Rotation.from_quat(draw(QUATERNIONS)).as_matrix()
    c2w[:3, 3] = draw(st.tuples(LENGTHS, LENGTHS, LENGTHS))
    return c2w


SIZES = st.tuples(st.integers(50, 2000), st.integers(50, 2000))
FOCALS, MIDDLES = st.floats(0.3, 5.0), st.floats(-0.3, 0.3)


@pytest.mark.parametrize("form", ["ndc_isotropic", "ndc_norm_image_bounds"])
@settings(max_examples=60, deadline=None)
@given(poses(), SIZES, FOCALS, FOCALS, MIDDLES, MIDDLES)
def test_a_viewpoint_of_co3d_comes_back(form, c2w, size, fx, fy, x, y):
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    # PyTorch3D's axes are OpenCV's with x and y turned, and its points are rows.
    world_to_camera = flip @ np.linalg.inv(opencv_from_opengl(c2w))
    viewpoint = {
        "R": world_to_camera[:3, :3].T.tolist(),
        "T": world_to_camera[:3, 3].tolist(),
        "focal_length": [fx, fy],
        "principal_point": [x, y],
        "intrinsics_format": form,
    }
    read, lens, _ = camera_of_co3d(viewpoint, *size)
    np.testing.assert_allclose(read, c2w, atol=1e-6)
    rotation, translation = pytorch3d_from_c2w(read)
    np.testing.assert_allclose(rotation, viewpoint["R"], atol=1e-6)
    np.testing.assert_allclose(translation, viewpoint["T"], atol=1e-6)
    focal_length, principal_point = ndc_from_intrinsics(lens, isotropic=form == "ndc_isotropic")
    np.testing.assert_allclose((*focal_length, *principal_point), (fx, fy, x, y), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(poses(), SIZES, FOCALS, FOCALS, MIDDLES, MIDDLES)
def test_a_line_of_real_estate10k_comes_back(tmp_path_factory, c2w, size, fx, fy, x, y):
    width, height = size
    lens = Intrinsics(fx * width, fy * height, (0.5 + x) * width, (0.5 + y) * height, width, height)
    path = tmp_path_factory.getbasetemp() / "clip.txt"
    path.write_text(f"https://example.org\n{clip_line(17, c2w, lens)}\n")
    (line,) = camera_lines(path)
    view = camera_of(line, width, height)
    np.testing.assert_allclose(view.c2w, c2w, atol=1e-6)
    np.testing.assert_allclose(list(vars(view.intrinsics).values()), list(vars(lens).values()), rtol=1e-6)
    again = np.array(clip_line(17, view.c2w, view.intrinsics).split(), dtype=float)
    np.testing.assert_allclose(again, line, atol=1e-6)


@pytest.mark.parametrize("form", ["co3d", "re10k"])
@settings(max_examples=60, deadline=None)
@given(poses(), SIZES, st.floats(20.0, 5000.0), MIDDLES, MIDDLES)
def test_what_a_shard_says_of_a_camera_comes_back_through_every_convention(form, c2w, size, focal, x, y):
    width, height = size
    lens = Intrinsics(focal, 1.01 * focal, (0.5 + x) * width, (0.5 + y) * height, width, height)
    framed = Framing.of([lens], 256, tall=form == "re10k").lens
    metadata = metadata_of(c2w, framed, form)
    read, intrinsics, scale = camera_from(metadata, framed.width, framed.height)
    assert scale == 1.0
    np.testing.assert_allclose(read, c2w, atol=1e-6)
    np.testing.assert_allclose(list(vars(intrinsics).values()), list(vars(framed).values()), rtol=1e-6)
    opencv = invert_rigid(opencv_from_opengl(read))[:3]
    np.testing.assert_allclose(c2w_from_real_estate10k(opencv), c2w, atol=1e-6)
    np.testing.assert_allclose(c2w_from_pytorch3d(*pytorch3d_from_c2w(read)), c2w, atol=1e-6)
    values, again = json.loads(metadata), json.loads(metadata_of(read, intrinsics, form))
    assert values.keys() == again.keys()
    for key, value in values.items():
        np.testing.assert_allclose(again[key], value, atol=1e-6)
