"""An output root: finished objects on a disk or in an object store that machines without a common disk share.

Each object is one tar, `<uid[:2]>/<uid>.<fingerprint>.tar`. The name says of what input, parameters and code it is, so a listing tells
what is finished and nothing is downloaded to find out. A tar appears whole or not at all, and is never written over by another
content; those of former parameters stay, since somebody may still need them. Credentials and endpoints come from the
environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL` and the like).
"""

import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from stage.errors import InputError, StageFailedError
from stage.files import replacing, replacing_folder
from stage.packs import object_folder, write_tar

_REMEDY = "check the address, the network and the credentials in the environment"


@dataclass(frozen=True)
class OutputRoot:
    """A folder on a disk or below an fsspec URL, as `/data/renders`, `file:///data/renders` or `s3://bucket/renders`.

    Args:
        url: the folder.
    """

    url: str

    def finished(self) -> set[tuple[str, str]]:
        """(uid, fingerprint) of all that is there.

        Raises:
            InputError: when the place cannot be reached.
        """
        with self._explained():
            # What one listed before may have been cached.
            self._files.invalidate_cache()
            paths = self._files.find(self._root) if self._files.exists(self._root) else []
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
                _extract(archive, object_folder(root, uid))
            except (tarfile.TarError, OSError) as error:
                message = f"{self.url}: {source} is damaged: {error}"
                raise StageFailedError(message, "delete it there and run again") from None

    @cached_property
    def _files(self) -> Any:  # noqa: ANN401 - fsspec is untyped
        with self._explained():
            return fsspec.url_to_fs(self.url)[0]

    @cached_property
    def _root(self) -> str:
        return str(fsspec.url_to_fs(self.url)[1]).rstrip("/")

    def _path(self, uid: str, fingerprint: str) -> str:
        return f"{self._root}/{uid[:2]}/{uid}.{fingerprint}.tar"
