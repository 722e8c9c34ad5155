"""Lengths that stand for how large a scene is: what ZeroNVS divides translations by, for a scene's unit is arbitrary.

Sources: Sargent et al., ZeroNVS (CVPR 2024), section 3.2, normalisations `norm`, `agg` and `viewer`; kylesargent's repository
zeronvs_diffusion, `ldm/data/webdataset_co3d.py` and `compute_T` of `ldm/data/common.py`. Depth is planar z in the units of the
cameras; 0, what is negative and what is not finite is no depth and is not counted.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np
from jaxtyping import Float

ScaleName: TypeAlias = Literal["scene_radius", "nearplane_quantile", "depth_quantile"]
SCALES: tuple[ScaleName, ...] = get_args(ScaleName)
NEAREST, FARTHEST = 1e-3, 1e3
"""What the published code clips dense depth to."""

_NEAR, _OVER_VIEWS, _OF_VIEW = 0.05, 0.1, 0.2
_STEP = 4


def scene_radius(c2w: Float[np.ndarray, "v 4 4"]) -> float:
    """Mean distance of the cameras' centres to their mean: the paper's `norm`, in units of the cameras."""
    return radius_of(c2w[:, :3, 3].tolist())


def radius_of(centres: Sequence[Sequence[float]]) -> float:
    """The same by the centres alone."""
    # In plain Python: a dozen cameras are measured in the time of NumPy's first call, and a loader does it for each object.
    middle = [math.fsum(axis) / len(centres) for axis in zip(*centres, strict=True)]
    return math.fsum(math.dist(centre, middle) for centre in centres) / len(centres)


def near_depth(depth: Float[np.ndarray, "h w"]) -> float:
    """The 5 % quantile of a view's depth; NaN where it has none."""
    return _quantile(depth[_valid(depth)], _NEAR)


def nearplane_of(near_depths: Iterable[float]) -> float:
    """The 10 % quantile of the views' `near_depth`, without those that have none; NaN where none has."""
    known = np.array([near for near in near_depths if not math.isnan(near)])
    return _quantile(known, _OVER_VIEWS)


def nearplane_quantile(depths: Iterable[Float[np.ndarray, "h w"]]) -> float:
    """The paper's `agg`: q = Q10({Q5(D_i)}) over the depth D_i of a scene's views; NaN where no view has depth."""
    return nearplane_of(map(near_depth, depths))


def depth_quantile(depth: Float[np.ndarray, "h w"]) -> float:
    """The paper's `viewer`: q_i = Q20(D_i) of one view's dense depth; NaN where it has none.

    Every fourth row and column counts, and depth is clipped to [0.001, 1000], as in the published code.
    """
    some = depth[::_STEP, ::_STEP]
    return _quantile(some[_valid(some)].clip(NEAREST, FARTHEST), _OF_VIEW)


def _valid(depth: Float[np.ndarray, "h w"]) -> np.ndarray:
    return np.isfinite(depth) & (depth > 0)


def _quantile(values: Float[np.ndarray, " n"], share: float) -> float:
    return float(np.quantile(values, share)) if len(values) else math.nan
