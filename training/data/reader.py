"""Reading objects out of shards by their index: any object in any order, its bytes checked against their hash."""

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from stage.errors import InputError
from training.data.index import IndexRow, read_index


@dataclass(frozen=True)
class ObjectViews:
    """All views of one object: sRGB pictures with straight alpha, and c2w cameras in OpenGL axes."""

    uid: str
    rgba: UInt8[np.ndarray, "v h w 4"]
    c2w: Float[np.ndarray, "v 4 4"]


class ShardReader:
    """The objects of one split of a shard set.

    Args:
        folder: the shard set.
        split: train, val or test.
        cached: number of decoded objects kept in memory.

    Raises:
        InputError: when the set is missing or has no object of this split.
    """

    def __init__(self, folder: Path, split: str, cached: int = 4096) -> None:
        self.folder = folder
        self.rows = [row for row in read_index(folder) if row.split == split]
        if not self.rows:
            raise InputError(f"{folder} holds no object of the split {split}", "add objects, or change catalog.split")
        self._read = lru_cache(maxsize=cached)(self._decode)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> ObjectViews:
        """The object of one row.

        Raises:
            InputError: naming shard, key and offset, when the bytes are not what was written.
        """
        return self._read(number)

    def members(self, number: int) -> dict[str, bytes]:
        """The files of one row's object by extension (`000.png`, `cameras.json`), as they were written.

        Raises:
            InputError: as when its views are read.
        """
        return _members(self._bytes(self.rows[number]))

    def _decode(self, number: int) -> ObjectViews:
        row = self.rows[number]
        members = self.members(number)
        cameras = json.loads(members.pop("cameras.json"))
        pictures = [np.asarray(Image.open(io.BytesIO(members[name])).convert("RGBA")) for name in sorted(members)]
        return ObjectViews(row.key, np.stack(pictures), np.array(cameras["c2w"]))

    def _bytes(self, row: IndexRow) -> bytes:
        with (self.folder / row.shard).open("rb") as stream:
            stream.seek(row.offset)
            data = stream.read(row.size)
        if hashlib.sha256(data).hexdigest() != row.sha256:
            raise InputError(
                f"{self.folder / row.shard} is damaged at byte {row.offset}, object {row.key}",
                "restore it with dvc pull, or run viewforge shard again",
            )
        return data


def _members(data: bytes) -> dict[str, bytes]:
    """Members of a piece of a tar by their extension, the part after the key."""
    members = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream:
                members[member.name.partition(".")[2]] = stream.read()
    return members
