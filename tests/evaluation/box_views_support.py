"""A box whose renders and surface are known in closed form, as an evaluated object, and a model that answers its true views."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from evaluation_support import asset
from PIL import Image

from blender_render.camera_sets import View
from blender_render.rendered_object import on_white, write_cameras
from blender_render.surface_files import write_triangles
from catalog.table import Asset
from evaluation.meshes import TrueSurfaces
from evaluation.parameters import EvaluateParameters
from evaluation.predictions import Prediction
from evaluation.protocol import ObjectViews, Selection, Subset
from evaluation.sampler import Answered, Failed
from geometry.cameras import Intrinsics, look_at_origin
from stage.failures import FailureClass, Outcome
from stage.packs import object_folder

SIDES = np.array([1.0, 0.5, 0.7])
VIEWS, SIZE, FOV, DISTANCE = 10, 24, 0.857, 1.6


def cameras() -> list[View]:
    """Around the box, above and below the horizon in turn."""
    lens = Intrinsics.from_fov(FOV, SIZE)
    elevations = [np.deg2rad(90.0 - (35.0, -25.0)[number % 2]) for number in range(VIEWS)]
    return [View(look_at_origin(e, 2.0 * np.pi * n / VIEWS, DISTANCE), lens) for n, e in enumerate(elevations)]


def picture(camera: View) -> np.ndarray:
    """RGBA with straight alpha; each pair of faces has a colour."""
    edge = 0.5 * SIZE / np.tan(0.5 * FOV)
    across = (np.arange(SIZE) + 0.5 - 0.5 * SIZE) / edge
    right, down = np.meshgrid(across, across)
    directions = np.stack([right, -down, -np.ones_like(right)], axis=-1) @ camera.c2w[:3, :3].T
    eye = camera.c2w[:3, 3]
    # Where rays enter and leave the slab between each pair of faces.
    ends = np.sort((np.stack([-SIDES, SIDES]) / 2 - eye)[:, None, None] / directions, axis=0)
    entry, leave = ends[0].max(axis=-1), ends[1].min(axis=-1)
    rgba = np.zeros((SIZE, SIZE, 4), np.uint8)
    rgba[..., :3] = np.array([[230, 40, 40], [40, 200, 60], [50, 80, 230]])[ends[0].argmax(axis=-1)]
    rgba[..., 3] = 255 * (entry < leave)
    return rgba


def object_views(uid: str, folder: Path) -> ObjectViews:
    """The box's renders under a uid, written as the farm writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    rgba = np.stack([picture(camera) for camera in cameras()])
    for number, pixels in enumerate(rgba):
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    write_cameras(folder, cameras(), ())
    return ObjectViews(asset(uid, "test"), on_white(rgba), tuple(cameras()), folder)


def write_surface(root: Path, uid: str) -> None:
    """The box's own triangles."""
    box, folder = trimesh.creation.box(SIDES), object_folder(root, uid)
    folder.mkdir(parents=True, exist_ok=True)
    write_triangles(folder, (box.vertices.astype(np.float32), box.faces.astype(np.int32)))


class Boxes(Subset):
    """Objects that all are the box."""

    def read(self, asset: Asset) -> ObjectViews:
        """Not asked: `KnownAnswers` has them."""
        raise NotImplementedError

    def cameras(self, asset: Asset) -> tuple[View, ...]:  # noqa: ARG002 - all have the same
        """Those of the box."""
        return tuple(cameras())

    def warnings(self, asset: Asset) -> list[str]:  # noqa: ARG002 - there are none
        """None."""
        return []

    def data_sha256(self) -> str:
        """Nothing."""
        return ""


def boxes(*uids: str) -> Boxes:
    """A subset."""
    return Boxes(Selection("unseen", tuple(asset(uid, "test") for uid in uids)), ())


@dataclass(frozen=True)
class KnownPipeline:
    """Where a model would compute."""

    device = torch.device("cpu")


@dataclass(frozen=True)
class KnownAnswers:
    """In place of a sampler: true views for answers; none of what is silent, white ones of what is blank."""

    root: Path
    silent: frozenset[str] = frozenset()
    blank: frozenset[str] = frozenset()
    seed: int = 0
    parameters = EvaluateParameters()
    pipeline = KnownPipeline()

    def answers(self, subset: Subset) -> Iterator[Failed | Answered]:
        """In order of uid."""
        for each in subset.assets:
            if each.uid in self.silent:
                yield Failed(Outcome(each.uid, FailureClass.NOT_FINITE, "numbers are not finite", "", 1, 0.0, 0, {}))
                continue
            views = object_views(each.uid, object_folder(self.root / "renders", each.uid))
            pictures = np.ones_like(views.targets) if each.uid in self.blank else views.targets
            yield Answered(views, Prediction(pictures))


def surfaces(root: Path, *uids: str, failures: dict[str, str] | None = None) -> TrueSurfaces:
    """True triangles of some."""
    for uid in uids:
        write_surface(root / "surfaces", uid)
    return TrueSurfaces(root / "surfaces", failures or {})
