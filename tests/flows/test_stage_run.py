"""What the flows make of a stage's end, and how they end one: by its line they know whether another attempt may succeed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import yaml
from dvc.lock import Lock as RepositoryLock
from prefect.states import exception_to_failed_state
from prefect.utilities.asyncutils import run_coro_as_sync

from flows.flow_parameters import FlowParameters
from flows.stage_run import StageCrashError, StageRunError, StageTimeoutError, run_stage
from flows.stage_task import _may_pass
from stage.errors import StageFailedError, StagePreemptedError

STOPPED = StagePreemptedError("a checkpoint holds step 5 of 12", "run again: it goes on there")
FAILED = StageFailedError("6 of 7 steps were left out")
# Answers SIGTERM as a training does: it finishes something, says so, and ends.
HEEDFUL = """
import signal, sys, time, pathlib
def end(*_):
    time.sleep(0.3); pathlib.Path("checkpoint").write_text("whole")
    print("saved"); sys.exit(75)
signal.signal(signal.SIGTERM, end)
print("going", flush=True)
time.sleep(60)
"""
DEAF = """
import os, signal, time, pathlib
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path("pid").write_text(str(os.getpid()))
print("going", flush=True)
time.sleep(60)
"""
# Goes on once its line and its figures have been seen.
TELLING = """
import json, os, pathlib, sys, time
print("step 3", flush=True)
with open(os.environ["VIEWFORGE_PROGRESS"], "a") as stream:
    stream.write(json.dumps({"done": 3, "total": 12, "loss": 0.25}) + "\\n")
for _ in range(600):
    if all(pathlib.Path(name).exists() for name in ("line", "record")):
        sys.exit()
    time.sleep(0.1)
sys.exit("nobody saw it")
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Callable[..., Path]:
    """A DVC repository with stages of these commands."""

    def made(**commands: str) -> Path:
        subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"], cwd=tmp_path, check=True)
        (tmp_path / ".dvc/config").write_text(
            "[core]\n    no_scm = True\n    analytics = false\n    check_update = false\n"
        )
        stages = {name: {"cmd": command} for name, command in commands.items()}
        (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
        return tmp_path

    return made


def program(place: Path, text: str) -> str:
    """The command of a stage that runs a Python program."""
    (place / "program.py").write_text(text)
    return f"exec {sys.executable} program.py"


def ended(place: Path) -> None:
    """The process that wrote its number there is no more; its parent's end leaves it to init, which may take a moment."""
    try:
        process = psutil.Process(int((place / "pid").read_text()))
        assert process.status() == psutil.STATUS_ZOMBIE or not psutil.wait_procs([process], 5)[1]
    except psutil.NoSuchProcess:
        pass


def ignored(_: object) -> None:
    pass


def test_a_stage_that_was_asked_to_stop_may_be_tried_again(workspace: Callable[..., Path]) -> None:
    """Stages that end as the command line does with an error."""
    ends = {"stopped": STOPPED, "failed": FAILED}
    root = workspace(**{name: f"echo 'viewforge: {end}' >&2; exit {end.EXIT_STATUS}" for name, end in ends.items()})
    with pytest.raises(StageCrashError, match=str(STOPPED)):
        run_stage(root, "stopped", ignored, ignored, FlowParameters())
    with pytest.raises(StageRunError, match=str(FAILED)):
        run_stage(root, "failed", ignored, ignored, FlowParameters())


def test_output_and_figures_of_a_stage_are_handed_on_while_it_runs(
    workspace: Callable[..., Path], tmp_path: Path
) -> None:
    records = []

    def on_line(line: str) -> None:
        if line == "step 3":
            (tmp_path / "line").touch()

    def on_progress(record: dict[str, object]) -> None:
        records.append(record)
        (tmp_path / "record").touch()

    run = run_stage(workspace(train=program(tmp_path, TELLING)), "train", on_line, on_progress, FlowParameters())
    assert run.state == "ran"
    assert records == [{"done": 3, "total": 12, "loss": 0.25}]


def test_the_progress_of_a_killed_attempt_is_neither_shown_nor_kept(workspace, tmp_path):
    left = tmp_path / "scratch" / "progress" / "train.jsonl"
    left.parent.mkdir(parents=True)
    left.write_text(json.dumps({"done": 99}) + "\n")
    seen: list[dict[str, object]] = []
    telling = """echo '{"done": 1}' >> "$VIEWFORGE_PROGRESS"; sleep 1"""
    run_stage(workspace(train=telling), "train", print, seen.append, FlowParameters())
    assert [record["done"] for record in seen] == [1]
    assert not list(left.parent.iterdir())


def test_a_stage_runs_for_a_user_who_may_not_log_in(
    workspace: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the ones of services: DVC starts commands by SHELL."""
    monkeypatch.setenv("SHELL", "/bin/false")
    assert run_stage(workspace(fine="exec true"), "fine", ignored, ignored, FlowParameters()).state == "ran"


def test_what_dvc_itself_refuses_is_final(workspace: Callable[..., Path]) -> None:
    """And is not tried again as if the stage had crashed."""
    root = workspace(absent="true", lacking="true", barren="true")
    stages = yaml.safe_load((root / "dvc.yaml").read_text())
    stages["stages"]["absent"]["deps"] = ["nowhere.txt"]
    stages["stages"]["lacking"]["params"] = ["train.steps"]
    stages["stages"]["barren"]["outs"] = ["nothing.txt"]
    (root / "dvc.yaml").write_text(yaml.safe_dump(stages))
    (root / "params.yaml").write_text("seed: 0\n")
    for stage, reason in (
        ("absent", "dependency 'nowhere.txt' does not exist"),
        ("lacking", "'train.steps' are missing from 'params.yaml'"),
        ("barren", "output 'nothing.txt' does not exist"),
    ):
        with pytest.raises(StageRunError, match=f"{stage}: DVC says: .*{reason}.*; mend that in {root}"):
            run_stage(root, stage, ignored, ignored, FlowParameters())


@pytest.mark.parametrize(
    "command", ["echo 'ERROR: a word of its own'; kill -9 $$", "echo 'ERROR: a word of its own'; kill -9 $PPID"]
)
def test_a_killed_stage_or_dvc_may_be_tried_again(workspace: Callable[..., Path], command: str) -> None:
    with pytest.raises(StageCrashError):
        run_stage(workspace(killed=command), "killed", ignored, ignored, FlowParameters())


def test_an_output_that_somebody_else_writes_may_be_tried_again(
    workspace: Callable[..., Path], tmp_path: Path
) -> None:
    root = workspace(locked="echo done > out.txt")
    stages = yaml.safe_load((root / "dvc.yaml").read_text())
    stages["stages"]["locked"]["outs"] = ["out.txt"]
    (root / "dvc.yaml").write_text(yaml.safe_dump(stages))
    holder = {"pid": os.getpid(), "cmd": " ".join(psutil.Process().cmdline())}
    listed = tmp_path / ".dvc/tmp/rwlock"
    listed.write_text(json.dumps({"write": {str(tmp_path / "out.txt"): holder}}))
    with pytest.raises(StageCrashError):
        run_stage(root, "locked", ignored, ignored, FlowParameters())
    listed.write_text("")
    assert run_stage(root, "locked", ignored, ignored, FlowParameters()).state == "ran", "left by a killed attempt"


def test_a_stage_waits_for_the_command_that_holds_the_repository(workspace: Callable[..., Path]) -> None:
    """DVC by itself would give up after three seconds, at the end of hours of work too."""
    root = workspace(slow="touch begun; sleep 1; touch done")
    lock = RepositoryLock(str(root / ".dvc/tmp/lock"))

    def hold() -> None:
        while not (root / "begun").exists():
            time.sleep(0.05)
        with lock:
            time.sleep(7)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        found = run_stage(root, "slow", ignored, ignored, FlowParameters(stage_hours={"slow": 1 / 60}))
        holding.result()
    assert found.seconds > 7


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (StageCrashError("ended with status -9"), True),
        (StageRunError("out of memory"), False),
        (StageTimeoutError("not done within 1 h"), False),
        (KeyError("a mistake"), False),
    ],
)
def test_only_crashes_are_tried_again(error: Exception, again: bool) -> None:
    state = run_coro_as_sync(exception_to_failed_state(error))
    assert _may_pass(None, None, state) is again


def test_a_stage_that_hangs_is_ended_with_all_that_it_started(workspace: Callable[..., Path], tmp_path: Path) -> None:
    root = workspace(deaf=program(tmp_path, DEAF))
    limits = FlowParameters(stage_hours={"deaf": 4 / 3600}, grace_seconds=0.2)
    started = time.monotonic()
    with pytest.raises(StageTimeoutError, match=r"deaf: not done within .* h; .* flow.stage_hours.deaf"):
        run_stage(root, "deaf", ignored, ignored, limits)
    assert time.monotonic() - started < 8
    ended(tmp_path)


def test_a_stage_is_done_when_it_ends_whatever_it_left_with_its_output(
    workspace: Callable[..., Path], tmp_path: Path
) -> None:
    """A program in a session of its own keeps the pipe open."""
    root = workspace(leaving="setsid sh -c 'echo $$ > pid; exec sleep 40' & sleep 1; echo done")
    started = time.monotonic()
    try:
        assert run_stage(root, "leaving", ignored, ignored, FlowParameters()).state == "ran"
        assert time.monotonic() - started < 30
    finally:
        psutil.Process(int((tmp_path / "pid").read_text())).kill()


def test_who_is_interrupted_lets_the_stage_finish_what_it_saves(
    workspace: Callable[..., Path], tmp_path: Path
) -> None:
    root = workspace(heedful=program(tmp_path, HEEDFUL))
    lines: list[str] = []

    def interrupted(line: str) -> None:
        lines.append(line)
        if line == "going":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(root, "heedful", interrupted, ignored, FlowParameters(grace_seconds=20))
    assert (tmp_path / "checkpoint").read_text() == "whole"
    assert "saved" in lines


def test_a_stage_that_does_not_heed_is_killed_after_its_grace(workspace: Callable[..., Path], tmp_path: Path) -> None:
    root = workspace(deaf=program(tmp_path, DEAF))

    def interrupted(line: str) -> None:
        if line == "going":
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_stage(root, "deaf", interrupted, ignored, FlowParameters(grace_seconds=0.5))
    assert time.monotonic() - started < 8
    ended(tmp_path)
