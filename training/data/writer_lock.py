"""One writer at a time in a place without file locks: an object that only one process can create, and that names it.

A killed writer leaves it behind. Its next run in the same workspace knows it by the token that both have, and takes it over;
anybody else is refused with the name of the other one, for whether that is dead cannot be told from here.
"""

import contextlib
import json
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stage.errors import ViewforgeError
from stage.files import write_text

LOCK = "writer.json"
_TOKEN = "writer-token"  # noqa: S105 - it tells workspaces from one another and opens nothing

Ask = Callable[[str, Callable[[Any, str], Any]], Any]


class WriterLock:
    """The lock of a place.

    Args:
        ask: answers a question about one of its files, patiently.
        place: its URL, without secrets.
        scratch: folder of this workspace that outlives a killed process; of its processes one at a time comes here.
    """

    def __init__(self, ask: Ask, place: str, scratch: Path) -> None:
        self._ask, self._place, self._scratch = ask, place, scratch

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock.

        Raises:
            ViewforgeError: when another process holds it.
            StreamError: when the place cannot be reached.
        """
        token = self._token()
        self._take(token)
        try:
            yield
        except BaseException:
            # What went wrong says more than that the lock stays; the next run of this workspace takes it over.
            with contextlib.suppress(ViewforgeError):
                self._release(token)
            raise
        self._release(token)

    def _take(self, token: str) -> None:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        mine = {"token": token, "host": socket.gethostname(), "process": os.getpid(), "since": since}
        content = json.dumps(mine).encode()
        holder = self._ask(LOCK, lambda files, path: _created(files, path, content))
        if holder.get("token") == token:
            if holder != mine:
                self._ask(LOCK, lambda files, path: files.pipe_file(path, content))
        else:
            who = f"process {holder.get('process', 'unknown')} on {holder.get('host', 'unknown')}"
            raise ViewforgeError(
                f"{self._place} is held by another writer, {who}, since {holder.get('since', 'unknown')}",
                f"wait for it or end it; if it is dead, delete {self._place}/{LOCK}",
            )

    def _release(self, token: str) -> None:
        def release(files: Any, path: str) -> None:  # noqa: ANN401 - fsspec is untyped
            if _holder(files, path).get("token") == token:
                files.rm_file(path)

        self._ask(LOCK, release)

    def _token(self) -> str:
        path = self._scratch / _TOKEN
        if not path.is_file():
            write_text(path, uuid.uuid4().hex)
        return path.read_text()


def _created(files: Any, path: str, content: bytes) -> dict[str, Any]:  # noqa: ANN401 - fsspec is untyped
    """Create the object unless it is there; what it then says."""
    try:
        files.pipe_file(path, content, mode="create")
    except Exception:
        # Stores call it differently that the object is there.
        if holder := _holder(files, path):
            return holder
        raise
    # Stores that do not know how to create alone have let the later one win.
    return _holder(files, path)


def _holder(files: Any, path: str) -> dict[str, Any]:  # noqa: ANN401 - fsspec is untyped
    """Who holds the lock; empty when nobody does."""
    try:
        content = files.cat_file(path)
    except FileNotFoundError:
        return {}
    try:
        return dict(json.loads(content))
    except (ValueError, TypeError):
        return {"process": "unknown"}
