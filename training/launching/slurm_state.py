"""The job of Slurm that a workspace's stage waits for, as it is noted beside the stage: `scratch/launch/slurm.json`.

A stage that is started again finds it there and waits for the same job, rather than submitting a second one.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from stage.files import write_json


@dataclass(frozen=True)
class JobNote:
    """A job that was submitted."""

    job: str
    """Its number."""
    nodes: int
    """Its machines."""
    parameters_sha256: str
    """Of the training that it does."""
    cancelled: bool = False
    """Whether the stage gave it up: its end is waited for, and another one submitted."""


def read_note(path: Path) -> JobNote | None:
    """The noted job; None where there is none."""
    with suppress(OSError, ValueError, TypeError):
        return JobNote(**json.loads(path.read_text()))
    return None


def write_note(path: Path, note: JobNote) -> None:
    """Note a job in place of the last one."""
    write_json(path, asdict(note))


def give_up(path: Path) -> None:
    """Note that the job is cancelled."""
    if note := read_note(path):
        write_note(path, replace(note, cancelled=True))
