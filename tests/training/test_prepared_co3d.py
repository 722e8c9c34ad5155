"""CO3D folders into shards: what the published loader reads there is what the cameras saw."""

import json
from pathlib import Path

import numpy as np
import pytest
from preparation_support import (
    assert_shows_the_world,
    cameras,
    co3d_frame,
    co3d_set,
    frames_of,
    off_middle,
    seen,
    write_annotations,
    write_file,
)
from published_zeronvs import published_scenes

from stage.errors import InputError, StageFailedError
from training.data.preparation.co3d import co3d_scenes
from training.data.preparation.prepared_shards import PreparationParameters, prepare
from training.data.preparation.scene_making import Making
from training.data.preparation.sources import open_source

TRAIN = PreparationParameters.model_validate({"shares": {"val": 0, "test": 0}})


def prepared(root: Path, target: Path, **options):
    return prepare(open_source("co3d", root, **options), target, Making(), TRAIN)


def test_sequences_whose_pictures_differ_in_size_come_with_one_lens(tmp_path):
    rows = prepared(co3d_set(tmp_path / "co3d"), tmp_path / "out")
    assert [(row.scene, row.shard, row.frames, row.failure) for row in rows] == [
        (f"book/{number}_2_3", "train/train-000000.tar", 3, "") for number in (0, 1)
    ]
    scenes = list(published_scenes(tmp_path / "out/train/train-000000.tar", "co3d"))
    assert [scene.uid for scene in scenes] == ["book_0_2_3", "book_1_2_3"]
    for number, scene in enumerate(scenes):
        np.testing.assert_allclose(scene.c2w, cameras(3, seed=number), atol=1e-6)
        assert_shows_the_world(scene)
        # The mask believes the left half, and the picture was cut a little on the right.
        assert ((scene.depths > 0).mean(axis=(0, 1))[[0, -1]] == [1, 0]).all()


def test_the_first_versions_intrinsics_count_each_side_for_itself(tmp_path):
    lens, poses = off_middle(), cameras(2)
    frames = [
        co3d_frame(tmp_path, "v1", number, c2w, lens, isotropic=False) for number, c2w in enumerate(poses, start=1)
    ]
    for frame in frames:
        del frame["viewpoint"]["intrinsics_format"]
    category = write_annotations(tmp_path, frames, {"v1": None})
    prepared(category, tmp_path / "out")
    (scene,) = published_scenes(tmp_path / "out/train/train-000000.tar", "co3d")
    assert_shows_the_world(scene)


def test_a_frame_that_cannot_be_used_is_told_and_the_rest_goes_on(tmp_path):
    lens = off_middle()
    frames = [co3d_frame(tmp_path, "s", number, c2w, lens) for number, c2w in enumerate(cameras(9), start=1)]
    frames[1]["viewpoint"] = None
    frames[2]["viewpoint"]["R"] = np.ones((3, 3)).tolist()
    del frames[3]["image"]["size"]
    (tmp_path / frames[4]["image"]["path"]).unlink()
    write_file(tmp_path / frames[5]["depth"]["path"], b"no picture")
    frames[6]["viewpoint"]["focal_length"] = [9.0, 9.0]
    frames[7]["depth"] = None
    write_annotations(tmp_path, frames, {"s": 1.0})
    (row,) = prepared(tmp_path, tmp_path / "out")
    told = {each["frame"]: each["why"] for each in row.left_out}
    assert {
        "frame000002": "it has no camera",
        "frame000003": "its camera's pose is not rigid",
        "frame000004": "its annotation lacks something: 'size'",
        "frame000005": f"No such file or directory: {tmp_path / frames[4]['image']['path']}",
        "frame000006": "its depth: it is no PNG",
        "frame000007": "around its principal point it shows less than 75% of what the scene's frames do",
    } == told
    (scene,) = published_scenes(tmp_path / "out/train/train-000000.tar", "co3d")
    np.testing.assert_allclose(scene.c2w, [cameras(9)[number] for number in (0, 7, 8)], atol=1e-6)
    assert not scene.depths[1].any()
    assert_shows_the_world(scene)


def test_sequences_of_doubtful_cameras_are_left_out_with_a_row(tmp_path):
    frames = []
    for name in ("bad", "good", "unknown"):
        frames += [co3d_frame(tmp_path, name, number, c2w, off_middle()) for number, c2w in enumerate(cameras(2))]
    write_annotations(tmp_path, frames, {"bad": 0.2, "good": 0.7, "unknown": None})
    rows = prepared(tmp_path, tmp_path / "out", min_quality=0.5)
    assert [(row.scene, bool(row.shard), row.failure) for row in rows] == [
        ("book/bad", False, "degenerate"),
        ("book/good", True, ""),
        ("book/unknown", False, "degenerate"),
    ]
    assert rows[0].message == "the quality of its cameras is 0.2, 0.5 is asked for"


def test_a_set_list_gives_splits_and_frames(tmp_path):
    co3d_set(tmp_path, sequences=4)
    lists = {
        "train": [["0_2_3", 1, ""], ["0_2_3", 3, ""], ["1_2_3", 1, ""]],
        "val": [["1_2_3", 2, ""]],
        "test": [["2_2_3", number, ""] for number in (1, 2, 3)],
    }
    write_file(tmp_path / "book/set_lists/set_lists_fewview_dev.json", json.dumps(lists).encode())
    scenes = {scene.name: scene for scene in co3d_scenes(tmp_path, set_list="fewview_dev")}
    assert [scene.split for scene in scenes.values()] == ["train", "val", "test", "train"]
    assert list(frames_of(scenes["0_2_3"])) == ["frame000001", "frame000003"]
    rows = prepared(tmp_path, tmp_path / "out", set_list="fewview_dev")
    assert [(row.split, row.frames, row.message) for row in rows] == [
        ("train", 2, ""),
        ("train", 0, "the set list names no frame of it"),
        ("val", 2, ""),
        ("test", 3, ""),
    ]
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").glob("*/*.tar")) == [
        f"{split}/{split}-000000.tar" for split in ("test", "train", "val")
    ]


def test_depth_is_that_of_the_annotation_times_its_scale(tmp_path):
    (c2w,), lens = cameras(1), off_middle()
    row = co3d_frame(tmp_path, "s", 1, c2w, lens, scale=0.125)
    write_annotations(tmp_path, [row], {"s": None})
    (frame,) = frames_of(next(iter(co3d_scenes(tmp_path)))).values()
    depth = frame.load().depth
    half = lens.width // 2
    np.testing.assert_allclose(depth[:, :half], seen(c2w, lens)[1][:, :half], rtol=1e-3)
    assert not depth[:, half:].any()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no category of CO3D in"),
        ({"frame_annotations.jgz": b""}, r"there is no .*sequence_annotations\.jgz; download the category"),
        ({"frame_annotations.jgz": b"", "sequence_annotations.jgz": b"x"}, r"sequence_annotations\.jgz is damaged"),
    ],
)
def test_what_is_no_co3d_is_named(tmp_path, files, words):
    for name, data in files.items():
        write_file(tmp_path / "book" / name, data)
    with pytest.raises(InputError, match=words):
        prepared(tmp_path, tmp_path / "out")


def test_damaged_annotations_of_frames_cost_their_category_alone(tmp_path):
    co3d_set(tmp_path, sequences=1)
    for name in ("frame_annotations.jgz", "sequence_annotations.jgz"):
        write_file(
            tmp_path / "zebra" / name, (tmp_path / "book" / name).read_bytes()[: -20 if name[0] == "f" else None]
        )
    rows = prepared(tmp_path, tmp_path / "out")
    assert [(row.scene, row.failure) for row in rows] == [("book/0_2_3", ""), ("zebra/0_2_3", "parse")]
    (tmp_path / "book/0_2_3").rename(tmp_path / "elsewhere")
    with pytest.raises(StageFailedError, match=r"none of 2 scenes can be used; book/0_2_3: 0 frames can be used"):
        prepared(tmp_path, tmp_path / "other")
