"""A real S3 server on the loopback interface, with a door in front of it that fails, forgets and stands still on request."""

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

_HOP = {"connection", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class Seen:
    """A request that arrived."""

    method: str
    path: str
    size: int


@dataclass
class _Fault:
    method: str
    pattern: str
    kind: str
    after: int
    left: int


@dataclass
class ObjectStore:
    """The server: what was asked of it, and what it is to do wrong."""

    url: str
    seen: list[Seen] = field(default_factory=list)
    standing: threading.Event = field(default_factory=threading.Event)
    """Set when a request was met that is never answered."""
    _faults: list[_Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, method: str, pattern: str, kind: str, after: int = 0, times: int = 1) -> None:
        """Do something wrong with requests of a method whose path a pattern matches.

        Args:
            method: of HTTP.
            pattern: of the path, matched as a whole.
            kind: "refused" with status 503, "forgotten" (done, and the connection closed without an answer), or
                "standing" (half of the body read, then silence).
            after: so many of them pass first.
            times: so many of them fail.
        """
        self._faults.append(_Fault(method, pattern, kind, after, times))

    def mend(self) -> None:
        """No more faults; requests that stand still go on standing."""
        self._faults.clear()

    def puts(self, pattern: str = r".*\.tar") -> list[str]:
        """Names of the objects that were uploaded, in order, the copies included that the server made."""
        return [
            seen.path.rpartition("/")[2]
            for seen in self.seen
            if seen.method == "PUT" and re.fullmatch(pattern, seen.path)
        ]

    def take(self, method: str, path: str) -> str:
        """What to do wrong with a request; empty for nothing."""
        with self._lock:
            for fault in self._faults:
                if fault.method == method and re.fullmatch(fault.pattern, path) and fault.left:
                    if fault.after:
                        fault.after -= 1
                        return ""
                    fault.left -= 1
                    return fault.kind
        return ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Door"

    def do(self) -> None:
        store, path = self.server.store, unquote(urlsplit(self.path).path)
        size = int(self.headers.get("Content-Length", 0))
        kind = store.take(self.command, path)
        store.seen.append(Seen(self.command, path, size))
        if kind == "standing":
            self.rfile.read(size // 2)
            store.standing.set()
            self.server.closing.wait(60)
            self.close_connection = True
            return
        # Bodies have a length here.
        assert "Transfer-Encoding" not in self.headers
        body = self.rfile.read(size)
        if kind == "refused":
            self._answer(503, {}, b"")
            return
        connection = http.client.HTTPConnection(*self.server.behind, timeout=30)
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if kind == "forgotten":
            self.close_connection = True
            self.connection.close()
            return
        self._answer(answer.status, dict(answer.getheaders()), content)

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        length = next((value for name, value in headers.items() if name.lower() == "content-length"), None)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do  # noqa: N815 - the base class calls them so

    def log_message(self, *_: object) -> None:
        pass


class _Door(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, behind: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind, self.closing = behind, threading.Event()
        self.store = ObjectStore(f"http://127.0.0.1:{self.server_address[1]}")

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def s3_server() -> Iterator[tuple[str, int]]:
    """An S3 server; its host and port."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    yield server.get_host_and_port()
    server.stop()


@contextmanager
def door_of(behind: tuple[str, int]) -> Iterator[ObjectStore]:
    """The door in front of a server."""
    door = _Door(behind)
    thread = threading.Thread(target=door.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield door.store
    door.closing.set()
    door.shutdown()
    door.server_close()


def reach(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the environment name the store, as a user's would."""
    from s3fs import S3FileSystem

    monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    # Ours are tested.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    # It would still speak to the server of other tests.
    S3FileSystem.clear_instance_cache()


def empty_bucket(name: str) -> None:
    """Make a bucket, or take all out of it: servers of one process share what they hold."""
    import boto3

    bucket = boto3.resource("s3").Bucket(name)
    bucket.create()
    bucket.objects.all().delete()
