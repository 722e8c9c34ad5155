"""Shard sets of random bytes with a right index: what streams and the cache need, without renders."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fault_server import FaultServer

from stage.seeds import generator
from training.data.index import INDEX, IndexRow, write_index
from training.data.shard_store import StreamParameters

# Failures take no time.
QUICK = StreamParameters(attempts=3, first_wait_seconds=0.001, max_wait_seconds=0.01, read_timeout_seconds=0.5)


@dataclass(frozen=True)
class ShardSet:
    """A set in a folder."""

    folder: Path
    rows: list[IndexRow]

    def data(self, name: str) -> bytes:
        """The bytes of a file."""
        return (self.folder / name).read_bytes()

    def piece(self, row: IndexRow) -> bytes:
        """The bytes of a sample."""
        return self.data(row.shard)[row.offset : row.offset + row.size]

    def serve(self, server: FaultServer, place: str = "/shards", **headers: str) -> str:
        """Serve it; the folder's URL."""
        for path in self.folder.iterdir():
            server.serve(f"{place}/{path.name}", path.read_bytes(), **headers)
        return server.url(place)


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"train-{number:06d}.tar"


def write_set(folder: Path, shards: int = 3, samples: int = 3, size: int = 10_000, seed: int = 0) -> ShardSet:
    """A set of shards of equal size."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(shards):
        data = generator(seed, shard_name(number), "bytes").integers(0, 256, samples * size, np.uint8).tobytes()
        (folder / shard_name(number)).write_bytes(data)
        for sample in range(samples):
            digest = hashlib.sha256(data[sample * size : (sample + 1) * size]).hexdigest()
            key = f"key{number:03d}{sample:03d}"
            rows.append(
                IndexRow(shard_name(number), key, sample * size, size, digest, 4, "train", "CC0-1.0", "folder")
            )
    write_index(folder, rows)
    assert (folder / INDEX).is_file()
    return ShardSet(folder, rows)
