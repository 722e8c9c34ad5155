"""Self-prompted views: which ones the Base is asked for, and where the target lies from each of them.

Of a pair (target, condition) the Base sees the condition and is asked for the target itself, coarsely, and for near views at
fixed offsets from the condition (train_cascade0123.py; dataset.py `cond_RT_pose`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geometry.cameras import spherical_from_position
from systems.cascade_zero123.prompt_parameters import NearViewParameters
from systems.zero123.conditioning import pose_between


@dataclass(frozen=True)
class Prompts:
    """What the Base made of a batch, pictures in [−1, 1]."""

    coarse: Float[Tensor, "b 3 h w"]
    """The target views."""
    near: Float[Tensor, "b k 3 h w"]
    """The near views, in the order of their offsets."""
    near_poses: Float[Tensor, "b k 4"]
    """T of the target relative to each near view."""

    def to(self, device: torch.device) -> "Prompts":
        """The same on a device."""
        return Prompts(self.coarse.to(device), self.near.to(device), self.near_poses.to(device))


@dataclass(frozen=True)
class Offset:
    """Where a near view lies from the condition on the sphere: radians and object sizes."""

    polar: float = 0.0
    """Negative looks from higher."""
    azimuth: float = 0.0
    """Counter-clockwise seen from above."""
    radius: float = 0.0


@dataclass(frozen=True)
class PromptPoses:
    """The relative poses T of one pair."""

    coarse: Float[np.ndarray, "4"]
    """Of the target relative to the condition: what the Base is asked for first."""
    asked: Float[np.ndarray, "k 4"]
    """Of each near view relative to the condition: what it is asked for then."""
    near: Float[np.ndarray, "k 4"]
    """Of the target relative to each near view: what the Refiner is told."""


def prompt_offsets(near: Sequence[NearViewParameters]) -> tuple[Offset, ...]:
    """Offsets in radians."""
    return tuple(Offset(math.radians(view.polar_deg), math.radians(view.azimuth_deg), view.radius) for view in near)


def near_position(condition: tuple[float, float, float], offset: Offset) -> tuple[float, float, float]:
    """Polar angle, azimuth and radius of a near view.

    An offset that would lead past a pole ends there: θ = clamp(θc + Δθ, 0, π). Beyond it a camera would hang upside down, which
    T cannot say. The azimuth is not wrapped, for T knows its sine and cosine alone.

    Args:
        condition: polar angle, azimuth and radius of the condition view.
        offset: of the near view.
    """
    polar = min(max(condition[0] + offset.polar, 0.0), math.pi)
    return polar, condition[1] + offset.azimuth, condition[2] + offset.radius


def prompt_poses(
    target: Float[np.ndarray, "4 4"], condition: Float[np.ndarray, "4 4"], offsets: Sequence[Offset]
) -> PromptPoses:
    """What the Base is asked for and the Refiner is told of one pair of c2w cameras in OpenGL axes.

    Every near view is taken to lie exactly where the Base was asked to see it from.
    """
    wanted = spherical_from_position(target[:3, 3])
    given = spherical_from_position(condition[:3, 3])
    near = [near_position(given, offset) for offset in offsets]
    return PromptPoses(
        pose_between(wanted, given),
        np.array([pose_between(view, given) for view in near]).reshape(-1, 4),
        np.array([pose_between(wanted, view) for view in near]).reshape(-1, 4),
    )
