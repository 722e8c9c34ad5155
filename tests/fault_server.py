"""A real HTTP server on the loopback interface that serves small files and fails on request; time that passes at will.

With `AWS_ENDPOINT_URL` at its address it also answers what s3fs asks of an object: its size, and ranges of its bytes.
"""

import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from catalog.http_client import HttpClient
from catalog.rate_limit import Timing

MakeClient = Callable[..., HttpClient]


@dataclass
class Served:
    """A file of the server."""

    data: bytes
    etag: str | None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Seen:
    """A request that arrived."""

    path: str
    headers: Message
    at: float
    sent: int = 0
    """Bytes of the body that went out."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_HEAD(self) -> None:
        self.seen = Seen(self.path, self.headers, time.monotonic())
        file = self.server.faults.file(self.path)
        if file is None:
            self.start(404, 0)
        else:
            _begin(self, file, ranges=False)

    def do_GET(self) -> None:
        faults = self.server.faults
        self.seen = Seen(self.path, self.headers, time.monotonic())
        fault = faults.take(self.path)
        faults.seen.append(self.seen)
        (fault or answer)(self, faults.file(self.path))

    def start(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def body(self, data: bytes) -> None:
        # Counted first: a client that has all of it may look before this thread goes on.
        self.seen.sent += len(data)
        try:
            self.wfile.write(data)
        except OSError:
            self.seen.sent -= len(data)
            raise

    def log_message(self, *_: object) -> None:
        pass


Fault = Callable[[_Handler, Served | None], None]


def _begin(handler: _Handler, file: Served, *, ranges: bool = True, announced: int | None = None) -> bytes:
    """Send the head of a proper answer, and return the body that belongs to it; `announced` is a false Content-Length."""
    extra = {**file.headers, **({"ETag": file.etag} if file.etag else {})}
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", "")) if ranges else None
    if wanted and handler.headers.get("If-Range") in (None, file.etag):
        start, total = int(wanted[1]), len(file.data)
        if start >= total:
            handler.start(416, 0, Content_Range=f"bytes */{total}", **extra)
            return b""
        last = min(int(wanted[2] or total), total - 1)
        handler.start(206, announced or last + 1 - start, Content_Range=f"bytes {start}-{last}/{total}", **extra)
        return file.data[start : last + 1]
    handler.start(200, announced or len(file.data), **extra)
    return file.data


def answer(handler: _Handler, file: Served | None) -> None:
    """A proper answer: 404, or the file or its range."""
    if file is None:
        handler.start(404, 0)
    else:
        handler.body(_begin(handler, file))


def whole(handler: _Handler, file: Served | None) -> None:
    """The whole file whatever range was asked for."""
    assert file
    handler.body(_begin(handler, file, ranges=False))


def status(code: int, **headers: str) -> Fault:
    """A refusal; underscores in header names become hyphens."""
    return lambda handler, _: handler.start(code, 0, **headers)


def instead(data: bytes) -> Fault:
    """Other bytes under the file's own ETag."""
    return lambda handler, file: handler.body(_begin(handler, Served(data, file.etag if file else None)))


def redirect(url: str) -> Fault:
    """Another address."""
    return lambda handler, _: handler.start(302, 0, Location=url)


def reset_after(count: int) -> Fault:
    """The file, broken off by a connection reset after some bytes."""

    def fault(handler: _Handler, file: Served | None) -> None:
        assert file
        handler.body(_begin(handler, file)[:count])
        # The client shall have read what was sent before the reset arrives.
        time.sleep(0.05)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.close_connection = True
        handler.connection.close()

    return fault


def end_after(count: int) -> Fault:
    """The file, whose connection closes properly after some bytes."""

    def fault(handler: _Handler, file: Served | None) -> None:
        assert file
        handler.body(_begin(handler, file)[:count])
        handler.close_connection = True

    return fault


def announcing(count: int) -> Fault:
    """The file under a false Content-Length, after which the connection closes."""

    def fault(handler: _Handler, file: Served | None) -> None:
        assert file
        handler.body(_begin(handler, file, announced=count)[:count])
        handler.close_connection = True

    return fault


def stall_after(count: int) -> Fault:
    """The file, with silence after some bytes until the server is closed."""

    def fault(handler: _Handler, file: Served | None) -> None:
        assert file
        handler.body(_begin(handler, file)[:count])
        handler.server.faults.closing.wait(10)
        handler.close_connection = True

    return fault


def slowly(chunk: int, seconds: float) -> Fault:
    """The file in chunks with a pause after each."""

    def fault(handler: _Handler, file: Served | None) -> None:
        assert file
        data = _begin(handler, file)
        try:
            for start in range(0, len(data), chunk):
                handler.body(data[start : start + chunk])
                time.sleep(seconds)
        except OSError:
            handler.close_connection = True

    return fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    faults: "FaultServer"

    def handle_error(self, *_: object) -> None:
        pass


class FaultServer:
    """The server; `files` and `queues` of faults, one a request, are keyed by path, with or without the query."""

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.queues: dict[str, deque[Fault]] = {}
        self.seen: list[Seen] = []
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.faults = self
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """Address of a path; `localhost` is another host that leads to the same server."""
        return f"http://{host}:{self.port}{path}"

    def serve(self, path: str, data: bytes, etag: str | None = '"first"', **headers: str) -> str:
        """Serve a file from now on; its address."""
        self.files[path] = Served(data, etag, {name.replace("_", "-"): value for name, value in headers.items()})
        return self.url(path)

    def fail(self, path: str, *faults: Fault) -> None:
        """Answer the next requests for a path with these faults, and properly after them."""
        self.queues.setdefault(path, deque()).extend(faults)

    def asked(self, path: str) -> list[Seen]:
        """Requests for a path, whatever its query."""
        return [seen for seen in list(self.seen) if seen.path.partition("?")[0] == path]

    def take(self, path: str) -> Fault | None:
        """The fault for a request that has arrived."""
        for key in (path, path.partition("?")[0]):
            if self.queues.get(key):
                return self.queues[key].popleft()
        return None

    def file(self, path: str) -> Served | None:
        """The file at a path, found with its query or without."""
        return self.files.get(path) or self.files.get(path.partition("?")[0])

    def close(self) -> None:
        """End the server and whatever stalls."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


class PassingTime:
    """Time that passes only by sleeping, without anyone waiting; chance is always the same."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def sleep(self, seconds: float, _stop: threading.Event) -> None:
        """Let some seconds pass."""
        with self._lock:
            self.slept.append(seconds)
            self.seconds += seconds

    def timing(self, now: float = 1.7e9) -> Timing:
        """The same time as the client wants it; the wall clock stands still."""
        return Timing(sleep=self.sleep, clock=lambda: self.seconds, now=lambda: now, random=lambda: 0.0)
