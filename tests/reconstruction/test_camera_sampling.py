"""Cameras that are drawn: within their ranges, looking at the origin, and spread as they should be."""

import numpy as np
import pytest
import torch
from prior_support import camera
from pydantic import ValidationError

from geometry.cameras import look_at
from reconstruction.methods.camera_sampling import CubeCameras, SphereCameras, spherical_of


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_sjc_cameras_keep_their_ranges() -> None:
    generator, source = drawn(), camera(30.0, radius=2.0)
    cameras = [CubeCameras().draw(source, generator) for _ in range(300)]
    positions = np.stack([c.c2w[:3, 3] for c in cameras])
    radii = np.linalg.norm(positions, axis=1)
    assert radii.min() >= 1.8
    assert radii.max() <= 2.2
    assert radii.max() - radii.min() > 0.38
    assert positions[:, 2].min() > -0.5
    assert (positions[:, 2] < 0).any()
    for each in cameras[:20]:
        np.testing.assert_allclose(each.c2w, look_at(each.c2w[:3, 3]))
        assert each.intrinsics == source.intrinsics


def test_a_camera_beside_is_as_far_away_as_published() -> None:
    one = camera(30.0)
    beside = CubeCameras().beside(one, drawn())
    assert np.linalg.norm(beside.c2w[:3, 3] - one.c2w[:3, 3]) == pytest.approx(0.05)
    np.testing.assert_allclose(beside.c2w, look_at(beside.c2w[:3, 3]))


def test_heights_that_no_camera_has_are_refused() -> None:
    with pytest.raises(ValidationError, match="both sides of 0"):
        CubeCameras(height=(3.0, 4.0))


def test_sphere_cameras_are_relative_to_the_input() -> None:
    source, generator = camera(100.0, elevation_deg=10.0, radius=1.5), drawn()
    ranges = SphereCameras(radius_offset=(-0.2, 0.8), elevation_deg=(5.0, 80.0), azimuth_deg=(-30.0, 30.0))
    cameras = [c for _ in range(60) for c in ranges.draw(source, 4, 0.5, generator)]
    polar, azimuth, radius = np.array([spherical_of(c) for c in cameras]).T
    assert np.rad2deg(np.pi / 2 - polar).min() >= 5.0
    assert np.rad2deg(np.pi / 2 - polar).max() <= 80.0
    assert np.rad2deg(np.pi / 2 - polar).max() > 65.0
    assert np.rad2deg(azimuth).min() >= 70.0
    assert np.rad2deg(azimuth).max() <= 130.0
    assert radius.min() >= 1.3
    assert radius.max() <= 2.3


def test_both_ways_of_drawing_elevations_are_used() -> None:
    # Evenly in angle the mean elevation of 0° to 90° is 45°, evenly in area asin(½) is the median: 30°.
    source, generator, medians = camera(0.0), drawn(), []
    for _ in range(12):
        cameras = SphereCameras(elevation_deg=(0.0, 90.0)).draw(source, 400, 0.0, generator)
        medians.append(90.0 - np.median(np.rad2deg([spherical_of(c)[0] for c in cameras])))
    assert {round(median / 15.0) * 15 for median in medians} == {30, 45}


def test_ranges_open_from_the_input() -> None:
    source, ranges = camera(40.0, elevation_deg=20.0), SphereCameras(elevation_deg=(0.0, 60.0), widening=0.25)
    (first,) = ranges.draw(source, 1, 0.0, drawn())
    np.testing.assert_allclose(first.c2w, source.c2w, atol=1e-9)
    half = ranges.draw(source, 200, 0.125, drawn())
    elevations = [90.0 - np.rad2deg(spherical_of(c)[0]) for c in half]
    turns = [(np.rad2deg(spherical_of(c)[1]) - 40.0 + 180.0) % 360.0 - 180.0 for c in half]
    assert 10.0 <= min(elevations) < 13.0
    assert 37.0 < max(elevations) <= 40.0
    assert np.abs(turns).max() <= 90.0
    assert np.abs(turns).max() > 80.0


def test_the_generator_decides() -> None:
    one, other = (SphereCameras().draw(camera(0.0), 3, 0.0, drawn(5)) for _ in range(2))
    assert all(np.array_equal(a.c2w, b.c2w) for a, b in zip(one, other, strict=True))
