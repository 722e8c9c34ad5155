"""DVC's locks in a workspace: mended where whoever held them is gone, and told apart where somebody holds them.

DVC lists who reads and writes which output in `.dvc/tmp/rwlock` (`dvc/rwlock.py`). It empties that file before it writes it anew:
killed in between, or on a full disk, it leaves a file that no command of DVC reads any more. It takes an entry for held while
its process number lives, and after a reboot, or in a container that starts again, that is another's.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from stage.files import write_text
from upkeep.repository import DvcBusyError, opened

_LIST, _GUARD = "rwlock", "rwlock.lock"
Entries = dict[str, dict[str, Any]]


def mend_locks(root: Path) -> bool:
    """Take out of DVC's list what nobody holds; whether there was any of that.

    Args:
        root: of a workspace.

    Raises:
        DvcBusyError: when the list is damaged and a process of DVC that may be on it lives, or when another one changes it.
    """
    path = _path(root)
    if (entries := _read(path)) is not None and _held(entries) == entries:
        return False
    with _guarded(root):
        # What was being written a moment ago is whole by now.
        entries = _read(path)
        if entries is None and (users := list(_at_work(root.resolve()))):
            raise DvcBusyError(
                f"{path} is damaged, and DVC's process {', '.join(map(str, users))} may be on it",
                "wait for it or end it",
            )
        write_text(path, json.dumps(_held(entries or {})))
    return True


def writers(root: Path) -> dict[Path, int]:
    """What living processes write with DVC in a workspace, with their numbers; nothing where the list cannot be read."""
    held = _held(_read(_path(root)) or {})
    found = {Path(path): int(entry["pid"]) for kind, path, entry in _entries(held) if kind == "write"}
    return {path: number for path, number in found.items() if psutil.pid_exists(number)}


def _path(root: Path) -> Path:
    return root.resolve() / ".dvc" / "tmp" / _LIST


def _read(path: Path) -> Entries | None:
    """The list as DVC has it; None where it cannot be read."""
    try:
        values = json.loads(path.read_bytes())
        whole = all(_is_entry(entry) for _, _, entry in _entries(values))
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError):
        return None
    return values if whole else None


def _entries(values: Entries) -> Iterator[tuple[str, str, Any]]:
    """Kind, path and entry: a path has one that writes, or some that read."""
    for kind, found in values.items():
        for path, entry in found.items():
            yield from ((kind, path, each) for each in (entry if kind == "read" else [entry]))


def _is_entry(entry: Any) -> bool:  # noqa: ANN401 - of JSON
    return isinstance(entry["pid"], int) and isinstance(entry["cmd"], str)


def _held(entries: Entries) -> Entries:
    """The entries without those whose number another process has now; DVC itself sees to those whose number nobody has."""
    kept: Entries = {kind: {} for kind in entries}
    for kind, path, entry in _entries(entries):
        if not _is_anothers(entry["pid"], entry["cmd"]):
            if kind == "read":
                kept[kind].setdefault(path, []).append(entry)
            else:
                kept[kind][path] = entry
    return kept


def _is_anothers(number: int, command: str) -> bool:
    """Whether a living process is another than the one that wrote its number and arguments down."""
    try:
        line = psutil.Process(number).cmdline()
    except psutil.ZombieProcess:
        return True
    except psutil.Error:
        # It is gone, or nobody may see what it is.
        return False
    # The first is how Python was told of the program, which the system may know by another name.
    return not " ".join(line).endswith(command.partition(" ")[2])


def _at_work(root: Path) -> Iterator[int]:
    """Processes of DVC in a workspace, and those of which nobody may see where they are."""
    for process in psutil.process_iter():
        try:
            # As `dvc …`, `python /…/dvc …` or `python -m dvc …`.
            is_dvc = "dvc" in (Path(argument).name for argument in process.cmdline()[:3])
            if is_dvc and _is_in(process, root) and not _waits_for_a_daemon(process):
                yield process.pid
        except psutil.Error:
            continue


def _waits_for_a_daemon(process: psutil.Process) -> bool:
    """Whether it is the copy of an ended command that waits for a report of use or a look for a newer DVC (`dvc/daemon.py`).

    It has the command's arguments, and the daemon for its child, which a command itself never has.
    """
    return any(_is_daemon(child) for child in process.children())


def _is_daemon(process: psutil.Process) -> bool:
    """Of a child that has just ended nobody knows, and its parent may be a command."""
    try:
        return process.cmdline()[2:3] == ["daemon"]
    except psutil.Error:
        return False


def _is_in(process: psutil.Process, root: Path) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(root)
    except psutil.AccessDenied:
        return True


@contextmanager
def _guarded(root: Path) -> Iterator[None]:
    """Hold what DVC holds while it changes the list, and the lock of the repository, under which it looks at it."""
    with opened(root) as repo:
        from dvc.lock import make_lock

        hardlink = repo.config["core"].get("hardlink_lock", False)
        guard = make_lock(str(Path(repo.tmp_dir) / _GUARD), tmp_dir=repo.tmp_dir, hardlink_lock=hardlink)
        with repo.lock, guard:
            yield
