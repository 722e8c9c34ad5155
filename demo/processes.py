"""A viewforge command in the service of a request: its progress is the request's, and it ends when the request does.

memory = run(job, ["reconstruct", …], {"reconstruct neus": "fitting a surface"}, torch.device("cpu"))
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO

import torch

from demo.jobs import Job
from demo.memory import MemoryWatch
from stage.errors import StageFailedError
from stage.lifeline import tied
from stage.progress import PROGRESS_VARIABLE

_LOOK_SECONDS = 0.2


def run(job: Job, arguments: Sequence[str], notes: Mapping[str, str], device: torch.device) -> str:
    """Run a command in a process group of its own.

    Args:
        job: is told of each step; the group is killed when it is cancelled or takes too long.
        arguments: of `viewforge`.
        notes: what people are told while a stage of the command runs, by its name in `stage.progress`; once one of them is over,
            that of "" where there is one.
        device: whose memory is looked at.

    Returns:
        What it took of that memory, in words.

    Raises:
        CancelledJobError: when the job is cancelled.
        StageFailedError: with the command's own line when it fails.
    """
    with tempfile.NamedTemporaryFile("r", prefix="viewforge-progress-") as told:
        process = subprocess.Popen(
            tied([sys.executable, "-m", "cli.main", *arguments]),
            env={**os.environ, PROGRESS_VARIABLE: told.name},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        memory = MemoryWatch(process.pid, device)
        try:
            said = _waited(process, job, _Told(told, notes), memory)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    if process.returncode:
        raise StageFailedError((said.strip().splitlines() or ["no reason given"])[-1].removeprefix("viewforge: "))
    return memory.words


class _Told:
    """What a command's stages tell of their progress.

    Args:
        stream: the file to which they append lines.
        notes: see `run`.
    """

    def __init__(self, stream: IO[str], notes: Mapping[str, str]) -> None:
        self._stream, self._notes = stream, notes
        self._begun, self._stage = "", ""

    def tell(self, job: Job) -> None:
        """Pass on what is new."""
        *whole, self._begun = (self._begun + self._stream.read()).split("\n")
        for line in whole:
            self._pass_on(json.loads(line), job)

    def _pass_on(self, line: dict[str, object], job: Job) -> None:
        stage, done, total = str(line["stage"]), int(str(line["done"])), int(str(line["total"]))
        if line["event"] == "end":
            self._stage = ""
            job.expect(0, self._notes.get("", stage))
        elif stage in self._notes:
            if stage != self._stage:
                self._stage = stage
                job.expect(total, self._notes[stage])
            job.done = done


def _waited(process: "subprocess.Popen[str]", job: Job, told: _Told, memory: MemoryWatch) -> str:
    """What it wrote to standard error."""
    while True:
        job.check()
        told.tell(job)
        memory.look()
        try:
            return process.communicate(timeout=_LOOK_SECONDS)[1]
        except subprocess.TimeoutExpired:
            continue
