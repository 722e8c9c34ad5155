"""An output root: finished objects on a disk or in an object store that machines without a common disk share.

Each object is one tar, `<uid[:2]>/<uid>.<fingerprint>.tar`. The name says of what input, parameters and code it is, so a listing
tells what is finished and nothing is downloaded to find out. A tar appears whole or not at all, and only ever with the same
content; those of former parameters stay, since somebody may still need them. Credentials and endpoints come from the environment
(`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL` and the like).
"""

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from stage.errors import InputError, StageFailedError
from stage.files import replacing, replacing_folder, temporary_name
from stage.foreign_files import members, write_member
from stage.packs import object_folder, write_tar

# Where a put is all or nothing; elsewhere a file is written under another name and renamed.
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"}


@dataclass(frozen=True)
class OutputRoot:
    """A folder on a disk or below an fsspec URL, as `/data/renders`, `file:///data/renders` or `s3://bucket/renders`.

    Args:
        url: the folder.
    """

    url: str

    @classmethod
    def at(cls, url: str, folder: Path) -> "OutputRoot":
        """The root of a URL or of a path, which counts from `folder`."""
        return cls(url if "://" in url else str(folder.absolute() / url))

    def finished(self) -> set[tuple[str, str]]:
        """(uid, fingerprint) of all that is there.

        Raises:
            InputError: when the place cannot be reached.
        """
        with self._explained():
            # What was listed before may be out of date.
            self._files.invalidate_cache()
            paths = self._files.find(self._root)
        names = [path.rpartition("/")[2].split(".") for path in paths]
        return {(name[0], name[1]) for name in names if len(name) == 3 and name[0] and name[2] == "tar"}

    def publish(self, uid: str, fingerprint: str, root: Path) -> None:
        """Write an object's folder below `root` as its tar; the same files give the same bytes.

        Raises:
            InputError: when the place cannot be reached.
        """
        target = self._path(uid, fingerprint)
        if isinstance(self._files, LocalFileSystem):
            with replacing(Path(target)) as temporary:
                write_tar(temporary, root, [uid])
            return
        with tempfile.TemporaryDirectory() as folder, self._explained():
            archive = Path(folder) / "object.tar"
            write_tar(archive, root, [uid])
            self._upload(archive, target)

    def fetch(self, uid: str, fingerprint: str, root: Path) -> None:
        """Bring an object's folder back below `root`, whole or not at all, in place of what was there.

        Raises:
            InputError: when the place cannot be reached.
            StageFailedError: when the tar is damaged.
        """
        source = self._path(uid, fingerprint)
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "object.tar"
            with self._explained():
                self._files.get_file(source, str(archive))
            try:
                _extract(archive, root, object_folder(root, uid))
            except (tarfile.TarError, ValueError) as error:
                raise StageFailedError(f"{source} is damaged: {error}", "delete it there and run again") from None

    def _upload(self, archive: Path, target: str) -> None:
        if _OBJECT_STORES.intersection(_protocols(self._files)):
            self._files.put_file(str(archive), target)
            return
        parent, _, name = target.rpartition("/")
        temporary = temporary_name(Path(name)).name
        self._files.makedirs(parent, exist_ok=True)
        self._files.put_file(str(archive), f"{parent}/{temporary}")
        self._files.mv(f"{parent}/{temporary}", target)

    @cached_property
    def _files(self) -> Any:  # noqa: ANN401 - fsspec is untyped
        with self._explained():
            return fsspec.url_to_fs(self.url)[0]

    @cached_property
    def _root(self) -> str:
        return str(fsspec.url_to_fs(self.url)[1]).rstrip("/")

    def _path(self, uid: str, fingerprint: str) -> str:
        return f"{self._root}/{uid[:2]}/{uid}.{fingerprint}.tar"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """One clear line for whatever the file system's library raises."""
        try:
            yield
        except Exception as error:
            cause = " ".join(str(error).split()) or repr(error)
            raise InputError(
                f"{self.url} cannot be used: {cause}", "check address, network and the credentials in the environment"
            ) from error


def _protocols(files: Any) -> tuple[str, ...]:  # noqa: ANN401 - fsspec is untyped
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def _extract(archive: Path, root: Path, folder: Path) -> None:
    """Put an object's files in place of its folder."""
    prefix = folder.relative_to(root)
    with replacing_folder(folder) as staging, tarfile.open(archive, "r:") as tar:
        for member in members(tar, files_alone=True):
            name = PurePosixPath(member.name).relative_to(prefix)
            write_member(tar, member, staging, str(name))
