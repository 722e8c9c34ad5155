"""A workspace's DVC repository, opened with one-line errors; and what dvc.lock says, for those who need no more."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import chdir, contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from stage.errors import InputError, ViewforgeError


class DvcBusyError(InputError):
    """Another process holds one of DVC's locks; what failed may succeed later."""


@contextmanager
def opened(root: Path, remote: str | None = None) -> Iterator[Any]:
    """The workspace's DVC repository (`dvc.repo.Repo`), from inside: DVC names stages relative to the current folder.

    Args:
        root: the workspace.
        remote: address of a remote that stands for the default one meanwhile.

    Raises:
        InputError: when the folder is none, its dvc.yaml cannot be read, or what is done within fails in DVC.
        DvcBusyError: when that is so because another process holds a lock.
    """
    # They take a second to import.
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    root = root.resolve()
    with chdir(root), _notes_of_dvc(root):
        try:
            repo = Repo(config=_with_default(remote) if remote else None)
        except DvcException as error:
            raise InputError(f"{root} is no DVC workspace: {error}", "run viewforge run, which makes one") from None
        with repo, _in_one_line(root):
            yield repo


@contextmanager
def _in_one_line(root: Path) -> Iterator[None]:
    from dvc.exceptions import DvcException
    from dvc.lock import LockError

    try:
        yield
    except LockError as error:
        raise _busy(root, error) from None
    except DvcException as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"DVC in {root}: {reason}", "put dvc.yaml, dvc.lock and params.yaml right, or restore them"
        ) from error


@contextmanager
def _notes_of_dvc(root: Path) -> Iterator[None]:
    """DVC notes outside of the workspace what it hashed, in SQLite: it hashes again what it has no notes of."""
    from dvc.dirs import site_cache_dir
    from dvc_data.hashfile.cache import DiskError

    try:
        yield
    except (sqlite3.Error, DiskError) as error:
        place = Path(site_cache_dir()) / "repo"
        raise InputError(
            f"DVC's notes about {root} in {place} cannot be used ({error})",
            "make room there, or delete that folder while no DVC runs: it only saves hashing",
        ) from error


def _busy(root: Path, error: Exception) -> DvcBusyError:
    """Of outputs DVC says who holds them; of the repository its lock's file does."""
    reason = " ".join(str(error).partition("\n\n")[0].split())
    if reason.startswith("Unable to acquire lock"):
        with suppress(OSError):
            reason = f"process {(root / '.dvc' / 'tmp' / 'lock').read_text().strip() or 'unknown'} holds its lock"
    return DvcBusyError(f"DVC is at work in {root}: {reason}", "wait for it or end it")


def _with_default(url: str) -> dict[str, Any]:
    return {"core": {"remote": "given"}, "remote": {"given": {"url": url}}}


def locked_stages(root: Path) -> dict[str, dict[str, Any]]:
    """The entry of each stage in a workspace's dvc.lock; empty where there is none that can be read."""
    try:
        values = yaml.safe_load((root / "dvc.lock").read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    stages = values.get("stages") if isinstance(values, dict) else None
    return stages if isinstance(stages, dict) else {}


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """One clear line for whatever DVC and the library of a remote's file system raise while they use it.

    Args:
        url: of the remote, without secrets.

    Raises:
        InputError: naming the remote.
    """
    from dvc.lock import LockError

    try:
        yield
    except (ViewforgeError, LockError):
        # Neither is of the remote's making.
        raise
    except Exception as error:
        cause = " ".join(str(error).split()) or repr(error)
        raise InputError(
            f"the DVC remote {url} cannot be used: {cause}",
            "check address, network and the credentials in the environment",
        ) from error
