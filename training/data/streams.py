"""Shards from wherever they are: a folder, http://, https://, s3:// or any other URL that fsspec knows.

    store = open_store("s3://bucket/shards")
    samples = CheckedSamples(store)                                                   # a range request a sample
    samples = CheckedSamples(store, ShardCache(Path("/scratch/shards"), 200 * 10**9))  # whole shards, kept on the local disk

Single samples by range requests suit a look at a few objects; a training that comes back to every shard wants the cache.
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from stage.errors import InputError
from stage.location import completed, read_location
from training.data.located_store import LocatedStore
from training.data.shard_store import LocalStore, ShardStore, StreamParameters


def open_store(place: Path | str, parameters: StreamParameters | None = None) -> ShardStore:
    """The store of a shard set.

    Args:
        place: a folder or URL; a folder with a `location.json` has its lists beside it and its tars there. A URL may
            name variables of the environment that complete it, as `https://${USER}:${PASSWORD}@host/shards` or `…?${SIGNATURE}`.
        parameters: how patiently a server is asked.

    Raises:
        InputError: when the URL is malformed or names a variable that is not set, or the location is damaged.
    """
    if isinstance(place, Path) or "://" not in place:
        return _of_folder(Path(place), parameters)
    place = completed(place)
    try:
        parts = urlsplit(place)
    except ValueError as error:
        raise InputError(f"{place} is no URL: {error}", "check the address") from None
    if parts.scheme == "file":
        return _of_folder(Path(unquote(parts.path)), parameters)
    # Imported where they are needed: a set on the disk needs no client of a server.
    if parts.scheme in ("http", "https"):
        from training.data.http_store import HttpStore

        return HttpStore(place, parameters or StreamParameters())
    from training.data.fsspec_store import FsspecStore

    return FsspecStore(place, parameters or StreamParameters())


def _of_folder(folder: Path, parameters: StreamParameters | None) -> ShardStore:
    root = read_location(folder)
    return LocatedStore(folder, open_store(root, parameters)) if root else LocalStore(folder)
