"""`viewforge data prepare zeronvs` as a person calls it."""

import gzip
import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def co3d(tmp_path):
    """A category of two sequences, of which one has no pictures."""
    viewpoint = {"R": np.eye(3).tolist(), "T": [0, 0, 2], "focal_length": [2, 2], "principal_point": [0, 0]}
    frames = []
    for name in ("1_2_3", "4_5_6"):
        for number in range(2):
            path = f"book/{name}/images/frame{number + 1:06d}.jpg"
            image = {"path": path, "size": [30, 40]}
            frames.append({"sequence_name": name, "frame_number": number, "image": image, "viewpoint": viewpoint})
            if name == "1_2_3":
                (tmp_path / "co3d" / path).parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (40, 30), (200, 100, 50)).save(tmp_path / "co3d" / path)
    sequences = [{"sequence_name": name, "category": "book"} for name in ("1_2_3", "4_5_6")]
    for name, rows in (("frame", frames), ("sequence", sequences)):
        (tmp_path / f"co3d/book/{name}_annotations.jgz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    return tmp_path / "co3d"


def test_it_says_what_a_configuration_of_zeronvs_needs_and_what_is_left_out(viewforge, co3d):
    arguments = ("--from", "co3d", "--side", 16, "--val", 0, "--test", 0, co3d, "out")
    result = viewforge("data", "prepare", "zeronvs", *arguments, cwd=co3d.parent)
    assert result.returncode == 0, result.stderr
    first, second, third = result.stdout.splitlines()
    assert first == (
        "prepare: train: dataset_url out/train/train-{shard:06d}.tar, dataset_n_shards 1, dataset_n_scenes 1,"
        " views_per_scene 2"
    )
    assert second == "prepare: train: 2 frames left out, see out/prepared.parquet"
    assert third.startswith("prepare: train: left out, missing: book/4_5_6: 0 frames can be used, two are needed")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("re10k", "."), "no camera file *.txt or train/*.txt; name their folder"),
        (("renders", "nowhere"), "no rendered objects nowhere/data/renders/objects.parquet; run viewforge render"),
        (("colmap", ".", "--set-list", "x"), "set_list is not for colmap; it belongs to co3d"),
    ],
)
def test_a_mistake_is_one_line(viewforge, tmp_path, arguments, words):
    result = viewforge("data", "prepare", "zeronvs", "--from", *arguments, "out", cwd=tmp_path)
    (line,) = result.stderr.strip().splitlines()
    assert result.returncode == 1
    assert words in line
