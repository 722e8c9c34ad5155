"""A page to look at Gaussians with, one file that needs no network: the SuperSplat viewer, by splat-transform.

The viewer's world is Y up and its camera keeps that up, so the Gaussians are turned: its x is our −x, its y our z, its z our y.
"""

import html
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from geometry.gaussians import Gaussians
from geometry.ply import write_ply
from stage.errors import InputError
from stage.files import write_text
from viewing.conversion import upright
from viewing.splat_transform import LICENCE, transform
from viewing.turntable import Turntable

_HEAD = "<title>SuperSplat Viewer</title>"
# The viewer takes the field of view along the longer side of the window; windows are up to this much wider than high.
_WIDEST_WINDOW = 2.0
_WIDEST_FOV = np.radians(120.0)
# The browser itself keeps the page from asking anyone for anything.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob: data:; style-src 'unsafe-inline'; "
    "img-src data: blob:; connect-src data: blob:; worker-src blob: data:; media-src data: blob:; font-src data:"
)


def write_page(
    path: Path, gaussians: Gaussians, turntable: Turntable, elevation: float, fov: float, title: str
) -> None:
    """Write a page that shows Gaussians on white, first from the front of a turntable; atomically.

    Colours are those without harmonics, the same from everywhere.

    Args:
        path: ends in `.html`.
        gaussians: world units.
        turntable: what the viewer looks at first, and from how far.
        elevation: of the first view, radians.
        fov: full field of view, radians.
        title: of the page.

    Raises:
        InputError: when the viewer is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="viewforge-") as scratch:
        plain, settings, page = (Path(scratch) / name for name in ("scene.ply", "settings.json", "viewer.html"))
        # To compress harmonics takes minutes without a GPU.
        write_ply(plain, upright(replace(gaussians, harmonics=np.zeros((len(gaussians), 0, 3)))))
        settings.write_text(json.dumps(_settings(turntable, elevation, fov)))
        transform(plain, page, named=path, settings=settings)
        write_text(path, _sealed(page.read_text(), title))


def viewer_from_world(points: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
    """Our points in the viewer's axes."""
    return points[..., [0, 2, 1]] * [-1.0, 1.0, 1.0]


def _settings(turntable: Turntable, elevation: float, fov: float) -> dict[str, Any]:
    """SuperSplat's experience settings, version 2: neither tone mapping nor effects, so colours are those of the Gaussians."""
    position = turntable.c2w(elevation, 0.0)[:3, 3]
    along_the_width = 2.0 * np.arctan(_WIDEST_WINDOW * np.tan(fov / 2))
    first = {
        "position": viewer_from_world(position).tolist(),
        "target": viewer_from_world(turntable.target).tolist(),
        "fov": float(np.degrees(min(along_the_width, _WIDEST_FOV))),
    }
    return {
        "version": 2,
        "tonemapping": "none",
        "highPrecisionRendering": False,
        "background": {"color": [1, 1, 1]},
        "postEffectSettings": _no_effects(),
        "animTracks": [],
        "cameras": [{"initial": first}],
        "annotations": [],
        "startMode": "default",
    }


def _no_effects() -> dict[str, Any]:
    """All effects off; the viewer wants their values all the same."""
    return {
        "sharpness": {"enabled": False, "amount": 0},
        "bloom": {"enabled": False, "intensity": 1, "blurLevel": 2},
        "grading": {"enabled": False, "brightness": 0, "contrast": 1, "saturation": 1, "tint": [1, 1, 1]},
        "vignette": {"enabled": False, "intensity": 0.5, "inner": 0.3, "outer": 0.75, "curvature": 1},
        "fringing": {"enabled": False, "intensity": 0.5},
    }


def _sealed(page: str, title: str) -> str:
    """The page under its own title, cut off from the network, with the licence of the viewer inside."""
    if page.count(_HEAD) != 1:
        raise InputError("splat-transform wrote a page of another kind", "python -m viewing.installation")
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    licence = f"<!-- The viewer in this page:\n{LICENCE.read_text()}-->"
    return page.replace(_HEAD, f"{policy}\n<title>{html.escape(title)}</title>\n{licence}")
