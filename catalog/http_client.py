"""HTTP as a downloader of millions of files needs it: patient, resumable, checked, and discreet with its token.

Attempts that may succeed later are repeated, with the waits that servers ask for; all others end at once in a one-line
`DownloadError`.
"""

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from catalog.download_parameters import DownloadParameters
from catalog.http_errors import (
    DownloadError,
    check_status,
    file_error,
    in_one_line,
    interrupted,
    too_large,
    transport_error,
)
from catalog.part_file import PartFile, claimed
from catalog.rate_limit import HostPauses, Timing
from catalog.transfer import Expected, Transfer
from stage.failures import FailureClass
from stage.files import file_sha256
from stage.foreign_files import parse_json
from stage.secrets import shown

HUB = "https://huggingface.co"
_MAX_ANSWER_BYTES = 2**30

Result = TypeVar("Result")


@dataclass(frozen=True)
class Answer:
    """What a server sent, decoded, with its headers."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Downloaded:
    """A file that is there."""

    sha256: str
    """Hash of its bytes, hexadecimal."""
    bytes: int
    version: str | None
    """ETag or date by which the server recognises it; None when it was there before or the server does not say."""
    fetched: bool
    """Whether anything had to be asked for."""


class HttpClient:
    """Requests with timeouts, retries and shared pauses; may be used by many threads.

    Args:
        parameters: limits and the Hub's address.
        token: Hugging Face token, by default what HF_TOKEN says; it is sent to the Hub's address alone.
        timing: clocks and sleep.
    """

    def __init__(
        self, parameters: DownloadParameters, *, token: str | None = None, timing: Timing | None = None
    ) -> None:
        self.parameters, self._timing = parameters, timing or Timing()
        self._token = (os.environ.get("HF_TOKEN", "") if token is None else token).strip()
        self._hub = (parameters.hf_endpoint or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
        self._pauses = HostPauses(self._timing)
        timeout = httpx.Timeout(parameters.read_timeout_seconds, connect=parameters.connect_timeout_seconds, pool=None)
        self._http = httpx.Client(timeout=timeout, follow_redirects=True, headers={"User-Agent": "viewforge"})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def address(self, url: str) -> str:
        """The URL that is asked in place of `url`: a mirror's, or HF_ENDPOINT instead of https://huggingface.co."""
        mirrors = {HUB: self._hub, **self.parameters.mirrors}
        for base in sorted(mirrors, key=len, reverse=True):
            start = base.rstrip("/")
            if url == start or url.startswith(f"{start}/"):
                return mirrors[base].rstrip("/") + url[len(start) :]
        return url

    def get(self, url: str, *, max_bytes: int = _MAX_ANSWER_BYTES) -> Answer:
        """A whole answer in memory.

        Raises:
            DownloadError: when it cannot be had or is larger than `max_bytes` once decoded.
        """
        address = self.address(url)
        return self._persistently(partial(self._get, address, max_bytes), address, threading.Event())

    def get_bytes(self, url: str, *, max_bytes: int = _MAX_ANSWER_BYTES) -> bytes:
        """The body of an answer; see `get`."""
        return self.get(url, max_bytes=max_bytes).body

    def get_json(self, url: str) -> Any:  # noqa: ANN401 - JSON is any value
        """The body of an answer as JSON.

        Raises:
            DownloadError: when it cannot be had, or is no JSON.
        """
        return as_json(self.get(url), url)

    def download(
        self,
        url: str,
        target: Path,
        *,
        sha256: str | None = None,
        size: int | None = None,
        max_bytes: int | None = None,
        stop: threading.Event | None = None,
    ) -> Downloaded:
        """Bring a file to `target`, where it appears whole and checked.

        A file that is there and meets what is expected stays. What an earlier attempt has left, also one of a killed process, is
        continued. Another process at the same file is waited for.

        Args:
            url: where the file comes from.
            target: its final name.
            sha256: published hash, hexadecimal.
            size: published size in bytes.
            max_bytes: larger files are refused.
            stop: when set, by another thread, the download ends soon; what has arrived is kept.

        Raises:
            DownloadError: of class CHECKSUM when the bytes differ from the published ones twice, DISK when the disk is full,
                UNSAFE when the file is too large, MISSING when the server has none, DOWNLOAD for all else.
        """
        expected, stop = Expected(sha256, size, max_bytes), stop or threading.Event()
        try:
            return _existing(target, expected) or self._download(self.address(url), target, expected, stop)
        except InterruptedError:
            raise interrupted(url) from None
        except OSError as error:
            raise file_error(error, url, str(target)) from None

    def _download(self, url: str, target: Path, expected: Expected, stop: threading.Event) -> Downloaded:
        with claimed(target, url, stop) as part:
            # Whoever had the part file before may have finished it.
            return _existing(target, expected) or self._complete(url, part, expected, stop)

    def _complete(self, url: str, part: PartFile, expected: Expected, stop: threading.Event) -> Downloaded:
        """Bring the rest, check and publish; bytes that are not the published ones are asked for once more from the start."""
        gated = self._is_hub(url)
        transfer = Transfer(self._http, url, self._headers(url), expected, stop, self._timing.now, gated)
        for _ in range(2):
            self._persistently(partial(transfer.attempt, part), url, stop)
            size, found = part.size, part.sha256()
            if expected.met_by(size, found):
                part.publish()
                return Downloaded(found, size, part.version, fetched=True)
            part.clear()
        raise DownloadError(
            FailureClass.CHECKSUM,
            f"{shown(url)} has {size} bytes with SHA-256 {found}, not what was published",
            "the file or the list that names it has changed: bring the list up to date",
        )

    def _get(self, url: str, max_bytes: int) -> Answer:
        body = bytearray()
        with self._http.stream("GET", url, headers=self._headers(url)) as response:
            check_status(response, url, now=self._timing.now(), gated=self._is_hub(url))
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > max_bytes:
                    raise too_large(url, max_bytes)
        return Answer(bytes(body), response.headers)

    def _headers(self, url: str) -> dict[str, str]:
        """The token where it belongs; httpx drops it when a redirect leads to another origin."""
        return {"Authorization": f"Bearer {self._token}"} if self._token and self._is_hub(url) else {}

    def _is_hub(self, url: str) -> bool:
        return _origin(url) == _origin(self._hub)

    def _persistently(self, attempt: Callable[[], Result], url: str, stop: threading.Event) -> Result:
        """Repeat an attempt while its failure may pass, keeping the pauses that the host asked for."""
        host = _origin(url)[1]
        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, DownloadError) and error.passing),
            stop=stop_after_attempt(self.parameters.attempts),
            wait=partial(self._wait, host),
            sleep=partial(self._sleep, stop),
            reraise=True,
        )
        result: Result = retrying(self._attempt, attempt, url, host, stop)
        return result

    def _sleep(self, stop: threading.Event, seconds: float) -> None:
        if seconds:
            self._timing.sleep(seconds, stop)

    def _attempt(self, attempt: Callable[[], Result], url: str, host: str, stop: threading.Event) -> Result:
        self._pauses.wait(host, stop)
        if stop.is_set():
            raise interrupted(url)
        try:
            return attempt()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise transport_error(error, url) from None

    def _wait(self, host: str, state: RetryCallState) -> float:
        """Seconds that this worker alone waits; a wait that the host demands becomes a pause of all workers instead."""
        error = state.outcome.exception() if state.outcome else None
        seconds = self._back_off(state.attempt_number)
        if not isinstance(error, DownloadError) or (error.asked_wait is None and error.status != 429):
            return seconds
        asked = seconds if error.asked_wait is None else error.asked_wait
        self._pauses.hold(host, min(asked, self.parameters.max_wait_seconds))
        return 0.0

    def _back_off(self, attempt: int) -> float:
        """Doubling from attempt to attempt, of which a random half may be missing so that workers do not march in step."""
        longest = self.parameters.first_wait_seconds * 2.0 ** min(attempt - 1, 60)
        return min(longest, self.parameters.max_wait_seconds) * (0.5 + 0.5 * self._timing.random())


def as_json(answer: Answer, url: str) -> Any:  # noqa: ANN401 - JSON is any value
    """An answer's body as JSON.

    Raises:
        DownloadError: when it is none.
    """
    try:
        return parse_json(answer.body)
    except ValueError as error:
        raise DownloadError(
            FailureClass.PARSE, f"{shown(url)} answers no JSON: {in_one_line(error)}", "check the address"
        ) from None


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        return "", "", None
    return parts.scheme, parts.host, parts.port


def _existing(target: Path, expected: Expected) -> Downloaded | None:
    """The file that is at `target`, unless there is none or it is another than the published one."""
    try:
        size, found = target.stat().st_size, file_sha256(target)
    except FileNotFoundError:
        return None
    return Downloaded(found, size, None, fetched=False) if expected.met_by(size, found) else None
