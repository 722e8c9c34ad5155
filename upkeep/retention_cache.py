"""DVC's cache: what neither the workspace, nor a branch, tag or experiment, nor a version of the registry refers to.

`dvc gc` counts and deletes. It is told of the others' files by a project of its own, made for it, with a folder for each file
(`upkeep.dvc_references`).
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.data_version import LOCK
from stage.errors import InputError
from stage.files import json_sha256
from stage.lifeline import tied
from stage.workspace import Workspace
from upkeep.dvc_references import HeldFile, files_of_git, write_references
from upkeep.repository import locked_stages
from upkeep.retention_item import Item, size_of

_REMOVING = re.compile(r"^Removing (.*)$", re.MULTILINE)


class CacheCollector:
    """Objects of the cache that no lock refers to.

    Args:
        place: whose cache.
        locks: content of the `dvc.lock` of each version that is kept.
    """

    def __init__(self, place: Workspace, locks: list[str]) -> None:
        self._place, self._locks = place, locks

    def find(self) -> Iterator[Item]:
        """All of them as one item, since DVC deletes all or none.

        Raises:
            InputError: when DVC fails, or what the cache is needed for is not known: it is shared with other folders, an
                experiment runs, or a lock is missing or cannot be read.
        """
        if not (self._place.root / ".dvc").is_dir():
            return
        if left := next(iter(self._experiments()), None):
            raise InputError(
                f"an experiment of DVC works in {left}", "wait for it; if it was killed, delete that folder"
            )
        found = [Path(name) for name in _REMOVING.findall(self._gc("--dry"))]
        if found and not locked_stages(self._place.root):
            raise InputError(
                f"no {LOCK} in {self._place.root} that names a stage, and what it needs is not known",
                "viewforge run or viewforge restore writes it",
            )
        if found:
            size = sum(size_of(path) for path in found)
            yield Item("cache", str(self._cache()), size, f"{len(found)} objects that no dvc.lock refers to")

    def delete(self, item: Item) -> None:  # noqa: ARG002 - there is one
        """Have DVC delete them.

        Raises:
            InputError: when DVC fails.
        """
        self._gc("--force")

    def _gc(self, option: str) -> str:
        with self._project() as project:
            return self._dvc("gc", "--workspace", option, *(["--projects", str(project)] if project else []))

    def _cache(self) -> Path:
        cache = Path(self._dvc("cache", "dir").strip())
        cache = cache if cache.is_absolute() else self._place.root / cache
        if not cache.resolve().is_relative_to(self._place.root.resolve()):
            raise InputError(f"DVC's cache {cache} is shared", "run dvc gc with --projects of all that share it")
        return cache.resolve()

    def _experiments(self) -> Iterator[Path]:
        """Folders of experiments that run outside of the workspace; what they made is in the cache before a lock says so."""
        folder = self._place.root / ".dvc" / "tmp" / "exps"
        yield from (*folder.glob("tmp*"), *folder.glob("standalone/tmp*"))

    @contextmanager
    def _project(self) -> Iterator[Path | None]:
        """A DVC project that refers to what the other locks refer to; None where there are none."""
        held = [HeldFile("a version", LOCK, lock) for lock in self._locks]
        others = [HeldFile(str(path), LOCK, path.read_text()) for path in self._place.root.glob(f"runs/*/{LOCK}")]
        files = {
            json_sha256([file.name, file.text])[:12]: file
            for file in (*held, *others, *files_of_git(self._place.root))
        }
        cache = self._cache()
        if not files:
            yield None
            return
        with tempfile.TemporaryDirectory(prefix="viewforge-gc-") as name:
            root = Path(name)
            (root / ".dvc").mkdir()
            settings = f"[core]\n    no_scm = True\n    analytics = false\n[cache]\n    dir = {cache}\n"
            (root / ".dvc" / "config").write_text(settings)
            for digest, file in files.items():
                write_references(root / digest, file)
            yield root

    def _dvc(self, *arguments: str) -> str:
        command = tied([sys.executable, "-m", "dvc", *arguments])
        result = subprocess.run(command, cwd=self._place.root, capture_output=True, text=True, check=False)
        if result.returncode:
            reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise InputError(f"dvc {arguments[0]} failed in {self._place.root}: {reason}", "see dvc doctor there")
        return result.stdout
