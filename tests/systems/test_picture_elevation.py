"""Elevations estimated with Blender in the place of the model that turns objects: views as right as any model could make them."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from blender_render import protocols
from blender_render.camera_sets import FOV, CameraSet, View
from blender_render.farm import Farm
from blender_render.parameters import QualityParameters, RenderParameters
from catalog.folder import folder_assets
from catalog.parameters import CatalogParameters
from geometry.cameras import Intrinsics, look_at_origin
from geometry.elevation_search import Turn
from stage.errors import InputError
from stage.executor import ExecutorParameters
from stage.files import write_text
from stage.packs import object_folder
from stage.workspace import Workspace
from systems.pictures.elevation import NEARBY, asking, estimate_elevation
from systems.zero123.compositing import picture_tensor

SIZE, ELEVATIONS_DEG = 96, (0, 20, 45)
VIEWS = (Turn(0.0, 0.0), *NEARBY)
Views = Callable[[int], Tensor]


def around(_: np.random.Generator, __: int, size: int) -> CameraSet:
    """The inputs' cameras at all elevations, each followed by those that are asked for around it."""
    lens = Intrinsics.from_fov(FOV, size)
    polars = [math.pi / 2 - math.radians(elevation) for elevation in ELEVATIONS_DEG]
    cameras = [look_at_origin(polar + turn.polar, 0.5 + turn.azimuth, 1.8) for polar in polars for turn in VIEWS]
    return CameraSet((), tuple(View(c2w, lens) for c2w in cameras))


def write_objects(folder: Path) -> None:
    """A box with a pattern, and a smooth vase of one colour."""
    random = np.random.default_rng(5)
    pattern = np.kron(random.integers(0, 255, (24, 24, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    folder.mkdir(parents=True)
    Image.fromarray(pattern).save(folder / "pattern.png")
    write_text(folder / "box.mtl", "newmtl pattern\nmap_Kd pattern.png\n")
    write_text(folder / "box.obj", _box())
    write_text(folder / "vase.obj", _vase())


def _box() -> str:
    corners = [(x, y, z) for x in (-0.4, 0.4) for y in (-0.3, 0.3) for z in (-0.5, 0.5)]
    sides = [(1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4)]
    # Each side shows a part of the pattern of its own.
    places = [
        (u / 3 + a / 3, v / 2 + b / 2) for v in (0, 1) for u in (0, 1, 2) for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))
    ]
    lines = [f"v {x} {y} {z}" for x, y, z in corners] + [f"vt {u:.4f} {v:.4f}" for u, v in places]
    faces = [
        "f " + " ".join(f"{vertex}/{4 * number + k + 1}" for k, vertex in enumerate(side))
        for number, side in enumerate(sides)
    ]
    return "\n".join(["mtllib box.mtl", *lines, "usemtl pattern", *faces, ""])


def _vase() -> str:
    profile = [(0.02, -0.5), (0.3, -0.45), (0.4, -0.1), (0.2, 0.25), (0.28, 0.45), (0.02, 0.5)]
    around_ = [2 * math.pi * k / 96 for k in range(96)]
    lines = [f"v {r * math.cos(a):.5f} {r * math.sin(a):.5f} {z}" for r, z in profile for a in around_]
    for ring in range(len(profile) - 1):
        for k in range(96):
            low, high = 96 * ring + 1, 96 * (ring + 1) + 1
            lines.append(f"f {low + k} {low + (k + 1) % 96} {high + (k + 1) % 96} {high + k}")
    return "\n".join([*lines, ""])


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Views]:
    """Pictures (7, 3, h, w) in [−1, 1] of each object at an elevation: the input, and the views that are asked for."""
    torch.set_num_threads(1)
    workspace = Workspace(tmp_path_factory.mktemp("elevations"))
    write_objects(workspace.root / "inputs")
    parameters = RenderParameters(
        protocol="around",
        views=len(ELEVATIONS_DEG) * len(VIEWS),
        resolution=SIZE,
        quality=QualityParameters(samples=8, device="cpu"),
        executor=ExecutorParameters(workers=2),
    )
    assets = [replace(asset, up_axis="Z") for asset in folder_assets(CatalogParameters(path="inputs"), workspace)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(protocols.PROTOCOLS, "around", protocols.Protocol(around))
        assert Farm(workspace.scratch / "renders", parameters, 0, workspace).render(assets) == []

    def views(folder: Path) -> Views:
        def at(elevation_deg: int) -> Tensor:
            first = ELEVATIONS_DEG.index(elevation_deg) * len(VIEWS)
            paths = [folder / f"{first + k:03d}.png" for k in range(len(VIEWS))]
            return torch.stack([picture_tensor(Image.open(path), (SIZE, SIZE)) for path in paths])

        return at

    return {asset.title: views(object_folder(workspace.scratch / "renders", asset.uid)) for asset in assets}


def estimated(pictures: Tensor):
    asked = []

    def rendered(picture: Tensor, turns: tuple[Turn, ...]) -> Tensor:
        asked.append(turns)
        assert picture.shape == (3, SIZE, SIZE)
        return pictures[1:] / 2 + 0.5

    estimate = estimate_elevation(pictures[0], rendered)
    assert asked == [NEARBY]
    return estimate


@pytest.mark.parametrize("elevation", ELEVATIONS_DEG)
def test_the_elevation_of_a_patterned_box(renders: dict[str, Views], elevation: int):
    estimate = estimated(renders["box.obj"](elevation))
    assert estimate.elevation_deg == pytest.approx(elevation, abs=5.0)
    assert estimate.doubts == ()
    assert "not confident" not in estimate.line()


def test_what_looks_alike_from_all_sides_is_not_believed(renders: dict[str, Views]):
    for elevation in ELEVATIONS_DEG:
        try:
            said = estimated(renders["vase.obj"](elevation)).line()
        except InputError as error:
            said = str(error)
        assert "not confident: " in said or "points match among the model's views" in said


def test_the_same_pictures_give_the_same_estimate(renders: dict[str, Views]):
    pictures = renders["box.obj"](20)
    assert estimated(pictures) == estimated(pictures.clone())


def test_pictures_without_features_give_none():
    with pytest.raises(InputError, match="0 points match among the model's views; give --elevation-deg"):
        estimated(torch.ones(len(VIEWS), 3, SIZE, SIZE))


def test_only_a_model_that_is_told_turns_can_be_asked():
    with pytest.raises(InputError, match="a object cannot be asked for an elevation"):
        asking(object())
