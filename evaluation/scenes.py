"""Scenes of published photographs: what ZeroNVS is evaluated on, beside rendered objects.

A reader (`evaluation.dtu`, `evaluation.mip_nerf_360`) finds a scene's pictures and cameras; here they are cut to the square
in the middle, as kylesargent/zeronvs_diffusion does (`central_crop_v2` of `ldm/data/common.py`), and stood upright: the
published frames have no up axis in common, and systems that tell positions on a sphere need one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from blender_render.camera_sets import View
from geometry.cameras import Intrinsics
from stage.errors import InputError


@dataclass(frozen=True)
class Photograph:
    """A picture of a scene before it is decoded."""

    path: Path
    camera: View
    """Of the whole picture, scene units."""
    decode: Callable[[], Image.Image]
    """The picture as its camera sees it, sRGB; raises ValueError or OSError where it is damaged."""

    def square(self, size: int) -> tuple[Float[np.ndarray, "{size} {size} 3"], View]:
        """The square in the middle, RGB in [0, 1], and its camera.

        Args:
            size: its side, pixels.

        Raises:
            InputError: when the file is missing or damaged.
        """
        try:
            picture = self.decode()
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{self.path} cannot be read: {reason}", "restore it from its data set") from None
        return centre_square(picture, self.camera, size)


@dataclass(frozen=True)
class Scene:
    """A scene as its protocol has it: the input first, then what is to be predicted."""

    photographs: tuple[Photograph, ...]
    scale: float | None = None
    """What ZeroNVS divides translations by, scene units, where it is published."""


def centre_square(picture: Image.Image, camera: View, size: int) -> tuple[Float[np.ndarray, "{size} {size} 3"], View]:
    """The square in the middle of a picture at another size, and its camera; the principal point stays where it is.

    Args:
        picture: sRGB.
        camera: of the whole picture.
        size: side of the square, pixels.
    """
    side = min(picture.size)
    left, top = ((extent - side) // 2 for extent in picture.size)
    cut = picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
    lens = replace(
        camera.intrinsics, cx=camera.intrinsics.cx - left, cy=camera.intrinsics.cy - top, width=side, height=side
    )
    return np.asarray(cut, dtype=np.float32) / 255.0, View(camera.c2w, lens.resized(size, size))


def upright(c2w: Float[np.ndarray, "v 4 4"]) -> Float[np.ndarray, "v 4 4"]:
    """The cameras in a frame that is Z-up and has its origin where they look: lengths stay what they are.

    Up is the mean of the cameras' own up directions.

    Args:
        c2w: camera-to-world, OpenGL axes.
    """
    up = c2w[:, :3, 1].mean(axis=0)
    up /= np.linalg.norm(up)
    ahead = np.eye(3)[np.argmin(np.abs(up))]
    x = np.cross(ahead, up)
    x /= np.linalg.norm(x)
    frame = np.eye(4)
    frame[:3, :3] = np.stack([x, np.cross(up, x), up])
    frame[:3, 3] = -frame[:3, :3] @ focus_point(c2w)
    return frame @ c2w


def focus_point(c2w: Float[np.ndarray, "v 4 4"]) -> Float[np.ndarray, "3"]:
    """The point nearest to all viewing rays, by least squares.

    The projections P = I − d·dᵀ across the directions d give (Σ P) p = Σ P o (`focus_point_fn` of google-research/multinerf).
    """
    directions, origins = c2w[:, :3, 2], c2w[:, :3, 3]
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    return np.linalg.solve(across.sum(axis=0), np.einsum("vij,vj->i", across, origins))


def mean_distance(c2w: Float[np.ndarray, "v 4 4"]) -> float:
    """Mean distance of the cameras to where they look: `scene_radius_focus_pt` of zeronvs_diffusion's `webdataset_co3d.py`."""
    return float(np.linalg.norm(c2w[:, :3, 3] - focus_point(c2w), axis=1).mean())


def in_protocol_order(
    photographs: Sequence[Photograph], given: int, excluded: Sequence[int] = (), most: int | None = None
) -> tuple[Photograph, ...]:
    """The input, then the targets in their order.

    Args:
        photographs: of a scene.
        given: number of the input.
        excluded: numbers of those that are not scored.
        most: so many targets, spread evenly; all when None.
    """
    targets = [number for number in range(len(photographs)) if number != given and number not in excluded]
    if most is not None and most < len(targets):
        targets = [targets[index * len(targets) // most] for index in range(most)]
    return tuple(photographs[number] for number in (given, *targets))


def scaled(c2w: Float[np.ndarray, "v 4 4"], unit: float) -> Float[np.ndarray, "v 4 4"]:
    """The cameras with lengths measured in another unit.

    Args:
        c2w: camera-to-world.
        unit: the new one's length in the old one.
    """
    return np.concatenate([np.concatenate([c2w[:, :3, :3], c2w[:, :3, 3:] / unit], axis=2), c2w[:, 3:]], axis=1)


def check_lens(lens: Intrinsics, path: Path) -> None:
    """Refuse a camera whose principal point lies outside of its picture: it is of the picture at another size.

    Raises:
        InputError: in that case.
    """
    if not (0 < lens.cx < lens.width and 0 < lens.cy < lens.height):
        raise InputError(
            f"the camera of {path} has its principal point at ({lens.cx:.0f}, {lens.cy:.0f}), and the picture "
            f"{lens.width}×{lens.height} pixels",
            "take the pictures and cameras of one archive",
        )
