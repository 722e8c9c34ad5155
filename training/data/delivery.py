"""How finished shards leave scratch space: into the set's own folder, or to a place elsewhere, whose room alone bounds the set.

Where a whole set is to be replaced, new shards wait under other names, and readers of the old one are not disturbed, until
`settle` gives them theirs.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from stage.errors import InputError
from stage.files import replacing_folder, write_json
from training.data.index import IndexRow, read_rows, write_index
from training.data.shard_plan import PlannedShard
from training.data.shard_target import ShardTarget, Stored

_RECEIPT = "receipt.json"
_WAITING = "waiting-"


class Delivery(ABC):
    """What becomes of the finished shards of one run. May be used by many threads, for different shards."""

    @abstractmethod
    def delivered(self, shard: PlannedShard) -> Sequence[IndexRow] | None:
        """The rows of a shard that an earlier run delivered; None when it is still to be written."""

    @abstractmethod
    def take(self, shard: PlannedShard, tar: Path, rows: Sequence[IndexRow]) -> None:
        """Deliver a finished shard."""

    @abstractmethod
    def settle(self) -> None:
        """Give all shards of this run their names, where they do not have them."""


class OwnFolder(Delivery):
    """Shards of the workspace's own folder are links to those in scratch space, which stay until the set is whole.

    Args:
        target: the folder.
        replacing: whether a set is there that shall be whole until the new one is.
    """

    def __init__(self, target: ShardTarget, replacing: bool) -> None:
        self._target, self._replacing = target, replacing
        self._waiting: dict[str, Path] = {}

    def delivered(self, shard: PlannedShard) -> None:
        """Nothing: a shard that waits in scratch space is found by its writer."""

    def take(self, shard: PlannedShard, tar: Path, rows: Sequence[IndexRow]) -> None:  # noqa: ARG002 - the folder says it all
        """Link a finished shard, or note it for later."""
        if self._replacing:
            self._waiting[shard.name] = tar
        else:
            self._target.put(tar, shard.name)

    def settle(self) -> None:
        """Link those that waited."""
        for name, tar in self._waiting.items():
            self._target.put(tar, name)


@dataclass(frozen=True)
class _Receipt:
    """What was delivered, where and as what."""

    place: str
    name: str
    stored: Stored

    @classmethod
    def read(cls, path: Path) -> "_Receipt | None":
        try:
            fields = json.loads(path.read_text())
            return cls(fields["place"], fields["name"], Stored(**fields["stored"]))
        except (OSError, ValueError, LookupError, TypeError):
            return None


class Elsewhere(Delivery):
    """Shards go to another place one by one; what stays here is a receipt with the shard's rows.

    Args:
        target: the place.
        files: what is there.
        receipts: folder of receipts, each named by the content of its shard.
        replacing: whether a set is there that shall be whole until the new one is.
    """

    def __init__(self, target: ShardTarget, files: Mapping[str, Stored], receipts: Path, replacing: bool) -> None:
        self._target, self._files, self._receipts, self._replacing = target, files, receipts, replacing
        self._waiting: dict[str, PlannedShard] = {}
        receipts.mkdir(parents=True, exist_ok=True)

    def delivered(self, shard: PlannedShard) -> Sequence[IndexRow] | None:
        """The rows of a shard that lies there just as the receipt says."""
        folder = self._receipts / shard.content
        receipt = _Receipt.read(folder / _RECEIPT)
        if receipt is None or receipt.place != self._target.place or self._files.get(receipt.name) != receipt.stored:
            return None
        if receipt.name not in (shard.name, _waiting_name(shard)):
            return None
        try:
            rows = list(read_rows(folder))
        except InputError:
            return None
        if receipt.name != shard.name:
            self._waiting[shard.name] = shard
        return rows

    def take(self, shard: PlannedShard, tar: Path, rows: Sequence[IndexRow]) -> None:
        """Send a finished shard off, and free its room here once it is there."""
        name = _waiting_name(shard) if self._replacing else shard.name
        self._note(shard, name, self._target.put(tar, name), rows)
        if self._replacing:
            self._waiting[shard.name] = shard
        tar.unlink()

    def settle(self) -> None:
        """Rename those that waited."""
        for name, shard in self._waiting.items():
            stored = self._target.move(_waiting_name(shard), name)
            self._note(shard, name, stored, list(read_rows(self._receipts / shard.content)))

    def _note(self, shard: PlannedShard, name: str, stored: Stored, rows: Sequence[IndexRow]) -> None:
        with replacing_folder(self._receipts / shard.content) as folder:
            write_index(folder, rows)
            write_json(folder / _RECEIPT, asdict(_Receipt(self._target.place, name, stored)))


def is_waiting(name: str) -> bool:
    """Whether a file is a shard that has not got its name yet."""
    return name.startswith(_WAITING)


def _waiting_name(shard: PlannedShard) -> str:
    # No `.tar` behind: whoever lists the tars shall not find it.
    return f"{_WAITING}{shard.content}"
