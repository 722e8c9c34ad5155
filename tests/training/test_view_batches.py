"""What a batch says of its pictures: intrinsics, and one size for datasets of several."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scene_support import scene

from blender_render.camera_sets import View
from blender_render.rendered_object import read_views
from blender_render.view_codecs import resized
from geometry.cameras import Intrinsics, fov_from_focal, look_at_origin, project
from stage.errors import InputError
from stage.packs import object_folder
from stage.workspace import Workspace
from training.data.batches import ViewChoice
from training.data.cameras_file import cameras_file, read_cameras_file
from training.data.kept_views import KeptViews
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.data.shard_parameters import ShardParameters
from training.data.squares import MiddleSquare
from training.data.view_sources import WholeObjects
from training.data.views import ObjectViews
from training.data.writer import write_shards
from training.data.zeronvs_layout import write_scenes
from training.data.zeronvs_source import ZeroNvsScenes

LENS = Intrinsics(20.0, 22.0, 9.0, 7.0, 16, 16)


def test_views_have_the_intrinsics_that_were_rendered_with(sharded: Workspace) -> None:
    views = ShardReader(sharded.shards, "train")[1]
    rendered = read_views(object_folder(sharded.scratch / "renders", views.uid))
    expected = [[lens.fx, lens.fy, lens.cx, lens.cy] for lens in (view.intrinsics for view in rendered)]
    np.testing.assert_array_equal(views.intrinsics, expected)
    assert np.degrees(fov_from_focal(views.intrinsics[:, 0], 16)) == pytest.approx([49.134] * 4, abs=1e-3)


def test_pictures_that_shards_made_smaller_have_intrinsics_of_their_size(
    render_boxes: Callable[..., Workspace], tmp_path: Path
) -> None:
    workspace = render_boxes(tmp_path, train=1)
    write_shards(ShardParameters(), workspace)
    stored = ShardReader(workspace.shards, "train")[0]
    write_shards(ShardParameters(encoding="png", size=8), workspace)
    small = ShardReader(workspace.shards, "train")[0]
    np.testing.assert_array_equal(small.intrinsics, stored.intrinsics / 2)
    square = MiddleSquare(16, 16, 8)
    np.testing.assert_array_equal([square.picture(picture) for picture in stored.rgba], small.rgba)
    np.testing.assert_array_equal(square.intrinsics(stored.intrinsics), small.intrinsics)


def test_lenses_that_differ_are_kept_of_each_view() -> None:
    views = [View(look_at_origin(1.0, 0.1 * n, 2.0), replace(LENS, fx=20.0 + n)) for n in range(4)]
    read = read_cameras_file(cameras_file(views), [3, 1])
    np.testing.assert_array_equal(read.intrinsics, [[23, 22, 9, 7], [21, 22, 9, 7]])
    np.testing.assert_array_equal(read.c2w, [views[3].c2w, views[1].c2w])
    halved = read_cameras_file(cameras_file(views, size=8), [3, 1])
    np.testing.assert_array_equal(halved.intrinsics, read.intrinsics / 2)


def test_lenses_that_are_alike_stand_once() -> None:
    document = json.loads(cameras_file([View(np.eye(4), LENS)] * 3))
    assert document["intrinsics"] == vars(LENS)
    assert set(document) == {"c2w", "intrinsics"}


@given(st.integers(1, 4), st.integers(0, 9), st.integers(0, 9), st.integers(1, 3), st.floats(-0.3, 0.3))
def test_a_point_stays_on_its_pixel(size: int, more_left: int, more_above: int, factor: int, aside: float) -> None:
    """Each pixel of the picture says where it lay before, and so does the camera."""
    side = size * factor
    width, height = (side + more_left, side) if more_left else (side, side + more_above)
    rows, columns = np.mgrid[:height, :width]
    rgba = np.stack([8 * columns, 8 * rows, 0 * rows, 255 + 0 * rows], axis=-1).astype(np.uint8)
    lens = Intrinsics(30.0, 25.0, width / 2 + aside, height / 2 - aside, width, height)
    square = MiddleSquare(height, width, size)
    small, intrinsics = square.picture(rgba), square.intrinsics(np.array([[lens.fx, lens.fy, lens.cx, lens.cy]]))
    assert small.shape == (size, size, 4)
    middle = size // 2
    before = small[middle, middle, :2] / 8 + 0.5
    points = np.array([[(before[0] - lens.cx) / lens.fx, -(before[1] - lens.cy) / lens.fy, -1.0]])
    pixels, _ = project(points, np.eye(4), Intrinsics(*intrinsics[0], size, size))
    # Colours are rounded to an eighth of a pixel.
    np.testing.assert_allclose(pixels[0], [middle + 0.5, middle + 0.5], atol=0.07)


def test_a_picture_of_the_size_already_is_left_as_it_is() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    np.testing.assert_array_equal(MiddleSquare.of("one", rgba, 8).picture(rgba), rgba)
    np.testing.assert_array_equal(MiddleSquare.of("one", rgba, 4).picture(rgba), resized(rgba, 4))


def test_nothing_is_enlarged() -> None:
    with pytest.raises(InputError, match=r"one has 12×8 pixels, 9×9 are wanted; ask for a smaller size"):
        MiddleSquare.of("one", np.zeros((8, 12, 4), np.uint8), 9)


@pytest.fixture
def published(tmp_path: Path) -> dict[str, ZeroNvsScenes]:
    """Wide scenes of CO3D's form, tall ones of RealEstate10K's."""
    wide = [scene(f"w{n}", size=(16, 12), seed=n) for n in range(4)]
    tall = [scene(f"t{n}", size=(12, 20), seed=9 + n) for n in range(4)]
    write_scenes(tmp_path / "co3d", "train", wide)
    write_scenes(tmp_path / "re10k", "train", tall, "re10k")
    return {name: ZeroNvsScenes(tmp_path / name) for name in ("co3d", "re10k")}


def mixture(names: list[str], counts: list[int]) -> Plan:
    mixed = [Mixed(name, count, probability=1 / len(names)) for name, count in zip(names, counts, strict=True)]
    return Plan(tuple(mixed), batch_size=6, seed=0, draws=12)


def test_sets_of_several_sizes_meet_in_one_batch(published: dict[str, ZeroNvsScenes], sharded: Workspace) -> None:
    sources = {**published, "boxes": ShardReader(sharded.shards, "train")}
    plan = mixture(list(sources), [len(source) for source in sources.values()])
    batches = list(PlannedLoader(plan, sources, ViewChoice(), size=8).epoch())
    assert {tuple(batch.rgba.shape) for batch in batches} == {(6, 2, 8, 8, 4)}
    assert {tuple(batch.intrinsics.shape) for batch in batches} == {(6, 2, 4)}
    # 14 pixels of a shorter side of 12 are 14 · 8 / 12 of 8; the boxes have the published lens.
    expected = {0: 14 * 8 / 12, 1: 14 * 8 / 12, 2: 0.5 * 8 / np.tan(np.radians(49.13434 / 2))}
    for batch in batches:
        for number, lenses in zip(batch.dataset.tolist(), batch.intrinsics.numpy(), strict=True):
            np.testing.assert_allclose(lenses[:, :2], expected[number], rtol=1e-6)
            np.testing.assert_allclose(lenses[:, 2:], 4.0)
    assert {number for batch in batches for number in batch.dataset.tolist()} == {0, 1, 2}


def test_without_a_size_the_remedy_is_one(published: dict[str, ZeroNvsScenes]) -> None:
    plan = mixture(list(published), [4, 4])
    with pytest.raises(InputError, match=r"of the same batch .*; name the size that all are to have"):
        list(PlannedLoader(plan, published, ViewChoice()).epoch())


def test_a_set_smaller_than_the_size_ends_the_run_and_says_so(published: dict[str, ZeroNvsScenes]) -> None:
    plan = mixture(list(published), [4, 4])
    with pytest.raises(InputError, match=r"has 16×12 pixels, 14×14 are wanted; ask for a smaller size"):
        list(PlannedLoader(plan, {**published}, ViewChoice(), size=14, max_failure_rate=1).epoch())


def scaled(name: str, seed: int) -> ObjectViews:
    """An object whose views have scales of their own."""
    chance = np.random.default_rng(seed)
    c2w = np.tile(np.eye(4), (4, 1, 1))
    rgba = chance.integers(0, 256, (4, 8, 8, 4), dtype=np.uint8)
    return ObjectViews(name, rgba, c2w, np.tile([8.0, 8, 4, 4], (4, 1)), chance.uniform(1, 2, (4, 3)))


@pytest.mark.parametrize("kept", [False, True])
def test_scales_go_with_their_views(kept: bool) -> None:
    objects = [scaled(f"o{seed}", seed) for seed in range(3)]
    source = KeptViews(WholeObjects(objects), 10**6) if kept else WholeObjects(objects)
    by_uid = {one.uid: one for one in objects}
    plan = Plan((Mixed("objects", 3, draws=4),), batch_size=6, seed=0)
    for _ in range(2):
        for batch in PlannedLoader(plan, {"objects": source}, ViewChoice()).epoch():
            views = batch.part(slice(2, 5), torch.device("cpu"))
            expected = [by_uid[uid].scales[chosen] for uid, chosen in zip(views.uids, views.numbers, strict=True)]
            np.testing.assert_array_equal(views.scales, expected)
            assert views.uids == batch.uids[2:5]
            assert torch.equal(views.intrinsics, batch.intrinsics[2:5])


def test_what_nobody_knows_of_a_scale_is_not_a_number(sharded: Workspace) -> None:
    boxes, known = ShardReader(sharded.shards, "train"), [scaled("one", 0)]
    plan = mixture(["boxes", "known"], [len(boxes), 1])
    for batch in PlannedLoader(plan, {"boxes": boxes, "known": known}, ViewChoice(), size=8).epoch():
        unknown = np.isnan(batch.scales.numpy()).all(axis=(1, 2))
        np.testing.assert_array_equal(unknown, batch.dataset == 0)
        assert np.isfinite(batch.scales[~unknown]).all()
