"""RealEstate10K and ACID into shards: camera files, frames, their own splits, and depth from reconstructions beside them."""

from pathlib import Path

import numpy as np
import pytest
from colmap_support import write_model
from preparation_support import assert_shows_the_world, cameras, write_clip
from published_zeronvs import published_scenes

from geometry.cameras import Intrinsics
from stage.errors import InputError
from training.data.preparation.prepared_shards import PreparationParameters, prepare
from training.data.preparation.real_estate10k import clip_scenes
from training.data.preparation.scene_making import Making
from training.data.preparation.sources import open_source

LENS = Intrinsics(300.0, 300.0, 240.0, 135.0, 480, 270)
ALL = PreparationParameters.model_validate({"shares": {"val": 0, "test": 0}})


def prepared(root: Path, target: Path, name="re10k", **options):
    return prepare(open_source(name, root, **options), target, Making(form="re10k"), ALL)


@pytest.mark.parametrize("name", ["re10k", "acid"])
def test_wide_clips_are_read_with_their_squares_field_of_view(tmp_path, name):
    poses = cameras(3)
    write_clip(tmp_path / "set", "0a1b", poses, LENS)
    (row,) = prepared(tmp_path / "set", tmp_path / "out", name)
    assert (row.scene, row.frames, row.width, row.height, row.known_depth) == (f"{name}/0a1b", 3, 256, 256, 0.0)
    (scene,) = published_scenes(tmp_path / "out/train/train-000000.tar", "re10k")
    np.testing.assert_allclose(scene.c2w, poses, atol=1e-6)
    np.testing.assert_allclose(scene.fov, 2 * np.arctan(135 / 300))
    assert_shows_the_world(scene)
    assert not scene.depths.any()


def test_the_publishers_folders_are_the_splits(tmp_path):
    for folder, name in (("train", "a"), ("validation", "b"), ("test", "c")):
        (tmp_path / "set" / folder).mkdir(parents=True)
        write_clip(tmp_path / "set" / folder, name, cameras(2), LENS)
    assert [row.split for row in prepared(tmp_path / "set", tmp_path / "out", "acid")] == ["train", "val", "test"]


def test_clips_of_one_video_share_their_split(tmp_path):
    for number in range(12):
        (tmp_path / f"{number}.txt").write_text(f"https://example.org/{number % 2}\n")
    keys = [scene.split_key for scene in clip_scenes(tmp_path, "re10k")]
    assert len(set(keys)) == 2


def test_frames_may_lie_elsewhere_and_those_that_are_missing_are_told(tmp_path):
    (tmp_path / "set/train").mkdir(parents=True)
    write_clip(tmp_path / "set/train", "a", cameras(4), LENS)
    (tmp_path / "frames/train").mkdir(parents=True)
    (tmp_path / "set/train/a").rename(tmp_path / "frames/train/a")
    (tmp_path / "frames/train/a/2000.jpg").unlink()
    (tmp_path / "frames/train/a/3000.jpg").write_bytes(b"no picture")
    (row,) = prepared(tmp_path / "set", tmp_path / "out", frames=tmp_path / "frames")
    assert row.frames == 2
    assert row.left_out == [
        {"frame": "2000", "why": "its picture is not there"},
        {"frame": "3000.jpg", "why": "it is no PNG or JPEG"},
    ]


def test_a_camera_file_that_is_damaged_is_a_row(tmp_path):
    write_clip(tmp_path, "a", cameras(2), LENS)
    write_clip(tmp_path, "b", cameras(2), LENS)
    (tmp_path / "a.txt").write_text("https://example.org\n1 2 3\n")
    rows = prepared(tmp_path, tmp_path / "out")
    assert [(row.scene, row.failure, row.message) for row in rows] == [
        ("re10k/a", "parse", "line 2 of a.txt is no 19 numbers"),
        ("re10k/b", "", ""),
    ]


def test_a_reconstruction_beside_a_clip_gives_it_depth(tmp_path):
    pytest.importorskip("pycolmap")
    poses = cameras(3)
    for name in ("a", "b", "c", "d"):
        write_clip(tmp_path / "set", name, poses, LENS)
    names = [f"{1000 * number}.jpg" for number in (1, 2, 3)]
    write_model(tmp_path / "models/a/sparse/0", poses, LENS, names)
    moved = [pose.copy() for pose in poses]
    moved[1][:3, 3] += 1.0
    write_model(tmp_path / "models/b", moved, LENS, names)
    write_model(tmp_path / "models/c", poses, LENS, names)
    (tmp_path / "models/c/points3D.bin").write_bytes(b"x")
    rows = {row.scene[-1]: row for row in prepared(tmp_path / "set", tmp_path / "out", models=tmp_path / "models")}
    assert rows["a"].known_depth > 0
    assert not rows["a"].left_out
    assert [row.known_depth for name, row in rows.items() if name != "a"] == [0.0] * 3
    assert [row.frames for row in rows.values()] == [3] * 4
    reasons = {name: row.left_out[0]["why"] for name, row in rows.items() if row.left_out}
    assert "are not the camera file's; triangulate from those" in reasons["b"]
    assert "is damaged" in reasons["c"]
    assert reasons["d"] == f"no reconstruction in {tmp_path / 'models/d'}"
    scene = next(published_scenes(tmp_path / "out/train/train-000000.tar", "re10k"))
    assert_shows_the_world(scene)
    assert np.count_nonzero(scene.depths[0]) > 20


def test_no_camera_file_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"no camera file .*\*\.txt; name their folder"):
        prepared(tmp_path, tmp_path / "out")
