"""Who is there: each visitor's picture, request and files, which go when he does, or some time after."""

import secrets
import shutil
import threading
import time
from pathlib import Path

from PIL import Image

from demo.jobs import Job
from demo.making import Made
from demo.meshes import MadeMesh
from systems.pictures.preparation import Prepared

# More than this many pages at once are those of somebody who opens them in a loop.
_MOST = 256


class Visitor:
    """One open page.

    Args:
        folder: of the visitor's files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.picture: Image.Image | None = None
        """As it was given, RGBA."""
        self.prepared: Prepared | None = None
        """As the model is shown it."""
        self.job: Job | None = None
        """The last request."""
        self.made: Made | None = None
        """What came of it."""
        self.mesh: MadeMesh | None = None
        """And of that."""
        self.seen = time.monotonic()

    @property
    def is_busy(self) -> bool:
        """Whether a request of the visitor is not over."""
        return self.job is not None and not self.job.is_over

    def new_folder(self) -> Path:
        """For the files of a request, under a name that nobody guesses."""
        return self.folder / secrets.token_hex(16)


class Visitors:
    """Those who are there.

    Args:
        folder: in which each has one.
        kept_seconds: after which one who was not seen again is forgotten.
    """

    def __init__(self, folder: Path, kept_seconds: float) -> None:
        self._folder, self._kept_seconds = folder, kept_seconds
        self._visitors: dict[str, Visitor] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._visitors)

    def of(self, session: str) -> Visitor:
        """The visitor of a session, new or known."""
        with self._lock:
            self._forget()
            if session not in self._visitors:
                self._visitors[session] = Visitor(self._folder / secrets.token_hex(16))
            visitor = self._visitors[session]
            visitor.seen = time.monotonic()
            return visitor

    def leave(self, session: str) -> None:
        """Cancel what a visitor asked for, and delete the files."""
        with self._lock:
            if visitor := self._visitors.pop(session, None):
                _gone(visitor)

    def _forget(self) -> None:
        """Those that have not been seen for long, and the oldest of too many."""
        now = time.monotonic()
        by_age = sorted(self._visitors.items(), key=lambda item: item[1].seen)
        surplus = len(by_age) - _MOST + 1
        for number, (session, visitor) in enumerate(by_age):
            idle = now - visitor.seen > self._kept_seconds and not visitor.is_busy
            if idle or number < surplus:
                _gone(self._visitors.pop(session))


def _gone(visitor: Visitor) -> None:
    if visitor.job:
        visitor.job.cancel()
    shutil.rmtree(visitor.folder, ignore_errors=True)
