"""One supervised worker process as its supervisor sees it: job in, answer out, time, memory, standard error."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

import psutil

from stage.attempts import Attempt
from stage.failures import FailureClass, Outcome

_TAIL_CHARACTERS = 2000
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Worker:
    """A running `stage.worker_host`; made by `Worker.start`."""

    def __init__(self, process: "subprocess.Popen[bytes]", stderr: IO[bytes], temporary: Path) -> None:
        self.process, self._stderr, self._temporary = process, stderr, temporary
        assert process.stdin is not None  # noqa: S101 - Popen was asked for both pipes
        assert process.stdout is not None  # noqa: S101
        self._jobs, self.answers = process.stdin, process.stdout
        self.attempt: Attempt | None = None
        self.alive, self.jobs_done, self.peak_memory = True, 0, 0
        self._memory = self._first_memory = 0
        self.was_ready = self._ended = False
        self._buffer = b""
        self._started = self._stderr_start = 0.0
        self._born = time.monotonic()

    @classmethod
    def start(cls, handler: str, threads: int, temporary: Path) -> "Worker":
        """Start a worker in its own process group, so that it and all it starts can be killed together.

        Args:
            handler: the worker function, "module:function".
            threads: threads that numerical libraries may take.
            temporary: folder of its temporary files, which `stop` removes: Blender leaves its session's folder behind.
        """
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        process = subprocess.Popen(
            [sys.executable, "-m", "stage.worker_host", handler],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
            env={**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads)), "TMPDIR": str(temporary)},
        )
        return cls(process, stderr, temporary)

    @property
    def idle(self) -> bool:
        """Whether the worker waits for a job; one that died after its last answer does not."""
        return self.alive and self.was_ready and self.attempt is None and self.process.poll() is None

    @property
    def ended(self) -> bool:
        """Whether the process has closed its answers."""
        return self._ended

    @property
    def seconds(self) -> float:
        """Wall-clock seconds since the current job was given out."""
        return time.monotonic() - self._started

    @property
    def age(self) -> float:
        """Wall-clock seconds since the process was started."""
        return time.monotonic() - self._born

    @property
    def memory_growth(self) -> int:
        """Bytes of resident memory that came on top of what it took after its first object."""
        return self._memory - self._first_memory

    def assign(self, attempt: Attempt) -> bool:
        """Send a job; False when the worker has died and never got it."""
        self._started, self.peak_memory = time.monotonic(), 0
        self._stderr_start = os.fstat(self._stderr.fileno()).st_size
        try:
            self._jobs.write(json.dumps(attempt.job.message()).encode() + b"\n")
            self._jobs.flush()
        except BrokenPipeError:
            return False
        self.attempt = attempt
        return True

    def measure(self) -> None:
        """Note the resident memory of the worker and its children."""
        try:
            root = psutil.Process(self.process.pid)
            self._memory = sum(p.memory_info().rss for p in [root, *root.children(recursive=True)])
        except psutil.NoSuchProcess:
            return
        self.peak_memory = max(self.peak_memory, self._memory)

    def read_answer(self) -> dict[str, Any] | None:
        """The next whole answer if there is one; the first answer of all only says that the worker is ready."""
        os.set_blocking(self.answers.fileno(), False)
        while (chunk := self.answers.read(65536)) is not None:
            if not chunk:
                self._ended = True
                break
            self._buffer += chunk
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline:
            return None
        self._buffer = rest
        answer = json.loads(line)
        if "ready" in answer:
            self.was_ready = True
            return None
        return answer

    def outcome(self, answer: dict[str, Any]) -> Outcome:
        """The current job's outcome from a worker's answer."""
        assert self.attempt is not None  # noqa: S101 - only asked while a job is out
        failure = FailureClass(answer["failure"]) if "failure" in answer else None
        return Outcome(
            uid=self.attempt.job.uid,
            failure=failure,
            message=answer.get("message", ""),
            stderr_tail=self._tail() if failure else "",
            attempt=self.attempt.number,
            seconds=round(self.seconds, 3),
            peak_memory_bytes=self.peak_memory,
            result=answer.get("result", {}),
        )

    def release(self) -> Attempt:
        """Take back the attempt that ended."""
        attempt, self.attempt = self.attempt, None
        assert attempt is not None  # noqa: S101
        self.jobs_done += 1
        self._first_memory = self._first_memory or self._memory
        return attempt

    def last_line(self) -> str:
        """The last line of standard error, which usually names the cause."""
        self._stderr_start = 0
        lines = self._tail().strip().splitlines()
        return lines[-1] if lines else f"exit status {self.process.returncode}"

    def stop(self) -> None:
        """Kill the worker's process group, collect the process, remove its temporary files."""
        if not self.alive:
            return
        self.alive = False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self._jobs, self.answers):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _tail(self) -> str:
        self._stderr.flush()
        size = os.fstat(self._stderr.fileno()).st_size
        start = max(int(self._stderr_start), size - _TAIL_CHARACTERS)
        return os.pread(self._stderr.fileno(), size - start, start).decode(errors="replace")
