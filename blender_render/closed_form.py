"""From what Blender shows of an object to its splatter images and fused Gaussians, and what about it the form cannot hold.

Knows no Blender: `blender_render.splatter_worker` renders the shots. World: right-handed, Z up; pictures are sRGB.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from scipy.ndimage import binary_erosion

from blender_render.camera_sets import View
from blender_render.parameters import SplatterParameters
from blender_render.passes import GeometryPasses, srgb_from_linear
from geometry.gaussians import Gaussians
from geometry.inset import inset_views, sorted_by_pixel
from geometry.splatter import SplatterView, fuse, splatter_from_passes

# Shares above which an object's record says that its score suffers from it.
_TELLING = {"transparent": 0.05, "thin": 0.25, "cut_off": 0.0}
# Less than this inside the outline is a surface that light goes through, and no noise of the filter.
_WHOLE = 0.95
_LITTLE_ROOM = 0.5


@dataclass(frozen=True, eq=False)
class Shot:
    """What one camera sees: sRGB with straight alpha, and geometry passes where they were rendered."""

    view: View
    rgba: UInt8[np.ndarray, "h w 4"]
    geometry: GeometryPasses | None = None


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """The Gaussians of an object."""

    images: list[Gaussians]
    """A splatter image for each view: a Gaussian a pixel, row-major, opacity 0 where there is none."""
    fused: Gaussians
    """Those of all views, each place from the view that sees it best."""
    shares: dict[str, float]
    """Of the pixels that see a surface: "transparent", "thin" (half the inset or less has room); "cut_off", of the border."""

    @property
    def falls_short(self) -> str:
        """The shares that tell on the score, comma-separated; empty when none does."""
        return ", ".join(name.replace("_", " ") for name, share in self.shares.items() if share > _TELLING[name])


def closed_form(shots: Sequence[Shot], parameters: SplatterParameters) -> ClosedForm:
    """The Gaussians of an object from its shots, all of which have geometry passes.

    Raises:
        InputError: when a pixel that sees a surface has a position that is not finite.
    """
    on_surface = [_on_surface(shot, parameters) for shot in shots]
    inside, room = inset_views(on_surface, parameters.inset)
    images = [sorted_by_pixel(view).gaussians for view in inside]
    return ClosedForm(images, fuse(inside), _shares(shots, on_surface, room))


def _on_surface(shot: Shot, parameters: SplatterParameters) -> SplatterView:
    geometry = shot.geometry
    assert geometry is not None  # noqa: S101 - the caller renders it
    picture = shot.rgba.astype(np.float32) / 255.0
    return splatter_from_passes(
        picture[..., :3],
        geometry.position,
        geometry.depth,
        geometry.normal,
        shot.view.c2w,
        shot.view.intrinsics,
        footprint=parameters.footprint,
        opacity=parameters.opacity,
        coverage=picture[..., 3],
    )


def albedo_picture(geometry: GeometryPasses) -> UInt8[np.ndarray, "h w 4"]:
    """Albedo as a picture: sRGB, alpha 255 where there is a surface."""
    assert geometry.albedo is not None  # noqa: S101 - the caller renders it
    values = np.dstack([srgb_from_linear(geometry.albedo), geometry.depth > 0])
    return np.rint(values * 255.0).astype(np.uint8)


def _shares(
    shots: Sequence[Shot], views: Sequence[SplatterView], room: Sequence[Float[np.ndarray, "h w"]]
) -> dict[str, float]:
    valid = np.stack([view.valid for view in views])
    inner = np.stack([binary_erosion(mask, np.ones((3, 3))) for mask in valid])
    alpha = np.stack([shot.rgba[..., 3] for shot in shots]) / 255.0
    border = np.ones(valid.shape[1:], dtype=bool)
    border[1:-1, 1:-1] = False
    return {
        "transparent": _share(alpha[inner] < _WHOLE),
        "thin": _share(np.stack(room)[valid] < _LITTLE_ROOM),
        "cut_off": _share(valid[:, border]),
    }


def _share(chosen: np.ndarray) -> float:
    return round(float(chosen.mean()), 4) if chosen.size else 0.0
