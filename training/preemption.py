"""The notice that a machine is taken away: SIGTERM, which schedulers and clouds send, or SIGUSR1, which Slurm can send.

A process that heeds it finishes its step. All processes of a training learn of it with the figures of that step, save a
checkpoint together and end.
"""

import signal
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Notice:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        self.given = False

    def heed(self) -> "Notice":
        """Take note of the signals from now on, in place of ending by them; the main thread alone may call this."""
        for number in SIGNALS:
            signal.signal(number, self._take)
        return self

    def _take(self, _: int, __: FrameType | None) -> None:
        self.given = True


def ignore() -> None:
    """Ignore the signals, in this process and in what it starts or becomes, until that heeds them."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
