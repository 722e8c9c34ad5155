"""Cancels a job of Slurm when the stage that waits for it is killed: `python -m training.launching.canceller JOB NOTE`.

The stage holds the other end of this program's standard input. It writes `done` when the job is over; an input that ends without
it means that the stage is gone. In a session of its own it outlives the kill of the stage's process group.
"""

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from training.launching.slurm_state import give_up

_DONE = b"done\n"


class Canceller:
    """Has a job cancelled if this process ends while it is entered.

    Args:
        job: its number.
        note: the file that names it.
    """

    def __init__(self, job: str, note: Path) -> None:
        self._job, self._note = job, note

    def __enter__(self) -> "Canceller":
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, self._job, str(self._note)], stdin=subprocess.PIPE, start_new_session=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What ends by an error, as an interrupt from the keyboard, waits for its job no more than what is killed.
        self._process.communicate(_DONE if kind is None else b"")


def cancel(job: str, note: Path) -> None:
    """Note that a job is given up, and ask Slurm to end it: its processes get SIGTERM, and later SIGKILL."""
    # A full disk keeps no job running.
    with suppress(OSError):
        give_up(note)
    subprocess.run(["scancel", job], check=False)


def main() -> None:
    """Wait for the word, and cancel the job without it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read() != _DONE:
        cancel(sys.argv[1], Path(sys.argv[2]))


if __name__ == "__main__":
    main()
