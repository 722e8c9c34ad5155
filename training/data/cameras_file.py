"""`cameras.json`, the member of a shard's object that holds its cameras.

`c2w`: a 4×4 matrix of each view, OpenGL axes. `intrinsics`: fx, fy, cx, cy, width and height in pixels of the stored pictures,
one object for all views, or a list of one for each where they differ. `depth_scale`: of the depth pictures, where there are
some.
"""

import json
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from pydantic_core import from_json

from blender_render.camera_sets import View

_LENS = ("fx", "fy", "cx", "cy")


def cameras_file(views: Sequence[View], size: int | None = None, depth_scale: float | None = None) -> bytes:
    """The content of `cameras.json`.

    Args:
        views: of the object, in order.
        size: width and height in pixels that its square pictures are made; None leaves them as they are.
        depth_scale: from stored depth to scene units, where depth is stored.
    """
    lenses = [view.intrinsics.resized(size, size) if size else view.intrinsics for view in views]
    alike = all(lens == lenses[0] for lens in lenses)
    document: dict[str, object] = {
        "c2w": [view.c2w.tolist() for view in views],
        "intrinsics": vars(lenses[0]) if alike else [vars(lens) for lens in lenses],
    }
    if depth_scale is not None:
        document["depth_scale"] = depth_scale
    return json.dumps(document, sort_keys=True).encode()


def read_cameras_file(
    data: bytes | memoryview, chosen: Sequence[int]
) -> tuple[Float[np.ndarray, "v 4 4"], Float[np.ndarray, "v 4"]]:
    """c2w of some views, and their fx, fy, cx, cy.

    Args:
        data: content of the file.
        chosen: numbers of the views, in the order asked for.

    Raises:
        ValueError: when it is no JSON.
        LookupError: when it lacks something.
    """
    document = from_json(bytes(data))
    c2w, lenses = document["c2w"], document["intrinsics"]
    each = [lenses if isinstance(lenses, dict) else lenses[view] for view in chosen]
    intrinsics = [[lens[name] for name in _LENS] for lens in each]
    return np.array([c2w[view] for view in chosen], dtype=np.float64), np.array(intrinsics, dtype=np.float64)
