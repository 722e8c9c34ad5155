"""Files of GitHub repositories at one commit: where their bytes are, also when Git LFS keeps them elsewhere.

A file under Git LFS is a pointer in the repository, three lines with the SHA-256 sum of the content. GitHub serves the content
under another host, at the same path.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

RAW = "https://raw.githubusercontent.com"
LARGE = "https://media.githubusercontent.com/media"
POINTER_BYTES = 1024
_PAGES = "https://github.com"
_NAME = r"[A-Za-z0-9._-]+"
_IDENTIFIER = re.compile(rf"{_PAGES}/({_NAME})/({_NAME})/blob/([0-9a-f]{{40}})/([^\x00-\x1f]+)")
_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\n(?:[^\n]*\n)*?oid sha256:([0-9a-f]{64})\n")


@dataclass(frozen=True)
class RepositoryFile:
    """A file at a commit."""

    owner: str
    repository: str
    commit: str
    path: str
    """Path in the repository, as it is spelt there."""

    @property
    def url(self) -> str:
        """Where its bytes are, or its pointer."""
        return f"{RAW}/{self._place(self.commit)}"

    @property
    def page(self) -> str:
        """Where people see it."""
        return f"{_PAGES}/{self._place(f'blob/{self.commit}')}"

    def _place(self, commit: str) -> str:
        return f"{self.owner}/{self.repository}/{commit}/{self._quoted}"

    @cached_property
    def _quoted(self) -> str:
        return quote(self.path)


def repository_file(identifier: str) -> RepositoryFile | None:
    """The file that Objaverse-XL names by its page, `https://github.com/OWNER/REPO/blob/COMMIT/PATH`; None for anything else."""
    match = _IDENTIFIER.fullmatch(identifier)
    return RepositoryFile(*match.groups()) if match else None


def large_file_url(url: str) -> str | None:
    """Where Git LFS has the content of the file at a URL of `RAW`; None for other hosts."""
    return LARGE + url[len(RAW) :] if url.startswith(f"{RAW}/") else None


def is_pointer_to(content: bytes, sha256: str | None) -> bool:
    """Whether a file is a Git LFS pointer to the content with this SHA-256 sum, or to any when that is unknown."""
    match = _POINTER.match(content) if len(content) <= POINTER_BYTES else None
    return match is not None and (sha256 is None or match[1].decode() == sha256.lower())
