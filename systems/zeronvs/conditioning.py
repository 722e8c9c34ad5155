"""What ZeroNVS is conditioned on: the relative transform of two cameras in units of the scene, and the field of view.

Source: kylesargent/zeronvs_diffusion `ldm/data/common.py` (`_get_relative_transformations`, `compute_T`), followed in the order
of its operations; Sargent et al. 2024 (arXiv 2310.17994), section 3, names three of the scales: norm, agg and viewer.

With E = inv(c2w_condition) · c2w_target, both in OpenGL axes, and s the scale, the translation t of E becomes t / max(s, 0.01),
and the vector is [flatten(E), f, sin f, cos f]: 16 numbers row by row, and the field of view f in radians.

| mode                   | s, in scene units                                          | then                                    |
| ---------------------- | ---------------------------------------------------------- | --------------------------------------- |
| `3dof`                 | none: the vector is Zero-1-to-3's T                        |                                         |
| `7dof`                 | `scene_radius` (the paper's norm)                          |                                         |
| `7dof_unscaled`        | 1                                                          | every number of E clipped to ±20        |
| `7dof_stereomag_scale` | `nearplane_quantile` (agg), clipped to [0.1, 100]          | every number of E clipped to ±20        |
| `7dof_quantile_scale`  | `depth_quantile` of the condition view (viewer)            | t ← 5·tanh(t / 10), in the code alone   |
| `7dof_metric_scale`    | units in a metre, so that t is in metres                   |                                         |
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from geometry.cameras import fov_from_focal, invert_rigid
from geometry.scene_scales import SCALES
from systems.zero123.conditioning import POSE_DIMENSIONS, relative_pose
from systems.zeronvs.modes import ConditioningMode, known_mode, scale_name

_CAMERA_DIMENSIONS = 16 + 3
_SMALLEST_SCALE = 1e-2
_NEARPLANE_RANGE = (0.1, 100.0)
_CLIP = 20.0
# a and c of the published a·c·tanh(t / c): half of a small translation, at most 5.
_SQUASH, _SQUASH_AT = 0.5, 10.0

Relative = Float[np.ndarray, "4 4"]


def pose_dimensions(mode: ConditioningMode) -> int:
    """Length of a mode's vector: 4 of `3dof`, 19 of the others.

    Raises:
        ParameterError: when there is no such mode.
    """
    return POSE_DIMENSIONS if known_mode(mode) == "3dof" else _CAMERA_DIMENSIONS


def scale_of(mode: ConditioningMode, scales: Float[np.ndarray, "3"]) -> float:
    """The scale of a view under a mode, scene units; NaN where it is unknown.

    Where the mode has none it is 1. `7dof_stereomag_scale` clips it to [0.1, 100], as published; where it is unknown the
    published code goes on with 1, silently, and here whoever needs it refuses.

    Args:
        mode: of the conditioning.
        scales: of the condition view, in the order of `SCALES`, scene units; NaN where unknown.

    Raises:
        ParameterError: when there is no such mode.
    """
    name = scale_name(mode)
    if name is None:
        return float("nan") if mode == "7dof_metric_scale" else 1.0
    scale = float(scales[SCALES.index(name)])
    return float(np.clip(scale, *_NEARPLANE_RANGE)) if mode == "7dof_stereomag_scale" else scale


def fov_of(intrinsics: Float[np.ndarray, "4"], width: int, height: int) -> float:
    """The field of view f of a picture, radians: the smaller one of its width and its height.

    As `webdataset_co3d.py` takes it, and so the one of the square that a centre crop leaves of square pixels.

    Args:
        intrinsics: fx, fy, cx, cy in pixels.
        width: of the picture, pixels.
        height: of the picture, pixels.
    """
    fx, fy = (np.asarray(value, dtype=np.float64) for value in intrinsics[:2])
    return float(min(fov_from_focal(fx, width), fov_from_focal(fy, height)))


def pose_vector(
    mode: ConditioningMode,
    target: Float[np.ndarray, "4 4"],
    condition: Float[np.ndarray, "4 4"],
    fov: float,
    scale: float = 1.0,
) -> Float[np.ndarray, " e"]:
    """The vector of a target camera relative to the condition's, by the table above.

    Args:
        mode: of the conditioning.
        target: c2w, OpenGL axes.
        condition: likewise.
        fov: field of view f, radians; `3dof` passes it over.
        scale: s, scene units; `3dof` and `7dof_unscaled` pass it over.

    Raises:
        ParameterError: when there is no such mode.
    """
    if known_mode(mode) == "3dof":
        return relative_pose(target, condition)
    relative = invert_rigid(np.asarray(condition, dtype=np.float64)) @ np.asarray(target, dtype=np.float64)
    relative[:3, 3] = relative[:3, 3] / np.maximum(1.0 if mode == "7dof_unscaled" else scale, _SMALLEST_SCALE)
    relative = _BOUNDS.get(mode, _unbounded)(relative)
    return np.concatenate([relative.ravel(), [fov, np.sin(fov), np.cos(fov)]])


def _unbounded(relative: Relative) -> Relative:
    return relative


def _clipped(relative: Relative) -> Relative:
    return np.nan_to_num(np.clip(relative, -_CLIP, _CLIP), nan=0.0)


def _squashed(relative: Relative) -> Relative:
    """The translation through a·c·tanh(t / c), a = 0.5 and c = 10, which bounds what a small depth makes large."""
    relative[:3, 3] = _SQUASH * _SQUASH_AT * np.tanh(relative[:3, 3] / _SQUASH_AT)
    return np.nan_to_num(relative, nan=0.0, posinf=_SQUASH_AT, neginf=-_SQUASH_AT)


_BOUNDS: dict[ConditioningMode, Callable[[Relative], Relative]] = {
    "7dof_unscaled": _clipped,
    "7dof_stereomag_scale": _clipped,
    "7dof_quantile_scale": _squashed,
}
