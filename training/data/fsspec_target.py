"""Shards into an object store, or wherever else fsspec writes: s3://bucket/shards, gs://…, sftp://….

A put into an object store is all or nothing. Elsewhere a file is written under a name with a dot before and `.tmp` behind, and
renamed. What fails and may pass is tried again, the whole file anew. Credentials and endpoints come from the environment.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from stage.errors import InputError
from training.data.fsspec_store import FsspecStore
from training.data.shard_store import Progress, StreamParameters
from training.data.shard_target import ShardTarget, Stored
from training.data.writer_lock import WriterLock

# Where a put is all or nothing, and a move is a copy that the store makes by itself.
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"}
# What listings call a hash of the content or, failing that, the time of its change.
_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "modified", "created")

Result = TypeVar("Result")


class FsspecTarget(ShardTarget):
    """A folder below an fsspec URL.

    Args:
        root: the URL.
        streams: how patiently; fsspec's own retries lie below.
    """

    def __init__(self, root: str, streams: StreamParameters) -> None:
        self._store = FsspecStore(root.rstrip("/"), streams)
        self.place = self._store.identity

    @contextmanager
    def held(self, scratch: Path) -> Iterator[None]:
        """Hold the place by an object in it, which names who holds it."""
        self._answer("", _made)
        with WriterLock(self._answer, self.place, scratch).held():
            for name in self.files():
                if name.startswith(".") and name.endswith(".tmp"):
                    self.remove(name)
            yield

    def files(self) -> dict[str, Stored]:
        """The files that are there."""
        return self._answer("", _listing)

    def put(self, path: Path, name: str) -> Stored:
        """Upload a file and see that all of it is there."""
        return self._answer(name, lambda files, target: _put(files, path, target))

    def move(self, name: str, final: str) -> Stored:
        """Give a file another name; in an object store no byte passes through here."""
        stored = self._answer(final, lambda files, target: _move(files, f"{target.rpartition('/')[0]}/{name}", target))
        self.remove(name)
        return stored

    def remove(self, name: str) -> None:
        """Delete a file."""
        self._answer(name, _remove)

    def fetch(self, name: str, path: Path) -> None:
        """Download a file."""
        with path.open("wb") as stream:
            self._store.copy(name, stream.write)

    def _answer(self, name: str, question: Callable[[Any, str], Result]) -> Result:
        """The answer of the file system, asked again while it fails in a way that may pass."""
        answers: list[Result] = []
        try:
            self._store.persistently(
                lambda: answers.append(self._store.asked(name, question, "written")), Progress(0, None)
            )
        except InputError as error:
            raise InputError(
                f"{self.place} cannot be written: {error.__cause__}", "check the address: bucket or disk must be there"
            ) from error
        return answers[-1]


def _made(files: Any, root: str) -> None:  # noqa: ANN401 - fsspec is untyped
    # In an object store it would make buckets.
    if not _is_object_store(files):
        files.makedirs(root.rstrip("/"), exist_ok=True)


def _listing(files: Any, root: str) -> dict[str, Stored]:  # noqa: ANN401 - fsspec is untyped
    # What was listed before may be out of date.
    files.invalidate_cache()
    try:
        entries = files.ls(root.rstrip("/"), detail=True)
    except FileNotFoundError:
        return {}
    return {entry["name"].rpartition("/")[2]: _stored(entry) for entry in entries if entry["type"] == "file"}


def _stored(entry: Mapping[str, Any]) -> Stored:
    version = next((str(entry[key]) for key in _VERSIONS if entry.get(key)), "")
    return Stored(int(entry["size"]), version.strip('"'))


def _put(files: Any, path: Path, target: str) -> Stored:  # noqa: ANN401 - fsspec is untyped
    if _is_object_store(files):
        files.put_file(str(path), target)
    else:
        parent, _, name = target.rpartition("/")
        temporary = f"{parent}/.{name}.tmp"
        files.put_file(str(path), temporary)
        files.mv(temporary, target)
    return _checked(files, target, path.stat().st_size)


def _move(files: Any, source: str, target: str) -> Stored:  # noqa: ANN401 - fsspec is untyped
    size = files.info(source)["size"]
    # In an object store a move that is tried again would not find what it has deleted already.
    (files.cp_file if _is_object_store(files) else files.mv)(source, target)
    return _checked(files, target, size)


def _checked(files: Any, target: str, size: int) -> Stored:  # noqa: ANN401 - fsspec is untyped
    files.invalidate_cache()
    stored = _stored(files.info(target))
    if stored.size != size:
        raise OSError(f"of {size} bytes {stored.size} have arrived")
    return stored


def _remove(files: Any, target: str) -> None:  # noqa: ANN401 - fsspec is untyped
    with suppress(FileNotFoundError):
        files.rm_file(target)


def _is_object_store(files: Any) -> bool:  # noqa: ANN401 - fsspec is untyped
    protocols = (files.protocol,) if isinstance(files.protocol, str) else files.protocol
    return bool(_OBJECT_STORES.intersection(protocols))
