"""Reading objects out of shards by their index: any object in any order, and of an object no more than its views take.

What is used is checked against its hash at every read. Where the index does not list an object's members, the object is read and
hashed whole.
"""

import hashlib
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from blender_render.view_codecs import Room, decode_view, view_members, view_numbers
from geometry.scene_scales import ScaleName
from geometry.splatter_tensor import StoredSplatter, parse_splatter
from stage.errors import InputError
from training.data.cache import ShardCache
from training.data.cameras_file import read_cameras_file
from training.data.index import INDEX
from training.data.index_rows import IndexRow
from training.data.members import tar_members
from training.data.samples import CheckedSamples, Sample
from training.data.shard_store import StreamParameters
from training.data.sources import SPLATTER
from training.data.streams import open_store
from training.data.views import ObjectViews, ReadViews

_CAMERAS = "cameras.json"
# What an object raises that is as it was written, its hash says; so it was written wrong.
_WRITTEN_WRONG = (OSError, ValueError, LookupError, tarfile.TarError)


class ShardReader:
    """The objects of one split of a shard set.

    Args:
        folder: the shard set, a folder or a URL (`training.data.streams`).
        split: train, val or test.
        cached: number of decoded objects kept in memory.
        cache: keeps whole shards on the local disk; without one each object is read where it is.
        streams: how patiently a server is asked.
        scale: which one the system needs: views of which it is unknown are refused. The scene radius is told of objects without
            depth when any is named.
        splatters: whether the system learns from splatter images: objects without them are left out.

    Raises:
        InputError: when the set is missing or has no object of this split, or none with splatter images where they are needed.
    """

    def __init__(
        self,
        folder: Path | str,
        split: str,
        cached: int = 4096,
        cache: ShardCache | None = None,
        streams: StreamParameters | None = None,
        *,
        scale: ScaleName | None = None,
        splatters: bool = False,
    ) -> None:
        self.folder, self.split, self._scale, self._splatters = folder, split, scale, splatters
        store = open_store(folder, streams)
        self.rows = store.index().of_split(split)
        if not len(self.rows):
            raise InputError(
                f"{store.identity} holds no object of the split {split}", "add objects, or change catalog.split"
            )
        self.left_out = 0
        """Objects that have no splatter images, where those are needed."""
        if splatters:
            self._leave_out(store.identity)
        self.cached, self.samples = cached, CheckedSamples(store, cache)
        self._read = lru_cache(maxsize=cached)(self._decode)

    def _leave_out(self, identity: str) -> None:
        """Take the objects with splatter images alone; of those whose members the index does not list reading tells."""
        rows = self.rows.with_member(SPLATTER)
        self.left_out = len(self.rows) - len(rows)
        if not len(rows):
            raise InputError(
                f"none of {len(self.rows)} objects of the split {self.split} of {identity} has splatter images",
                "run viewforge splatter for more objects, then viewforge shard with shard.include: [splatter]",
            )
        self.rows = rows

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process is sent: all but the decoded objects."""
        return {name: value for name, value in vars(self).items() if name != "_read"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._read = lru_cache(maxsize=self.cached)(self._decode)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> ObjectViews:
        """The object of one row.

        Raises:
            InputError: naming shard, key and offset, when the bytes are not what was written.
            StreamError: when the server that has them cannot be reached.
        """
        return self._read(number)

    def view_count(self, number: int) -> int:
        """How many views the object of one row has."""
        return int(self.rows.views[number])

    @property
    def identity(self) -> str:
        """Where they are, for messages: without secrets."""
        return self.samples.store.identity

    @property
    def remote(self) -> bool:
        """Whether they lie elsewhere than on a disk."""
        return self.samples.store.remote

    @property
    def counts(self) -> Int[np.ndarray, " n"]:
        """How many views each object has."""
        return self.rows.views

    @property
    def shards(self) -> tuple[int, ...]:
        """Objects of each shard, in the order of the rows."""
        return self.rows.samples_of_shards

    @property
    def licences(self) -> tuple[str, ...]:
        """Of the objects, each once."""
        return tuple(sorted(set(self.rows.table["licence"].unique().to_pylist())))

    def key(self, number: int) -> str:
        """The uid of the object of one row."""
        return self.rows[number].key

    def index_sha256(self) -> str:
        """Hex SHA-256 of the set's index, which stands for all of its bytes.

        Raises:
            InputError: when it has gone meanwhile.
            StreamError: when the server that has it cannot be reached.
        """
        digest = hashlib.sha256()
        self.samples.store.copy(INDEX, digest.update)
        return digest.hexdigest()

    def shard(self, number: int) -> str:
        """File name of the shard that holds the object of one row."""
        return self.rows[number].shard

    def shard_sizes(self) -> dict[str, int]:
        """Bytes of each shard by its file name, up to the end of its last object."""
        return self.rows.ends_of_shards

    def read_views(self, number: int, chosen: Sequence[int]) -> ReadViews:
        """Some views of the object of one row, in the order asked for; no other picture is read, and nothing is kept.

        Raises:
            InputError: naming shard, key and offset, when the bytes are not what was written; also when a picture is decoded.
        """
        return self._opened(number, chosen)

    def views(self, number: int, chosen: Sequence[int]) -> ObjectViews:
        """The same, decoded; raises as reading and decoding them do."""
        return self._opened(number, chosen).decoded()

    def members(self, number: int) -> dict[str, bytes]:
        """The files of one row's object by extension (`000.png`, `cameras.json`), as they were written.

        Raises:
            InputError: as when its views are read.
        """
        return {name: bytes(data) for name, data in tar_members(self.samples.read(self.rows[number])).items()}

    def _decode(self, number: int) -> ObjectViews:
        return self._opened(number).decoded()

    def _opened(self, number: int, chosen: Sequence[int] | None = None) -> ReadViews:
        row = self.rows[number]
        try:
            sample = self.samples.open(row)
            stored = _stored_views(tuple(sample.names))
            wanted = stored if chosen is None else [stored[view] for view in chosen]
            members = sample.read([*self._beside(row, sample), *(name for view in wanted for name in view.members)])
            views = range(len(stored)) if chosen is None else chosen
            cameras = read_cameras_file(members[_CAMERAS], views, scales=self._scale is not None)
            splatter = self._splatter(row, members)
        except _WRITTEN_WRONG as error:
            raise self._undecodable(row, error) from None
        picture = partial(self._picture, row, members, wanted)
        read = ReadViews(row.key, cameras.c2w, cameras.intrinsics, picture, cameras.scales, splatter)
        if self._scale:
            read.require(self._scale)
        return read

    def _beside(self, row: IndexRow, sample: Sample) -> tuple[str, ...]:
        """The members that are read beside pictures."""
        if not self._splatters:
            return (_CAMERAS,)
        if SPLATTER not in sample.names:
            raise InputError(
                f"{row.key} has no splatter images", "write the shards with shard.include: [splatter], or leave it out"
            )
        return _CAMERAS, SPLATTER

    def _splatter(self, row: IndexRow, members: Mapping[str, memoryview]) -> StoredSplatter | None:
        if not self._splatters:
            return None
        stored = parse_splatter(bytes(members[SPLATTER]), f"{row.key}.{SPLATTER}")
        if stored.cameras is None:
            raise InputError(
                f"{row.key} has splatter images without cameras", "run viewforge splatter and shard again"
            )
        return stored

    def _picture(
        self,
        row: IndexRow,
        members: Mapping[str, memoryview],
        views: Sequence["_StoredView"],
        place: int,
        room: Room,
    ) -> UInt8[np.ndarray, "h w 4"]:
        try:
            return decode_view(members, views[place].number, room)
        except _WRITTEN_WRONG as error:
            raise self._undecodable(row, error) from None

    def _undecodable(self, row: IndexRow, error: Exception) -> InputError:
        place = f"{self.samples.store.where(row.shard)} at byte {row.offset}, object {row.key}"
        reason = " ".join(str(error).split())
        return InputError(f"{place}: cannot be decoded: {reason}", "render the object and write the shards again")


@dataclass(frozen=True)
class _StoredView:
    """One view among an object's members."""

    number: int
    members: tuple[str, ...]


@lru_cache(maxsize=1024)
def _stored_views(names: tuple[str, ...]) -> tuple[_StoredView, ...]:
    """The views of an object by its members' names, which most objects of a set share."""
    return tuple(_StoredView(number, tuple(view_members(names, number))) for number in view_numbers(names))
