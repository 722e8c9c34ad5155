"""SDS anchoring: views of a scene that are sampled once, so that a reconstruction has something to hold to behind the input.

anchors = sample_anchors(pipeline, image, c2w, centre_in_front(c2w, 1.0), fov=np.deg2rad(55), scale=0.7)
picture, camera = anchors.nearest_view(novel)

During distillation a novel camera is conditioned on that view, of input and anchors, from which it is turned the least. Source:
Sargent et al. 2024 (arXiv 2310.17994): two anchors, at 120° and 240°, DDIM with 500 steps; kylesargent/ZeroNVS
`threestudio/data/image.py` (`aux_c2ws`, evenly spaced azimuths) and `threestudio/models/guidance/zero123_guidance.py`
(`get_cond`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geometry.cameras import invert_rigid
from systems.zeronvs.pipeline import ZeroNvsPipeline

UP = (0.0, 0.0, 1.0)
"""World's up axis."""
PUBLISHED_AZIMUTHS = (2.0 * np.pi / 3.0, 4.0 * np.pi / 3.0)
PUBLISHED_STEPS = 500
_SAME_ANGLE_DIGITS = 9


@dataclass(frozen=True)
class Anchors:
    """What a reconstruction conditions on: the input view, then the anchors that were sampled from it."""

    pictures: Float[Tensor, "a 3 h w"]
    """In [−1, 1], as pipelines take them."""
    c2w: Float[np.ndarray, "a 4 4"]
    """Their cameras, OpenGL axes."""
    scale: float | None
    """What translations were divided by, in the cameras' units; the same for all of them."""

    def nearest(self, c2w: Float[np.ndarray, "4 4"]) -> int:
        """Which picture a novel camera is conditioned on: that of the smallest rotation angle, 0 the input.

        Between equal angles the first is taken, so the input before any anchor.
        """
        angles = [rotation_angle(c2w, own) for own in self.c2w]
        return int(np.argmin(np.round(angles, _SAME_ANGLE_DIGITS)))

    def nearest_view(self, c2w: Float[np.ndarray, "4 4"]) -> tuple[Float[Tensor, "1 3 h w"], Float[np.ndarray, "4 4"]]:
        """Picture and camera that a novel camera is conditioned on."""
        chosen = self.nearest(c2w)
        return self.pictures[chosen : chosen + 1], self.c2w[chosen]


def sample_anchors(
    pipeline: ZeroNvsPipeline,
    image: Float[Tensor, "1 3 h w"],
    c2w: Float[np.ndarray, "4 4"],
    centre: Float[np.ndarray, "3"],
    *,
    fov: float,
    scale: float | None = None,
    azimuths: Sequence[float] = PUBLISHED_AZIMUTHS,
    up: Sequence[float] = UP,
    num_inference_steps: int = PUBLISHED_STEPS,
    **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
) -> Anchors:
    """Sample the anchors of an input view, each from the input alone.

    Args:
        pipeline: ZeroNVS, with DDIM for its scheduler as it is saved.
        image: the input view in [−1, 1].
        c2w: its camera, OpenGL axes.
        centre: what the anchors turn about; see `centre_in_front`.
        fov: field of view of all views, radians.
        scale: as the pipeline's mode wants it, in the cameras' units.
        azimuths: of the anchors from the input, radians, counter-clockwise seen from above.
        up: the scene's up axis; of an input at the identity that was held level it is (0, 1, 0).
        num_inference_steps: steps of the sampler.
        **options: `SamplerOptions`.

    Raises:
        InputError: as the pipeline.
    """
    cameras = anchor_cameras(c2w, centre, azimuths, up)
    made: Float[Tensor, "a 3 h w"] = pipeline(
        image, cameras, c2w, fov=fov, scale=scale, num_inference_steps=num_inference_steps, **options
    ).images
    pictures = torch.cat([image.to(made), made * 2.0 - 1.0])
    return Anchors(pictures, np.concatenate([np.asarray(c2w)[None], cameras]), scale)


def anchor_cameras(
    c2w: Float[np.ndarray, "4 4"],
    centre: Float[np.ndarray, "3"],
    azimuths: Sequence[float] = PUBLISHED_AZIMUTHS,
    up: Sequence[float] = UP,
) -> Float[np.ndarray, "a 4 4"]:
    """A camera turned about the up axis through a centre, by each azimuth: R(c − m) + m for its position, R·R_c for its axes.

    Args:
        c2w: the camera, OpenGL axes.
        centre: m.
        azimuths: radians, counter-clockwise seen from above.
        up: the axis, of any length.
    """
    to_centre = np.eye(4)
    to_centre[:3, 3] = centre
    away = invert_rigid(to_centre)
    return np.stack([to_centre @ _turn(azimuth, np.asarray(up)) @ away @ c2w for azimuth in azimuths])


def centre_in_front(c2w: Float[np.ndarray, "4 4"], distance: float) -> Float[np.ndarray, "3"]:
    """The point at a distance straight in front of a camera, in its units."""
    return c2w[:3, 3] - distance * c2w[:3, 2]


def rotation_angle(one: Float[np.ndarray, "4 4"], other: Float[np.ndarray, "4 4"]) -> float:
    """Angle in [0, π] of the rotation between two cameras: acos((tr(R₁ᵀR₂) − 1) / 2)."""
    cosine = (np.trace(one[:3, :3].T @ other[:3, :3]) - 1.0) / 2.0
    return float(np.arccos(np.clip(cosine, -1.0, 1.0)))


def _turn(angle: float, axis: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """Rodrigues' rotation about an axis through the origin."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turned = np.eye(4)
    turned[:3, :3] += np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
    return turned
