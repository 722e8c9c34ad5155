"""Exports, read back by the published programs' rules: the same pictures and relative poses as ours."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scene_support import png, write_archive

from blender_render.passes import load_depth, save_depth
from blender_render.rendered_object import on_white, read_rgba, read_views
from stage.errors import InputError
from stage.files import folder_sha256
from stage.packs import object_folder
from stage.workspace import Workspace
from systems.zero123.conditioning import relative_pose
from training.data.importers.views_release import views_release
from training.data.importers.workspace_import import import_set
from training.data.index import read_index, write_index
from training.data.preparation.prepared_shards import PreparationParameters, prepare
from training.data.preparation.scene_making import Making
from training.data.preparation.sources import open_source
from training.data.reader import ShardReader
from training.data.zero123_export import export_zero123
from training.data.zeronvs_export import export_zeronvs
from training.data.zeronvs_layout import read_scenes

SPLITS = {"train": 6, "val": 2, "test": 1}


class PublishedZero123:
    """The rules of Zero-1-to-3's own `ObjaverseData` (`ldm/data/simple.py`)."""

    def __init__(self, root: Path, validation: bool) -> None:
        self.root = root
        paths = json.loads((root / "valid_paths.json").read_text())
        border = math.floor(len(paths) / 100.0 * 99.0)
        self.paths = paths[border:] if validation else paths[:border]

    def picture(self, path: str, view: int) -> np.ndarray:
        """Pixels whose alpha is 0 become white, others keep their colour whatever their alpha."""
        with Image.open(self.root / path / f"{view:03d}.png") as image:
            assert image.mode == "RGBA"
            values = np.asarray(image).astype(np.float32) / np.float32(255)
        values[values[:, :, -1] == 0.0] = [1.0, 1.0, 1.0, 1.0]
        return np.uint8(values[:, :, :3] * 255.0)

    def pose(self, path: str, target: int, condition: int) -> np.ndarray:
        """T of two views."""
        theta_t, azimuth_t, z_t = self._spherical(path, target)
        theta_c, azimuth_c, z_c = self._spherical(path, condition)
        azimuth = (azimuth_t - azimuth_c) % (2 * math.pi)
        return np.array([theta_t - theta_c, math.sin(azimuth), math.cos(azimuth), z_t - z_c])

    def _spherical(self, path: str, view: int) -> tuple[float, float, float]:
        matrix = np.load(self.root / path / f"{view:03d}.npy")
        x, y, z = -matrix[:3, :3].T @ matrix[:, -1]
        return np.arctan2(np.sqrt(x**2 + y**2), z), np.arctan2(y, x), np.sqrt(x**2 + y**2 + z**2)


def test_zero123s_own_reader_finds_our_pictures_and_relative_poses(sharded: Workspace, tmp_path: Path) -> None:
    written = export_zero123(sharded.shards, tmp_path / "out")
    assert (written.objects, written.views) == (9, 4)
    published = [PublishedZero123(tmp_path / "out", validation) for validation in (False, True)]
    assert [path for each in published for path in each.paths] == [
        f"{number:02d}{split}" for split, count in SPLITS.items() for number in range(count)
    ]
    assert published[1].paths == ["00test"]
    for split in SPLITS:
        reader = ShardReader(sharded.shards, split)
        for views in (reader[number] for number in range(len(reader))):
            for view in range(4):
                seen = published[0].picture(views.uid, view)
                visible = views.rgba[view, ..., 3] > 0
                np.testing.assert_array_equal(seen[visible], views.rgba[view][visible][:, :3])
                assert (seen[~visible] == 255).all()
            for target, condition in permutations(range(4), 2):
                ours = relative_pose(views.c2w[target], views.c2w[condition])
                np.testing.assert_allclose(published[0].pose(views.uid, target, condition), ours, atol=1e-9)


def test_exporting_again_gives_the_same_bytes(sharded: Workspace, tmp_path: Path) -> None:
    for _ in range(2):
        export_zero123(sharded.shards, tmp_path / "out")
        (tmp_path / "out" / ".leftover.1.tmp").mkdir(exist_ok=True)
    export_zero123(sharded.shards, tmp_path / "out")
    export_zero123(sharded.shards, tmp_path / "other")
    assert folder_sha256(tmp_path / "out") == folder_sha256(tmp_path / "other")
    assert not (tmp_path / "out" / ".leftover.1.tmp").exists()


def test_pictures_that_are_not_png_are_encoded(sharded: Workspace, tmp_path: Path) -> None:
    views = ShardReader(sharded.shards, "val")[0]
    members = {f"one.{number:03d}.webp": webp(picture) for number, picture in enumerate(views.rgba)}
    members["one.cameras.json"] = ShardReader(sharded.shards, "val").members(0)["cameras.json"]
    (tmp_path / "shards").mkdir()
    data = write_archive(tmp_path / "shards" / "train-000000.tar", members).read_bytes()
    row = replace(read_index(sharded.shards)[0], key="one", offset=0, size=len(data), sha256=sha256(data).hexdigest())
    row = replace(row, shard="train-000000.tar", split="train", members="", sizes=(), checks=b"")
    write_index(tmp_path / "shards", [row])
    export_zero123(tmp_path / "shards", tmp_path / "out")
    for number, picture in enumerate(views.rgba):
        with Image.open(tmp_path / "out" / "one" / f"{number:03d}.png") as image:
            assert image.format == "PNG"
            np.testing.assert_array_equal(np.asarray(image), picture)


def webp(picture: np.ndarray) -> bytes:
    return png(picture, format="WEBP", lossless=True, exact=True)


def test_an_export_comes_back_by_import(sharded: Workspace, tmp_path: Path) -> None:
    export_zero123(sharded.shards, tmp_path / "out")
    results = import_set(views_release(tmp_path / "out", 4), Workspace(tmp_path / "w"), workers=1)
    assert [each.uid for each in results if not each.failure] == sorted(row.key for row in read_index(sharded.shards))
    views = ShardReader(sharded.shards, "val")[1]
    folder = object_folder(tmp_path / "w/scratch/renders", "01val")
    for number, view in enumerate(read_views(folder)):
        np.testing.assert_array_equal(read_rgba(folder, number), views.rgba[number])
        np.testing.assert_allclose(view.c2w, views.c2w[number], atol=1e-12)


def test_a_damaged_shard_ends_the_export_without_a_list(sharded: Workspace, tmp_path: Path) -> None:
    shards = Path(shutil.copytree(sharded.shards, tmp_path / "shards"))
    export_zero123(shards, tmp_path / "out")
    row = next(row for row in read_index(shards) if row.key == "01val")
    data = bytearray((shards / row.shard).read_bytes())
    data[row.offset + 600] ^= 1
    (shards / row.shard).write_bytes(data)
    with pytest.raises(InputError, match="object 01val"):
        export_zero123(shards, tmp_path / "out")
    assert not (tmp_path / "out" / "valid_paths.json").exists()


def test_an_export_does_not_overwrite_shards(sharded: Workspace) -> None:
    before = folder_sha256(sharded.shards)
    with pytest.raises(InputError, match="holds shards; name another folder"):
        export_zero123(sharded.shards, sharded.shards)
    with pytest.raises(InputError, match="holds shards; name another folder"):
        export_zeronvs(sharded, sharded.shards)
    assert folder_sha256(sharded.shards) == before


def test_renderings_become_scenes(sharded: Workspace, tmp_path: Path) -> None:
    shards = export_zeronvs(sharded, tmp_path / "out", side=16)
    assert [path.name for path in shards] == [f"{split}-000000.tar" for split in SPLITS]
    scenes = [scene for shard in shards for scene in read_scenes(shard)]
    assert [scene.key for scene in scenes] == [
        f"folder/{number:02d}{split}" for split, count in SPLITS.items() for number in range(count)
    ]
    for scene in scenes:
        folder = object_folder(sharded.scratch / "renders", scene.name)
        for number, view in enumerate(read_views(folder)):
            expected = np.rint(on_white(read_rgba(folder, number)) * 255)
            np.testing.assert_array_equal(scene.pictures[number], expected)
            np.testing.assert_allclose(scene.c2w[number], view.c2w, atol=1e-9)
            lens = list(vars(scene.intrinsics[number]).values())
            np.testing.assert_allclose(lens, list(vars(view.intrinsics).values()))
        assert not scene.depth.any()


def test_scenes_have_the_side_that_the_published_loader_asserts(
    render_boxes: Callable[..., Workspace], tmp_path: Path
) -> None:
    workspace = render_boxes(tmp_path / "w", views=2, train=1)
    folder = object_folder(workspace.scratch / "renders", "00train")
    depth = np.arange(256.0).reshape(16, 16) / 64
    for view in range(2):
        save_depth(folder / f"{view:03d}_depth.png", depth)
    (shard,) = export_zeronvs(workspace, tmp_path / "out")
    (scene,) = read_scenes(shard)
    assert scene.pictures.shape == (2, 256, 256, 3)
    lens, (original, _) = scene.intrinsics[0], read_views(folder)
    assert (lens.fx, lens.cx, lens.width) == pytest.approx((original.intrinsics.fx * 16, 128, 256))
    stored = load_depth(folder / "000_depth.png").astype(np.float16)
    np.testing.assert_array_equal(scene.depth[0], np.repeat(np.repeat(stored, 16, axis=0), 16, axis=1))
    small = next(read_scenes(*export_zeronvs(workspace, tmp_path / "out", side=8)))
    np.testing.assert_array_equal(small.depth[0], stored[1::2, 1::2])
    assert small.intrinsics[0].fx == pytest.approx(original.intrinsics.fx / 2)


def test_exported_scenes_have_the_same_bytes_again(sharded: Workspace, tmp_path: Path) -> None:
    for name in "ab":
        export_zeronvs(sharded, tmp_path / name, side=16, form="re10k", max_bytes=1)
    assert len(list((tmp_path / "a").iterdir())) == 9
    assert folder_sha256(tmp_path / "a") == folder_sha256(tmp_path / "b")


def test_a_preparation_of_renderings_writes_what_the_export_does(sharded: Workspace, tmp_path: Path) -> None:
    exported = export_zeronvs(sharded, tmp_path / "a", side=16)
    rows = prepare(open_source("renders", sharded.root), tmp_path / "b", Making(side=16), PreparationParameters())
    assert {row.split: row.frames for row in rows} == dict.fromkeys(SPLITS, 4)
    for path in exported:
        split = path.name.partition("-")[0]
        assert (tmp_path / "b" / split / path.name).read_bytes() == path.read_bytes()


def test_a_damaged_rendering_ends_the_export_and_not_a_preparation(
    render_boxes: Callable[..., Workspace], tmp_path: Path
) -> None:
    workspace = render_boxes(tmp_path / "w", views=3, train=1)
    (object_folder(workspace.scratch / "renders", "00train") / "001.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"folder/00train: 001: .*; render it again"):
        export_zeronvs(workspace, tmp_path / "a", side=16)
    (row,) = prepare(open_source("renders", workspace.root), tmp_path / "b", Making(side=16), PreparationParameters())
    assert (row.frames, [each["frame"] for each in row.left_out]) == (2, ["001"])
