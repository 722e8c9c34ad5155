"""Reading objects out of shards by their index: any object in any order, its bytes checked against their hash."""

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
from training.data.cache import ShardCache
from training.data.index import IndexRow
from training.data.samples import CheckedSamples
from training.data.shard_store import StreamParameters
from training.data.streams import open_store


@dataclass(frozen=True)
class ObjectViews:
    """All views of one object: sRGB pictures with straight alpha, and c2w cameras in OpenGL axes."""

    uid: str
    rgba: UInt8[np.ndarray, "v h w 4"]
    c2w: Float[np.ndarray, "v 4 4"]


class ShardReader:
    """The objects of one split of a shard set.

    Args:
        folder: the shard set, a folder or a URL (`training.data.streams`).
        split: train, val or test.
        cached: number of decoded objects kept in memory.
        cache: keeps whole shards on the local disk; without one each object is read where it is.
        streams: how patiently a server is asked.

    Raises:
        InputError: when the set is missing or has no object of this split.
    """

    def __init__(
        self,
        folder: Path | str,
        split: str,
        cached: int = 4096,
        cache: ShardCache | None = None,
        streams: StreamParameters | None = None,
    ) -> None:
        self.folder = folder
        store = open_store(folder, streams)
        self.rows = [row for row in store.index() if row.split == split]
        if not self.rows:
            raise InputError(f"{folder} holds no object of the split {split}", "add objects, or change catalog.split")
        self.samples = CheckedSamples(store, cache)
        self._read = lru_cache(maxsize=cached)(self._decode)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> ObjectViews:
        """The object of one row.

        Raises:
            InputError: naming shard, key and offset, when the bytes are not what was written.
            StreamError: when the server that has them cannot be reached.
        """
        return self._read(number)

    def _decode(self, number: int) -> ObjectViews:
        row = self.rows[number]
        members = _members(self._bytes(row))
        cameras = json.loads(members.pop("cameras.json"))
        pictures = [np.asarray(Image.open(io.BytesIO(members[name])).convert("RGBA")) for name in sorted(members)]
        return ObjectViews(row.key, np.stack(pictures), np.array(cameras["c2w"]))

    def _bytes(self, row: IndexRow) -> bytes:
        return self.samples.read(row)


def _members(data: bytes) -> dict[str, bytes]:
    """Members of a piece of a tar by their extension, the part after the key."""
    members = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream:
                members[member.name.partition(".")[2]] = stream.read()
    return members
