"""What goes wrong between here and a server, as one line with a class and a remedy."""

import errno

import httpx

from catalog.rate_limit import asked_wait
from stage.errors import ViewforgeError
from stage.failures import FailureClass
from stage.secrets import shown

_OK = (200, 206)
_PASSING = (408, 425, 429)
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LATER = "run again later: what has arrived is kept"


class DownloadError(ViewforgeError):
    """Something could not be brought from the network.

    Args:
        failure: class of the failure, for an object's row.
        message: what is wrong, with the URL.
        remedy: what to do about it.
        passing: whether another attempt may succeed.
        status: the server's answer, when there was one.
        asked_wait: seconds that the server asked to wait, when it did.
    """

    def __init__(
        self,
        failure: FailureClass,
        message: str,
        remedy: str = "",
        *,
        passing: bool = False,
        status: int | None = None,
        asked_wait: float | None = None,
    ) -> None:
        self.failure, self.passing, self.status, self.asked_wait = failure, passing, status, asked_wait
        super().__init__(message, remedy)


def in_one_line(error: BaseException) -> str:
    """An exception's message without line breaks; its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def check_status(response: httpx.Response, url: str, *, now: float, gated: bool) -> None:
    """Raise unless the server sends what was asked for.

    Args:
        response: the server's answer after redirects.
        url: the address that was asked, for the message.
        now: wall-clock time in seconds since 1970, which dates in the answer are compared with.
        gated: whether the address is one that HF_TOKEN opens.

    Raises:
        DownloadError: for every status but 200 and 206.
    """
    status = response.status_code
    if status in _OK:
        return
    passing = status in _PASSING or status >= 500
    raise DownloadError(
        FailureClass.MISSING if status in (404, 410) else FailureClass.DOWNLOAD,
        f"{shown(url)} answers {status} {response.reason_phrase}".rstrip(),
        _remedy(status, passing, gated),
        passing=passing,
        status=status,
        asked_wait=asked_wait(status, response.headers, now) if passing else None,
    )


def _remedy(status: int, passing: bool, gated: bool) -> str:
    if status in (401, 403):
        return "set HF_TOKEN to a token that may read it" if gated else "it may only be read with an account there"
    if status in (404, 410):
        return "check the address; the publisher may have withdrawn it"
    return _LATER if passing else "check the address"


def transport_error(error: Exception, url: str) -> DownloadError:
    """What kept an answer from arriving: a reset, a stall, a truncated body, an address that is none."""
    own = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
    passing = isinstance(error, httpx.TransportError | httpx.DecodingError) and not isinstance(error, own)
    return DownloadError(
        FailureClass.DOWNLOAD,
        f"{shown(url)}: {type(error).__name__}: {in_one_line(error)}",
        _LATER if passing else "check the address",
        passing=passing,
    )


def truncated(url: str, received: int, total: int) -> DownloadError:
    """A body that ended before, or after, the length that the server announced."""
    return DownloadError(FailureClass.DOWNLOAD, f"{shown(url)} sent {received} of {total} bytes", _LATER, passing=True)


def too_large(url: str, limit: int) -> DownloadError:
    """A body beyond the limit on its size in bytes."""
    return DownloadError(
        FailureClass.UNSAFE,
        f"{shown(url)} is larger than the limit of {limit} bytes",
        "leave it out or raise max_bytes",
    )


def interrupted(url: str) -> DownloadError:
    """A download that was given up because its run has ended."""
    return DownloadError(FailureClass.DOWNLOAD, f"{shown(url)} was interrupted", "run again to continue it")


def file_error(error: OSError, url: str, place: str) -> DownloadError:
    """A file that could not be written while downloading; a full disk is a class of its own."""
    if error.errno in _FULL_DISK:
        return DownloadError(
            FailureClass.DISK,
            f"no space left on the disk for {place} from {shown(url)}",
            "free some space and run again: what has arrived is kept",
        )
    return DownloadError(
        FailureClass.ERROR, f"cannot write {place} from {shown(url)}: {in_one_line(error)}", "check the folder"
    )
