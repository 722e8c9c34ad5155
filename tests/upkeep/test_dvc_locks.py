"""What killed commands leave in DVC's list of locks, and locks that somebody holds."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mini_pipeline import mini_workspace

from flows.graph import stale_stages
from stage.errors import InputError
from stage.workspace import Workspace
from upkeep.dvc_locks import mend_locks, writers
from upkeep.repository import DvcBusyError, opened

# What `dvc repro` is to the list of processes, and what it puts into DVC's list.
_COMMAND = "dvc repro --single-item render"


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """A workspace that DVC has worked in, and leaves no process of its own behind, as in those of the project."""
    place = mini_workspace(tmp_path / "workspace")
    quiet = "[core]\n    no_scm = True\n    analytics = false\n    check_update = false\n"
    (place.root / ".dvc" / "config").write_text(quiet)
    (place.root / ".dvc" / "tmp").mkdir(exist_ok=True)
    return place


def locks(place: Workspace) -> Path:
    return place.root / ".dvc" / "tmp" / "rwlock"


def held(place: Workspace, process: int, command: str = _COMMAND) -> None:
    """Put on DVC's list that a process writes the catalogue."""
    locks(place).write_text(json.dumps({"write": {str(place.catalog): {"pid": process, "cmd": command}}, "read": {}}))


@contextmanager
def living(*command: str, folder: Path) -> Iterator[int]:
    """A process that does nothing, with this command line, in a folder; its number."""
    script = folder / command[0]
    script.write_text("import time; print(flush=True); time.sleep(600)")
    process = subprocess.Popen([sys.executable, str(script), *command[1:]], cwd=folder, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(
    "left", [b"", b'{"write": {"/w/data/cat', b"\0" * 64, b"\xff\xfe", b"[1, 2]", b'{"write": []}']
)
def test_a_list_that_was_cut_off_is_mended(place: Workspace, left: bytes) -> None:
    """DVC empties the file before it writes it anew: a kill, a full disk or a power cut leaves this."""
    locks(place).write_bytes(left)
    with pytest.raises(Exception, match=r"RWLock|decode|get|items|expected"):
        stale_stages(place.root)
    assert mend_locks(place.root)
    assert list(stale_stages(place.root)) == ["catalog", "train"]


def test_a_list_that_is_whole_stays_as_it_is(place: Workspace) -> None:
    assert not mend_locks(place.root), "there is none"
    held(place, os.getpid(), " ".join(sys.orig_argv))
    before = locks(place).read_bytes()
    assert not mend_locks(place.root)
    assert locks(place).read_bytes() == before


def test_a_list_that_was_cut_off_stays_while_dvc_works_there(place: Workspace) -> None:
    """Its entries are lost, and whoever made one would find it missing at its end."""
    locks(place).write_bytes(b"")
    with living("dvc", "repro", folder=place.root) as process:
        with pytest.raises(DvcBusyError, match=rf"is damaged, .* process {process} .*; wait for it or end it"):
            mend_locks(place.root)
        assert locks(place).is_file()
    with living("dvc", "repro", folder=place.root.parent):
        assert mend_locks(place.root), "that one works elsewhere"


def test_reports_of_use_that_dvc_still_sends_block_nobody(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """With analytics on, every command of DVC leaves a copy of itself behind for as long as a dead network takes."""
    (place.root / ".dvc" / "config").write_text("[core]\n    no_scm = True\n")
    for name in ("DO_NOT_TRACK", "DVC_NO_ANALYTICS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        monkeypatch.setenv("DVC_ANALYTICS_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        subprocess.run([sys.executable, "-m", "dvc", "status", "--quiet"], cwd=place.root, check=False)
        report, _ = server.accept()
        with report:
            locks(place).write_bytes(b"")
            assert mend_locks(place.root)


def test_a_process_that_got_the_number_of_a_dead_one_blocks_nobody(place: Workspace) -> None:
    """After a reboot, or in a container that starts again, the low numbers are others'."""
    with living("some", "daemon", folder=place.root) as process:
        held(place, process)
        with pytest.raises(DvcBusyError, match=f"PID {process}"):
            stale_stages(place.root)
        assert mend_locks(place.root)
        assert list(stale_stages(place.root)) == ["catalog", "train"]


def test_the_process_that_holds_a_lock_keeps_it(place: Workspace) -> None:
    with living(*_COMMAND.split(), folder=place.root) as process:
        held(place, process)
        assert not mend_locks(place.root)
        with pytest.raises(DvcBusyError, match=rf"PID {process}.*; wait for it or end it"):
            stale_stages(place.root)


@pytest.mark.parametrize("command", [["-m", "dvc", "--wait-for-lock"], [str(Path(sys.executable).parent / "dvc")]])
def test_a_stage_that_really_runs_is_known_by_its_arguments(place: Workspace, command: list[str]) -> None:
    definition = {"stages": {"slow": {"cmd": "touch begun; sleep 60", "outs": ["data/catalog"]}}}
    (place.root / "dvc.yaml").write_text(json.dumps(definition))
    process = subprocess.Popen(
        [sys.executable, *command, "repro", "--single-item", "slow"],
        cwd=place.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not (place.root / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not mend_locks(place.root)
        assert writers(place.root) == {place.catalog: process.pid}
        locks(place).write_bytes(b"")
        with pytest.raises(DvcBusyError, match=f"process {process.pid} may be on it"):
            mend_locks(place.root)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert mend_locks(place.root)


def test_who_holds_the_repository_is_named(place: Workspace) -> None:
    holder = (
        "import sys, time, zc.lockfile; held = zc.lockfile.LockFile(sys.argv[1]); print(flush=True); time.sleep(600)"
    )
    lock = place.root / ".dvc" / "tmp" / "lock"
    process = subprocess.Popen([sys.executable, "-c", holder, str(lock)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        started = time.monotonic()
        with pytest.raises(DvcBusyError, match=rf"process {process.pid} holds .*; wait for it or end it"):
            stale_stages(place.root)
        assert time.monotonic() - started < 30
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_what_else_fails_in_dvc_has_its_own_remedy(place: Workspace) -> None:
    (place.root / "dvc.yaml").write_text("stages: [")
    with pytest.raises(InputError, match=r"put dvc\.yaml") as caught, opened(place.root) as repo:
        repo.status()
    assert not isinstance(caught.value, DvcBusyError)


def test_a_folder_without_dvc_needs_no_mending(place: Workspace) -> None:
    shutil.rmtree(place.root / ".dvc")
    assert not mend_locks(place.root)
