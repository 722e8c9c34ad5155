"""DVC's cache: what neither the workspace, nor a branch, tag or experiment, nor a version of the registry refers to.

`dvc gc` counts and deletes. It is told of the other `dvc.lock` files by a project of its own, made for it: one folder a lock,
with stages that have the lock's outputs.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from stage.errors import InputError
from stage.files import json_sha256
from stage.repository import git
from stage.workspace import Workspace
from upkeep.retention_item import Item, size_of

_REMOVING = re.compile(r"^Removing (.*)$", re.MULTILINE)
_REFERENCES = ("refs/heads", "refs/tags", "refs/exps")


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
            InputError: when DVC fails, or the cache is shared with other folders, of which nobody here knows.
        """
        if not (self._place.root / ".dvc").is_dir():
            return
        found = [Path(name) for name in _REMOVING.findall(self._gc("--dry"))]
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

    @contextmanager
    def _project(self) -> Iterator[Path | None]:
        """A DVC project that refers to what the other locks refer to; None where there are none."""
        locks = {json_sha256(lock)[:12]: lock for lock in map(_parsed, (*self._locks, *self._locks_of_git())) if lock}
        cache = self._cache()
        if not locks:
            yield None
            return
        with tempfile.TemporaryDirectory(prefix="viewforge-gc-") as name:
            root = Path(name)
            (root / ".dvc").mkdir()
            settings = f"[core]\n    no_scm = True\n    analytics = false\n[cache]\n    dir = {cache}\n"
            (root / ".dvc" / "config").write_text(settings)
            for digest, lock in locks.items():
                _write_stages(root / digest, lock)
            yield root

    def _locks_of_git(self) -> Iterator[str]:
        """Of each branch, tag and experiment that has one."""
        names = git(self._place.root, "for-each-ref", "--format=%(objectname)", *_REFERENCES) or ""
        for commit in sorted(set(names.split())):
            if text := git(self._place.root, "show", f"{commit}:./dvc.lock"):
                yield text

    def _dvc(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        result = subprocess.run(command, cwd=self._place.root, capture_output=True, text=True, check=False)
        if result.returncode:
            reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise InputError(f"dvc {arguments[0]} failed in {self._place.root}: {reason}", "see dvc doctor there")
        return result.stdout


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        lock = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    return lock if isinstance(lock, dict) and isinstance(lock.get("stages"), dict) else None


def _write_stages(folder: Path, lock: Mapping[str, Any]) -> None:
    """A `dvc.yaml` that has the outputs of a lock, whatever stages there are today."""
    folder.mkdir()
    stages = {
        name: {"cmd": stage["cmd"], "outs": [out["path"] for out in stage.get("outs", ())]}
        for name, stage in lock["stages"].items()
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (folder / "dvc.lock").write_text(yaml.safe_dump(dict(lock)))
