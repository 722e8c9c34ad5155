"""`viewforge shards` and `viewforge shard --compact` as their users run them."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from blender_render.camera_sets import View
from blender_render.rendered_object import write_cameras
from catalog.table import Asset, write_table
from geometry.cameras import Intrinsics
from stage.packs import object_folder
from stage.workspace import Workspace
from training.data.shard_parameters import ShardParameters
from training.data.verify import verify
from training.data.writer import write_shards


@pytest.fixture
def workspace(tmp_path):
    """Three rendered objects of two views in shards, of which the last was removed since."""
    place = Workspace(tmp_path / "workspace")
    uids = ["a1", "b2", "c3"]
    assets = [
        Asset(uid, "folder", f"{uid}.glb", uid, "", 1, "glb", "Y", "CC0-1.0", "", uid, (), split, True, "")
        for uid, split in zip(uids, ("train", "train", "val"), strict=True)
    ]
    write_table(place.catalog / "catalog.parquet", assets)
    for number, uid in enumerate(uids):
        folder = object_folder(place.scratch / "renders", uid)
        folder.mkdir(parents=True)
        pictures = np.random.default_rng(number).integers(0, 256, (2, 8, 8, 4), dtype=np.uint8)
        for view, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / f"{view:03d}.png")
        write_cameras(folder, [View(np.eye(4), Intrinsics.from_fov(0.8, 8))] * 2, [])
    place.renders.mkdir(parents=True)
    place.parameters.write_text("shard: {}\n")
    for complete in ([True, True, True], [True, False, True]):
        frame = pd.DataFrame({"uid": uids, "complete": complete, "fingerprint": uids})
        frame.to_parquet(place.renders / "objects.parquet")
        write_shards(ShardParameters(), place)
    return place


def test_shards_are_verified_and_counted(workspace, viewforge):
    result = viewforge("shards", "verify", cwd=workspace.root)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.fullmatch(r"shards: 2 objects of 4 views in 2 shards, 20,480 bytes, at \d+ MB/s\n", result.stdout)
    lines = [" ".join(line.split()) for line in viewforge("shards", "stats", workspace.shards).stdout.splitlines()]
    for start in ("split shards objects views size", "train 1 1 2", "val 1 1 2", "CC0-1.0 2 2 4", "tombstones 1 1 2"):
        assert any(line.startswith(start) for line in lines), lines


def test_damage_is_named_and_fails(workspace, viewforge):
    tar = workspace.shards / "val-000000.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    result = viewforge("shards", "verify", workspace.shards, "--workers", "1")
    assert result.returncode == 1
    assert result.stdout.startswith("shards: val-000000.tar: byte 512: object c3: its bytes are not those")
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert "is damaged in 1 places; restore it with dvc pull" in lines[0]
    result = viewforge("shard", "--compact", cwd=workspace.root)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "shard: 2 of 2 objects written, 0 kept; 2 of 2 shards written",
        "shard: 2 objects in 2 shards",
    ]
    assert verify(workspace.shards).damages == []
    assert not (workspace.shards / "tombstones.parquet").exists()


def test_a_folder_without_shards_is_one_line(tmp_path, viewforge):
    result = viewforge("shards", "verify", tmp_path)
    assert result.returncode == 1
    assert result.stderr == f"viewforge: no shard index {tmp_path / 'index.parquet'}; run viewforge shard first\n"
