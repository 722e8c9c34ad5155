"""`cameras.json`, the member of a shard's object that holds its cameras.

`c2w`: a 4×4 matrix of each view, OpenGL axes. `intrinsics`: fx, fy, cx, cy, width and height in pixels of the stored pictures,
one object for all views, or a list of one for each where they differ. Where there is depth: `depth_scale` of its pictures,
`nearplane_quantile` of the object, and `depth_quantile` of each view (`geometry.scene_scales`), in scene units; null where a
view, or all of them, see nothing.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from pydantic_core import from_json

from blender_render.camera_sets import View
from geometry.scene_scales import radius_of

_LENS = ("fx", "fy", "cx", "cy")


@dataclass(frozen=True)
class StoredDepth:
    """What `cameras.json` says of an object's depth."""

    scale: float
    """From stored depth to scene units."""
    nearplane_quantile: float
    depth_quantiles: Sequence[float]
    """Of each view."""


@dataclass(frozen=True)
class ReadCameras:
    """The cameras of some views."""

    c2w: Float[np.ndarray, "v 4 4"]
    intrinsics: Float[np.ndarray, "v 4"]
    """fx, fy, cx, cy in pixels of the stored pictures."""
    scales: Float[np.ndarray, "v 3"] | None
    """As `systems.trainable.Views` has them."""


def cameras_file(views: Sequence[View], size: int | None = None, depth: StoredDepth | None = None) -> bytes:
    """The content of `cameras.json`.

    Args:
        views: of the object, in order.
        size: width and height in pixels that its square pictures are made; None leaves them as they are.
        depth: of the depth pictures, where they are stored.
    """
    lenses = [view.intrinsics.resized(size, size) if size else view.intrinsics for view in views]
    alike = all(lens == lenses[0] for lens in lenses)
    document: dict[str, object] = {
        "c2w": [view.c2w.tolist() for view in views],
        "intrinsics": vars(lenses[0]) if alike else [vars(lens) for lens in lenses],
    }
    if depth is not None:
        document["depth_scale"] = depth.scale
        document["nearplane_quantile"] = _or_null(depth.nearplane_quantile)
        document["depth_quantile"] = [_or_null(quantile) for quantile in depth.depth_quantiles]
    return json.dumps(document, sort_keys=True).encode()


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else value


def read_cameras_file(data: bytes | memoryview, chosen: Sequence[int], *, scales: bool = False) -> ReadCameras:
    """The cameras of some views.

    Args:
        data: content of the file.
        chosen: numbers of the views, in the order asked for.
        scales: tell them also where no depth is stored: the scene radius follows from the cameras alone.

    Raises:
        ValueError: when it is no JSON.
        LookupError: when it lacks something.
    """
    document = from_json(bytes(data))
    c2w, lenses = document["c2w"], document["intrinsics"]
    each = [lenses if isinstance(lenses, dict) else lenses[view] for view in chosen]
    intrinsics = [[lens[name] for name in _LENS] for lens in each]
    return ReadCameras(
        np.array([c2w[view] for view in chosen], dtype=np.float64),
        np.array(intrinsics, dtype=np.float64),
        _scales(document, chosen) if scales or "depth_quantile" in document else None,
    )


def _scales(document: dict[str, Any], chosen: Sequence[int]) -> Float[np.ndarray, "v 3"]:
    radius = radius_of([[row[3] for row in pose[:3]] for pose in document["c2w"]])
    near, of_views = document.get("nearplane_quantile"), document.get("depth_quantile")
    # NumPy makes None a NaN.
    return np.array([[radius, near, of_views[view] if of_views else None] for view in chosen], dtype=np.float64)
