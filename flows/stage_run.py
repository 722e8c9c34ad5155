"""Running one stage: `dvc repro --single-item` in its own process group, its output and progress followed.

The group is killed when the caller is interrupted, and dies when the caller dies, so that no stage is left behind.
"""

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from prefect.runtime import flow_run

from stage.errors import StageKilledError, ViewforgeError
from stage.lifeline import tied
from stage.progress import PROGRESS_VARIABLE
from stage.secrets import redacted

_MESSAGE = re.compile(r"^viewforge: (.*)$")
_TICK_SECONDS = 0.5
_FLOW_RUN = "PREFECT__FLOW_RUN_ID"
# Lines as they are written, and no bars of the libraries among them.
_PLAIN = {"PYTHONUNBUFFERED": "1", "TQDM_DISABLE": "1"}


class StageRunError(ViewforgeError):
    """A stage failed for a reason that it named itself; trying again would not help."""


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
) -> StageRun:
    """Bring one stage of a workspace up to date.

    Args:
        root: the workspace.
        stage: name in dvc.yaml.
        on_line: called with each line of output.
        on_progress: called with each progress record (`stage.progress`).

    Raises:
        StageRunError: with the stage's own one-line reason.
        StageCrashError: when it named none.
    """
    started = time.monotonic()
    lines: list[str] = []
    with (
        tempfile.NamedTemporaryFile("r", prefix="viewforge-progress-") as progress,
        _process(root, stage, progress.name) as process,
    ):
        for line in _lines(process, lambda: _drain(progress, on_progress)):
            lines.append(line)
            on_line(line)
        _drain(progress, on_progress)
        code = process.wait()
    if code:
        raise _failure(stage, lines, code)
    return StageRun(stage, _state(lines), round(time.monotonic() - started, 1))


@contextmanager
def _process(root: Path, stage: str, progress: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        tied([sys.executable, "-m", "dvc", "repro", "--single-item", stage]),
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={
            **os.environ,
            **_PLAIN,
            **_flow_run(),
            PROGRESS_VARIABLE: progress,
            "PATH": _path_with_scripts(),
        },
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _flow_run() -> dict[str, str]:
    """The flow run that starts the stage, as Prefect's own workers name it; none outside of one."""
    return {_FLOW_RUN: str(flow_run.id)} if flow_run.id else {}


def _path_with_scripts() -> str:
    """PATH with this environment's commands first: dvc.yaml calls `viewforge`."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def _lines(process: "subprocess.Popen[str]", tick: Callable[[], None]) -> Iterator[str]:
    """Lines of output as they come, without secrets; `tick` is called in between."""
    assert process.stdout is not None  # noqa: S101 - asked for above
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(_TICK_SECONDS):
                tick()
                continue
            line = process.stdout.readline()
            if not line:
                return
            tick()
            yield redacted(line.rstrip())


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
