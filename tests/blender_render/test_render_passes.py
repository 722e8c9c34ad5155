"""Geometry passes on disk: what is decoded lies within the stated bounds of what was encoded."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from blender_render.passes import (
    DEPTH_SCALE,
    load_albedo,
    load_depth,
    load_mask,
    load_normal,
    load_position,
    save_albedo,
    save_depth,
    save_mask,
    save_normal,
    save_position,
)

any_temporary = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
depths = arrays(np.float32, (3, 5), elements=st.one_of(st.just(0.0), st.floats(0.015625, 5.984375, width=32)))
components = st.floats(-1, 1, width=32)


@any_temporary
@given(depth=depths)
def test_depth_comes_back_within_half_a_step_and_background_exactly(depth: np.ndarray, tmp_path: Path) -> None:
    save_depth(tmp_path / "depth.png", depth)
    loaded = load_depth(tmp_path / "depth.png")
    assert loaded.dtype == np.float32
    assert np.abs(loaded - depth).max() <= 0.5 * DEPTH_SCALE * 1.001 < 5e-5
    assert ((loaded == 0) == (depth == 0)).all()


def test_depth_out_of_range_is_the_farthest_and_not_wrapped_round(tmp_path: Path) -> None:
    save_depth(tmp_path / "depth.png", np.array([[6.5, 100.0, -1.0]]))
    np.testing.assert_allclose(load_depth(tmp_path / "depth.png"), [[6.0, 6.0, 0.0]], rtol=1e-6)


@any_temporary
@given(raw=arrays(np.float32, (3, 5, 3), elements=components), background=arrays(bool, (3, 5)))
def test_normals_come_back_within_a_fraction_of_a_degree(
    raw: np.ndarray, background: np.ndarray, tmp_path: Path
) -> None:
    length = np.linalg.norm(raw, axis=-1, keepdims=True)
    normal = np.where(length > 0.01, raw / np.maximum(length, 0.01), [0.0, 0.0, 1.0])
    normal[background] = 0
    save_normal(tmp_path / "normal.png", normal)
    loaded = load_normal(tmp_path / "normal.png")
    assert (loaded[background] == 0).all()
    cosine = (loaded * normal).sum(axis=-1)[~background]
    assert (cosine >= np.cos(np.deg2rad(0.41))).all()
    np.testing.assert_allclose(np.linalg.norm(loaded[~background], axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_no_unit_normal_is_taken_for_background(axis: int, sign: float, tmp_path: Path) -> None:
    normal = np.zeros((1, 1, 3))
    normal[0, 0, axis] = sign
    save_normal(tmp_path / "normal.png", normal)
    assert load_normal(tmp_path / "normal.png")[0, 0, axis] == pytest.approx(sign, abs=1e-4)


@any_temporary
@given(position=arrays(np.float32, (3, 5, 3), elements=components))
def test_positions_come_back_exactly_and_in_the_same_bytes(position: np.ndarray, tmp_path: Path) -> None:
    save_position(tmp_path / "position.exr", position)
    save_position(tmp_path / "again.exr", position)
    np.testing.assert_array_equal(load_position(tmp_path / "position.exr"), position)
    assert (tmp_path / "position.exr").read_bytes() == (tmp_path / "again.exr").read_bytes()


def test_every_albedo_comes_back_within_half_a_step_of_the_srgb_curve(tmp_path: Path) -> None:
    albedo = np.linspace(0, 1, 3 * 4096, dtype=np.float32).reshape(64, 64, 3)
    save_albedo(tmp_path / "albedo.png", albedo)
    loaded = load_albedo(tmp_path / "albedo.png")
    # The curve is flattest at white: a step of 1/255 is 2.4/1.055 times as much in linear light there.
    assert np.abs(loaded - albedo).max() <= 0.5 / 255 * 2.4 / 1.055 * 1.001
    assert np.abs(loaded - albedo)[albedo < 0.0031].max() <= 0.5 / 255 / 12.92 * 1.001


@any_temporary
@given(mask=arrays(bool, (3, 5)))
def test_masks_come_back(mask: np.ndarray, tmp_path: Path) -> None:
    save_mask(tmp_path / "mask.png", mask)
    np.testing.assert_array_equal(load_mask(tmp_path / "mask.png"), mask)
