"""The shard set of a workspace as its writer sees it: all in `data/shards/`, or the tars elsewhere and the lists in both places.

Here is decided in which order files come and go, so that an index, wherever one is, names what is there: new shards first, then
tombstones, then the index; what no list names any longer goes last.
"""

import re
import shutil
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from catalog.table import SPLITS
from stage.errors import InputError
from stage.files import file_sha256, replacing, write_text
from stage.location import LOCATION, read_location, write_location
from stage.workspace import Workspace
from training.data.delivery import Delivery, Elsewhere, OwnFolder, is_waiting
from training.data.index import INDEX, TOMBSTONES
from training.data.shard_store import StreamParameters
from training.data.shard_target import FolderTarget, ShardTarget, open_target

_SHARD = re.compile(rf"({'|'.join(SPLITS)})-\d{{6,}}\.tar")


class ShardPlace(ABC):
    """Where the set of a workspace is, while it is written."""

    delivery: Delivery
    """Of finished shards; there is one from `begin` on."""

    @abstractmethod
    def held(self) -> AbstractContextManager[None]:
        """Hold the place against other writers."""

    @abstractmethod
    def lists(self) -> Path:
        """A folder with the lists of the set as it is, in which the new ones are written."""

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Bytes of the files that are there."""

    @abstractmethod
    def begin(self, anew: bool, wanted: bool) -> None:
        """Make ready for delivery.

        Args:
            anew: whether no shard that is there stays.
            wanted: whether somebody asked for that.

        Raises:
            InputError: when something is there that this workspace did not write.
        """

    @abstractmethod
    def settle(self) -> None:
        """Have all delivered shards in their places; a set that they replace ends here."""

    @abstractmethod
    def publish(self, name: str) -> None:
        """Bring a list there that was written anew."""

    @abstractmethod
    def withdraw(self, name: str) -> None:
        """Delete a list there."""

    @abstractmethod
    def finish(self, known: set[str]) -> None:
        """Delete what is not in the set, after its lists are there.

        Args:
            known: the shards of the lists.
        """


class OwnPlace(ShardPlace):
    """`data/shards/`, which its writer holds already.

    Args:
        workspace: whose set it is.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._folder = workspace.shards
        self._target = FolderTarget(workspace.shards)
        self._replacing = False

    def held(self) -> AbstractContextManager[None]:
        """Nothing more to hold."""
        return nullcontext()

    def lists(self) -> Path:
        """The folder itself."""
        return self._folder

    def sizes(self) -> dict[str, int]:
        """Bytes of the files that are there."""
        return {name: stored.size for name, stored in self._target.files().items()}

    def begin(self, anew: bool, wanted: bool) -> None:  # noqa: ARG002 - the folder is the stage's own
        """Make ready for delivery."""
        self._replacing = anew and (self._folder / INDEX).exists()
        self.delivery = OwnFolder(self._target, self._replacing)
        if anew and not self._replacing:
            self._end_old()

    def settle(self) -> None:
        """Have all shards in their places."""
        if self._replacing:
            self._end_old()
        self.delivery.settle()

    def publish(self, name: str) -> None:
        """Nothing: a list is written into the folder."""

    def withdraw(self, name: str) -> None:
        """Delete a list."""
        self._target.remove(name)

    def finish(self, known: set[str]) -> None:
        """Delete the tars that are not in the set."""
        for path in self._folder.glob("*.tar"):
            if path.name not in known:
                path.unlink()

    def _end_old(self) -> None:
        for name in (INDEX, TOMBSTONES, LOCATION):
            self._target.remove(name)


class RootPlace(ShardPlace):
    """An output root; `data/shards/` has a copy of its lists, and its address.

    Args:
        root: its URL or absolute path.
        workspace: whose set it is.
        streams: how patiently a server is asked.
    """

    def __init__(self, root: str, workspace: Workspace, streams: StreamParameters) -> None:
        self._root, self._here = root, workspace.shards
        self._target: ShardTarget = open_target(root, workspace.root, streams)
        self._scratch = workspace.scratch / "shards"
        self._lists = self._scratch / "lists"

    def held(self) -> AbstractContextManager[None]:
        """Hold the root against other writers, on whatever machine."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        return self._target.held(self._scratch)

    def lists(self) -> Path:
        """A folder in scratch space with what the root has."""
        self._files = self._target.files()
        shutil.rmtree(self._lists, ignore_errors=True)
        self._lists.mkdir(parents=True)
        for name in {INDEX, TOMBSTONES} & self._files.keys():
            self._target.fetch(name, self._lists / name)
        return self._lists

    def sizes(self) -> dict[str, int]:
        """Bytes of the files that were there when the lists were fetched."""
        return {name: stored.size for name, stored in self._files.items()}

    def begin(self, anew: bool, wanted: bool) -> None:
        """Make ready for delivery."""
        if anew and not wanted and not self._is_mine():
            self._check_nobodys()
        write_text(self._scratch / "claim", self._target.place)
        self._replacing = anew and INDEX in self._files
        receipts = self._scratch / "delivered"
        self.delivery = Elsewhere(self._target, self._files, receipts, self._replacing)

    def settle(self) -> None:
        """Have all shards in their places."""
        if self._replacing:
            # Those who read by the old lists find other bytes from here on.
            for name in (INDEX, TOMBSTONES):
                (self._here / name).unlink(missing_ok=True)
                self._target.remove(name)
        self.delivery.settle()

    def publish(self, name: str) -> None:
        """Send a list off."""
        self._target.put(self._lists / name, name)

    def withdraw(self, name: str) -> None:
        """Delete a list there."""
        (self._lists / name).unlink(missing_ok=True)
        if name in self._files:
            self._target.remove(name)

    def finish(self, known: set[str]) -> None:
        """Delete the shards there that are not in the set, and all here; the lists are copied."""
        for name in self._target.files():
            if is_waiting(name) or (_SHARD.fullmatch(name) and name not in known):
                self._target.remove(name)
        self._point_there()
        for path in self._here.glob("*.tar"):
            path.unlink()

    def _point_there(self) -> None:
        if read_location(self._here) != self._root:
            # An index beside a location of something else would name what is not there.
            (self._here / INDEX).unlink(missing_ok=True)
            write_location(self._here, self._root)
        for name in (TOMBSTONES, INDEX):
            _copy_list(self._lists / name, self._here / name)

    def _is_mine(self) -> bool:
        claim = self._scratch / "claim"
        return read_location(self._here) == self._root or (claim.is_file() and claim.read_text() == self._target.place)

    def _check_nobodys(self) -> None:
        """A mistyped root must not cost somebody else's set.

        Raises:
            InputError: when shards or an index are there.
        """
        if INDEX in self._files:
            raise InputError(
                f"{self._target.place} holds a shard set of other parameters, or a damaged one",
                "name another shard.output_root, or replace the set with viewforge shard --compact",
            )
        if tars := sorted(filter(_SHARD.fullmatch, self._files)):
            raise InputError(
                f"{self._target.place} holds {tars[0]}, and no index that lists it",
                "name another shard.output_root, or replace what is there with viewforge shard --compact",
            )


def shard_place(root: str | None, workspace: Workspace, streams: StreamParameters) -> ShardPlace:
    """Where the set of a workspace is to be.

    Args:
        root: URL or path, which counts from the workspace; `data/shards/` when None.
        workspace: whose set it is.
        streams: how patiently a server is asked.
    """
    if root and "://" not in root:
        root = str((workspace.root / root).resolve())
    if root is None or root == str(workspace.shards.resolve()):
        return OwnPlace(workspace)
    return RootPlace(root.rstrip("/"), workspace, streams)


def _copy_list(source: Path, target: Path) -> None:
    """Have the same list in both places, or none."""
    if not source.exists():
        target.unlink(missing_ok=True)
    elif not target.exists() or file_sha256(source) != file_sha256(target):
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
