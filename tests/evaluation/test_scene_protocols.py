"""Scenes of DTU and Mip-NeRF 360 in their own layouts: the balls are seen where the cameras that were read say."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scene_layouts_support import BALLS, COLOURS, LENS, MadeScene, write_dtu, write_mip_nerf_360

from blender_render.camera_sets import View
from catalog.table import Asset
from evaluation.dtu import EXCLUDED, INPUT, MANUAL_SCALES, dtu_scene
from evaluation.mip_nerf_360 import SPLITS, Split, mip_nerf_360_scene
from evaluation.parameters import EvaluateParameters
from evaluation.protocol import Selection
from evaluation.scene_assets import scene_assets
from evaluation.scene_subset import SceneSubset, subset_of
from evaluation.scenes import Scene, centre_square, focus_point, upright
from geometry.cameras import look_at, project
from stage.errors import InputError, StageFailedError
from stage.workspace import Workspace

SIZE = 48


def relative(c2w: np.ndarray, first: int = 0) -> np.ndarray:
    return np.linalg.inv(c2w[first]) @ c2w


def check_scene(scene: Scene, made: MadeScene, numbers: list[int], unit: float) -> None:
    """The cameras are those that were written, in another frame and unit, and show the balls where they project."""
    assert len(scene.photographs) == len(numbers)
    cameras = np.stack([photograph.camera.c2w for photograph in scene.photographs])
    expected = relative(made.c2w[numbers])
    expected[:, :3, 3] /= unit
    np.testing.assert_allclose(relative(cameras), expected, atol=1e-6)
    # The same balls in the scene's frame, by way of the input camera.
    seen = (np.linalg.inv(made.c2w[numbers[0]]) @ np.append(made.balls, np.ones((len(BALLS), 1)), axis=1).T)[:3].T
    balls = seen / unit @ cameras[0][:3, :3].T + cameras[0][:3, 3]
    for photograph in scene.photographs:
        picture, view = photograph.square(SIZE)
        assert picture.shape == (SIZE, SIZE, 3)
        pixels, depth = project(balls, view.c2w, view.intrinsics)
        nearest = int(np.argmin(depth))
        column, row = np.floor(pixels[nearest]).astype(int)
        np.testing.assert_allclose(picture[row, column], np.array(COLOURS[nearest]) / 255, atol=0.1)
    turn = cameras[0][:3, :3] @ made.c2w[numbers[0]][:3, :3].T
    up = turn @ made.c2w[:, :3, 1].mean(axis=0)
    np.testing.assert_allclose(up / np.linalg.norm(up), [0, 0, 1], atol=1e-6)


def test_dtu_is_read_as_zeronvs_splits_it(tmp_path: Path) -> None:
    made = write_dtu(tmp_path / "scan8")
    scene = dtu_scene(tmp_path / "scan8")
    numbers = [INPUT, *(n for n in range(30) if n != INPUT and n not in EXCLUDED)]
    # Files are in hundreds of their own unit, a unit sphere of 150 around the balls, and ZeroNVS's unit is 2.02 of its radii.
    check_scene(scene, made, numbers, unit=150 * 2.02)
    assert scene.scale == pytest.approx(1.2 * 0.7)
    assert [photograph.path.stem for photograph in scene.photographs][:3] == ["000025", "000000", "000001"]
    fewer = dtu_scene(tmp_path / "scan8", most=4)
    assert [int(photograph.path.stem) for photograph in fewer.photographs] == [25, 0, 9, 14, 24]


def test_mip_nerf_360_is_read_as_zeronvs_splits_it(tmp_path: Path) -> None:
    made = write_mip_nerf_360(tmp_path / "stump", 12)
    scene = mip_nerf_360_scene(tmp_path / "stump", Split(4, 0.9, 1.1))
    numbers = [4, 0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]
    centre = focus_point(made.c2w)
    unit = float(np.linalg.norm(made.c2w[:, :3, 3] - centre, axis=1).mean())
    check_scene(scene, made, numbers, unit)
    assert scene.scale == pytest.approx(0.99)


def test_the_published_splits_are_whole() -> None:
    assert list(MANUAL_SCALES) == [f"scan{n}" for n in (8, 21, 30, 31, 34, 38, 40, 41, 45, 55, 63, 82, 103, 110, 114)]
    assert list(SPLITS) == ["bicycle", "bonsai", "counter", "garden", "kitchen", "room", "stump"]
    assert len(EXCLUDED) == 15
    assert INPUT not in EXCLUDED


@given(
    width=st.integers(8, 40),
    height=st.integers(8, 40),
    size=st.integers(4, 40),
    x=st.floats(-0.1, 0.1),
    y=st.floats(-0.1, 0.1),
)
@settings(max_examples=30, deadline=None)
def test_a_point_stays_at_its_place_in_the_square(width: int, height: int, size: int, x: float, y: float) -> None:
    lens = LENS.resized(width, height)
    camera = View(look_at(np.array([2.0, 0, 0]), np.zeros(3)), lens)
    _, square = centre_square(Image.new("RGB", (width, height)), camera, size)
    point = np.array([[0.0, x, y]])
    whole, cut = (project(point, view.c2w, view.intrinsics)[0][0] for view in (camera, square))
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    np.testing.assert_allclose(cut, (whole - [left, top]) * size / side, atol=1e-6)


def test_an_upright_scene_stays_as_it_is_but_for_a_turn_about_z(tmp_path: Path) -> None:
    eyes = [[2 * np.cos(a), 2 * np.sin(a), 0.5] for a in np.linspace(0, 5, 9)]
    c2w = np.stack([look_at(np.array(eye), np.zeros(3)) for eye in eyes])
    np.testing.assert_allclose(focus_point(c2w), 0, atol=1e-9)
    ring = c2w.copy()
    ring[:, :3, 3] += [4, 5, 6]
    stood = upright(ring)
    np.testing.assert_allclose(np.linalg.norm(stood[:, :3, 3], axis=1), np.sqrt(4.25), atol=1e-9)
    np.testing.assert_allclose(relative(stood), relative(c2w), atol=1e-9)


def test_files_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    write_dtu(tmp_path / "scan8")
    for path in (tmp_path / "scan8" / "image").glob("*.png"):
        with Image.open(path) as image:
            image.resize((20, 15)).save(path)
    with pytest.raises(InputError, match=r"principal point at \(42, 29\), and the picture 20×15 pixels; take the"):
        dtu_scene(tmp_path / "scan8")
    cameras = tmp_path / "scan8" / "cameras.npz"
    whole = cameras.read_bytes()
    for damaged in (whole[:-100], b"", b"no archive"):
        cameras.write_bytes(damaged)
        with pytest.raises(InputError, match=r"cameras\.npz is damaged: .*; take the folder rs_dtu_4/DTU"):
            dtu_scene(tmp_path / "scan8")
    np.savez(cameras, **{f"{kind}_mat_{n}": np.eye(3) for kind in ("world", "scale") for n in range(30)})
    with pytest.raises(InputError, match=r"cameras\.npz holds matrices that are not 4×4; take the folder"):
        dtu_scene(tmp_path / "scan8")
    cameras.unlink()
    with pytest.raises(InputError, match=r"cameras\.npz is missing; take the folder rs_dtu_4/DTU"):
        dtu_scene(tmp_path / "scan8")
    (tmp_path / "scan8" / "image" / "000003.png").unlink()
    with pytest.raises(InputError, match="has no pictures 000000"):
        dtu_scene(tmp_path / "scan8")
    write_mip_nerf_360(tmp_path / "stump", 6)
    with pytest.raises(InputError, match="has 6 pictures, and picture 34 is the input"):
        mip_nerf_360_scene(tmp_path / "stump")
    shutil.rmtree(tmp_path / "stump" / "images_8")
    with pytest.raises(InputError, match=r"stump has no folder images_8; take it from the archive 360_v2"):
        mip_nerf_360_scene(tmp_path / "stump", Split(0, 1.0, 1.0))
    with pytest.raises(InputError, match=r"no reconstruction in .*room; take it"):
        mip_nerf_360_scene(tmp_path / "room", Split(0, 1.0, 1.0))


def parameters(root: Path, **further: object) -> EvaluateParameters:
    return EvaluateParameters.model_validate({"preset": "zeronvs_dtu", "path": str(root), **further})


def of_scenes(root: Path, names: tuple[str, ...]) -> Selection:
    assets = [asset for asset in scene_assets("dtu", root) if asset.title in names]
    return Selection("unseen", tuple(assets))


def test_scenes_are_a_subset_whose_hash_follows_their_files(tmp_path: Path) -> None:
    write_dtu(tmp_path / "scan8")
    selection, asked = of_scenes(tmp_path, ("scan8", "scan21")), parameters(tmp_path, scene_targets=5)
    workspace = Workspace(tmp_path / "workspace")
    subset = subset_of(selection, asked, SIZE, 0, workspace)
    assert isinstance(subset, SceneSubset)
    assert [(outcome.uid, str(outcome.failure)) for outcome in subset.failures] == [("dtu_scan21", "missing")]
    (asset,) = subset.assets
    views = subset.read(asset)
    assert views.views.shape == (6, SIZE, SIZE, 3)
    assert len(views.target_cameras) == len(views.targets) == 5
    assert views.scale == pytest.approx(0.84)
    before = subset.data_sha256()
    assert subset_of(selection, asked, SIZE, 0, workspace).data_sha256() == before
    assert subset_of(selection, asked, 2 * SIZE, 0, workspace).data_sha256() != before
    path = tmp_path / "scan8" / "image" / "000000.png"
    Image.new("RGB", (80, 60)).save(path)
    again = subset_of(of_scenes(tmp_path, ("scan8", "scan21")), asked, SIZE, 0, workspace)
    assert again.data_sha256() != before
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"000000\.png cannot be read: .*; restore it from its data set"):
        subset.read(asset)


def test_too_many_missing_scenes_fail_the_stage(tmp_path: Path) -> None:
    write_dtu(tmp_path / "scan8")
    selection = of_scenes(tmp_path, ("scan8", "scan21", "scan30"))
    with pytest.raises(StageFailedError, match=r"2 of 3 objects failed.*dtu_scan21 \(missing: no folder"):
        subset_of(selection, parameters(tmp_path), SIZE, 0, Workspace(tmp_path))
    with pytest.raises(InputError, match="has none of the scenes bicycle, bonsai"):
        scene_assets("mip_nerf_360", tmp_path)


def test_pictures_beside_those_that_are_read_do_not_count(tmp_path: Path) -> None:
    def sha256() -> str:
        found: list[Asset] = scene_assets("mip_nerf_360", tmp_path)
        return next(asset.sha256 for asset in found if asset.title == "stump")

    write_mip_nerf_360(tmp_path / "stump", 3)
    before = sha256()
    (tmp_path / "stump" / "images").mkdir()
    (tmp_path / "stump" / "images" / "large.jpg").write_bytes(b"large")
    assert sha256() == before
    (tmp_path / "stump" / "sparse" / "0" / "points3D.txt").write_text("# none\n")
    assert sha256() != before
