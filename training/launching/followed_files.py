"""Files that other machines write, followed as they grow: the output of jobs, and their progress."""

from collections.abc import Iterator
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

    def skip(self) -> None:
        """Leave out what is there."""
        self._read = {path: path.stat().st_size for path in self._folder.glob(self._pattern)}

    def lines(self) -> Iterator[tuple[Path, str]]:
        """The whole lines that are new, with their files; one that is being written comes once it is whole."""
        for path in sorted(self._folder.glob(self._pattern)):
            done = self._read.get(path, 0)
            with path.open("rb") as stream:
                # A job that starts anew may write its file anew.
                start = done if done <= path.stat().st_size else 0
                stream.seek(start)
                new = stream.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read[path] = start + len(whole)
            for line in whole.splitlines():
                yield path, line.decode(errors="replace")
