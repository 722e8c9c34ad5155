"""Shards behind http:// or https://: byte ranges, continued after a cut, never two versions of a file in one read.

A server that ignores ranges serves too; what comes before the wanted bytes is then thrown away, which is slow for single samples.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from catalog.http_errors import DownloadError, check_status, transport_error
from catalog.rate_limit import Timing
from catalog.transfer import content_range, version_of
from stage.errors import InputError, ViewforgeError
from stage.secrets import shown
from training.data.shard_store import Progress, RemoteStore, StreamError, StreamParameters, Write

_LATER = "check the network and run again"


class HttpStore(RemoteStore):
    """A folder of an HTTP server.

    Args:
        address: its URL; a query, such as a signature, is sent with every request.
        parameters: how patiently.
        timing: sleep and chance of the waits; such a store cannot be pickled.
    """

    def __init__(self, address: str, parameters: StreamParameters, timing: Timing | None = None) -> None:
        super().__init__(address, parameters, timing)
        self._folder = httpx.URL(address)
        self._client: tuple[int, httpx.Client] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_client": None}

    def where(self, name: str) -> str:
        """Its URL."""
        return shown(str(self._url(name)))

    def size(self, name: str) -> int:
        """Bytes of a file."""
        found: list[int] = []
        self.persistently(lambda: found.append(self._size(name)), Progress(0, None))
        return found[-1]

    def attempt(self, name: str, progress: Progress, write: Write) -> None:
        """Bring what is left of a file."""
        with self._answer(name, _range(progress)) as response:
            if response.status_code == 416:
                # The file ends before the wanted bytes.
                return
            self._same_version(name, progress, response)
            first, total = content_range(response)
            if first is None or first > progress.at:
                raise self._error(name, "answers with a range that was not asked for", passing=True)
            self._receive(response, progress, write, progress.at - first)
        end = min((place for place in (progress.stop, total) if place is not None), default=progress.at)
        if progress.at < end:
            raise self._error(name, f"ends at byte {progress.at} of {end}", passing=True)

    def _receive(self, response: httpx.Response, progress: Progress, write: Write, skip: int) -> None:
        for chunk in response.iter_raw():
            left = None if progress.stop is None else progress.stop - progress.at
            piece = chunk[skip:][:left]
            skip = max(0, skip - len(chunk))
            if piece:
                write(piece)
                progress.at += len(piece)
            if progress.done:
                return

    def _same_version(self, name: str, progress: Progress, response: httpx.Response) -> None:
        version = version_of(response)
        if progress.version and version and version != progress.version:
            raise self._error(name, "has changed while it was read")
        progress.version = progress.version or version

    def _size(self, name: str) -> int:
        with self._answer(name, {"Range": "bytes=0-0"}) as response:
            total = content_range(response)[1]
        if total is None:
            raise self._error(name, "comes without its size")
        return total

    @contextmanager
    def _answer(self, name: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """An answer of status 200, 206 or 416, whatever goes wrong in its block or before as one line."""
        url = str(self._url(name))
        try:
            with self._http().stream("GET", url, headers={"Accept-Encoding": "identity", **headers}) as response:
                if response.status_code != 416:
                    check_status(response, url, now=time.time(), gated=False)
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise self._error(name, "comes encoded although that was declined")
                yield response
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _stream_error(transport_error(error, url)) from None
        except DownloadError as error:
            raise _stream_error(error) from None

    def _url(self, name: str) -> httpx.URL:
        path = self._folder.path.rstrip("/")
        return self._folder.copy_with(path=f"{path}/{name}")

    def _error(self, name: str, problem: str, *, passing: bool = False) -> StreamError:
        return StreamError(f"{self.where(name)} {problem}", _LATER, passing=passing)

    def _http(self) -> httpx.Client:
        """This process's client: connections do not survive a fork."""
        if self._client is None or self._client[0] != os.getpid():
            seconds = self.parameters
            timeout = httpx.Timeout(seconds.read_timeout_seconds, connect=seconds.connect_timeout_seconds, pool=None)
            client = httpx.Client(timeout=timeout, follow_redirects=True, headers={"User-Agent": "viewforge"})
            self._client = (os.getpid(), client)
        return self._client[1]


def _range(progress: Progress) -> dict[str, str]:
    """Headers that ask for the rest alone, of the version that was begun."""
    # Also where all is wanted: the answer then says twice how long it is, and a false length shows.
    last = "" if progress.stop is None else progress.stop - 1
    return {
        "Range": f"bytes={progress.at}-{last}",
        **({"If-Range": progress.version} if progress.version else {}),
    }


def _stream_error(error: DownloadError) -> ViewforgeError:
    problem = str(error).removesuffix(f"; {error.remedy}")
    if error.status in (404, 410):
        return InputError(problem, "check the address, or publish the set again")
    remedy = {
        401: "name the variables of user and password in the address, as https://${USER}:${PASSWORD}@host/shards",
        403: "name the variables of user and password or of a valid signature in the address, as ?${SIGNATURE}",
    }.get(error.status or 0, _LATER)
    return StreamError(problem, remedy, passing=error.passing, asked_wait=error.asked_wait)
