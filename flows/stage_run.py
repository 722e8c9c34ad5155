"""Running one stage: its output and progress followed, its end explained, its time limited."""

import json
import re
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from flows.flow_parameters import FlowParameters
from flows.stage_process import StageProcess, stage_process
from stage.errors import StageKilledError, ViewforgeError

_MESSAGE = re.compile(r"^viewforge: (.*)$")
_HOUR = 3600.0


class StageRunError(ViewforgeError):
    """A stage failed for a reason that it named itself; trying again would not help."""


class StageTimeoutError(StageRunError):
    """A stage ran for longer than it may; another attempt would have to be given more time."""


class StageCrashError(ViewforgeError):
    """A stage ended without naming a reason: killed, out of memory, DVC's lock. Another attempt may succeed."""


@dataclass(frozen=True)
class StageRun:
    """What became of a stage: `ran`, `fresh` (nothing to do) or `restored` (from DVC's run cache)."""

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
        StageRunError: with the stage's own one-line reason.
        StageTimeoutError: when it ran for longer than it may.
        StageCrashError: when it named no reason, or was killed.
    """
    started = time.monotonic()
    lines: list[str] = []

    def take(line: str) -> None:
        lines.append(line)
        on_line(line)

    with (
        tempfile.NamedTemporaryFile("r", prefix="viewforge-progress-") as progress,
        stage_process(root, stage, progress, lambda: _drain(progress, on_progress)) as process,
    ):
        code = _followed(process, stage, take, limits, started)
        _drain(progress, on_progress)
    if code:
        raise _failure(stage, lines, code)
    return StageRun(stage, _state(lines), round(time.monotonic() - started, 1))


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


def _state(lines: list[str]) -> str:
    text = "\n".join(lines)
    if "didn't change, skipping" in text:
        return "fresh"
    return "restored" if "is cached - skipping run" in text else "ran"


def _failure(stage: str, lines: list[str], code: int) -> ViewforgeError:
    named = [match.group(1) for line in lines if (match := _MESSAGE.match(line))]
    if named and named[-1].startswith(StageKilledError.PREFIX):
        return StageCrashError(f"{stage}: {named[-1]}")
    if named:
        return StageRunError(f"{stage}: {named[-1]}")
    last = next((line for line in reversed(lines) if line.strip()), "no output")
    return StageCrashError(f"{stage} ended with status {code}: {last}", f"run viewforge --verbose {stage} to see more")
