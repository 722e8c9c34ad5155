"""One attempt at bringing the rest of a file: what is asked for, what the answer means for the bytes that are there."""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from catalog.http_errors import DownloadError, check_status, interrupted, too_large, truncated
from catalog.part_file import PartFile
from stage.failures import FailureClass
from stage.secrets import shown

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


@dataclass(frozen=True)
class Expected:
    """What is known of a file before it is there; None where nothing is."""

    sha256: str | None = None
    """Published hash, hexadecimal."""
    size: int | None = None
    """Published size in bytes."""
    max_bytes: int | None = None
    """Limit on the size; larger files are refused."""

    def met_by(self, size: int, sha256: str) -> bool:
        """Whether a file of this size and hash is the published one."""
        return self.size in (None, size) and (self.sha256 is None or self.sha256.lower() == sha256)


@dataclass(frozen=True)
class Transfer:
    """The rest of one file, to be asked for as often as needed.

    Attempts append to the part file, so that each continues where the one before ended.
    """

    http: httpx.Client
    url: str
    headers: Mapping[str, str]
    expected: Expected
    stop: threading.Event
    now: Callable[[], float]
    """Wall clock in seconds since 1970, for dates in answers."""
    gated: bool
    """Whether the URL is one that HF_TOKEN opens, for the remedy."""

    def attempt(self, part: PartFile) -> None:
        """Bring the rest; start over where what is there does not belong to what the server has now.

        Raises:
            DownloadError: when the server refuses, or the body is too large, encoded or incomplete.
            httpx.HTTPError: when the connection fails; what had arrived is kept.
            OSError: when the part file cannot be written.
        """
        if not self._continued(part):
            part.clear()
            if not self._continued(part):
                raise DownloadError(
                    FailureClass.DOWNLOAD,
                    f"{shown(self.url)} answers with a range that was not asked for",
                    passing=True,
                )

    def _continued(self, part: PartFile) -> bool:
        """Ask for what is missing and append it; False when the part does not belong to the answer."""
        asked = part.resume_headers(checked=self.expected.sha256 is not None)
        offset = part.size if asked else 0
        headers = {**self.headers, **asked, "Accept-Encoding": "identity"}
        with self.http.stream("GET", self.url, headers=headers) as response:
            start, total = content_range(response)
            if response.status_code == 416 and offset:
                return total == offset and part.is_of(version_of(response))
            check_status(response, self.url, now=self.now(), gated=self.gated)
            if response.status_code == 206 and not (start == offset and part.is_of(version_of(response))):
                return False
            if response.status_code == 200 or not offset:
                part.begin(version_of(response))
            self._receive(response, part, total)
        return True

    def _receive(self, response: httpx.Response, part: PartFile, total: int | None) -> None:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise DownloadError(FailureClass.DOWNLOAD, f"{shown(self.url)} comes encoded although that was declined")
        self._check_size(part, total or 0)
        for chunk in response.iter_raw():
            if self.stop.is_set():
                raise interrupted(self.url)
            part.append(chunk)
            self._check_size(part, part.size)
        if total is not None and part.size != total:
            raise truncated(self.url, part.size, total)

    def _check_size(self, part: PartFile, size: int) -> None:
        limit = self.expected.max_bytes
        if limit is not None and size > limit:
            part.clear()
            raise too_large(self.url, limit)


def content_range(response: httpx.Response) -> tuple[int | None, int | None]:
    """First byte of the answer and length of the whole file; None where the server does not say."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not match:
        return None, None
    start, total = match.groups()
    return int(start) if start else None, int(total) if total != "*" else None


def version_of(response: httpx.Response) -> str | None:
    """By what the server recognises this version of a file: a strong ETag, or else the date of its last change."""
    etag: str = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    changed: str | None = response.headers.get("Last-Modified")
    return changed
