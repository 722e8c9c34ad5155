"""Light presets: a white ball seen from six sides tells where light comes from."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from render_support import contents

from blender_render.farm import Farm
from blender_render.light_rigs import LightRig, light_rigs, read_rig
from blender_render.parameters import QualityParameters, RenderParameters
from blender_render.passes import load_normal
from blender_render.rendered_object import read_rgba
from catalog.folder import folder_assets
from catalog.parameters import CatalogParameters
from catalog.table import Asset
from stage.errors import InputError, ParameterError
from stage.executor import ExecutorParameters
from stage.files import write_bytes, write_text
from stage.packs import object_folder
from stage.workspace import Workspace

PRESETS = ("zero123", "four_suns", "uniform", "trellis", "hdri")
VIEWS = 6
WHITE = 0.8


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Asset]:
    """A matt white ball, and a map that is bright towards +Y and dark elsewhere."""
    workspace = Workspace(tmp_path_factory.mktemp("lit"))
    write_text(workspace.root / "inputs" / "ball.obj", "mtllib ball.mtl\nusemtl white\n" + _ball(24, 48))
    write_text(
        workspace.root / "inputs" / "ball.mtl", f"newmtl white\nKd {WHITE} {WHITE} {WHITE}\nKs 0 0 0\nillum 1\n"
    )
    _write_map(workspace.root / "map.exr")
    (asset,) = folder_assets(CatalogParameters(source="folder", path="inputs"), workspace)
    return workspace, asset


def _ball(rings: int, sides: int) -> str:
    polar, azimuth = np.meshgrid(np.linspace(0, np.pi, rings + 1), np.arange(sides) * 2 * np.pi / sides, indexing="ij")
    points = np.stack([np.sin(polar) * np.cos(azimuth), np.cos(polar), -np.sin(polar) * np.sin(azimuth)], axis=-1)
    vertices = "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in points.reshape(-1, 3))
    cells = [(r * sides + s, r * sides + (s + 1) % sides) for r in range(rings) for s in range(sides)]
    return vertices + "".join(f"f {a + 1} {a + sides + 1} {b + sides + 1} {b + 1}\n" for a, b in cells)


def _write_map(path: Path) -> None:
    """Left of the centre by a quarter of the width, a bright half; its other half is dark."""
    pixels = np.full((32, 64, 3), 0.02, dtype=np.float32)
    pixels[:, :32] = 1.0
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"RGB": pixels}).write(str(path))


def quality(preset: str, **changed: object) -> QualityParameters:
    hdri = "map.exr" if preset == "hdri" else None
    values = {"samples": 32, "denoise": False, "device": "cpu", "lighting": preset, "hdri": hdri, **changed}
    return QualityParameters.model_validate(values)


def rendered(ball: tuple[Workspace, Asset], preset: str, root: Path, seed: int = 0) -> Path:
    """The ball seen from six sides, 30° above the horizon."""
    workspace, asset = ball
    parameters = RenderParameters(
        protocol="syncdreamer",
        views=VIEWS,
        resolution=24,
        quality=quality(preset),
        executor=ExecutorParameters(workers=1),
    )
    assert Farm(root, parameters, seed, workspace).render([asset]) == []
    return object_folder(root, asset.uid)


@pytest.fixture(scope="module")
def pictures(ball: tuple[Workspace, Asset], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The ball's rendering under each preset."""
    return {preset: rendered(ball, preset, tmp_path_factory.mktemp(preset)) for preset in PRESETS}


def radiance(folder: Path, view: int) -> tuple[np.ndarray, np.ndarray]:
    """Linear grey and world normals of a view's inner pixels, all views' if it is negative."""
    greys, normals = [], []
    for number in range(VIEWS) if view < 0 else [view]:
        pixels = read_rgba(folder, number) / 255.0
        normal = load_normal(folder / f"{number:03d}_normal.png")
        inside = (pixels[..., 3] > 0.99) & normal.any(axis=-1)
        encoded = pixels[inside][:, :3].mean(axis=1)
        greys.append(np.where(encoded > 0.04045, ((encoded + 0.055) / 1.055) ** 2.4, encoded / 12.92))
        normals.append(normal[inside])
    return np.concatenate(greys), np.concatenate(normals)


def test_uniform_light_is_the_same_on_every_side(pictures: dict[str, Path]) -> None:
    """A matt ball of reflectance ρ in surroundings of radiance L shows ρ·L everywhere: 0.8 · 0.5."""
    grey, _ = radiance(pictures["uniform"], -1)
    assert grey.mean() == pytest.approx(WHITE * 0.5, rel=0.05)
    assert grey.std() < 0.03


def test_four_suns_leave_no_side_black(pictures: dict[str, Path]) -> None:
    grey, normal = radiance(pictures["four_suns"], -1)
    for axis in range(3):
        for sign in (-1, 1):
            side = sign * normal[:, axis] > 0.8
            if side.any():
                assert grey[side].mean() > 0.1
    assert grey.std() > 0.03, "they do not light all sides alike"


def test_the_suns_stand_where_objaverse_xl_puts_them(ball: tuple[Workspace, Asset]) -> None:
    """Rotating −z by 45° about x and −45° about z gives a sun that stands at (−½, −½, √½)."""
    (rig,) = light_rigs(quality("four_suns"), 0, "object", VIEWS)
    key, fill, rim, bottom = (lamp.position for lamp in rig.lamps)
    half, root = 0.5, np.sqrt(0.5)
    np.testing.assert_allclose(key, [-half, -half, root])
    np.testing.assert_allclose(fill, [half, half, root])
    np.testing.assert_allclose(rim, key, atol=1e-12)
    np.testing.assert_allclose(bottom, [0, 0, -1], atol=1e-12)
    assert not any(lamp.shadow for lamp in rig.lamps)


def test_trellis_lights_every_view_anew_and_the_same_again(
    ball: tuple[Workspace, Asset], pictures: dict[str, Path], tmp_path: Path
) -> None:
    """The ball looks the same from everywhere on its ring, so that what differs is the light."""
    views = [read_rgba(pictures["trellis"], view).astype(float) for view in range(VIEWS)]
    differences = [np.abs(a - b).mean() for number, a in enumerate(views) for b in views[:number]]
    assert min(differences) > 1.0
    assert contents(rendered(ball, "trellis", tmp_path)) == contents(pictures["trellis"])


def test_trellis_keeps_the_sum_of_light() -> None:
    """Surroundings and lamps share it: w = 2·s·ambient and W = 2·(1−s)·4·key."""
    rigs = light_rigs(quality("trellis"), 0, "object", 50)
    assert len(rigs) == 50
    for rig in rigs:
        share = rig.ambient / (2 * 0.5)
        assert 0.3 <= share <= 0.7
        assert 1 <= len(rig.lamps) <= 3
        assert sum(lamp.power for lamp in rig.lamps) == pytest.approx(2 * (1 - share) * 4 * 110)
    assert len({len(rig.lamps) for rig in rigs}) == 3


def test_a_map_shines_from_where_it_says(pictures: dict[str, Path]) -> None:
    """Its left half is bright, and a quarter of the width left of the centre shines from +Y."""
    grey, normal = radiance(pictures["hdri"], -1)
    toward, away = grey[normal[:, 1] > 0.8].mean(), grey[normal[:, 1] < -0.8].mean()
    # A side that faces a bright half fully shows ρ·1, the other ρ·0.02; the corners take a little of both.
    assert toward > 0.6
    assert away < 0.12
    left, right = grey[normal[:, 0] > 0.8].mean(), grey[normal[:, 0] < -0.8].mean()
    assert left == pytest.approx(right, rel=0.15), "the border between the halves passes through +X and −X"


def test_the_default_is_one_area_light_of_a_power_within_a_third(pictures: dict[str, Path]) -> None:
    powers = []
    for number in range(200):
        (rig,) = light_rigs(quality("zero123"), 0, f"{number}", VIEWS)
        (lamp,) = rig.lamps
        assert (lamp.kind, lamp.size, rig.ambient) == ("AREA", 1.5, 0.5)
        powers.append(lamp.power)
    assert min(powers) >= 110 * 2 / 3
    assert max(powers) <= 110 * 4 / 3
    assert np.mean(powers) == pytest.approx(110, rel=0.03)
    grey, normal = radiance(pictures["zero123"], -1)
    assert grey[normal[:, 2] > 0.8].mean() > grey[normal[:, 2] < 0].mean(), "it stands above"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_rig_survives_json(preset: str) -> None:
    for rig in light_rigs(quality(preset), 3, "object", VIEWS):
        assert isinstance(rig, LightRig)
        assert read_rig(asdict(rig)) == rig


@pytest.mark.parametrize("preset", [p for p in PRESETS if p not in {"uniform", "hdri"}])
def test_light_derives_from_seed_and_object(preset: str) -> None:
    rigs = [light_rigs(quality(preset), seed, uid, 2) for seed, uid in ((0, "a"), (0, "a"), (1, "a"), (0, "b"))]
    assert rigs[0] == rigs[1]
    assert rigs[0] != rigs[2]
    assert rigs[0] != rigs[3]


def test_the_maps_content_counts_and_not_its_name(ball: tuple[Workspace, Asset]) -> None:
    workspace, asset = ball
    write_bytes(workspace.root / "copy.exr", (workspace.root / "map.exr").read_bytes())
    write_bytes(workspace.root / "other.exr", (workspace.root / "map.exr").read_bytes() + b"\0")

    def fingerprint(name: str) -> str:
        look = RenderParameters(views=1, quality=quality("hdri", hdri=name))
        return Farm(workspace.scratch, look, 0, workspace).fingerprint(asset)

    assert fingerprint("map.exr") == fingerprint("copy.exr") != fingerprint("other.exr")


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"hdri": None}, ParameterError, "quality.lighting is hdri without a map"),
        ({"hdri": "none.exr"}, InputError, "no environment map .*none.exr"),
        ({"hdri": "inputs/ball.obj"}, ParameterError, "of another type; name an .hdr or .exr file"),
        ({"hdri": "text.exr"}, InputError, "is no EXR picture"),
        ({"lighting": "uniform"}, ParameterError, "quality.hdri is set, but quality.lighting is uniform"),
    ],
)
def test_a_map_that_cannot_be_used_is_a_one_line_error(
    values: dict[str, object], error: type[Exception], message: str, ball: tuple[Workspace, Asset]
) -> None:
    workspace, asset = ball
    write_text(workspace.root / "text.exr", "no picture")
    look = RenderParameters(views=1, quality=quality("hdri", **values))
    with pytest.raises(error, match=message):
        Farm(workspace.scratch, look, 0, workspace).render([asset])
