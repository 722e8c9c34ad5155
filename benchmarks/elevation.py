"""How near estimated elevations come when the views of the model are right: `python -m benchmarks.elevation`.

Blender stands in for the model that turns objects: composed objects, or with `--assets FOLDER` files of one's own (`--gso` for a
folder of scanned objects), are rendered from elevations of −10° to 60° and from where `systems.pictures.elevation` asks. A real
model's views are less right than these, so that the figures are a bound from below.

Goal: no estimate that says nothing against itself is more than 5° off. `--quick` takes two objects at three elevations.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.refinement import catalogue
from blender_render import protocols
from blender_render.camera_sets import FOV, CameraSet, View
from blender_render.farm import Farm
from blender_render.parameters import QualityParameters, RenderParameters
from catalog.gso import gso_assets
from catalog.parameters import CatalogParameters
from catalog.table import Asset
from geometry.cameras import Intrinsics, look_at_origin
from geometry.elevation_search import Turn
from stage.errors import InputError
from stage.executor import ExecutorParameters
from stage.packs import object_folder
from stage.workspace import Workspace
from systems.pictures.elevation import NEARBY, ElevationEstimate, estimate_elevation
from systems.zero123.compositing import picture_tensor

_GOAL_DEG = 5.0
_VIEWS = (Turn(0.0, 0.0), *NEARBY)
_RADIUS, _AZIMUTH = 1.8, 0.4


def around(elevations_deg: Sequence[float], size: int) -> CameraSet:
    """The inputs' cameras, each followed by those around it that are asked for."""
    lens = Intrinsics.from_fov(FOV, size)
    polars = [math.pi / 2 - math.radians(elevation) for elevation in elevations_deg]
    cameras = [look_at_origin(p + turn.polar, _AZIMUTH + turn.azimuth, _RADIUS) for p in polars for turn in _VIEWS]
    return CameraSet((), tuple(View(c2w, lens) for c2w in cameras))


def rendered(assets: list[Asset], elevations_deg: Sequence[float], size: int, workspace: Workspace) -> Path:
    """The folder of the assets' renders."""
    protocols.PROTOCOLS["elevations"] = protocols.Protocol(lambda _, __, side: around(elevations_deg, side))
    parameters = RenderParameters(
        protocol="elevations",
        views=len(elevations_deg) * len(_VIEWS),
        resolution=size,
        quality=QualityParameters(samples=8, device="cpu"),
        executor=ExecutorParameters(workers=2),
    )
    farm = Farm(workspace.scratch / f"elevations-{size}", parameters, 0, workspace)
    for outcome in farm.render(assets):
        sys.exit(f"{outcome.uid}: {outcome.failure}: {outcome.message}")
    return farm.root


def estimated(folder: Path, number: int, size: int) -> ElevationEstimate | None:
    """The estimate of an object at one of its elevations; None where next to nothing matches."""
    paths = [folder / f"{number * len(_VIEWS) + view:03d}.png" for view in range(len(_VIEWS))]
    pictures = torch.stack([picture_tensor(Image.open(path), (size, size)) for path in paths])

    def there_already(_: Tensor, __: Sequence[Turn]) -> Tensor:
        return pictures[1:] / 2 + 0.5

    try:
        return estimate_elevation(pictures[0], there_already)
    except InputError:
        return None


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two objects at three elevations")
    parser.add_argument("--assets", type=Path, help="a folder of assets instead of composed objects")
    parser.add_argument("--gso", type=Path, help="a folder of scanned objects besides")
    parser.add_argument("--objects", type=int, default=6, help="most objects of the catalogue")
    parser.add_argument("--size", type=int, default=128, help="width and height of the pictures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    elevations = (0, 20, 45) if arguments.quick else (-10, 0, 20, 45, 60)
    errors: list[float] = []
    doubted: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder).absolute())
        assets = catalogue(arguments.assets, 2 if arguments.quick else arguments.objects, workspace)
        if arguments.gso:
            assets += gso_assets(CatalogParameters(source="gso", path=str(arguments.gso.absolute())), workspace)
        root = rendered(assets, elevations, arguments.size, workspace)
        for asset in assets:
            for number, elevation in enumerate(elevations):
                estimate = estimated(object_folder(root, asset.uid), number, arguments.size)
                print(
                    f"{asset.title:28.28} {elevation:4d}°: {estimate.line() if estimate else 'no matches'}", flush=True
                )
                if estimate:
                    error = abs(estimate.elevation_deg - elevation)
                    (doubted if estimate.doubts else errors).append(error)
    tried = len(assets) * len(elevations)
    if doubted:
        print(f"elevation doubted: {len(doubted)} of {tried}, off by {np.median(doubted):.1f}° in the median")
    if not errors:
        sys.exit("elevation: no estimate to believe")
    print(f"elevation believed: {len(errors)} of {tried}, off by {np.median(errors):.1f}° in the median")
    print(f"elevation: {max(errors):.1f}° off at most where believed (goal {_GOAL_DEG:g}°)")
    return int(max(errors) > _GOAL_DEG)


if __name__ == "__main__":
    sys.exit(main())
