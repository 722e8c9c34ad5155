"""Attempts at a training: what is tried again and how often, and where it is written how each one ended."""

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stage.errors import StageFailedError, StageKilledError, StagePreemptedError, ViewforgeError
from stage.workspace import Workspace
from training.launching import attempts as attempts_module
from training.launching.attempts import Attempts
from training.launching.outcome import Outcome, outcome_file, read_outcome, record, write_outcome
from training.parameters import TrainParameters
from training.tracking.journal import Journal
from training.tracking.journals import journals_folder

KILLED = StageKilledError(
    "a training process ended by SIGKILL", "run again: it continues from its checkpoint", "killed"
)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which are not made."""
    made: list[float] = []
    monkeypatch.setattr(attempts_module.time, "sleep", made.append)
    return made


def run(**launch: Any) -> TrainParameters:
    return TrainParameters.model_validate({"launch": launch, "tracking": {"trackers": []}})


def ending(workspace: Workspace, *ends: ViewforgeError | str | None) -> Callable[[int], None]:
    """An attempt that ends so the first time, so the second time …; a text is a checkpoint that it leaves before it is killed."""

    def attempt(number: int) -> None:
        end = ends[number - 1]
        if isinstance(end, str):
            (workspace.scratch / "training" / "abc" / "checkpoints" / end).mkdir(parents=True)
            raise KILLED
        if end is not None:
            raise end

    return attempt


def told(workspace: Workspace) -> Outcome:
    outcome = read_outcome(outcome_file(workspace))
    assert outcome is not None
    return outcome


def test_what_was_killed_is_tried_again(
    tmp_path: Path, pauses: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace(tmp_path)
    Attempts(run(restarts=2), workspace, 0).run(ending(workspace, KILLED, KILLED, None))
    assert (told(workspace).kind, told(workspace).attempt) == ("finished", 3)
    assert pauses == [1, 2]
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("train: attempt 1 ended (killed: a training process ended by SIGKILL; run again")
    assert said[0].endswith("goes on from the last checkpoint in 1 s")


def test_too_many_in_a_row_without_a_checkpoint_would_happen_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(
        StageFailedError, match="3 attempts in a row ended before a new checkpoint, the last one: a"
    ) as caught:
        Attempts(run(restarts=2), workspace, 0).run(ending(workspace, KILLED, KILLED, KILLED))
    assert not isinstance(caught.value, StageKilledError)
    assert not str(caught.value).startswith(StageKilledError.PREFIX)
    assert (told(workspace).kind, told(workspace).attempt) == ("killed", 3)
    assert told(workspace).message == str(caught.value)
    assert not told(workspace).may_pass, "neither another machine nor another job waits for it"


def test_progress_begins_the_count_anew(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    ends = (*(f"step-{number:08d}" for number in range(5)), KILLED, None)
    Attempts(run(restarts=2), workspace, 0).run(ending(workspace, *ends))
    assert told(workspace).attempt == 7


def test_who_is_asked_to_stop_between_attempts_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, before = Workspace(tmp_path), signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(attempts_module.time, "sleep", lambda _: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(StagePreemptedError, match="SIGTERM between two attempts"):
        Attempts(run(restarts=2), workspace, 0).run(ending(workspace, KILLED, None))
    assert (told(workspace).kind, told(workspace).may_pass) == ("preempted", True)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("error", "restarts", "kind"),
    [
        (StageFailedError("training failed: CUDA out of memory", "accumulate", "gpu_memory"), 2, "gpu_memory"),
        (StagePreemptedError("a checkpoint holds step 3 of 9", "run again"), 2, "preempted"),
        (KILLED, 0, "killed"),
    ],
)
def test_what_ends_at_once(tmp_path: Path, error: ViewforgeError, restarts: int, kind: str) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(type(error)) as caught:
        Attempts(run(restarts=restarts), workspace, 0).run(ending(workspace, error))
    assert caught.value is error
    outcome = told(workspace)
    assert (outcome.kind, outcome.attempt, outcome.message) == (kind, 1, str(error))
    assert outcome.may_pass == isinstance(error, StageKilledError)


def test_a_full_disk_hides_no_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("training.launching.outcome.write_json", full)
    error = StageFailedError("training failed: CUDA out of memory", "accumulate", "gpu_memory")
    with pytest.raises(StageFailedError, match="CUDA out of memory"):
        Attempts(run(), Workspace(tmp_path), 0).run(ending(Workspace(tmp_path), error))
    assert "the exit reason gpu_memory is not written: [Errno 28]" in capsys.readouterr().err


LOST = StageKilledError("Connection closed by peer", "run again", "exchange_lost")
MACHINES = run(processes=2, machines=2, restarts=5)


@pytest.mark.parametrize("job", [None, "7"])
def test_a_machine_does_not_wait_for_one_that_ended_for_good(tmp_path: Path, job: str | None) -> None:
    workspace = Workspace(tmp_path)

    def attempt(_: int) -> None:
        write_outcome(workspace, Outcome("gpu_memory", "training failed: CUDA out of memory", machine=0, job=job))
        raise LOST

    with pytest.raises(StageFailedError, match="machine 0 ended: training failed: CUDA out of memory"):
        Attempts(MACHINES, workspace, 1, job).run(attempt)
    other = read_outcome(outcome_file(workspace, 1))
    assert other is not None
    assert (other.kind, other.may_pass) == ("gpu_memory", False)
    assert told(workspace).machine == 0


@pytest.mark.parametrize("job", [None, "7"])
def test_what_another_machine_said_of_an_earlier_launch_ends_nothing(tmp_path: Path, job: str | None) -> None:
    """It has not begun yet, or is on its way to say how this one ended."""
    workspace = Workspace(tmp_path)
    write_outcome(workspace, Outcome("gpu_memory", "training failed: CUDA out of memory", machine=0, job=job and "6"))
    Attempts(MACHINES, workspace, 1, job).run(ending(workspace, LOST, None))
    other = read_outcome(outcome_file(workspace, 1))
    assert other is not None
    assert (other.kind, other.attempt) == ("finished", 2)


def test_the_run_that_was_under_way_is_tagged_and_no_older_one(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    older = Journal(journals_folder(workspace) / "old")
    older.append({"kind": "start", "journal": "1", "name": "train", "place": "x", "time": 0})
    older.close()
    os.utime(older.folder / "journal.jsonl", (1, 1))
    since = time.time() - 60
    journal = Journal(journals_folder(workspace) / "new")
    journal.append({"kind": "start", "journal": "2", "name": "train", "place": "x", "time": 0})
    journal.close()
    record(workspace, Outcome("silent", may_pass=True), TrainParameters(), since, last=False)
    assert journal.entries()[-1] == {"kind": "tags", "values": {"viewforge.exit_reason": "silent"}}
    assert len(older.entries()) == 1
