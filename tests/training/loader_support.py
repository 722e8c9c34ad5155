"""What tests of the loader share: a mixture of two sets, and what is in its batches."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from training.data.batches import ViewBatch, ViewChoice
from training.data.index import IndexRow, read_index
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.data.views import ReadViews

Sources = dict[str, ShardReader]


def plan(**changes: Any) -> Plan:
    """Six objects three quarters of the time, two others the rest; six batches of four an epoch."""
    mixed = (Mixed("train", 6, 0.75, 2), Mixed("val", 2, 0.25))
    return Plan(mixed, **{"batch_size": 4, "seed": 3, "draws": 24, **changes})


def readers(folder: Path) -> Sources:
    return {split: ShardReader(folder, split) for split in ("train", "val")}


def loader(sources: Sources, choice: ViewChoice | None = None, **options: Any) -> PlannedLoader:
    return PlannedLoader(options.pop("plan", plan()), sources, choice or ViewChoice(), **options)


Place = tuple[int, str, tuple[int, ...], bytes]


def places(batches: Iterable[ViewBatch]) -> list[Place]:
    """Each sample of the batches: dataset, object, views, and all pixels and cameras."""
    return [
        (
            int(batch.dataset[i]),
            batch.uids[i],
            tuple(batch.views[i].tolist()),
            _bytes(batch.rgba[i]) + _bytes(batch.c2w[i]),
        )
        for batch in batches
        for i in range(len(batch.uids))
    ]


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.numpy().tobytes()


def interleaved(ranks: Sequence[Iterable[ViewBatch]]) -> list[Place]:
    """The global batches that several ranks make up."""
    return [place for share in zip(*ranks, strict=True) for place in places(share)]


class Counting:
    """A source that notes what it is asked for."""

    def __init__(self, source: ShardReader) -> None:
        self.source = source
        self.asked: list[tuple[int, list[int]]] = []

    def __len__(self) -> int:
        return len(self.source)

    def view_count(self, number: int) -> int:  # noqa: D102
        return self.source.view_count(number)

    def read_views(self, number: int, chosen: Sequence[int]) -> ReadViews:  # noqa: D102
        self.asked.append((number, list(chosen)))
        return self.source.read_views(number, chosen)


def flip(folder: Path, key: str) -> IndexRow:
    """Flip a bit of one object's cameras, which every draw of it reads."""
    row = next(row for row in read_index(folder) if row.key == key)
    data = bytearray((folder / row.shard).read_bytes())
    data[data.index(b'"c2w"', row.offset)] ^= 1
    (folder / row.shard).write_bytes(data)
    return row
