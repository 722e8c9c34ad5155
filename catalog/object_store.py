"""A store of files under the hash of their bytes: `<root>/<sha256[:2]>/<sha256>.<extension>`, each stored once.

What a URL without a published hash turned out to hold is recorded in `<root>/urls/`, a small file a URL. There are as many
objects anyway, a look-up reads no other URL's record, and writers in any number of processes replace whole files, so that no line
is ever torn and nothing has to be compacted. Downloads that have no hash yet arrive in `<root>/incoming/`.
"""

import json
import os
import re
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from stage.failures import FailureClass, ObjectFailedError
from stage.files import file_sha256, json_sha256, write_json
from stage.secrets import shown

_SHA256 = re.compile(r"[0-9a-f]{64}")
_EXTENSION = re.compile(r"[a-z0-9]{0,16}")


@dataclass(frozen=True)
class UrlRecord:
    """What a URL held when it was downloaded."""

    url: str
    """The URL without user, query and fragment, which may be secret."""
    sha256: str
    version: str | None
    """ETag or date by which the server recognises these bytes."""


class ObjectStore:
    """Files under the hash of their bytes; may be used by many processes at once.

    Args:
        root: the store's folder, made when first written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        # Temporary files are named by process: two threads must not write one record at a time.
        self._recording = threading.Lock()

    def path(self, sha256: str, extension: str) -> Path:
        """Where the file with this hash lies, or would lie.

        Args:
            sha256: hash in hexadecimal, of any case.
            extension: file type without its dot, of any case; may be empty.

        Raises:
            ObjectFailedError: when one of them, which come from lists of others, is something else.
        """
        name = sha256.lower()
        if not _SHA256.fullmatch(name):
            raise ObjectFailedError(FailureClass.PARSE, f"{sha256[:80]!r} is no SHA-256 sum")
        return self.root / name[:2] / f"{name}{_suffix(extension)}"

    def has(self, sha256: str, extension: str) -> bool:
        """Whether the file with this hash is there."""
        return self.path(sha256, extension).is_file()

    def adopt(self, file: Path, sha256: str | None = None) -> str:
        """Move a file into the store, under its hash and with its own extension.

        Of several writers with the same bytes the last one's file stays; readers see one or the other, always whole.

        Args:
            file: a file on the store's file system; it is gone afterwards.
            sha256: its hash when the caller has just computed it.

        Returns:
            The hash in hexadecimal.

        Raises:
            OSError: when the file is absent, unless another process has just adopted the same bytes.
        """
        sha256 = sha256 or file_sha256(file)
        final = self.path(sha256, file.suffix)
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            _flush(file)
            file.replace(final)
        except FileNotFoundError:
            if not final.is_file():
                raise
        return sha256

    def verify(self, sha256: str, extension: str) -> bool:
        """Whether the file is there and its bytes still have the hash."""
        path = self.path(sha256, extension)
        return path.is_file() and file_sha256(path) == sha256.lower()

    def incoming(self, url: str, extension: str) -> Path:
        """Where a URL's bytes arrive while their hash is unknown; the same place in every run, so that a part is found again."""
        return self.root / "incoming" / f"{json_sha256(url)}{_suffix(extension)}"

    def record(self, url: str, sha256: str, version: str | None) -> None:
        """Remember what a URL holds."""
        with self._recording:
            write_json(self._record_path(url), asdict(UrlRecord(shown(url), sha256, version)))

    def recorded(self, url: str) -> UrlRecord | None:
        """What a URL held when it was last downloaded; None when it never was or the record is damaged."""
        try:
            return UrlRecord(**json.loads(self._record_path(url).read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def _record_path(self, url: str) -> Path:
        name = json_sha256(url)
        return self.root / "urls" / name[:2] / f"{name}.json"


def _suffix(extension: str) -> str:
    name = extension.lower().removeprefix(".")
    if not _EXTENSION.fullmatch(name):
        raise ObjectFailedError(FailureClass.PARSE, f"{extension[:80]!r} is no file extension")
    return f".{name}" if name else ""


def _flush(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
