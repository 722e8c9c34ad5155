"""Failures as data: an object that cannot be used is a row with a class, not an exception that ends the run."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from stage.errors import StageFailedError
from stage.secrets import redacted


class FailureClass(StrEnum):
    """Why an object could not be used."""

    MISSING = "missing"
    DOWNLOAD = "download"
    CHECKSUM = "checksum"
    PARSE = "parse"
    EMPTY = "empty"
    DEGENERATE = "degenerate"
    MISMATCH = "mismatch"
    UNSAFE = "unsafe"
    OVERSIZED = "oversized"
    MISSING_TEXTURE = "missing-texture"
    BLANK = "blank"
    NOT_FINITE = "not-finite"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out-of-memory"
    CRASH = "crash"
    DISK = "disk"
    ERROR = "error"

    @property
    def transient(self) -> bool:
        """Whether another attempt may succeed; permanent classes are tried once."""
        return self in {
            FailureClass.DOWNLOAD,
            FailureClass.TIMEOUT,
            FailureClass.OUT_OF_MEMORY,
            FailureClass.CRASH,
            FailureClass.ERROR,
        }

    @property
    def lasting(self) -> bool:
        """Whether a later run would fail in the same way; a file that was missing or damaged may be back by then."""
        return not self.transient and self not in {FailureClass.MISSING, FailureClass.CHECKSUM}


class ObjectFailedError(Exception):
    """Raised inside a worker: this object cannot be used, for this class of reason."""

    def __init__(self, failure: FailureClass, message: str) -> None:
        self.failure = failure
        super().__init__(redacted(message))


@dataclass(frozen=True)
class Outcome:
    """What became of one object in one stage.

    `result` is the worker's answer when `failure` is None. Seconds and memory are of the last attempt.
    """

    uid: str
    failure: FailureClass | None
    message: str
    stderr_tail: str
    attempt: int
    seconds: float
    peak_memory_bytes: int
    result: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the object can be used."""
        return self.failure is None

    def row(self) -> dict[str, Any]:
        """The outcome as a row of a ledger, without the worker's answer."""
        values = asdict(self)
        del values["result"]
        values["stderr_tail"] = redacted(self.stderr_tail)
        values["failure"] = str(self.failure) if self.failure else ""
        return values


def check_failure_rate(stage: str, outcomes: Iterable[Outcome], total: int, max_failure_rate: float) -> None:
    """Fail the stage when more than `max_failure_rate` of its `total` objects failed.

    Raises:
        StageFailedError: naming the share, the limit and the first few objects with their reasons.
    """
    failed = [outcome for outcome in outcomes if not outcome.ok]
    if total and len(failed) > max_failure_rate * total:
        shown = ", ".join(f"{o.uid} ({o.failure}: {o.message})" for o in failed[:3])
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        raise StageFailedError(
            f"{stage}: {len(failed)} of {total} objects failed, over the limit of {max_failure_rate:.0%}: {shown}{more}",
            f"mend or exclude them, or raise {stage}.max_failure_rate",
        )
