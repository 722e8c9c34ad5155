"""Boxes with splatter images of chance, as shards: what Zero-1-to-G's trainings run on where nothing is to be learnt."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from blender_render.camera_sets import View
from blender_render.splatter_files import write_splatter_files
from geometry.cameras import Intrinsics, look_at_origin
from geometry.gaussians import Gaussians
from stage.files import write_json
from stage.packs import object_folder, write_packs
from stage.workspace import Workspace
from training.data.shard_parameters import ShardParameters
from training.data.writer import write_shards

SIZE = 16


def layout_cameras(azimuths_deg: Sequence[float], elevations_deg: Sequence[float]) -> list[View]:
    """Cameras that look at the origin."""
    lens = Intrinsics.from_fov(0.8, SIZE)
    angles = zip(np.deg2rad(azimuths_deg), np.deg2rad(elevations_deg), strict=True)
    return [View(look_at_origin(np.pi / 2 - elevation, azimuth, 1.5), lens) for azimuth, elevation in angles]


def boxes_with_splatters(
    render_boxes: Callable[..., Workspace], root: Path, objects: int, cameras: Sequence[View]
) -> Workspace:
    """A workspace with shards of boxes, each with splatter images of its own for these cameras."""
    made = render_boxes(root / "workspace", train=objects)
    uids = [f"{number:02d}train" for number in range(objects)]
    for number, uid in enumerate(uids):
        folder = object_folder(root / "splatters", uid)
        folder.mkdir(parents=True)
        views = [_gaussians(np.random.default_rng([number, view])) for view in range(len(cameras))]
        write_splatter_files(folder, views, views[0], cameras)
        write_json(folder / "record.json", {"fingerprint": uid})
    made.splatters.mkdir(parents=True)
    write_packs(root / "splatters", uids, made.splatters, 1)
    write_shards(ShardParameters(include=("splatter",)), made)
    return made


def _gaussians(chance: np.random.Generator) -> Gaussians:
    """As many as a view has pixels."""
    count = SIZE * SIZE
    return Gaussians(
        means=chance.uniform(-0.5, 0.5, (count, 3)),
        quaternions=chance.normal(size=(count, 4)),
        scales=chance.uniform(0.01, 0.1, (count, 3)),
        opacities=chance.uniform(size=count),
        colours=chance.uniform(size=(count, 3)),
    )
