"""Which cameras a prior is asked from: SJC's and threestudio's draws, about the origin and relative to the input's camera.

Angles are radians here and degrees in parameters. Distances are world units: the object's longest side is 1. What published
configurations give as distances is here the distance less the input's: systems are told of that difference alone.
"""

import math

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Generator

from blender_render.camera_sets import View
from geometry.cameras import look_at, position_from_spherical, spherical_from_position
from stage.parameters import Parameters


def spherical_of(camera: View) -> tuple[float, float, float]:
    """Polar angle, azimuth and radius of a camera's position."""
    return spherical_from_position(camera.c2w[:3, 3])


def sized(camera: View, size: int) -> View:
    """The same camera with a square picture of another size."""
    return View(camera.c2w, camera.intrinsics.resized(size, size))


class CubeCameras(Parameters):
    """SJC's cameras: directions of points drawn in a cube, which lie thicker about its corners (`3drec/pose.py`)."""

    radius_offset: tuple[float, float] = (-0.2, 0.2)
    """Least and greatest distance from the origin less the input's; published: 1.8 and 2.2 about an input at 2."""
    height: tuple[float, float] = (-0.5, 2.2)
    """Between which heights over the origin a camera may be; others are drawn again."""
    near_distance: float = Field(default=0.05, gt=0.0)
    """How far the camera beside one is away, in a direction drawn on the sphere."""

    @field_validator("height")
    @classmethod
    def _about_horizon(cls, height: tuple[float, float]) -> tuple[float, float]:
        """Where no camera can be, drawing again would never end."""
        if not height[0] < 0.0 < height[1]:
            raise ValueError("the heights have to lie on both sides of 0")
        return height

    def draw(self, source: View, generator: Generator) -> View:
        """A camera that looks at the origin, with the input's lens."""
        input_radius = spherical_of(source)[2]
        while True:
            direction = torch.rand(3, generator=generator, dtype=torch.float64).numpy() * 2.0 - 1.0
            radius = input_radius + _uniform(*self.radius_offset, generator)
            position = direction / np.linalg.norm(direction) * radius
            if self.height[0] < position[2] < self.height[1]:
                return View(look_at(position), source.intrinsics)

    def beside(self, camera: View, generator: Generator) -> View:
        """A camera a small step away that looks at the origin, too."""
        step = torch.randn(3, generator=generator, dtype=torch.float64).numpy()
        position = camera.c2w[:3, 3] + self.near_distance * step / np.linalg.norm(step)
        return View(look_at(position), camera.intrinsics)


class SphereCameras(Parameters):
    """threestudio's cameras: elevations drawn evenly in angle or in area, by the toss of a coin (`threestudio/data/uncond.py`).

    There the even draw in area leaves the range, for it takes shares of the angle for shares of the sine; here it does not.
    """

    radius_offset: tuple[float, float] = (0.0, 0.0)
    """Least and greatest distance from the origin less the input's."""
    elevation_deg: tuple[float, float] = (-10.0, 80.0)
    """Least and greatest elevation over the horizon, degrees."""
    azimuth_deg: tuple[float, float] = (-180.0, 180.0)
    """Least and greatest azimuth from the input's, degrees."""
    widening: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the run in which both ranges grow from the input's angles to their whole."""

    def draw(self, source: View, count: int, share: float, generator: Generator) -> list[View]:
        """Cameras that look at the origin, with the input's lens.

        Args:
            source: the input's camera.
            count: how many.
            share: of the run, done.
            generator: of all draws.
        """
        polar, azimuth, radius = spherical_of(source)
        opened = 1.0 if self.widening == 0.0 else min(1.0, share / self.widening)
        input_elevation = 0.5 * math.pi - polar
        low, high = (input_elevation + opened * (math.radians(e) - input_elevation) for e in self.elevation_deg)
        left, right = (azimuth + opened * math.radians(a) for a in self.azimuth_deg)
        even_in_angle = _uniform(0.0, 1.0, generator) < 0.5
        cameras = []
        for _ in range(count):
            if even_in_angle:
                elevation = _uniform(low, high, generator)
            else:
                elevation = math.asin(_uniform(math.sin(low), math.sin(high), generator))
            turned, away = _uniform(left, right, generator), _uniform(*self.radius_offset, generator)
            position = position_from_spherical(0.5 * math.pi - elevation, turned, radius + away)
            cameras.append(View(look_at(position), source.intrinsics))
        return cameras


def _uniform(low: float, high: float, generator: Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))
