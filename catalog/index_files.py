"""Index files of data sets: compressed JSON and parquet, fetched once, kept under their URL, and read only when whole.

A publisher's or mirror's file may itself be cut short, which no length shows. Whatever cannot be read is thrown away and fetched
once more; nothing broken is left behind for the next run. To see a newer version of a data set, delete the folder.
"""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.downloads import Task, each
from catalog.http_client import HttpClient
from catalog.http_errors import DownloadError, in_one_line
from stage.failures import FailureClass
from stage.files import json_sha256
from stage.foreign_files import BoundedGzip, parse_json
from stage.secrets import shown

_DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error, ValueError, pa.ArrowException)
_MAX_BYTES = 8 * 2**30
_BATCH_ROWS = 50_000

Content = TypeVar("Content")


class IndexFiles:
    """A cache of index files.

    Args:
        root: its folder, made when first written to.
        client: what they are fetched with.
    """

    def __init__(self, root: Path, client: HttpClient) -> None:
        self._root, self._client = root, client

    def gzip_json(self, url: str) -> dict[str, Any]:
        """The mapping that a gzipped JSON file holds.

        Raises:
            DownloadError: when it cannot be had, or is damaged twice.
        """
        return self._read(url, _gzip_json)

    def batches(self, url: str, columns: Iterable[str]) -> Iterator[pa.RecordBatch]:
        """The rows of a parquet file piece by piece, so that files of any length take the same memory.

        Args:
            url: the file's address.
            columns: the columns that are read.

        Raises:
            DownloadError: when it cannot be had, is damaged twice, or lacks a column.
        """
        wanted = list(columns)
        # Read ahead, a table of gigabytes would end up in memory as a whole.
        with self._read(url, partial(pq.ParquetFile, pre_buffer=False)) as file:
            if missing := sorted(set(wanted) - set(file.schema_arrow.names)):
                raise _unreadable(url, f"it has no column {', '.join(missing)}")
            try:
                yield from file.iter_batches(_BATCH_ROWS, columns=wanted, use_threads=False)
            except (OSError, pa.ArrowException) as error:
                self._path(url).unlink(missing_ok=True)
                raise _unreadable(url, in_one_line(error)) from None

    def fetch(self, urls: Iterable[str], workers: int, stage: str) -> None:
        """Bring many gzipped JSON files at once, to be read afterwards.

        Raises:
            DownloadError: when one of them cannot be had; the others are kept.
        """
        tasks = [Task(url, partial(self._brought, url)) for url in urls]
        for outcome in each(tasks, workers=workers, stage=stage, total=len(tasks), unit="index files"):
            if outcome.failure:
                raise DownloadError(outcome.failure, outcome.message)

    def _brought(self, url: str, stop: Any) -> dict[str, Any]:  # noqa: ANN401, ARG002 - as tasks are called
        self._client.download(url, self._path(url), max_bytes=_MAX_BYTES)
        return {}

    def _read(self, url: str, read: Callable[[Path], Content]) -> Content:
        path, damage = self._path(url), ""
        for _ in range(2):
            self._client.download(url, path, max_bytes=_MAX_BYTES)
            try:
                return read(path)
            except _DAMAGED as error:
                damage = in_one_line(error)
                path.unlink(missing_ok=True)
        raise _unreadable(url, damage)

    def _path(self, url: str) -> Path:
        # The name is for people: what tells files apart is the folder.
        return self._root / json_sha256(url)[:16] / (PurePosixPath(urlsplit(url).path).name or "index")


def _gzip_json(path: Path) -> dict[str, Any]:
    with BoundedGzip(path) as stream:
        content = parse_json(stream.read())
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds no mapping")  # noqa: TRY004 - a damaged file, as all the others
    return content


def _unreadable(url: str, damage: str) -> DownloadError:
    return DownloadError(
        FailureClass.PARSE, f"{shown(url)} is damaged: {damage}", "run again later, or name another mirror"
    )
