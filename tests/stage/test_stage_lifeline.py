"""Lifelines: a stage runs once at a time in a workspace, and its processes end with the one that started them."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from stage import lifeline
from stage.errors import ViewforgeError
from stage.lifeline import exclusive, tied
from stage.share import Share
from stage.workspace import Workspace

_HOLDER = """
import sys, time
from pathlib import Path
from stage.lifeline import exclusive
from stage.workspace import Workspace
with exclusive(Workspace(Path(sys.argv[1])), "render"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], "subprocess.Popen[bytes]"]:
    """Start a process that holds the workspace's lock of the stage render."""
    monkeypatch.setattr(lifeline, "_PATIENCE_SECONDS", 0.3)
    holders = []

    def start() -> "subprocess.Popen[bytes]":
        holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
        holders.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        return holder

    yield start  # type: ignore[misc]
    for holder in holders:
        holder.kill()
        holder.communicate()


def test_a_stage_that_runs_already_is_refused_with_its_process(
    hold: Callable[[], "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    holder = hold()
    message = f"the stage render is already running in .*process {holder.pid}.*wait for it or end it"
    with pytest.raises(ViewforgeError, match=message), exclusive(Workspace(tmp_path), "render"):
        pytest.fail("two processes held one lock")


def test_other_stages_and_other_workspaces_may_run_meanwhile(
    hold: Callable[[], "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    hold()
    with exclusive(Workspace(tmp_path), "shard"), exclusive(Workspace(tmp_path / "other"), "render"):
        pass


def test_shares_run_beside_one_another_and_none_beside_the_whole(
    hold: Callable[[], "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    place = Workspace(tmp_path)
    with exclusive(place, "render", Share(1, 2)), exclusive(place, "render", Share(2, 2)):
        with pytest.raises(ViewforgeError, match="render is already running"), exclusive(place, "render"):
            pytest.fail("the whole ran beside its shares")
        with pytest.raises(ViewforgeError, match="1-of-2 is already"), exclusive(place, "render", Share(1, 2)):
            pytest.fail("a share ran twice")
    hold()
    with pytest.raises(ViewforgeError, match="already running"), exclusive(place, "render", Share(1, 2)):
        pytest.fail("a share ran beside the whole")


def test_the_lock_of_a_killed_process_is_free(hold: Callable[[], "subprocess.Popen[bytes]"], tmp_path: Path) -> None:
    holder = hold()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with exclusive(Workspace(tmp_path), "render"):
        pass


def test_a_stage_waits_for_one_that_is_just_dying(
    hold: Callable[[], "subprocess.Popen[bytes]"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifeline, "_PATIENCE_SECONDS", 10.0)
    holder = hold()
    monkeypatch.setattr(time, "sleep", lambda _: holder.kill())
    with exclusive(Workspace(tmp_path), "render"):
        pass


def test_the_lock_is_free_after_the_block_even_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifeline, "_PATIENCE_SECONDS", 0.3)
    with pytest.raises(RuntimeError), exclusive(Workspace(tmp_path), "render"):
        raise RuntimeError
    with exclusive(Workspace(tmp_path), "render"):
        pass


_PARENT = """
import subprocess, sys, time
from stage.lifeline import tied
child = subprocess.Popen(tied(["sleep", "600"]))
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_tied_program_dies_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    deadline = time.monotonic() + 20
    while child.name() != "sleep":
        assert time.monotonic() < deadline, "it never became the program"
        time.sleep(0.02)
    parent.kill()
    parent.communicate()
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.02)


def test_a_tied_program_is_the_program() -> None:
    done = subprocess.run(tied(["sh", "-c", "echo out; exit 3"]), capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("out\n", 3)
