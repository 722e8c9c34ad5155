"""Running one stage: its output and progress followed, its end explained, its time limited."""

import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from flows.flow_parameters import FlowParameters
from flows.stage_process import StageProcess, stage_process
from stage.errors import StageKilledError, ViewforgeError
from stage.workspace import Workspace
from upkeep.dvc_mending import mend
from upkeep.repository import DvcBusyError

_MESSAGE = re.compile(r"^viewforge: (.*)$")
_OF_DVC = re.compile(r"^ERROR: (.*)$")
# What DVC says when the command ended, when somebody else holds one of its locks, and when it does not know what happened.
_PASSING = re.compile(
    r"failed to run: |Unable to acquire lock|is busy, it is being blocked by|unexpected error|interrupted by the user"
)
_KEPT_LINES = 1000
_HOUR = 3600.0


class StageRunError(ViewforgeError):
    """A stage failed for a reason that it or DVC named; trying again would not help."""


class StageTimeoutError(StageRunError):
    """A stage ran for longer than it may; another attempt would have to be given more time."""


class StageCrashError(ViewforgeError):
    """A stage ended without naming a reason: killed, out of memory, DVC's lock. Another attempt may succeed."""


@dataclass(frozen=True)
class StageRun:
    """What became of a stage: `ran`, `fresh` (nothing to do), `restored` (from DVC's run cache), `failed` or `not tried`."""

    stage: str
    state: str
    seconds: float


def run_stage(
    root: Path,
    stage: str,
    on_line: Callable[[str], None],
    on_progress: Callable[[dict[str, Any]], None],
    limits: FlowParameters,
) -> StageRun:
    """Bring one stage of a workspace up to date.

    Whatever interrupts it, as the SIGTERM of a cancelled run, is raised once the stage has ended.

    Args:
        root: the workspace.
        stage: name in dvc.yaml.
        on_line: called with each line of output.
        on_progress: called with each progress record (`stage.progress`).
        limits: the stage's time, and what it gets to end in.

    Raises:
        StageRunError: with the stage's own one-line reason, or DVC's.
        StageTimeoutError: when it ran for longer than it may.
        StageCrashError: when it named no reason, or was killed.
    """
    _mend(root, on_line)
    started = time.monotonic()
    # What tells how it ended comes last; a training of days says more than memory should hold.
    lines: deque[str] = deque(maxlen=_KEPT_LINES)

    def take(line: str) -> None:
        lines.append(line)
        on_line(line)

    with (
        _progress_of(root, stage) as progress,
        stage_process(root, stage, progress, lambda: _drain(progress, on_progress)) as process,
    ):
        code = _followed(process, stage, take, limits, started)
        _drain(progress, on_progress)
    if code:
        raise _failure(root, stage, lines, code)
    return StageRun(stage, _state(lines), round(time.monotonic() - started, 1))


@contextmanager
def _progress_of(root: Path, stage: str) -> Iterator[IO[str]]:
    """An empty file for a stage's progress records.

    It has its name in the workspace, so that a flow that is killed again and again leaves one file and not one each time.
    """
    path = Workspace(root.resolve()).scratch / "progress" / f"{stage}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    try:
        with path.open() as stream:
            yield stream
    finally:
        path.unlink(missing_ok=True)


def _mend(root: Path, on_line: Callable[[str], None]) -> None:
    """See to what an attempt that was killed left of DVC's files."""
    try:
        for line in mend(root):
            on_line(line)
    except DvcBusyError as error:
        raise StageCrashError(str(error)) from None


def _followed(
    process: StageProcess, stage: str, take: Callable[[str], None], limits: FlowParameters, started: float
) -> int:
    """Follow a stage to its end; its exit status."""
    until = started + limits.seconds(stage)
    try:
        for line in process.lines(until):
            take(line)
        # The end of the output comes shortly before the end of the process, unless the process closed it.
        while (code := process.status()) is None:
            if time.monotonic() >= until:
                raise _late(stage, limits)
        return code
    finally:
        process.end(limits.grace_seconds, take)


def _late(stage: str, limits: FlowParameters) -> StageTimeoutError:
    return StageTimeoutError(
        f"{stage}: not done within {limits.seconds(stage) / _HOUR:g} h",
        f"if it does not hang, give it more by flow.stage_hours.{stage} and run again: what is finished is kept",
    )


def _drain(stream: IO[str], on_progress: Callable[[dict[str, Any]], None]) -> None:
    """Hand on the newest of the progress records that were written since the last call."""
    newest = None
    for line in stream:
        newest = line
    if newest:
        with suppress(json.JSONDecodeError):
            on_progress(json.loads(newest))


def _state(lines: Iterable[str]) -> str:
    text = "\n".join(lines)
    if "didn't change, skipping" in text:
        return "fresh"
    return "restored" if "is cached - skipping run" in text else "ran"


def _failure(root: Path, stage: str, lines: Sequence[str], code: int) -> ViewforgeError:
    named = [match.group(1) for line in lines if (match := _MESSAGE.match(line))]
    if named and named[-1].startswith(StageKilledError.PREFIX):
        return StageCrashError(f"{stage}: {named[-1]}")
    if named:
        return StageRunError(f"{stage}: {named[-1]}")
    of_dvc = [match.group(1) for line in lines if (match := _OF_DVC.match(line))]
    # One that was killed itself named nothing: such a line is then the stage's.
    if code > 0 and of_dvc and not _PASSING.search(of_dvc[-1]):
        return StageRunError(f"{stage}: DVC says: {of_dvc[-1]}", f"mend that in {root} and run again")
    last = next((line for line in reversed(lines) if line.strip()), "no output")
    return StageCrashError(f"{stage} ended with status {code}: {last}", f"run viewforge --verbose {stage} to see more")
