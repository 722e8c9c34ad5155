"""Weights from a Hugging Face hub, pinned to a commit, resumed where they broke off, and checked.

The hub says for each file its size and its hash; a file has its final name only when both are right. Where the hub cannot be
reached, or `HF_HUB_OFFLINE` is set, what an earlier download or the hub's own cache has is used. `HF_ENDPOINT` names a mirror,
`HF_TOKEN` opens repositories that want a login.
"""

import fnmatch
import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import WeakFileLock, build_hf_headers, disable_progress_bars

from stage.errors import InputError
from stage.files import replacing, write_json

RECORD = "download.json"
_CHUNK = 1 << 20
_FAILURES = (HfHubHTTPError, httpx2.HTTPError, OSError)


@dataclass(frozen=True)
class HubFile:
    """A file of a repository.

    Args:
        name: its path there.
        size: in bytes.
        sha256: of its content, where the hub stores it by that (Git LFS, Xet).
        blob: its Git blob's SHA-1 otherwise.
    """

    name: str
    size: int
    sha256: str | None
    blob: str | None

    def is_at(self, path: Path) -> bool:
        """Whether a file has this content."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        digest = (
            hashlib.sha256() if self.sha256 else hashlib.sha1(f"blob {self.size}\0".encode(), usedforsecurity=False)
        )
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest() == (self.sha256 or self.blob)


@dataclass(frozen=True)
class Download:
    """Files of a repository on this disk.

    Args:
        repository: its name.
        commit: at which they were taken.
        files: with sizes and hashes.
    """

    repository: str
    commit: str
    files: tuple[HubFile, ...]


def download(repository: str, revision: str, output: Path, patterns: Sequence[str] = ()) -> Download:
    """Put files of a repository into a folder, as they were at one commit, and a record of it (`download.json`).

    What is there already with the right content stays; what is there in part is continued.

    Args:
        repository: `owner/name`.
        revision: a commit; a branch or tag is resolved to one, and the commit recorded.
        output: folder.
        patterns: names of files or shell patterns of them; all files when empty.

    Raises:
        InputError: when repository, revision or files do not exist, the hub is out of reach and nothing local will do, or a file
            arrives damaged twice.
    """
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        found = _listed(repository, revision)
    except (OfflineModeIsEnabled, httpx2.TransportError) as error:
        return _from_disk(repository, revision, output, patterns, error)
    chosen = Download(repository, found.commit, tuple(_chosen(found.files, patterns, f"{repository}@{revision}")))
    output.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(output / ".download.lock"):
        for file in chosen.files:
            _fetch(chosen, file, output)
        _record(found, output)
    return chosen


def _listed(repository: str, revision: str) -> Download:
    """What the hub has at a revision."""
    try:
        info = HfApi().model_info(repository, revision=revision, files_metadata=True)
    except RevisionNotFoundError:
        raise InputError(f"{repository} has no revision {revision}", "see its commits on the hub") from None
    except RepositoryNotFoundError:
        raise InputError(
            f"the hub shows no repository {repository}, or only to those who are logged in and agreed to its terms",
            "check the name, or set HF_TOKEN",
        ) from None
    except HFValidationError as error:
        raise InputError(f"{repository} is no name of a repository: {error}", "give owner/name") from None
    except HfHubHTTPError as error:
        raise InputError(f"the hub refused {repository}: {_first_line(error)}", "try again later") from None
    files = [
        HubFile(s.rfilename, s.lfs.size if s.lfs else s.size or 0, s.lfs.sha256 if s.lfs else None, s.blob_id)
        for s in info.siblings or []
    ]
    return Download(repository, str(info.sha), tuple(files))


def _chosen(files: Iterable[HubFile], patterns: Sequence[str], place: str) -> list[HubFile]:
    found = list(files)
    for pattern in patterns:
        if not fnmatch.filter([file.name for file in found], pattern):
            names = ", ".join(sorted(file.name for file in found))
            raise InputError(f"{place} has no file {pattern}", f"it has {names}")
    chosen = [file for file in found if not patterns or any(fnmatch.fnmatch(file.name, each) for each in patterns)]
    for file in chosen:
        parts = PurePosixPath(file.name)
        if parts.is_absolute() or ".." in parts.parts or file.name == RECORD:
            raise InputError(
                f"{place} has a file that would be written outside its place: {file.name}", "do not trust it"
            )
    return chosen


def _fetch(source: Download, file: HubFile, output: Path) -> None:
    """Have a file under its final name, from the folder itself, the hub's cache, or the hub."""
    target = output / file.name
    if file.is_at(target):
        return
    cached = try_to_load_from_cache(source.repository, file.name, revision=source.commit)
    if isinstance(cached, str) and file.is_at(Path(cached)):
        _copy(Path(cached), target)
        return
    # Named by content, so that a part of another version is not continued.
    part = target.with_name(f".{target.name}.{(file.sha256 or file.blob or '')[:16]}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    for _attempt in range(2):
        _transfer(source, file, part)
        if file.is_at(part):
            part.replace(target)
            return
        part.unlink()
    raise InputError(
        f"{file.name} of {source.repository} arrived damaged twice: its hash is not the one that the hub states",
        "try again later; what arrived was deleted",
    )


def _transfer(source: Download, file: HubFile, part: Path) -> None:
    """Bytes of a file into its part, after those that it has."""
    url = hf_hub_url(source.repository, file.name, revision=source.commit)
    have = part.stat().st_size if part.exists() else 0
    if have > file.size:
        part.unlink()
        have = 0
    try:
        with part.open("ab") as stream:
            http_get(
                url,
                stream,
                resume_size=have,
                headers=build_hf_headers(),
                expected_size=file.size,
                displayed_filename=file.name,
            )
    except _FAILURES as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError(
            f"{file.name} of {source.repository} broke off at byte {part.stat().st_size}: {_first_line(error)}",
            "run the same command again: it goes on from there",
        ) from None


def _from_disk(repository: str, revision: str, output: Path, patterns: Sequence[str], reason: Exception) -> Download:
    """What an earlier download of the same commit left in the folder, or the hub's cache has."""
    earlier = _earlier(repository, revision, output)
    if earlier is not None:
        chosen = _chosen(earlier.files, patterns, str(output))
        if all(file.is_at(output / file.name) for file in chosen):
            return Download(repository, earlier.commit, tuple(chosen))
    cached = _cached(repository, revision, patterns)
    if cached is None:
        raise InputError(
            f"the hub {constants.ENDPOINT} is out of reach ({_first_line(reason)}), and neither {output} nor the cache "
            f"{constants.HF_HUB_CACHE} has {repository}@{revision} whole",
            "connect, or name a mirror with HF_ENDPOINT; what is downloaded stays",
        )
    return _from_cache(cached, repository, output, patterns)


def _cached(repository: str, revision: str, patterns: Sequence[str]) -> Path | None:
    """The hub's cache of a revision, where it is whole."""
    allowed = list(patterns) or None
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=allowed, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _from_cache(snapshot: Path, repository: str, output: Path, patterns: Sequence[str]) -> Download:
    present = tuple(_hub_file(path, snapshot) for path in sorted(snapshot.rglob("*")) if path.is_file())
    chosen = _chosen(present, patterns, str(snapshot))
    for file in chosen:
        if not file.is_at(snapshot / file.name):
            raise InputError(f"{snapshot / file.name} is damaged", "delete it and connect to download it again")
        _copy(snapshot / file.name, output / file.name)
    _record(Download(repository, snapshot.name, present), output)
    return Download(repository, snapshot.name, tuple(chosen))


def _hub_file(path: Path, snapshot: Path) -> HubFile:
    """A file of the hub's cache, which names its blobs by their hash."""
    name, blob = path.relative_to(snapshot).as_posix(), path.resolve().name
    is_sha256 = len(blob) == hashlib.sha256().digest_size * 2
    return HubFile(name, path.stat().st_size, blob if is_sha256 else None, None if is_sha256 else blob)


def _earlier(repository: str, revision: str, output: Path) -> Download | None:
    try:
        record: dict[str, Any] = json.loads((output / RECORD).read_text())
        files = tuple(HubFile(**file) for file in record["files"])
        earlier = Download(record["repository"], record["commit"], files)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return earlier if (earlier.repository, earlier.commit) == (repository, revision) else None


def _record(found: Download, output: Path) -> None:
    """Say of which repository, at which commit, the folder's files are, and what else that has."""
    listed = [vars(file) for file in sorted(found.files, key=lambda file: file.name)]
    write_json(output / RECORD, {"repository": found.repository, "commit": found.commit, "files": listed})


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
