"""Reconstructions by COLMAP into shards: distortion taken out, points where the new pinhole sees them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from preparation_support import assert_shows_the_world, cameras, off_middle, seen, write_file
from published_zeronvs import published_scenes
from scene_support import png

from geometry.cameras import project
from stage.errors import InputError, StageFailedError
from stage.failures import ObjectFailedError
from training.data.preparation.colmap_models import shots
from training.data.preparation.framing import Framing
from training.data.preparation.prepared_shards import PreparationParameters, prepare
from training.data.preparation.scene_making import Making
from training.data.preparation.sources import open_source

pytest.importorskip("pycolmap")
from colmap_support import DISTORTED, points_on_the_sphere, write_model, write_pictures

ALL = PreparationParameters.model_validate({"shares": {"val": 0, "test": 0}})
NAMES = ["b.png", "a/c.png", "d.png"]


def prepared(root: Path, target: Path, **options):
    return prepare(open_source("colmap", root, **options), target, Making(), ALL)


@pytest.mark.parametrize("text", [False, True])
def test_points_become_depth_at_their_pixels(tmp_path, text):
    lens, poses = off_middle(), cameras(3)
    write_model(tmp_path / "room" / ("sparse" if text else "sparse/0"), poses, lens, NAMES, text)
    for name, c2w in zip(NAMES, poses, strict=True):
        write_file(tmp_path / "room/images" / name, png(seen(c2w, lens)[0]))
    (row,) = prepared(tmp_path, tmp_path / "out")
    assert (row.scene, row.frames, row.left_out) == ("colmap/room", 3, [])
    (scene,) = published_scenes(tmp_path / "out/train/train-000000.tar", "co3d")
    # By name: a/c, b, d.
    poses = [poses[1], poses[0], poses[2]]
    np.testing.assert_allclose(scene.c2w, poses, atol=1e-6)
    assert_shows_the_world(scene)
    square = Framing.of([lens], 256, tall=True).lens
    for c2w, depth in zip(poses, scene.depths, strict=True):
        pixels, z = project(points_on_the_sphere(), c2w, square)
        inside = (z > 0) & ((pixels >= 0) & (pixels < 256)).all(axis=1)
        assert inside.sum() > 20
        expected = np.full((256, 256), np.inf)
        for (x, y), near in zip(pixels[inside], z[inside], strict=True):
            expected[int(y), int(x)] = min(expected[int(y), int(x)], near)
        np.testing.assert_allclose(depth, np.where(np.isfinite(expected), expected, 0), rtol=1e-3)


def test_distortion_is_taken_out_of_pictures_and_points(tmp_path):
    poses = cameras(3)
    write_model(tmp_path / "room/sparse/0", poses, DISTORTED, NAMES)
    write_pictures(tmp_path / "room/images", poses, DISTORTED, NAMES)
    (row,) = prepared(tmp_path / "room", tmp_path / "out")
    assert row.known_depth > 0
    (scene,) = published_scenes(tmp_path / "out/train/train-000000.tar", "co3d")
    assert_shows_the_world(scene)


def test_smaller_copies_of_the_pictures_have_a_smaller_lens(tmp_path):
    lens, poses = off_middle(1600, 1200, 1320.0, 40.0, -24.0), cameras(3)
    write_model(tmp_path / "room/sparse/0", poses, lens, NAMES)
    for name, c2w in zip(NAMES, poses, strict=True):
        write_file(tmp_path / "room/images_4" / name, png(seen(c2w, lens.resized(400, 300))[0]))
    prepared(tmp_path, tmp_path / "out", pictures="images_4")
    assert_shows_the_world(next(published_scenes(tmp_path / "out/train/train-000000.tar", "co3d")))


def test_a_picture_that_is_missing_or_damaged_is_told(tmp_path):
    lens, poses = off_middle(), cameras(4)
    write_model(tmp_path / "my room/sparse/0", poses, lens, ["a.png", "b.png", "c.png", "d.png"])
    for name, c2w in zip("acd", poses, strict=False):
        write_file(tmp_path / f"my room/images/{name}.png", png(seen(c2w, lens)[0])[: 5000 if name == "c" else None])
    (row,) = prepared(tmp_path, tmp_path / "out")
    assert (row.scene, row.frames) == ("colmap/my_room", 2)
    told = {each["frame"]: each["why"] for each in row.left_out}
    assert told.keys() == {"b.png", "c.png"}
    assert told["b.png"] == f"No such file or directory: {tmp_path / 'my room/images/b.png'}"
    assert "truncated" in told["c.png"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A whole reconstruction."""
    return write_model(tmp_path_factory.mktemp("room"), cameras(2), off_middle(), NAMES[:2])


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin", "rigs.bin", "frames.bin"])
@pytest.mark.parametrize("kept", [0, 5, 9, 20, 40, 300, -5])
def test_a_reconstruction_that_was_cut_off_is_told_and_not_read(tmp_path, model, name, kept):
    shutil.copytree(model, tmp_path, dirs_exist_ok=True)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:kept] if len(whole[:kept]) < len(whole) else whole + b"more")
    assert len(shots(model)) == 2
    with pytest.raises(ObjectFailedError, match=f"{name} is damaged: it does not end where its records do"):
        shots(tmp_path)


def test_a_damaged_reconstruction_is_a_row(tmp_path, model):
    shutil.copytree(model, tmp_path / "room/sparse/0")
    (tmp_path / "room/sparse/0/images.bin").write_bytes(bytes(8))
    with pytest.raises(
        StageFailedError, match=r"none of 1 scenes can be used; colmap/room: the reconstruction .* is damaged"
    ):
        prepared(tmp_path, tmp_path / "out")


def test_no_reconstruction_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"no reconstruction in .*; name a folder with sparse/0"):
        prepared(tmp_path, tmp_path / "out")
