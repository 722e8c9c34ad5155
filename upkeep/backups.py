"""Backups of what cannot be made again: the SQLite databases, `dvc.lock`, parameters and configuration.

    viewforge backup /backups            while the servers run
    viewforge recover /backups           with the servers down

Data, models and artifacts are not among them: DVC's remote and MLflow's artifact store hold those. A backup is a folder
`<workspace>-<hash of its path>-<time>/` that appears whole or not at all, with a manifest of hashes; it is for its owner's eyes
alone. Secrets (`.dvc/config.local`, environment) stay out.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stage.errors import InputError
from stage.files import file_sha256, replacing, replacing_folder, write_json
from stage.workspace import Workspace
from upkeep.aside import put_aside, stamp
from upkeep.databases import copy_database, damage, local_databases, prefect_database, users_of

MANIFEST = "manifest.json"
_FILES = ("params.yaml", "dvc.yaml", "dvc.lock", "promotion.json", "promotion.md", ".dvc/config", "mlflow/*.yaml")
_DATABASES, _PLAIN = "databases", "files"
_OWNER_ALONE = 0o700
_DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Recovered:
    """What came back."""

    backup: Path
    databases: tuple[Path, ...]
    files: tuple[Path, ...]
    differing: tuple[Path, ...]
    """Files that are another than the backup's and were left as they are."""
    aside: tuple[Path, ...]
    """Where what was there before is now."""


def back_up(place: Workspace, folder: Path, keep: int) -> Path:
    """Copy a workspace's databases and configuration; only then delete its oldest backups.

    Args:
        place: the workspace; its servers may run.
        folder: where backups are, of several workspaces if need be.
        keep: how many of this workspace are kept, this one among them.

    Returns:
        The new backup.

    Raises:
        InputError: when the workspace has nothing to copy, or a database is damaged; older backups are all kept then.
    """
    sources = {f"{_PLAIN}/{path.relative_to(place.root)}": path for path in _plain_files(place)}
    databases = local_databases(place)
    if not sources and not databases:
        raise InputError(f"{place.root} has nothing to back up", "name a workspace with --workspace")
    prefix = _prefix(place)
    target = folder / f"{prefix}{stamp()}"
    with replacing_folder(target) as temporary:
        temporary.chmod(_OWNER_ALONE)
        for source in databases:
            _copied(temporary / _DATABASES / source.name, source, copy_database)
        for name, source in sources.items():
            _copied(temporary / name, source, shutil.copyfile)
        write_json(temporary / MANIFEST, {"workspace": str(place.root.resolve()), "files": _hashes(temporary)})
    own = [path for path in backups(folder) if path.name.startswith(prefix)]
    for old in [*own[:-keep], *_left_over(folder, prefix)]:
        shutil.rmtree(old)
    return target


def backups(folder: Path) -> list[Path]:
    """The whole backups in a folder, oldest first."""
    return sorted((path.parent for path in folder.glob(f"*/{MANIFEST}")), key=lambda path: path.name[-16:])


def recover(place: Workspace, folder: Path, everything: bool = False) -> Recovered:
    """Put the databases of a backup in place, and configuration files that are absent.

    What was there is put aside and never deleted.

    Args:
        place: the workspace; nothing may have its databases open.
        folder: a backup, or a folder of which the newest backup of this workspace is taken.
        everything: whether files that differ are replaced, too.

    Raises:
        InputError: when there is no backup, it is not whole, or a process has a database open.
    """
    backup = _chosen(folder, place)
    _check(backup)
    targets = _targets(place, backup)
    for target in targets.values():
        if users := users_of(target):
            raise InputError(f"{target} is open in {', '.join(users)}", "viewforge down first")
    aside = [moved for source, target in targets.items() for moved in _put_in_place(source, target)]
    restored, differing = [], []
    for source in _files_below(backup / _PLAIN):
        target = place.root / source.relative_to(backup / _PLAIN)
        if not target.exists() or (everything and not _same(source, target)):
            aside += _put_in_place(source, target)
            restored.append(target)
        elif not _same(source, target):
            differing.append(target)
    return Recovered(backup, tuple(targets.values()), tuple(restored), tuple(differing), tuple(aside))


def _plain_files(place: Workspace) -> Iterator[Path]:
    for pattern in _FILES:
        yield from (path for path in sorted(place.root.glob(pattern)) if path.is_file())


def _copied(target: Path, source: Path, copy: Callable[[Path, Path], object]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    copy(source, target)


def _hashes(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in _files_below(folder)}


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)


def _left_over(folder: Path, prefix: str) -> list[Path]:
    """What killed backups of this workspace left: nobody takes a day for one."""
    unfinished = folder.glob(f".{prefix}*.tmp")
    return [path for path in unfinished if time.time() - path.stat().st_mtime > _DAY_SECONDS]


def _prefix(place: Workspace) -> str:
    """What the names of this workspace's backups start with: others of its name may share the folder."""
    root = place.root.resolve()
    return f"{root.name}-{hashlib.sha256(str(root).encode()).hexdigest()[:6]}-"


def _manifest(backup: Path) -> dict[str, object]:
    try:
        values = json.loads((backup / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{backup / MANIFEST} cannot be read ({error})", "take another backup") from None
    return values if isinstance(values, dict) else {}


def _chosen(folder: Path, place: Workspace) -> Path:
    if (folder / MANIFEST).is_file():
        return folder
    own = [backup for backup in backups(folder) if backup.name.startswith(_prefix(place))]
    if not own:
        raise InputError(
            f"{folder} has no backup of {place.root.resolve()}",
            "name the backup's own folder if it was made elsewhere",
        )
    return own[-1]


def _check(backup: Path) -> None:
    """Refuse a backup that is not as it was written."""
    listed = _manifest(backup).get("files")
    if listed != _hashes(backup):
        raise InputError(f"{backup} is not as it was written", "take another backup")
    for path in sorted((backup / _DATABASES).glob("*.db")):
        if problem := damage(path):
            raise InputError(f"{path} is damaged ({problem})", "take another backup")


def _targets(place: Workspace, backup: Path) -> dict[Path, Path]:
    prefect = prefect_database(place)
    copies = sorted((backup / _DATABASES).glob("*.db"))
    return {path: prefect if path.name == prefect.name else place.mlflow / path.name for path in copies}


def _put_in_place(source: Path, target: Path) -> list[Path]:
    """Copy a file to its place; where the one that was there, and SQLite's logs beside it, are now.

    They go once the copy is whole: without a file the next server would make an empty one.
    """
    before = [target.with_name(target.name + ending) for ending in ("", "-wal", "-shm", "-journal")]
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
        if target.exists():
            shutil.copymode(target, temporary)
        return [put_aside(path, target.parent / "damaged") for path in before if path.exists()]


def _same(one: Path, other: Path) -> bool:
    return file_sha256(one) == file_sha256(other)
