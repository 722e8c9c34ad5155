"""Errors that a person can act on: one line that names the thing, the place and the remedy."""

import errno
import os

from stage.secrets import redacted

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class ViewforgeError(Exception):
    """A failure whose message is meant for the user; the command line prints it without a traceback.

    Secrets are taken out of the message, as it also goes into logs, tables and tags.

    Args:
        message: what is wrong and where, in one line.
        remedy: what to do about it, in one line.
        kind: a word for the reason that tables and tags can count, as `gpu_memory`; empty where nobody counts.
    """

    EXIT_STATUS = 1
    """What the command line ends with."""

    def __init__(self, message: str, remedy: str = "", kind: str = "") -> None:
        self.remedy, self.kind = remedy, kind
        super().__init__(redacted(f"{message}; {remedy}" if remedy else message))


class ParameterError(ViewforgeError):
    """A parameter is unknown, missing or out of range."""


class InputError(ViewforgeError):
    """Something that a stage reads is missing, empty or unreadable."""


class StageFailedError(ViewforgeError):
    """Too many objects of a stage failed, or a process of it for a reason that it named."""


class StageKilledError(ViewforgeError):
    """A process of a stage was killed from outside; another attempt continues where it was.

    Its message starts with `PREFIX`, by which an orchestrator that only sees the command line's output knows it.
    """

    PREFIX = "killed: "

    def __init__(self, message: str, remedy: str = "", kind: str = "killed") -> None:
        super().__init__(f"{self.PREFIX}{message}", remedy, kind)


class StagePreemptedError(StageKilledError):
    """A stage was asked to stop by SIGTERM or SIGUSR1, as its machine is taken away; another attempt continues where it was."""

    EXIT_STATUS = os.EX_TEMPFAIL
    PREEMPTED = "asked to stop: "

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{self.PREEMPTED}{message}", remedy, "preempted")


def is_full_disk(error: BaseException) -> bool:
    """Whether an error says that a disk is full, or somebody's share of it: what is at work is not to blame."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM
