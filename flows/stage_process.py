"""The process of a stage: `dvc repro --single-item` in a group of its own, followed line by line, and its end.

Whoever is interrupted while it follows one, as by SIGTERM from Prefect's worker, first asks the stage to end and gives it time:
a training writes its checkpoint then. What is left is killed. A stage also dies with the process that follows it.
"""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil
from prefect.runtime import flow_run

from stage.lifeline import tied
from stage.progress import PROGRESS_VARIABLE
from stage.secrets import redacted

_TICK_SECONDS = 0.5
_FLOW_RUN = "PREFECT__FLOW_RUN_ID"
# Lines as they are written, and no bars of the libraries among them.
_PLAIN = {"PYTHONUNBUFFERED": "1", "TQDM_DISABLE": "1"}
# Else DVC gives up after three seconds where another command holds the repository's lock, and a stage that has worked for hours
# is lost to its end.
_DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")
# By which DVC starts stages: a service's own may be `nologin`, which starts nothing.
_SHELL = "/bin/sh"


class StageProcess:
    """A running stage.

    Args:
        process: DVC's, the leader of its process group; its output is a pipe.
        tick: called at least twice a second while lines are awaited.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", tick: Callable[[], None]) -> None:
        self._process, self._tick = process, tick

    def lines(self, until: float) -> Iterator[str]:
        """Lines of output as they come, without secrets, to the end of the process or a moment of the monotonic clock."""
        assert self._process.stdout is not None  # noqa: S101 - asked for in `stage_process`
        buffer = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while time.monotonic() < until:
                ready = selector.select(min(_TICK_SECONDS, max(0.0, until - time.monotonic())))
                self._tick()
                if not ready:
                    if self._process.poll() is not None:
                        # What it left running has its output, and may have it for ever.
                        break
                    continue
                if not (read := os.read(self._process.stdout.fileno(), 65536)):
                    break
                *whole, buffer = (buffer + read).split(b"\n")
                yield from map(_text, whole)
        if buffer:
            yield _text(buffer)

    def status(self) -> int | None:
        """The exit status of a process whose output has ended; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(_TICK_SECONDS)
        return None

    def end(self, grace_seconds: float, on_line: Callable[[str], None]) -> None:
        """Ask the stage to end, follow it for a while, and kill what is left of its group."""
        try:
            if self._ask():
                for line in self.lines(time.monotonic() + grace_seconds):
                    on_line(line)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _ask(self) -> bool:
        """SIGTERM to the stage, whether there is one. DVC itself would end at once, and take the stage with it."""
        if self._process.poll() is not None:
            return False
        try:
            stages = psutil.Process(self._process.pid).children()
        except psutil.NoSuchProcess:
            return False
        for stage in stages:
            with suppress(psutil.NoSuchProcess):
                stage.send_signal(signal.SIGTERM)
        return bool(stages)


@contextmanager
def stage_process(root: Path, stage: str, progress: IO[str], tick: Callable[[], None]) -> Iterator[StageProcess]:
    """Start a stage; to be ended by the caller with `StageProcess.end`, and killed in any case.

    Args:
        root: the workspace.
        stage: name in dvc.yaml.
        progress: file that takes its progress records.
        tick: called at least twice a second while its lines are awaited.
    """
    process = subprocess.Popen(
        tied([*_DVC, "repro", "--single-item", stage]),
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={
            **os.environ,
            **_PLAIN,
            "SHELL": _SHELL,
            **_flow_run(),
            PROGRESS_VARIABLE: progress.name,
            "PATH": _path_with_scripts(),
        },
    )
    try:
        yield StageProcess(process, tick)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _text(line: bytes) -> str:
    return redacted(line.decode(errors="replace").rstrip())


def _flow_run() -> dict[str, str]:
    """The flow run that starts the stage, as Prefect's own workers name it; none outside of one."""
    return {_FLOW_RUN: str(flow_run.id)} if flow_run.id else {}


def _path_with_scripts() -> str:
    """PATH with this environment's commands first: dvc.yaml calls `viewforge`."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
