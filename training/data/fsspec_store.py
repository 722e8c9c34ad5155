"""Shards in an object store, or wherever else fsspec reaches: s3://bucket/shards, gs://…, sftp://….

Credentials and endpoints come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL` and the like).
"""

import errno
import os
from collections.abc import Callable
from typing import Any, TypeVar

import fsspec

from catalog.http_errors import in_one_line
from catalog.rate_limit import Timing
from stage.errors import InputError
from training.data.shard_store import Progress, RemoteStore, StreamError, StreamParameters, Write

_WINDOW = 8 << 20
_LATER = "check the network and run again"
_FOREVER = (PermissionError, NotADirectoryError, IsADirectoryError, ImportError, ValueError, TypeError)
# Of botocore, which is not always installed.
_FOREVER_NAMES = ("NoCredentialsError", "PartialCredentialsError", "ParamValidationError")

Result = TypeVar("Result")


class FsspecStore(RemoteStore):
    """A folder below an fsspec URL.

    Args:
        address: the URL.
        parameters: how patiently; fsspec's own retries lie below.
        timing: sleep and chance of the waits; such a store cannot be pickled.
    """

    def __init__(self, address: str, parameters: StreamParameters, timing: Timing | None = None) -> None:
        super().__init__(address, parameters, timing)
        self._opened: tuple[int, Any, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def where(self, name: str) -> str:
        """Its URL."""
        return f"{self.identity}/{name}"

    def tars(self) -> set[str]:
        """The names of all tars that are there."""
        found: list[set[str]] = []
        self.persistently(lambda: found.append(self.asked("", _tars)), Progress(0, None))
        return found[-1]

    def size(self, name: str) -> int:
        """Bytes of a file."""
        found: list[int] = []
        self.persistently(lambda: found.append(self._size(name)), Progress(0, None))
        return found[-1]

    def attempt(self, name: str, progress: Progress, write: Write) -> None:
        """Bring what is left of a file, a few megabytes a request."""
        if progress.stop is None:
            progress.stop = self._size(name)
        while not progress.done:
            stop = min(progress.at + _WINDOW, progress.stop)
            data = self._window(name, progress.at, stop)
            if len(data) < stop - progress.at:
                self._check_end(name, progress.at + len(data))
                progress.stop = progress.at + len(data)
            if data:
                write(data)
            progress.at += len(data)

    def _window(self, name: str, start: int, stop: int) -> bytes:
        """Bytes of one request; none where the file ends before them, which some stores call an error."""
        try:
            return bytes(self.asked(name, lambda files, path: files.cat_file(path, start=start, end=stop)))
        except StreamError as error:
            if (
                error.passing
                and start
                and isinstance(error.__cause__, OSError)
                and error.__cause__.errno == errno.EINVAL
            ):
                return b""
            raise

    def _check_end(self, name: str, at: int) -> None:
        """A short answer is right at the file's end alone."""
        size = self._size(name)
        if at < size:
            raise StreamError(f"{self.where(name)} ends at byte {at} of {size}", _LATER, passing=True)

    def _size(self, name: str) -> int:
        return self.asked(name, _size)

    def asked(self, name: str, question: Callable[[Any, str], Result], doing: str = "read") -> Result:
        """An answer of the file system; whatever its library raises as one clear line.

        Args:
            name: the file that is asked about.
            question: gets the file system and the file's path in it.
            doing: what fails when it fails, for the message.

        Raises:
            InputError: when the file is missing.
            StreamError: when it cannot be reached.
        """
        try:
            files, root = self._files()
            return question(files, f"{root}/{name}")
        except FileNotFoundError as error:
            raise InputError(
                f"{self.where(name)} is not there: {in_one_line(error)}", "check the address, or publish the set again"
            ) from error
        except Exception as error:
            passing = not isinstance(error, _FOREVER) and type(error).__name__ not in _FOREVER_NAMES
            raise StreamError(
                f"{self.where(name)} cannot be {doing}: {_cause(error)}", _remedy(error, passing), passing=passing
            ) from error

    def _files(self) -> tuple[Any, str]:
        """This process's file system and the folder's path in it; connections do not survive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            files, root = fsspec.url_to_fs(self.address)
            self._opened = (os.getpid(), files, str(root).rstrip("/"))
        return self._opened[1:]


def _size(files: Any, path: str) -> int:  # noqa: ANN401 - fsspec is untyped
    # What was listed before may be out of date.
    files.invalidate_cache()
    return int(files.size(path))


def _tars(files: Any, root: str) -> set[str]:  # noqa: ANN401 - fsspec is untyped
    files.invalidate_cache()
    names = (str(path).rpartition("/")[2] for path in files.ls(root.rstrip("/"), detail=False))
    return {name for name in names if name.endswith(".tar")}


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {in_one_line(error)}"


def _remedy(error: Exception, passing: bool) -> str:
    if isinstance(error, ImportError):
        return "install the package that reads such addresses, for S3 with pip install viewforge[s3]"
    return _LATER if passing else "check the address and the credentials in the environment"
