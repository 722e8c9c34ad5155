"""Shards as the folders that Zero-1-to-3's own code trains on: `<uid>/000.png`, `<uid>/000.npy` and `valid_paths.json`.

Pictures are PNG, the shards' own bytes where those are PNG and their pixels otherwise, straight alpha; `.npy` is the 3×4
world-to-camera in OpenGL axes, as 64-bit floats. `valid_paths.json` is written last. The published loader trains on the first
99 % of it and validates on the rest, so objects of the split train come first, then val, then test. Source:
cvlab-columbia/zero123 `ldm/data/simple.py`.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from catalog.table import SPLITS
from geometry.cameras import zero123_from_c2w
from stage.errors import InputError
from stage.files import remove_leftovers, replacing_folder, write_json
from stage.progress import Progress
from training.data.index import INDEX
from training.data.reader import ShardReader
from training.data.streams import open_store

VALID_PATHS = "valid_paths.json"


@dataclass(frozen=True)
class Zero123Export:
    """What was written."""

    objects: int
    views: int
    """Of the object that has fewest: the published loader's `total_view` must not be above it."""


def export_zero123(shards: Path, target: Path) -> Zero123Export:
    """Write every object of a shard set into `target`; folders of the same objects are replaced.

    Raises:
        InputError: when there are no shards, one is damaged, or `target` holds a shard set of ours.
    """
    if (target / INDEX).exists():
        raise InputError(f"{target} holds shards", "name another folder to export to")
    rows = open_store(shards).index()
    splits = [split for split in SPLITS if any(row.split == split for row in rows)]
    target.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target)
    (target / VALID_PATHS).unlink(missing_ok=True)
    uids: list[str] = []
    with Progress("export", len(rows), "objects") as progress:
        for split in splits:
            reader = ShardReader(shards, split, cached=0)
            for number in range(len(reader)):
                uid = reader.rows[number].key
                with replacing_folder(target / uid) as folder:
                    _write_object(folder, reader, number)
                uids.append(uid)
                progress.advance()
    write_json(target / VALID_PATHS, uids)
    return Zero123Export(len(uids), min((row.views for row in rows), default=0))


def _write_object(folder: Path, reader: ShardReader, number: int) -> None:
    members = reader.members(number)
    cameras = json.loads(members["cameras.json"])["c2w"]
    names = [f"{view:03d}.png" for view in range(len(cameras))]
    if all(name in members for name in names):
        # Encoding anew would take a hundred times as long.
        for name in names:
            (folder / name).write_bytes(members[name])
    else:
        for name, picture in zip(names, reader[number].rgba, strict=True):
            Image.fromarray(picture).save(folder / name, format="PNG")
    for name, c2w in zip(names, cameras, strict=True):
        np.save((folder / name).with_suffix(".npy"), zero123_from_c2w(np.array(c2w)))
