"""Splatter images on their way from shards into batches."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blender_render.camera_sets import View
from blender_render.splatter_files import splatter_cameras, write_splatter_files
from geometry.cameras import Intrinsics, look_at_origin
from geometry.gaussians import Gaussians
from stage.errors import InputError, StageFailedError
from stage.files import write_json
from stage.packs import object_folder, write_packs
from stage.workspace import Workspace
from training.data.batches import ViewBatch, ViewChoice
from training.data.datasets import left_out
from training.data.index import read_index, write_index
from training.data.kept_views import KeptViews
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.data.shard_parameters import ShardParameters
from training.data.writer import write_shards

UIDS = ("00train", "01train")
CAMERAS = [View(look_at_origin(1.0, azimuth, 1.5), Intrinsics.from_fov(0.8, 2)) for azimuth in (0.5, 2.5)]


def some_gaussians(seed: int, side: int = 2) -> Gaussians:
    chance = np.random.default_rng(seed)
    count = side * side
    return Gaussians(
        means=chance.uniform(-0.5, 0.5, (count, 3)),
        quaternions=chance.normal(size=(count, 4)),
        scales=chance.uniform(0.01, 0.1, (count, 3)),
        opacities=chance.uniform(size=count),
        colours=chance.uniform(size=(count, 3)),
    )


@pytest.fixture
def workspace(render_boxes: Callable[..., Workspace], tmp_path: Path) -> Workspace:
    return render_boxes(tmp_path / "w", train=2)


def publish(workspace: Workspace, root: Path, sides: dict[str, int]) -> None:
    for number, (uid, side) in enumerate(sides.items()):
        folder = object_folder(root, uid)
        folder.mkdir(parents=True)
        views = [some_gaussians(2 * number, side), some_gaussians(2 * number + 1, side)]
        write_splatter_files(folder, views, views[0], CAMERAS)
        write_json(folder / "record.json", {"fingerprint": uid})
    workspace.splatters.mkdir(parents=True, exist_ok=True)
    write_packs(root, list(sides), workspace.splatters, 2)
    write_shards(ShardParameters(include=("splatter",)), workspace)


def batch_of(reader: ShardReader, *, kept: bool = False, workers: int = 0, limit: float = 0.0) -> ViewBatch:
    source = KeptViews(reader, 10**6) if kept else reader
    plan = Plan((Mixed("objects", len(reader)),), min(2, len(reader)), 0)
    choice = ViewChoice(drawn=1, last=(0,))
    loader = PlannedLoader(plan, {"objects": source}, choice, workers=workers, max_failure_rate=limit)
    return next(iter(loader))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_has_the_splatter_images_of_its_objects(workspace: Workspace, tmp_path: Path, workers: int) -> None:
    publish(workspace, tmp_path / "s", {"00train": 2, "01train": 2})
    batch = batch_of(ShardReader(workspace.shards, "train", splatters=True), workers=workers)
    views = batch.part(slice(None), torch.device("cpu"))
    assert views.splatters is not None
    assert views.splatters.channels.shape == (2, 2, 14, 2, 2)
    expected = splatter_cameras(CAMERAS)
    for row, uid in enumerate(views.uids):
        means = some_gaussians(2 * UIDS.index(uid)).means
        stored = views.splatters.channels[row, 0, :3].reshape(3, -1).T.numpy()
        np.testing.assert_allclose(stored, means, atol=2**-11)
        np.testing.assert_array_equal(views.splatters.c2w[row].numpy(), expected.c2w)
        np.testing.assert_array_equal(views.splatters.intrinsics[row].numpy(), expected.intrinsics)
    assert batch.part(slice(1, 2), torch.device("cpu")).splatters.channels.shape[0] == 1  # type: ignore[union-attr]


def test_kept_views_keep_them(workspace: Workspace, tmp_path: Path) -> None:
    publish(workspace, tmp_path / "s", {"00train": 2, "01train": 2})
    reader = ShardReader(workspace.shards, "train", splatters=True)
    kept = KeptViews(reader, 10**6)
    first = kept.read_views(0, [1, 0])
    pictures = list(first.pictures())
    del reader.samples
    again = kept.read_views(0, [1, 0])
    assert again.splatter is first.splatter is not None
    np.testing.assert_array_equal(list(again.pictures()), pictures)


def test_a_reader_that_is_not_asked_gives_none(workspace: Workspace, tmp_path: Path) -> None:
    publish(workspace, tmp_path / "s", {"00train": 2, "01train": 2})
    batch = batch_of(ShardReader(workspace.shards, "train"))
    assert batch.part(slice(None), torch.device("cpu")).splatters is None


def test_objects_without_them_are_left_out_and_counted(workspace: Workspace, tmp_path: Path) -> None:
    """They take no share of the failure rate, for nothing is damaged."""
    publish(workspace, tmp_path / "s", {"00train": 2})
    reader = ShardReader(workspace.shards, "train", splatters=True)
    assert ([row.key for row in reader.rows], reader.left_out, len(reader)) == (["00train"], 1, 1)
    assert set(batch_of(reader).uids) == {"00train"}
    everything = ShardReader(workspace.shards, "train")
    assert (len(everything), everything.left_out) == (2, 0)
    readers = {"mine": reader, "all": everything}
    assert left_out(readers) == ["1 of 2 objects of the set mine have no splatter images and are left out"]


def test_a_set_without_any_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    publish(workspace, tmp_path / "s", {"elsewhere": 2})
    with pytest.raises(
        InputError, match=r"none of 2 objects of the split train .* has splatter images; run viewforge spl"
    ):
        ShardReader(workspace.shards, "train", splatters=True)


def test_where_the_index_lists_no_members_an_object_without_them_is_damaged(
    workspace: Workspace, tmp_path: Path
) -> None:
    publish(workspace, tmp_path / "s", {"00train": 2})
    rows = [replace(row, members="", sizes=(), checks=b"") for row in read_index(workspace.shards)]
    write_index(workspace.shards, rows)
    reader = ShardReader(workspace.shards, "train", splatters=True)
    assert (len(reader), reader.left_out) == (2, 0)
    with pytest.raises(InputError, match=r"01train has no splatter images; write the shards with shard\.include"):
        reader[1]
    with pytest.raises(StageFailedError, match="01train has no splatter images"):
        batch_of(reader)
    assert set(batch_of(reader, limit=0.5).uids) == {"00train"}


def test_sizes_of_one_batch_agree(workspace: Workspace, tmp_path: Path) -> None:
    publish(workspace, tmp_path / "s", {"00train": 2, "01train": 3})
    with pytest.raises(InputError, match="splatter images of one batch are 2 of 2×2 and 2 of 3×3"):
        batch_of(ShardReader(workspace.shards, "train", splatters=True))
