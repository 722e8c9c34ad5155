"""Passes of a cube in several materials, against what is computed by hand: its shape, its albedo, its opacity."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from render_support import Rendered, back_projected, contents, rgba

from blender_render.parameters import QualityParameters, RenderParameters
from blender_render.passes import PASS_FILES, load_albedo, load_depth, load_mask, load_normal, load_position
from blender_render.protocols import View
from blender_render.render import render
from blender_render.rendered_object import read_record, read_views
from catalog.folder import folder_assets
from catalog.parameters import CatalogParameters
from catalog.table import write_table
from geometry.cameras import opencv_from_opengl
from stage.executor import ExecutorParameters
from stage.files import write_text
from stage.workspace import Workspace

BASE = np.array([0.8, 0.4, 0.1])
VIEWS = 3
ALL = RenderParameters(
    views=VIEWS,
    resolution=32,
    passes=("depth", "normal", "position", "albedo", "mask"),
    quality=QualityParameters(samples=4, denoise=False, device="cpu"),
    executor=ExecutorParameters(workers=1),
    min_coverage=0.0,
)
MATERIALS = {
    "matte": {"pbrMetallicRoughness": {"baseColorFactor": [*BASE, 1], "metallicFactor": 0}},
    "metal": {"pbrMetallicRoughness": {"baseColorFactor": [*BASE, 1], "metallicFactor": 1, "roughnessFactor": 0.3}},
    "glass": {
        "pbrMetallicRoughness": {"baseColorFactor": [*BASE, 1], "metallicFactor": 0, "roughnessFactor": 0},
        "extensions": {"KHR_materials_transmission": {"transmissionFactor": 1}},
    },
    **{
        f"opacity {opacity}": {
            "pbrMetallicRoughness": {"baseColorFactor": [*BASE, opacity], "metallicFactor": 0},
            "alphaMode": "BLEND",
            "doubleSided": True,
        }
        for opacity in (0.3, 0.6)
    },
}


def cube(material: dict[str, object]) -> str:
    """A glTF of a unit cube with flat sides."""
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)], dtype=np.float32)
    sides = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    points = np.concatenate([corners[side] for side in sides])
    faces = np.array([[4 * n, 4 * n + i, 4 * n + i + 1] for n in range(6) for i in (1, 2)], dtype=np.uint16)
    data = points.tobytes() + faces.tobytes()
    uri = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
    views = [{"byteLength": points.nbytes}, {"byteOffset": points.nbytes, "byteLength": faces.nbytes}]
    bounds = {"min": [-0.5] * 3, "max": [0.5] * 3}
    accessors = [
        {"bufferView": 0, "componentType": 5126, "count": 24, "type": "VEC3", **bounds},
        {"bufferView": 1, "componentType": 5123, "count": 36, "type": "SCALAR"},
    ]
    document = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "material": 0}]}],
        "materials": [material],
        "extensionsUsed": list(material.get("extensions", {})),  # type: ignore[call-overload]
        "buffers": [{"uri": uri, "byteLength": len(data)}],
        "bufferViews": [{"buffer": 0, **view} for view in views],
        "accessors": accessors,
    }
    return json.dumps({key: value for key, value in document.items() if value})


def rendered_cubes(folder: Path, parameters: RenderParameters, names: tuple[str, ...]) -> Rendered:
    workspace = Workspace(folder)
    for name in names:
        write_text(folder / "inputs" / f"{name}.gltf", cube(MATERIALS[name]))
    assets = folder_assets(CatalogParameters(source="folder", path="inputs"), workspace)
    write_table(workspace.catalog / "catalog.parquet", assets)
    assert render(parameters, 0, workspace) == []
    return Rendered(workspace, assets, workspace.scratch / "renders", parameters)


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """A cube of each material, all passes."""
    return rendered_cubes(tmp_path_factory.mktemp("cubes"), ALL, tuple(MATERIALS))


def seen(rendered: Rendered, name: str) -> list[tuple[Path, View]]:
    """Each view of a cube: its path without suffix, and its camera."""
    folder = rendered.folder(f"{name}.gltf")
    return [(folder / f"{number:03d}", view) for number, view in enumerate(read_views(folder))]


def pass_of(stem: Path, name: str) -> Path:
    return stem.with_name(f"{stem.name}_{name}{PASS_FILES[name]}")


def cube_depth(view: View) -> np.ndarray:
    """Planar depth of the cube at the pixels' centres, by intersecting rays with slabs; 0 beside it."""
    rows, columns = np.mgrid[: view.intrinsics.height, : view.intrinsics.width] + 0.5
    lens = view.intrinsics
    axes = opencv_from_opengl(view.c2w)
    rays = (
        np.stack([(columns - lens.cx) / lens.fx, (rows - lens.cy) / lens.fy, np.ones_like(rows)], -1) @ axes[:3, :3].T
    )
    first, second = (-0.5 - axes[:3, 3]) / rays, (0.5 - axes[:3, 3]) / rays
    near, far = np.minimum(first, second).max(axis=-1), np.maximum(first, second).min(axis=-1)
    return np.where(near < far, near, 0.0)


def test_depth_and_mask_are_those_of_the_cube(cubes: Rendered) -> None:
    for stem, view in seen(cubes, "matte"):
        expected = cube_depth(view)
        depth, mask = load_depth(pass_of(stem, "depth")), load_mask(pass_of(stem, "mask"))
        # A ray that grazes an edge may go either way.
        assert (mask != (expected > 0)).mean() <= 2 / mask.size
        both = mask & (expected > 0)
        assert both.mean() > 0.2
        assert np.abs(depth - expected)[both].max() < 1e-3
        np.testing.assert_array_equal(mask, depth > 0)


def test_the_mask_is_what_the_picture_covers_for_more_than_half(cubes: Rendered) -> None:
    for stem, _ in seen(cubes, "matte"):
        mask, alpha = load_mask(pass_of(stem, "mask")), rgba(stem.parent, int(stem.name))[..., 3]
        assert mask[alpha == 1].all()
        assert not mask[alpha == 0].any()


def test_position_is_the_point_at_that_depth(cubes: Rendered) -> None:
    for name in ("matte", "metal", "glass"):
        for stem, view in seen(cubes, name):
            depth, position = load_depth(pass_of(stem, "depth")), load_position(pass_of(stem, "position"))
            points = back_projected(depth, view.c2w, view.intrinsics)
            np.testing.assert_allclose(position[depth > 0], points, atol=1e-4)
            assert (position[depth == 0] == 0).all()
            # Every point lies on a side of the cube.
            np.testing.assert_allclose(np.abs(position[depth > 0]).max(axis=1), 0.5, atol=1e-5)


def test_normals_are_those_of_the_cubes_sides(cubes: Rendered) -> None:
    for stem, _ in seen(cubes, "metal"):
        normal, position = load_normal(pass_of(stem, "normal")), load_position(pass_of(stem, "position"))
        surface = normal.any(axis=-1)
        side = np.abs(position[surface]) > 0.5 - 1e-5
        single = side.sum(axis=1) == 1
        expected = np.sign(position[surface]) * side
        np.testing.assert_allclose(normal[surface][single], expected[single], atol=0.01)


@pytest.mark.parametrize(
    ("name", "expected", "tolerance"),
    [
        ("metal", BASE, 0.05),
        # On top of its base colour a glossy surface reflects the four hundredths or so of any glass.
        ("matte", BASE + 0.04 * (1 - BASE), 0.02),
        # The importer and Blender put the root of the base colour on each of the two sides that light goes through.
        ("glass", 0.96 * np.sqrt(BASE) + 0.04, 0.03),
    ],
)
def test_albedo_is_the_base_colour_of_metal_and_glass_too(
    name: str, expected: np.ndarray, tolerance: float, cubes: Rendered
) -> None:
    faced = 0
    for stem, view in seen(cubes, name):
        albedo, mask = load_albedo(pass_of(stem, "albedo")), load_mask(pass_of(stem, "mask"))
        assert (albedo[~mask] == 0).all()
        towards = view.c2w[:3, 3] - load_position(pass_of(stem, "position"))
        towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
        # Towards grazing angles every surface mirrors more; facing ones are flat, with neither light nor shade.
        facing = mask & ((load_normal(pass_of(stem, "normal")) * towards).sum(axis=-1) > 0.6)
        faced += int(facing.sum())
        np.testing.assert_allclose(albedo[facing], np.broadcast_to(expected, (facing.sum(), 3)), atol=tolerance)
    assert faced > 100


@pytest.mark.parametrize(("opacity", "solid"), [(0.3, False), (0.6, True)])
def test_a_half_transparent_surface_is_there_or_not(opacity: float, solid: bool, cubes: Rendered) -> None:
    for stem, view in seen(cubes, f"opacity {opacity}"):
        mask, inside = load_mask(pass_of(stem, "mask")), cube_depth(view) > 0
        assert (mask == (inside & solid)).mean() > 0.99
        alpha = rgba(stem.parent, int(stem.name))[..., 3]
        # The picture sees through the near side and the far one.
        assert alpha[inside].mean() == pytest.approx(1 - (1 - opacity) ** 2, abs=0.1)


def test_frames_name_just_the_passes_asked_for(cubes: Rendered, tmp_path: Path) -> None:
    frame = json.loads((cubes.folder("matte.gltf") / "transforms.json").read_text())["frames"][1]
    assert {key for key in frame if key.endswith("_file_path")} == {f"{name}_file_path" for name in PASS_FILES}
    assert all((cubes.folder("matte.gltf") / frame[f"{name}_file_path"]).is_file() for name in PASS_FILES)
    colour = rendered_cubes(tmp_path, ALL.model_copy(update={"passes": ()}), ("matte",))
    assert sorted(contents(colour.folder("matte.gltf"))) == sorted(
        ["record.json", "transforms.json", *(f"{n:03d}.{suffix}" for n in range(VIEWS) for suffix in ("png", "npy"))]
    )
    frame = json.loads((colour.folder("matte.gltf") / "transforms.json").read_text())["frames"][1]
    assert not [key for key in frame if key.endswith("_file_path")]
    assert (rgba(colour.folder("matte.gltf"), 1) == rgba(cubes.folder("matte.gltf"), 1)).all()


def test_the_ledger_knows_the_seconds_of_each_phase_and_the_record_does_not(cubes: Rendered) -> None:
    rows = [json.loads(line) for line in (cubes.root / "ledger.jsonl").read_text().splitlines()]
    for row in rows:
        assert set(row["phases"]) == {"import", "colour", "geometry", "encode"}
        assert all(seconds > 0 for seconds in row["phases"].values())
        inside = sum(row["phases"][name] for name in ("import", "colour", "geometry"))
        assert inside <= row["seconds"] + 0.01
    assert "seconds" not in read_record(cubes.folder("matte.gltf"))


def test_a_cropped_picture_has_the_pixels_of_a_whole_one(cubes: Rendered, tmp_path: Path) -> None:
    """Without the denoiser, exactly."""
    quality = ALL.quality.model_copy(update={"crop": True})
    cropped = rendered_cubes(tmp_path, ALL.model_copy(update={"quality": quality}), ("metal",))
    for view in range(VIEWS):
        assert (rgba(cropped.folder("metal.gltf"), view) == rgba(cubes.folder("metal.gltf"), view)).all()
