"""Files that other machines write, followed as they grow: the output of jobs, and their progress."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


class FollowedFiles:
    """The files of a folder that match a pattern.

    Args:
        folder: where they are or will be.
        pattern: of their names.
    """

    def __init__(self, folder: Path, pattern: str) -> None:
        self._folder, self._pattern = folder, pattern
        self._read: dict[Path, int] = {}

    def lines(self) -> Iterator[tuple[Path, str]]:
        """The whole lines that are new, with their files; one that is being written comes once it is whole.

        What cannot be read comes later, as on a network disk that is away for a moment.
        """
        found: list[Path] = []
        with suppress(OSError):
            found = sorted(self._folder.glob(self._pattern))
        for path in found:
            new = b""
            with suppress(OSError):
                new = self._new(path)
            for line in new.splitlines():
                yield path, line.decode(errors="replace")

    def _new(self, path: Path) -> bytes:
        done = self._read.get(path, 0)
        with path.open("rb") as stream:
            # A job that starts anew may write its file anew.
            start = done if done <= path.stat().st_size else 0
            stream.seek(start)
            new = stream.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read[path] = start + len(whole)
        return whole
