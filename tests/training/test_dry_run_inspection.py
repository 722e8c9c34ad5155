"""What stands in the way of a training is named with its place and its remedy before anything is started."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_server import FaultServer, status
from shard_sets import QUICK
from shard_support import SMALL, damage, flip

from blender_render.camera_sets import View
from blender_render.splatter_files import write_splatter_files
from geometry.cameras import Intrinsics, look_at_origin
from geometry.gaussians import Gaussians
from stage.files import write_json
from stage.packs import object_folder, write_packs
from stage.workspace import Workspace
from training.data.dataset_parameters import DataParameters, DatasetParameters
from training.data.index import INDEX, read_index, write_index
from training.data.reader import ObjectViews, ShardReader
from training.data.shard_parameters import ShardParameters
from training.data.writer import write_shards
from training.dry_run.inspection import inspected, wrong_cameras
from training.dry_run.problems import Problem


@pytest.fixture
def shards(sharded: Workspace, tmp_path: Path) -> Path:
    """A set that may be damaged."""
    folder = tmp_path / "data" / "shards"
    shutil.copytree(sharded.shards, folder)
    return folder


def looked_at(root: Path, **changes: Any) -> tuple[dict[str, ShardReader], list[Problem]]:
    return inspected(DataParameters(streams=QUICK, **changes), root)


def only(problems: list[Problem]) -> Problem:
    (problem,) = problems
    assert problem.remedy
    return problem


def tar_of(folder: Path) -> Path:
    return next(folder.glob("train-*.tar"))


def test_a_whole_set_has_no_problem_and_can_be_read(shards: Path, tmp_path: Path) -> None:
    readers, problems = looked_at(tmp_path)
    assert problems == []
    assert len(readers["objects"]) == 6


def test_what_was_removed_from_a_set_does_not_count_against_its_shard(render_boxes: Any, tmp_path: Path) -> None:
    from shard_support import render_only

    workspace = render_boxes(tmp_path / "workspace", train=4)
    write_shards(ShardParameters(), workspace)
    render_only(workspace, "00train", "01train")
    write_shards(ShardParameters(), workspace)
    assert (workspace.shards / "tombstones.parquet").is_file()
    readers, problems = looked_at(workspace.root)
    assert problems == []
    assert len(readers["objects"]) == 2


def test_every_missing_shard_is_named(render_boxes: Any, tmp_path: Path) -> None:
    workspace = render_boxes(tmp_path / "workspace", train=6)
    write_shards(SMALL, workspace)
    lost = sorted(workspace.shards.glob("*.tar"))[1:]
    assert len(lost) == 2
    for path in lost:
        path.unlink()
    readers, problems = looked_at(workspace.root)
    assert readers == {}
    assert [problem.what for problem in problems] == [f"the shard {path} is missing" for path in lost]
    assert all("dvc pull" in problem.remedy and problem.fatal for problem in problems)


def test_a_shard_that_was_cut_short_is_named_with_both_sizes(shards: Path, tmp_path: Path) -> None:
    tar = tar_of(shards)
    tar.write_bytes(tar.read_bytes()[:3000])
    problem = only(looked_at(tmp_path)[1])
    assert problem.place == "data objects"
    assert problem.what.startswith(
        f"the shard {tar} is cut short: it has 3,000 bytes, and its last object, 05train, ends"
    )


def test_a_shard_of_another_length_than_its_index_says_is_named(shards: Path, tmp_path: Path) -> None:
    tar = tar_of(shards)
    tar.write_bytes(tar.read_bytes() + bytes(10240))
    problem = only(looked_at(tmp_path)[1])
    assert problem.what.startswith(f"the shard {tar} is not the one that was listed: it has")


def test_an_index_of_other_bytes_in_a_shard_of_the_same_length_is_found(shards: Path, tmp_path: Path) -> None:
    rows = list(read_index(shards))
    write_index(shards, [replace(row, sha256="0" * 64) if row.key == "05train" else row for row in rows])
    problem = only(looked_at(tmp_path)[1])
    assert "train-000000.tar is damaged at byte" in problem.what
    assert "object 05train" in problem.what


def test_a_damaged_index_and_none_are_two_things(shards: Path, tmp_path: Path) -> None:
    flip(shards / INDEX, 40)
    problem = only(looked_at(tmp_path)[1])
    assert problem.what.startswith(f"{shards / INDEX} is damaged")
    (shards / INDEX).unlink()
    problem = only(looked_at(tmp_path)[1])
    assert problem == Problem("data objects", f"no shard index {shards / INDEX}", "run viewforge shard first")


def test_a_set_without_splatter_images_is_a_problem_for_a_system_that_learns_from_them(
    shards: Path, tmp_path: Path
) -> None:
    readers, problems = inspected(DataParameters(streams=QUICK), tmp_path, splatters=True)
    assert readers == {}
    problem = only(problems)
    assert "none of 6 objects of the split train" in problem.what
    assert problem.remedy.startswith("run viewforge splatter")


def test_objects_without_splatter_images_are_told_and_no_failure(render_boxes: Any, tmp_path: Path) -> None:
    workspace = render_boxes(tmp_path, train=3)
    folder = object_folder(tmp_path / "s", "01train")
    folder.mkdir(parents=True)
    dots = Gaussians(np.zeros((4, 3)), np.eye(4), np.ones((4, 3)), np.ones(4), np.ones((4, 3)))
    write_splatter_files(folder, [dots], dots, [View(look_at_origin(1.0, 0.0, 1.5), Intrinsics.from_fov(0.8, 2))])
    write_json(folder / "record.json", {"fingerprint": "of a splatter"})
    workspace.splatters.mkdir(parents=True)
    write_packs(tmp_path / "s", ["01train"], workspace.splatters, 1)
    write_shards(ShardParameters(include=("splatter",)), workspace)
    readers, problems = inspected(DataParameters(streams=QUICK), tmp_path, splatters=True)
    assert [row.key for row in readers["objects"].rows] == ["01train"]
    told = [problem for problem in problems if not problem.fatal]
    assert [problem.what for problem in told] == [
        "2 of 3 objects of the set objects have no splatter images and are left out"
    ]


def test_a_set_without_training_objects_says_so(shards: Path, tmp_path: Path) -> None:
    write_index(shards, [row for row in read_index(shards) if row.split != "train"])
    problem = only(looked_at(tmp_path)[1])
    assert "lists no object of the split train" in problem.what
    assert "catalog.split" in problem.remedy


def test_objects_of_a_single_view_are_counted_before_a_pair_is_asked_of_them(
    render_boxes: Any, tmp_path: Path
) -> None:
    workspace = render_boxes(tmp_path / "workspace", views=1, train=3)
    write_shards(ShardParameters(), workspace)
    problem = only(looked_at(workspace.root)[1])
    assert problem.what == "3 of 3 objects have fewer than the two views of a pair, the first is 00train"


def test_an_object_that_cannot_be_decoded_is_found(shards: Path, tmp_path: Path) -> None:
    rows = read_index(shards).of_split("train")
    damage(shards, rows[len(rows) // 2])
    problem = only(looked_at(tmp_path)[1])
    assert f"object {rows[len(rows) // 2].key}" in problem.what


def test_pictures_that_are_smaller_than_asked_for_are_a_problem(shards: Path, tmp_path: Path) -> None:
    problem = only(looked_at(tmp_path, size=32)[1])
    assert "pictures of 16×16 pixels cannot be made 32 wide" in problem.what
    assert looked_at(tmp_path, size=8)[1] == []


def test_one_damaged_set_does_not_hide_another(shards: Path, tmp_path: Path) -> None:
    sets = (
        DatasetParameters(name="absent", place="data/nowhere", probability=0.5),
        DatasetParameters(name="objects", place="data/shards", probability=0.5),
    )
    tar_of(shards).unlink()
    readers, problems = looked_at(tmp_path, datasets=sets)
    assert readers == {}
    assert [problem.place for problem in problems] == ["data absent", "data objects"]


def test_a_set_on_a_server_is_looked_at_without_its_shards_being_brought(
    shards: Path, tmp_path: Path, server: FaultServer
) -> None:
    for path in shards.iterdir():
        server.serve(f"/set/{path.name}", path.read_bytes())
    sets = (DatasetParameters(name="far", place=server.url("/set")),)
    readers, problems = looked_at(tmp_path, datasets=sets)
    assert problems == []
    assert list(readers) == ["far"]
    tar = tar_of(shards)
    # Its size, its last object and the object that is decoded.
    assert sum(seen.sent for seen in server.asked(f"/set/{tar.name}")) < tar.stat().st_size
    del server.files[f"/set/{tar.name}"]
    problem = only(looked_at(tmp_path, datasets=sets)[1])
    assert problem.what == f"the shard {server.url(f'/set/{tar.name}')} is missing"
    server.fail(f"/set/{INDEX}", *[status(503)] * 10)
    problem = only(looked_at(tmp_path, datasets=sets)[1])
    assert "503" in problem.what
    assert "check the network" in problem.remedy


Change = Callable[[ObjectViews], None]


def mirrored(views: ObjectViews) -> None:
    views.c2w[1, :3, 0] *= -1


def stretched(views: ObjectViews) -> None:
    views.c2w[1, :3, :3] *= 2


def lost(views: ObjectViews) -> None:
    views.c2w[1, 0, 3] = np.nan


def heaped(views: ObjectViews) -> None:
    views.c2w[:, :3, 3] = views.c2w[0, :3, 3]


def without_lens(views: ObjectViews) -> None:
    views.intrinsics[1, 0] = 0


def beside(views: ObjectViews) -> None:
    views.intrinsics[1, 2] = 600


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (mirrored, "the camera of view 1 is a mirror image"),
        (stretched, "the camera of view 1 has no rotation"),
        (lost, "the camera of view 1 holds numbers that are not finite"),
        (heaped, "all 4 cameras are at one place"),
        (without_lens, "the camera of view 1 has the focal lengths 0 and"),
        (beside, "the camera of view 1 has its principal point, 600"),
    ],
)
def test_cameras_that_cannot_be_are_named(sharded: Workspace, change: Change, said: str) -> None:
    views = ShardReader(sharded.shards, "train").views(0, range(4))
    views = ObjectViews(views.uid, views.rgba, views.c2w.copy(), views.intrinsics.copy())
    assert wrong_cameras(views) == ""
    change(views)
    assert wrong_cameras(views).startswith(said)


def test_a_location_that_is_gone_is_a_problem(shards: Path, tmp_path: Path) -> None:
    tar_of(shards).rename(tmp_path / "elsewhere.tar")
    (shards / "location.json").write_text(json.dumps({"root": str(tmp_path / "nowhere")}))
    problem = only(looked_at(tmp_path)[1])
    assert "is missing" in problem.what
